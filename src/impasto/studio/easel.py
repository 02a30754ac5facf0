"""The right side of the page Paint: the picture as it is painted, what can be asked of it, and the jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from impasto.desk.desk import Desk
from impasto.desk.drawing import as_data, canvas, curves, status
from impasto.desk.finished import links, losses
from impasto.errors import ImpastoError
from impasto.folders.names import RESULT, SHEET
from impasto.jobs.queue import Job
from impasto.studio.answers import QUIET, sentences, side_by_side
from impasto.studio.fields import Setting, component, shown
from impasto.tasks.spec import CHANGEABLE, changeable
from impasto.tasks.table import TASKS

LOOK_SECONDS = 0.4


# Fields that were typed into after the question was asked keep what was typed; the page itself decides.
UNLESS_TYPED = """(answer, ...now) => answer === null ? now : now.map((value, at) =>
  JSON.stringify(value) === JSON.stringify(answer.before[at]) ? answer.after[at] : value)"""


@dataclass(frozen=True, eq=False)
class Panel:
    """The components that change a run while it paints, and the number of the job whose settings they show.

    The settings of a job come as an `answer`, which the page puts into the fields.
    """

    fields: Mapping[str, gr.components.Component]
    of: gr.State
    answer: gr.JSON

    @property
    def inputs(self) -> list[Any]:
        """What is typed in the fields as the question is asked."""
        return list(self.fields.values())

    @property
    def outputs(self) -> list[Any]:
        """What `taken_over` fills."""
        return [self.of, self.answer, *self.fields.values()]

    def taken_over(self, desk: Desk, job: Job, before: Sequence[Any]) -> list[Any]:
        """The settings of a job, to be shown, and which fields are visible; `before` are the values of `inputs`."""
        possible, values = changeable(job.spec.task), dict(desk.settings_here(job))
        given = zip(self.fields, before, strict=True)
        after = [shown(values[name]) if name in possible else value for name, value in given]
        visible = [gr.update(visible=name in possible) for name in self.fields]
        return [job.number, {"before": list(before), "after": after}, *visible]

    def fill_after(self, asked: Any) -> None:
        """Put the answer of an event into the fields."""
        asked.then(None, [self.answer, *self.inputs], self.inputs, js=UNLESS_TYPED, **QUIET)


@dataclass(frozen=True)
class Seen:
    """What a page shows already: a job as it was, and the list of all jobs."""

    job: Job | None = None
    jobs: tuple[tuple[str, int], ...] = ()


def easel(desk: Desk, settings: Mapping[str, Setting], first: str, job: gr.State) -> Panel:
    """Build the side inside the present column; `first` is the task chosen at first, `job` the job that is shown.

    Whoever shows another job fills the panel in the same answer, so that nothing typed there later is overwritten.
    """
    seen = gr.State(Seen())
    _unfinished(desk, job)
    picture = gr.HTML(canvas(None, ""), elem_id="canvas")
    compare = gr.HTML(visible=False, elem_id="compare")
    words = gr.HTML("", elem_id="status")
    buttons = _buttons(desk, job)
    drawn = gr.HTML("", elem_id="curves")
    panel, apply = _panel(desk, settings, first, job)
    jobs = gr.Dropdown([], label="Jobs", info="One run at a time is painted; the others wait.", elem_id="jobs")
    jobs.input(lambda number: number, jobs, job, **QUIET)
    shows = [seen, job, picture, compare, words, drawn, *buttons, jobs, apply]
    gr.Timer(LOOK_SECONDS).tick(lambda *now: _follow(desk, *now), [job, seen], shows, queue=False, **QUIET)
    return panel


def _unfinished(desk: Desk, job: gr.State) -> None:
    """The runs that were not finished, to be resumed, above all else."""
    with gr.Row(visible=False, elem_classes="banner") as banner:
        left = gr.Dropdown([], label="Runs that were not finished", scale=3)
        again = gr.Button("Resume", scale=1)

    def rest() -> list[Any]:
        names = desk.unfinished()
        return [gr.update(choices=names, value=next(iter(names), None)), gr.update(visible=bool(names))]

    gr.on(None, rest, None, [left, banner], **QUIET)  # whenever the page is loaded

    @again.click(inputs=left, outputs=[job, left, banner], **QUIET)
    def take_up(name: str | None) -> list[Any]:
        with sentences():
            number = desk.resume(name or "").number
        return [number, *rest()]


def _buttons(desk: Desk, job: gr.State) -> list[gr.Button]:
    acts = {"Pause": desk.jobs.pause, "Go on": desk.jobs.go_on, "Stop": desk.jobs.stop}
    with gr.Row(elem_classes="controls"):
        found = [
            gr.Button(words, interactive=False, min_width=90, elem_id=words.lower().replace(" ", "-")) for words in acts
        ]
    for button, act in zip(found, acts.values(), strict=True):
        button.click(_asked(act), job, None, **QUIET)
    return found


def _panel(desk: Desk, settings: Mapping[str, Setting], first: str, job: gr.State) -> tuple[Panel, gr.Button]:
    """What can be changed while a run is painted, and the button that applies the changes."""
    with gr.Accordion("Change while it paints", open=False, elem_id="steer"):
        gr.Markdown("What you change here holds from the next step on, and is kept with the run.")
        fields = {
            name: component(settings[name], first, elem_id=f"steer-{name}") for name in CHANGEABLE if name in settings
        }
        panel = Panel(fields, gr.State(None), gr.JSON(visible="hidden"))
        apply = gr.Button("Apply", min_width=90, elem_id="apply")

    def show_settings(number: int | None, filled: int | None, *before: Any) -> list[Any]:
        if number is None or number == filled:
            return [gr.skip(), None, *[gr.skip()] * len(before)]
        return panel.taken_over(desk, desk.jobs.job(number), before)

    panel.fill_after(job.change(show_settings, [job, panel.of, *panel.inputs], panel.outputs, queue=False, **QUIET))

    @apply.click(inputs=[job, *panel.inputs], outputs=None, **QUIET)
    def steer(number: int | None, *values: Any) -> None:
        with sentences():
            if number is None:
                return
            now = desk.jobs.job(number)
            possible = changeable(now.spec.task)
            before = {name: shown(value) for name, value in desk.settings_here(now)}
            given = zip(fields, values, strict=True)
            asked = {name: value for name, value in given if name in possible and value != before[name]}
            if asked:
                desk.change(number, asked)

    return panel, apply


def _follow(desk: Desk, number: int | None, before: Seen) -> list[Any]:
    """What has changed on the page since `before`: a job is frozen data, and another one if something has happened."""
    now = _shown(desk, number)
    every = tuple((f"{each.number} · {each.folder.name} · {each.state}", each.number) for each in desk.jobs.all())
    if now is None or (now is before.job and every == before.jobs):
        return [gr.skip()] * 11
    number_before, state_before = (None, None) if before.job is None else (before.job.number, before.job.state)
    is_new = number_before != now.number
    ended_now = now.ended and (is_new or state_before != now.state)
    busy = now.state == "running" and now.wish is None
    return [
        Seen(now, every),
        gr.skip() if now.number == number else now.number,
        *(_stage(now) if ended_now or not now.ended else [gr.skip()] * 2),
        *(_finished(desk, now) if ended_now else [status(now), _curves(desk, now)]),
        gr.update(interactive=busy),
        gr.update(interactive=now.state == "paused"),
        gr.update(interactive=busy or now.state in ("waiting", "paused")),
        gr.skip() if every == before.jobs and not is_new else gr.update(choices=every, value=now.number),  # if open
        gr.update(interactive=not now.ended),
    ]


def _shown(desk: Desk, number: int | None) -> Job | None:
    """The job that a page shows: the one chosen, else the one that is painted, else the newest."""
    every = desk.jobs.all()
    chosen_one = next((each for each in every if each.number == number), None)
    painted = next((each for each in every if each.state == "running"), None)
    return chosen_one or painted or (every[-1] if every else None)


def _stage(job: Job) -> list[Any]:
    """The picture, or the slider between the photo and the picture of a job that has ended."""
    compared = _compared(job) if job.ended else None
    return [
        gr.update(value=_canvas(job), visible=compared is None),
        gr.update(value=compared, visible=compared is not None),
    ]


def _finished(desk: Desk, job: Job) -> list[Any]:
    """The last words of a job that has ended, with links to the files of its run, and its losses if it has one part."""
    try:
        record = desk.record(job.folder.name)
    except ImpastoError:  # nothing was painted, or a sheet, whose candidates have each their own
        return [status(job), ""]
    return [status(job) + links(record), losses(record) if len(record.planned) == 1 else ""]


def _curves(desk: Desk, job: Job) -> Any:
    """The losses of a run that goes on; of a sheet none, since each candidate has its own."""
    if job.member is not None:
        return ""
    return gr.skip() if job.ended else curves([step.losses for step in desk.jobs.steps(job.number)])


def _canvas(job: Job) -> str:
    words = f"{job.spec.task} of {', '.join(path.stem for path in job.spec.pictures)}"
    if job.preview is not None:
        return canvas(as_data(job.preview.jpeg), words)
    for name in (RESULT, SHEET):
        if (file := job.folder / name).is_file():
            return canvas(f"files/{job.folder.name}/{name}?{file.stat().st_mtime_ns}", words)
    return canvas(None, "")


def _compared(job: Job) -> str | None:
    """A slider between the content and the result of a job that has both, and one result."""
    if not TASKS[job.spec.task].has_content or len(TASKS[job.spec.task].part_names(job.settings)) > 1:
        return None
    try:
        return side_by_side(job.spec.pictures[0], job.folder / RESULT, "Before and after")
    except ImpastoError:
        return None


def _asked(act: Any) -> Any:
    def ask(number: int | None) -> None:
        with sentences():
            if number is not None:
                act(number)

    return ask
