"""The page Explore: nine small candidates side by side as they come; the one that is clicked is painted large."""

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from impasto.desk.desk import WAYS, Candidate, Desk
from impasto.desk.drawing import as_data, empty_sheet, status
from impasto.desk.places import run_folder, thumbnail
from impasto.folders.names import SHEET_FILE
from impasto.jobs.queue import Job
from impasto.studio.answers import QUIET, sentences
from impasto.studio.painting import PaintPage, chosen_files

LOOK_SECONDS = 0.5
SMALL_PX = 320
NONE_YET = empty_sheet("Nine small paintings appear here.")
HINT = (
    "Nine small paintings of the photo in the style of the paintings that are chosen on the page *Paint*. "
    "Click one: it is painted large, starting from the small one."
)


def explore_page(desk: Desk, paint: PaintPage, tabs: gr.Tabs, tab: gr.Tab) -> gr.State:
    """Build the page inside the present Blocks; the result is the name of the sheet that the page shows."""
    sheet, seen, numbers = gr.State(None), gr.State(""), gr.State([])
    gr.Markdown(HINT)
    with gr.Row(elem_classes="controls"):
        differ = gr.Dropdown(list(WAYS), value=next(iter(WAYS)), label="They differ in", min_width=220)
        size = gr.Slider(256, 2048, value=768, step=64, label="Size of the large one", min_width=220, elem_id="large")
        sheets = gr.Dropdown([], label="Sheets made before", elem_id="sheets")
    with gr.Row(elem_classes="controls"):
        nine = gr.Button("Nine ways", variant="primary", min_width=120, elem_id="nine")
        stop = gr.Button("Stop", interactive=False, min_width=90, elem_id="stop-nine")
    words = gr.HTML("", elem_id="nine-status")
    live = gr.HTML(NONE_YET, elem_id="nine-live")
    more: dict[str, Any] = {
        "columns": 3,
        "height": "auto",
        "allow_preview": False,
        "buttons": [],
        "visible": False,
        "show_label": False,
    }
    gallery = gr.Gallery(label="Nine ways", elem_id="candidates", **more)

    def job_of(name: str | None) -> Job | None:
        return next((job for job in reversed(desk.jobs.all()) if job.folder.name == name), None)

    @nine.click(inputs=[paint.photo, paint.paintings, differ], outputs=[sheet, sheets], **QUIET)
    def begin(photo: Any, paintings: Any, ways: str) -> tuple[str, Any]:
        with sentences():
            name = desk.explore(chosen_files("transfer", photo, paintings), ways).folder.name
        return name, gr.update(choices=[name, *desk.sheets()], value=name)

    def follow(name: str | None, before: str) -> list[Any]:
        job = job_of(name)
        if name is None:
            return [gr.skip()] * 6
        with sentences():
            begun = (desk.runs / name / SHEET_FILE).is_file()
            found = desk.candidates(name) if begun else []
        told = "" if job is None else status(job)
        mark = f"{name} {len(found)} {told} {job and job.preview and job.preview.step}"
        if mark == before:
            return [gr.skip()] * 6
        pictures: Any = gr.skip()
        if not before.startswith(f"{name} {len(found)} "):
            shown = [(thumbnail(each.folder / "result.png", SMALL_PX), each.words) for each in found]
            pictures = gr.update(value=shown, visible=bool(shown))
        possible = job is not None and job.state == "running" and job.wish is None
        numbered = [each.number for each in found]
        return [mark, _live(job, found), pictures, numbered, told, gr.update(interactive=possible)]

    shown_here = [seen, live, gallery, numbers, words, stop]
    gr.Timer(LOOK_SECONDS).tick(follow, [sheet, seen], shown_here, queue=False, **QUIET)
    tab.select(lambda name: gr.update(choices=desk.sheets(), value=name), sheet, sheets, **QUIET)
    sheets.input(lambda name: name, sheets, sheet, **QUIET)

    @stop.click(inputs=sheet, outputs=None, **QUIET)
    def end(name: str | None) -> None:
        with sentences():
            if (job := job_of(name)) is not None:
                desk.jobs.stop(job.number)

    @gallery.select(inputs=[sheet, numbers, size], outputs=[paint.job, tabs], **QUIET)
    def paint_that_one(name: str, every: Sequence[int], large: int, event: gr.SelectData) -> tuple[int, Any]:
        with sentences():
            folder = run_folder(desk.runs, name, SHEET_FILE) / f"{every[event.index]:02}"
            begun = desk.enlarge(folder, int(large))
            if (job := job_of(name)) is not None and not job.ended:
                desk.jobs.pause(job.number)  # the large one is painted now, not after the rest of the nine
        return begun.number, gr.update(selected="paint")

    return sheet


def _live(job: Job | None, painted: Sequence[Candidate]) -> str:
    """The candidate that is being painted, as it is now; an empty sheet before the first."""
    if job is None or job.state != "running" or job.preview is None or job.member is None:
        return "" if painted else NONE_YET
    words = f"Number {job.member.number}, being painted: {job.member.about}"
    return f'<figure><img src="{as_data(job.preview.jpeg)}" alt=""><figcaption>{escape(words)}</figcaption></figure>'
