"""The page Runs: a gallery of all runs in the folder of runs, and one of them in detail."""

import tomllib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from impasto.desk.desk import RESUMABLE, Card, Desk, sentence
from impasto.desk.drawing import curves, empty_sheet
from impasto.desk.places import thumbnail
from impasto.errors import ImpastoError
from impasto.folders.names import ANIMATION, PAGE, RESULT, SETTINGS_FILE
from impasto.folders.records import RunRecord
from impasto.pages.words import duration
from impasto.studio.answers import QUIET, sentences, side_by_side
from impasto.studio.painting import PaintPage
from impasto.tasks.table import TASKS, part_title

THUMB_PX = 320
HINT = '<p class="hint">Choose a run to see it here.</p>'


def runs_page(desk: Desk, paint: PaintPage, sheet: gr.State, tabs: gr.Tabs, tab: gr.Tab) -> None:
    """Build the page inside the present Blocks; `sheet` is what the page Explore shows."""
    names, name = gr.State([]), gr.State(None)
    more: dict[str, Any] = {
        "columns": 4,
        "height": "auto",
        "allow_preview": False,
        "buttons": [],
        "visible": False,
        "show_label": False,
    }
    gallery = gr.Gallery(label="Runs", elem_id="gallery", **more)
    none = gr.HTML(empty_sheet("No runs yet. Paint a picture, and find it here."), elem_id="no-runs")
    about = gr.HTML("", elem_id="about")
    slider = gr.HTML(visible=False, elem_id="run-compare")
    with gr.Row(visible=False, elem_classes="controls") as controls:
        repeat = gr.Button("Repeat with changes", min_width=120, elem_id="repeat")
        large = gr.Number(1024, label="Size", precision=0, minimum=32, maximum=8192, min_width=90, elem_id="large-size")
        enlarge = gr.Button("Enlarge", min_width=90, elem_id="enlarge")
        resume = gr.Button("Resume", min_width=90, elem_id="resume")
        delete = gr.Button("Delete …", min_width=90, elem_id="delete")
        really = gr.Button("Delete for good", variant="stop", visible=False, min_width=90, elem_id="really")
        keep = gr.Button("Keep", visible=False, min_width=90, elem_id="keep")
    beside = gr.Dropdown([], label="Compare with", visible=False, elem_id="beside")
    details = gr.HTML("", elem_id="details")

    def cards() -> list[Any]:
        shown = [(card, _thumb(card)) for card in desk.gallery()]
        pictures = [(image, f"{card.name} · {card.status}") for card, image in shown]
        seen = gr.update(value=pictures, visible=bool(shown))
        return [seen, gr.update(visible=not shown), [card.name for card, _ in shown]]

    @tab.select(inputs=name, outputs=[gallery, none, names, about], **QUIET)
    def arrive(chosen: str | None) -> list[Any]:
        every = cards()
        return [*every, HINT if chosen is None and every[-1] else gr.skip()]

    @gallery.select(inputs=names, outputs=[name, sheet, tabs], **QUIET)
    def choose(every: list[str], event: gr.SelectData) -> list[Any]:
        one = every[event.index]
        if one in desk.sheets():
            return [gr.skip(), one, gr.update(selected="explore")]
        return [one, gr.skip(), gr.skip()]

    parts = [about, slider, controls, resume, beside, details, delete, really, keep, large, enlarge]

    @name.change(inputs=[name, names], outputs=parts, **QUIET)
    def show(chosen: str | None, every: list[str]) -> list[Any]:
        if chosen is None:
            return [
                HINT if every else "",
                gr.update(visible=False),
                gr.update(visible=False),
                *[gr.skip()] * 2,
                "",
                *[gr.skip()] * 5,
            ]
        asking = [gr.update(visible=True), gr.update(visible=False), gr.update(visible=False)]
        hidden = [gr.update(visible=False)] * 2
        choices = gr.update(choices=_others(desk, chosen, every), value=None, visible=True)
        try:
            record = desk.record(chosen)
        except ImpastoError as error:
            words = f'<h2>{escape(chosen)}</h2><p class="sentence failed">{escape(sentence(error))}</p>'
            possible = gr.update(visible=chosen in desk.unfinished())
            return [words, gr.update(visible=False), gr.update(visible=True), possible, choices, "", *asking, *hidden]
        free = desk.jobs.of(record.folder) is None
        possible = gr.update(visible=record.status in RESUMABLE and free)
        larger = [gr.update(visible=record.spec.task == "transfer" and record.status == "done")] * 2
        return [
            heading(record),
            compared(record),
            gr.update(visible=True),
            possible,
            choices,
            detail(record),
            *asking,
            *larger,
        ]

    @beside.input(inputs=[name, beside], outputs=slider, **QUIET)
    def compare(chosen: str, with_: str | None) -> Any:
        with sentences():
            if with_ is None:
                return compared(desk.record(chosen))
            before, after = (desk.record(each).folder / RESULT for each in (with_, chosen))
            return gr.update(value=side_by_side(before, after, f"{with_} and {chosen}"), visible=True)

    @resume.click(inputs=name, outputs=[paint.job, tabs], **QUIET)
    def resume_here(chosen: str) -> tuple[int, Any]:
        with sentences():
            return desk.resume(chosen).number, gr.update(selected="paint")

    @enlarge.click(inputs=[name, large], outputs=[paint.job, tabs], **QUIET)
    def paint_large(chosen: str, size: int) -> tuple[int, Any]:
        with sentences():
            return desk.enlarge(desk.record(chosen).folder, int(size)).number, gr.update(selected="paint")

    @repeat.click(
        inputs=name,
        outputs=[tabs, paint.repeated],
        **QUIET,
    )
    def again(chosen: str) -> tuple[Any, str]:
        with sentences():
            desk.record(chosen)
        return gr.update(selected="paint"), chosen

    both = [gr.update(visible=False), gr.update(visible=True), gr.update(visible=True)]
    delete.click(lambda: both, None, [delete, really, keep], **QUIET)
    keep.click(lambda: [gr.update(visible=not each["visible"]) for each in both], None, [delete, really, keep], **QUIET)

    @really.click(inputs=name, outputs=[gallery, none, names, name], **QUIET)
    def remove(chosen: str) -> tuple[Any, ...]:
        with sentences():
            desk.delete(chosen)
        return *cards(), None


