"""The right side of the page Paint: the picture as it is painted, what can be asked of it, and the jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from impasto.desk.desk import Desk
from impasto.desk.drawing import as_data, canvas, curves, status
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


def easel(desk: Desk, settings: Mapping[str, Setting], first: str, job: gr.State) -> Panel:
    """Build the side inside the present column; `first` is the task chosen at first, `job` the job that is shown.

    Whoever shows another job fills the panel in the same answer, so that nothing typed there later is overwritten.
    """
    seen = gr.State("")
    unfinished = desk.unfinished()
    with gr.Row(visible=bool(unfinished), elem_classes="banner") as banner:
        left = gr.Dropdown(unfinished, value=next(iter(unfinished), None), label="Runs that were not finished", scale=3)
        again = gr.Button("Resume", scale=1)
    picture = gr.HTML(canvas(None, ""), elem_id="canvas")
    compare = gr.HTML(visible=False, elem_id="compare")
    words = gr.HTML("", elem_id="status")
    with gr.Row(elem_classes="controls"):
        pause = gr.Button("Pause", interactive=False, min_width=90, elem_id="pause")
        go_on = gr.Button("Go on", interactive=False, min_width=90, elem_id="go-on")
        stop = gr.Button("Stop", interactive=False, min_width=90, elem_id="stop")
    drawn = gr.HTML("", elem_id="curves")
    with gr.Accordion("Change while it paints", open=False, elem_id="steer"):
        gr.Markdown("What you change here holds from the next step on, and is kept with the run.")
        steered = {
            name: component(settings[name], first, elem_id=f"steer-{name}") for name in CHANGEABLE if name in settings
        }
        panel = Panel(steered, gr.State(None), gr.JSON(visible="hidden"))
        apply = gr.Button("Apply", min_width=90, elem_id="apply")
    jobs = gr.Dropdown([], label="Jobs", info="One run at a time is painted; the others wait.", elem_id="jobs")

    def follow(number: int | None, before: str) -> list[Any]:
        now = _shown(desk, number)
        if now is None:
            return [gr.skip()] * 11
        every = [(f"{each.number} · {each.folder.name} · {each.state}", each.number) for each in desk.jobs.all()]
        mark = f"{now.number} {now.state} {now.wish} {now.step and now.step.step} {now.sentence}"
        mark += f" {now.preview and now.preview.step} {every}"
        if mark == before:
            return [gr.skip()] * 11
        same = before.endswith(f" {every}") and now.number == number  # an open list is left alone
        busy = now.state == "running" and now.wish is None
        ended_now = now.ended and not before.startswith(f"{now.number} {now.state}")
        after = _compared(now) if ended_now else None
        return [
            mark,
            gr.skip() if now.number == number else now.number,
            gr.update(value=_canvas(now), visible=after is None) if ended_now or not now.ended else gr.skip(),
            gr.update(value=after, visible=after is not None) if ended_now or not now.ended else gr.skip(),
            status(now),
            _curves(desk, now),
            gr.update(interactive=busy),
            gr.update(interactive=now.state == "paused"),
            gr.update(interactive=busy or now.state in ("waiting", "paused")),
            gr.skip() if same else gr.update(choices=every, value=now.number),
            gr.update(interactive=not now.ended),
        ]

    gr.Timer(LOOK_SECONDS).tick(
        follow,
        [job, seen],
        [seen, job, picture, compare, words, drawn, pause, go_on, stop, jobs, apply],
        queue=False,
        **QUIET,
    )
    for button, act in ((pause, desk.jobs.pause), (go_on, desk.jobs.go_on), (stop, desk.jobs.stop)):
        button.click(_asked(act), job, None, **QUIET)
    jobs.input(lambda number: number, jobs, job, **QUIET)

    def show_settings(number: int | None, filled: int | None, *before: Any) -> list[Any]:
        if number is None or number == filled:
            return [gr.skip(), None, *[gr.skip()] * len(before)]
        return panel.taken_over(desk, desk.jobs.job(number), before)

    panel.fill_after(job.change(show_settings, [job, panel.of, *panel.inputs], panel.outputs, queue=False, **QUIET))

    @apply.click(inputs=[job, *steered.values()], outputs=None, **QUIET)
    def steer(number: int | None, *values: Any) -> None:
        with sentences():
            if number is None:
                return
            now = desk.jobs.job(number)
            possible = changeable(now.spec.task)
            before = {name: shown(value) for name, value in desk.settings_here(now)}
            given = zip(steered, values, strict=True)
            asked = {name: value for name, value in given if name in possible and value != before[name]}
            if asked:
                desk.change(number, asked)

    @again.click(inputs=left, outputs=[job, left, banner], **QUIET)
    def take_up(name: str | None) -> tuple[Any, Any, Any]:
        with sentences():
            number = desk.resume(name or "").number
        rest = desk.unfinished()
        return number, gr.update(choices=rest, value=next(iter(rest), None)), gr.update(visible=bool(rest))

    return panel


def _shown(desk: Desk, number: int | None) -> Job | None:
    """The job that a page shows: the one chosen, else the one that is painted, else the newest."""
    every = desk.jobs.all()
    chosen_one = next((each for each in every if each.number == number), None)
    painted = next((each for each in every if each.state == "running"), None)
    return chosen_one or painted or (every[-1] if every else None)


def _curves(desk: Desk, job: Job) -> Any:
    """The losses of a run; of a sheet none, since each candidate has its own; an ended run's stay as they are."""
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
