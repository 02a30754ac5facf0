"""The page Runs: a gallery of all runs in the folder of runs, and one of them in detail."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from impasto.desk.desk import RESUMABLE, Card, Desk, sentence
from impasto.desk.drawing import empty_sheet
from impasto.desk.finished import detail, heading
from impasto.desk.places import thumbnail
from impasto.errors import ImpastoError
from impasto.folders.names import RESULT
from impasto.folders.records import RunRecord
from impasto.studio.answers import QUIET, sentences, side_by_side
from impasto.studio.painting import PaintPage
from impasto.tasks.table import TASKS

LOOK_SECONDS = 2.0
THUMB_PX = 320
HINT = '<p class="hint">Choose a run to see it here.</p>'
HIDDEN: Any = gr.update(visible=False)


@dataclass(frozen=True, eq=False)
class Shelf:
    """The gallery, what stands in its place if there are no runs, and the state of the folder that it shows."""

    gallery: gr.Gallery
    none: gr.HTML
    seen: gr.State

    @property
    def outputs(self) -> list[Any]:
        """What `filled` fills."""
        return [self.gallery, self.none, self.seen]

    def filled(self, desk: Desk) -> dict[Any, Any]:
        """All runs as they are now."""
        seen = desk.state()
        shown = [(_thumb(card), f"{card.name} · {card.status}") for card in desk.gallery()]
        gallery = gr.update(value=shown, visible=bool(shown))
        return {self.gallery: gallery, self.none: gr.update(visible=not shown), self.seen: seen}


@dataclass(frozen=True, eq=False)
class Details:
    """The components that show one run, and ask for what can be made of it."""

    about: gr.HTML
    slider: gr.HTML
    controls: gr.Row
    size: gr.Number
    enlarge: gr.Button
    repeat: gr.Button
    resume: gr.Button
    keep: gr.Button
    delete: gr.Button
    really: gr.Button
    beside: gr.Dropdown
    detail: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        """All components, each of which an answer may leave as it is."""
        return list(vars(self).values())

    def asking(self, *, now: bool) -> dict[Any, Any]:
        """Whether the page asks if the run is to be deleted; *Keep* comes where *Delete* was, for a second click."""
        asks = dict.fromkeys((self.keep, self.really), gr.update(visible=now))
        return {**asks, self.delete: gr.update(visible=not now)}


def runs_page(desk: Desk, paint: PaintPage, sheet: gr.State, tabs: gr.Tabs, tab: gr.Tab) -> None:
    """Build the page inside the present Blocks; `sheet` is what the page Explore shows."""
    name = gr.State(None)
    shelf, details = _shelf(), _details()
    _follow_folder(desk, shelf, details, name, tabs, tab)

    @shelf.gallery.select(inputs=None, outputs=[name, sheet, tabs, *details.outputs], **QUIET)
    def choose(event: gr.SelectData) -> dict[Any, Any]:
        one = event.value["caption"].partition(" · ")[0]
        if one in desk.sheets():
            return {sheet: one, tabs: gr.update(selected="explore")}
        return {name: one, **_shown(desk, details, one)}

    _compare(desk, details, name)
    _go_on(desk, paint, details, name, tabs)
    _delete(desk, details, name, shelf)


def _shelf() -> Shelf:
    more: dict[str, Any] = {"columns": 4, "height": "auto", "allow_preview": False, "buttons": [], "show_label": False}
    gallery = gr.Gallery(label="Runs", elem_id="gallery", visible=False, **more)
    none = gr.HTML(empty_sheet("No runs yet. Paint a picture, and find it here."), elem_id="no-runs")
    return Shelf(gallery, none, gr.State({}))


def _details() -> Details:
    about = gr.HTML(HINT, elem_id="about")
    slider = gr.HTML(visible=False, elem_id="run-compare")
    with gr.Row(visible=False, elem_classes="controls") as controls:
        size = gr.Number(1024, label="Size", precision=0, minimum=32, maximum=8192, min_width=140, elem_id="large-size")
        enlarge = gr.Button("Enlarge", min_width=140, elem_id="enlarge")
        repeat = gr.Button("Repeat with changes", min_width=200, elem_id="repeat")
        resume = gr.Button("Resume", min_width=90, elem_id="resume")
        keep = gr.Button("Keep", visible=False, min_width=90, elem_id="keep")
        delete = gr.Button("Delete …", min_width=90, elem_id="delete")
        really = gr.Button("Delete for good", variant="stop", visible=False, min_width=90, elem_id="really")
    beside = gr.Dropdown([], label="Compare with", visible=False, elem_id="beside")
    detail = gr.HTML("", elem_id="details")
    return Details(about, slider, controls, size, enlarge, repeat, resume, keep, delete, really, beside, detail)


def _follow_folder(desk: Desk, shelf: Shelf, details: Details, name: gr.State, tabs: gr.Tabs, tab: gr.Tab) -> None:
    """Fill the gallery if the page is opened, and, while the page is open, if something in the folder of runs changes.

    The chosen run is shown anew if its folder has changed, and no longer chosen if the folder is gone.
    """
    clock = gr.Timer(LOOK_SECONDS, active=False)

    def look(chosen: str | None, seen: Mapping[str, Any]) -> dict[Any, Any]:
        now = desk.state()
        if now == seen:
            return gr.skip()
        if chosen is None or now.get(chosen) == seen.get(chosen):
            return shelf.filled(desk)
        there = chosen if chosen in now else None
        return {name: there, **_shown(desk, details, there), **shelf.filled(desk)}

    given, shown = [name, shelf.seen], [name, *shelf.outputs, *details.outputs]
    tab.select(look, given, shown, **QUIET)
    clock.tick(look, given, shown, **QUIET)

    @tabs.select(inputs=None, outputs=clock, **QUIET)
    def watch(event: gr.SelectData) -> gr.Timer:
        return gr.Timer(active=event.value == tab.label)


def _shown(desk: Desk, page: Details, chosen: str | None) -> dict[Any, Any]:
    """A run on the page, or that none is chosen."""
    nothing: dict[Any, Any] = {page.slider: HIDDEN, page.detail: ""}
    if chosen is None:
        return {**nothing, page.about: HINT, page.controls: HIDDEN, page.beside: HIDDEN}
    others = [each for each in desk.names() if each != chosen]
    answer: dict[Any, Any] = {
        page.beside: gr.update(choices=others, value=None, visible=True),
        page.controls: gr.update(visible=True),
        **page.asking(now=False),
    }
    try:
        record = desk.record(chosen)
    except ImpastoError as error:
        words = f'<h2>{escape(chosen)}</h2><p class="sentence failed">{escape(sentence(error))}</p>'
        possible = gr.update(visible=chosen in desk.unfinished())
        larger = dict.fromkeys((page.size, page.enlarge), HIDDEN)
        return {**answer, **nothing, **larger, page.about: words, page.resume: possible}
    possible = gr.update(visible=record.status in RESUMABLE and desk.jobs.of(record.folder) is None)
    can_grow = gr.update(visible=record.spec.task == "transfer" and record.status == "done")
    answer |= {page.about: heading(record), page.slider: _compared(record), page.detail: detail(record)}
    return {**answer, page.resume: possible, page.size: can_grow, page.enlarge: can_grow}


def _compare(desk: Desk, page: Details, name: gr.State) -> None:
    @page.beside.input(inputs=[name, page.beside], outputs=page.slider, **QUIET)
    def compare(chosen: str, with_: str | None) -> Any:
        with sentences():
            if with_ is None:
                return _compared(desk.record(chosen))
            before, after = (desk.record(each).folder / RESULT for each in (with_, chosen))
            return gr.update(value=side_by_side(before, after, f"{with_} and {chosen}"), visible=True)


def _go_on(desk: Desk, paint: PaintPage, page: Details, name: gr.State, tabs: gr.Tabs) -> None:
    """Resume, enlarge and repeat the run, on the page Paint."""

    @page.resume.click(inputs=name, outputs=[paint.job, tabs], **QUIET)
    def resume(chosen: str) -> tuple[int, Any]:
        with sentences():
            return desk.resume(chosen).number, gr.update(selected="paint")

    @page.enlarge.click(inputs=[name, page.size], outputs=[paint.job, tabs], **QUIET)
    def enlarge(chosen: str, size: int) -> tuple[int, Any]:
        with sentences():
            return desk.enlarge(desk.record(chosen).folder, int(size)).number, gr.update(selected="paint")

    @page.repeat.click(inputs=name, outputs=[tabs, paint.repeated], **QUIET)
    def repeat(chosen: str) -> tuple[Any, str]:
        with sentences():
            desk.record(chosen)
        return gr.update(selected="paint"), chosen


def _delete(desk: Desk, page: Details, name: gr.State, shelf: Shelf) -> None:
    """Delete the run once the question is answered."""
    asked = [page.keep, page.really, page.delete]
    page.delete.click(lambda: page.asking(now=True), None, asked, **QUIET)
    page.keep.click(lambda: page.asking(now=False), None, asked, **QUIET)

    @page.really.click(inputs=name, outputs=[name, *shelf.outputs, *page.outputs], **QUIET)
    def remove(chosen: str) -> dict[Any, Any]:
        with sentences():
            desk.delete(chosen)
        return {name: None, **_shown(desk, page, None), **shelf.filled(desk)}


def _thumb(card: Card) -> Any:
    from PIL import Image as PillowImage

    try:
        if card.picture is not None:
            return thumbnail(card.picture, THUMB_PX)
    except ImpastoError:
        pass
    return PillowImage.new("RGB", (THUMB_PX, THUMB_PX * 3 // 4), (128, 124, 116))


def _compared(record: RunRecord) -> Any:
    """The slider between the content and the result, of a run that has both."""
    content = record.pictures[0].path if TASKS[record.spec.task].has_content else None
    if content is None or record.parts[0].result is None or len(record.planned) > 1:
        return gr.update(visible=False)
    try:
        return gr.update(value=side_by_side(content, record.parts[0].result, "Before and after"), visible=True)
    except ImpastoError:
        return gr.update(visible=False)