def _others(desk: Desk, name: str, every: Sequence[str]) -> list[str]:
    """The runs that can be compared with one."""
    return [each for each in every if each not in (name, *desk.sheets())]


def _thumb(card: Card) -> Any:
    from PIL import Image as PillowImage

    try:
        if card.picture is not None:
            return thumbnail(card.picture, THUMB_PX)
    except ImpastoError:
        pass
    return PillowImage.new("RGB", (THUMB_PX, THUMB_PX * 3 // 4), (128, 124, 116))


def compared(record: RunRecord) -> Any:
    """The slider between the content and the result, of a run that has both."""
    content = record.pictures[0].path if TASKS[record.spec.task].has_content else None
    if content is None or record.parts[0].result is None or len(record.planned) > 1:
        return gr.update(visible=False)
    try:
        return gr.update(value=side_by_side(content, record.parts[0].result, "Before and after"), visible=True)
    except ImpastoError:
        return gr.update(visible=False)


def heading(record: RunRecord) -> str:
    """Title, status, and links to the files."""
    title = TASKS[record.spec.task].title(record.spec.settings, [path.stem for path in record.spec.pictures])
    seconds = sum(part.summary.seconds for part in record.parts if part.summary is not None)
    reason = f'<p class="sentence">{escape(record.reason)}</p>' if record.reason else ""
    files = {
        "Picture (PNG)": RESULT,
        "Animation (GIF)": ANIMATION,
        "Animation (WebP)": "progress.webp",
        "Report": PAGE,
        "Settings": SETTINGS_FILE,
    }
    links = [
        f'<a href="files/{escape(record.name)}/{file}" {"" if file == PAGE else "download"} target="_blank">{words}</a>'
        for words, file in files.items()
        if (record.folder / file).is_file()
    ]
    finished = record.parts[0].result is not None and len(record.planned) == 1
    asked = {"16 bits (TIFF)": ("tiff", finished), "Video (MP4)": ("video", finished and bool(record.parts[0].frames))}
    links += [
        f'<a href="{kind}/{escape(record.name)}" download>{words}</a>'
        for words, (kind, possible) in asked.items()
        if possible
    ]
    links.append(f'<a href="zip/{escape(record.name)}" download>Whole folder (ZIP)</a>')
    return (
        f"<h2>{escape(title)}</h2><p>{escape(record.name)} · {escape(record.status)} · {escape(record.progress)} · "
        f'{duration(seconds)}</p>{reason}<p class="links">{" ".join(links)}</p>'
    )


def detail(record: RunRecord) -> str:
    """Pictures of several parts, the animation, curves, and all settings."""
    shown = []
    if len(record.planned) > 1 or record.parts[0].result is not None:
        shown.append(f'<img src="files/{escape(record.name)}/{RESULT}" alt="The result">')
    animated = record.folder / "progress.webp"
    if animated.is_file():
        shown.append(f'<img src="files/{escape(record.name)}/progress.webp" alt="How the picture was painted">')
    drawn = "".join(
        f"<h3>{escape(part_title(part.name))}</h3>{curves([line.losses for line in part.lines])}"
        if part.name
        else curves([line.losses for line in part.lines])
        for part in record.parts
    )
    changes = "".join(
        f"<li>from step {change.step + 1}{f' of {escape(change.part)}' if change.part else ''} on: "
        f"{escape(', '.join(f'{name} {value}' for name, value in change.settings.items()))}</li>"
        for change in record.spec.changes
    )
    changed = f"<h3>Changed while it painted</h3><ul>{changes}</ul>" if changes else ""
    return f'<div class="shown">{"".join(shown)}</div>{drawn}{changed}{_settings(record.toml)}'


def _settings(toml: str) -> str:
    read: Mapping[str, Any] = tomllib.loads(toml)
    rows = {"preset": read.get("preset", "default"), **read.get("settings", {})}
    cells = "".join(
        f"<tr><th scope=row>{escape(str(key))}</th><td>{escape(str(value))}</td></tr>" for key, value in rows.items()
    )
    return f"<details><summary>All settings</summary><table>{cells}</table></details>"
