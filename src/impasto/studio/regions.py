"""The page Regions: masks painted with the mouse on the photo and on a painting, and what each region is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image as PillowImage

from impasto.desk.desk import Desk
from impasto.desk.masks import BRUSHES, painted, saved
from impasto.desk.places import PICTURES, enlarged, thumbnail
from impasto.errors import SpecError
from impasto.studio.answers import QUIET, sentences
from impasto.studio.painting import PaintPage, chosen_files, paths_of

EDITOR_PX = 640
REST, PHOTO = "painted as the rest", "left as it is"
HINT = (
    "Paint over the photo: each colour is a region. Say what each region is, and press *Use these regions*; then paint "
    "on the page *Paint*. *Change the run* gives them to the run that is being painted, from its next step on. The "
    "eraser, undo and layers are the editor's."
)


def regions_page(desk: Desk, paint: PaintPage, tabs: gr.Tabs, tab: gr.Tab) -> None:
    """Build the page inside the present Blocks."""
    shown = gr.State([])
    gr.Markdown(HINT)
    missing = gr.HTML('<p class="hint">Choose a photo on the page <i>Paint</i> first; it comes here.</p>')
    with gr.Row(elem_classes="desk"):
        with gr.Column(scale=7, min_width=320):
            editor = _editor("The photo", "mask-photo")
            with gr.Row(elem_classes="controls"):
                use = gr.Button("Use these regions", variant="primary", min_width=150, elem_id="use-regions")
                none = gr.Button("Use no regions", min_width=150, elem_id="no-regions")
                change = gr.Button("Change the run", min_width=200, elem_id="change-regions")
        with gr.Column(scale=5, min_width=320):
            kinds, strengths = {}, {}
            for name in BRUSHES:
                with gr.Row(elem_classes=["region", name]):
                    label = f"{name.capitalize()} is"
                    kinds[name] = gr.Dropdown(
                        [PHOTO, REST], value=PHOTO, label=label, min_width=180, scale=3, elem_id=f"kind-{name}"
                    )
                    strengths[name] = gr.Slider(0, 3, value=1, step=0.1, label="Strength", min_width=120, scale=2)
            softness = gr.Slider(
                0, 5, value=1, step=0.25, label="Softness of the edges", info="Per cent of the width.", elem_id="soft"
            )
            files = gr.File(
                label="Masks as files", file_types=PICTURES, file_count="multiple", elem_id="mask-files", height=150
            )
            gr.Markdown("In place of painting: the first is red, then green, blue and yellow. White is inside.")
            more = gr.File(label="Paintings for regions alone", file_types=PICTURES, file_count="multiple", height=150)
    with gr.Accordion("Take a region's style from a part of its painting", open=False, elem_id="from-part"):
        gr.Markdown("Paint over the painting with a region's colour: the region takes its style from there alone.")
        of = gr.Dropdown([], label="Painting", elem_id="part-of")
        part = _editor("The painting", "mask-painting")

    @tab.select(
        inputs=[paint.photo, paint.paintings, more, shown],
        outputs=[missing, editor, shown, of, *kinds.values()],
        **QUIET,
    )
    def arrive(photo: Any, paintings: Any, others: Any, before: list[str]) -> list[Any]:
        chosen = paths_of(photo)
        fresh = gr.update(value=_sheet(chosen[0])) if chosen and chosen != before else gr.skip()
        return [gr.update(visible=not chosen), fresh, chosen, *offered(paintings, others)]

    def offered(paintings: Any, others: Any) -> list[Any]:
        names = [(Path(path).name, path) for path in [*paths_of(paintings), *paths_of(others)]]
        styles = [(f"in the style of {name}", path) for name, path in names]
        choices = [(PHOTO, PHOTO), (REST, REST), *styles]
        return [gr.update(choices=names), *[gr.update(choices=choices)] * len(kinds)]

    more.change(offered, [paint.paintings, more], [of, *kinds.values()], **QUIET)
    of.input(lambda path: _sheet(path), of, part, **QUIET)

    what = [files, editor, part, of, softness, *kinds.values(), *strengths.values()]

    def said(masks: Any, drawn: Any, from_: Any, whole: str | None, soft: float, *rest: Any) -> tuple[str, str]:
        """The regions as settings take them, and in words."""
        places = _masks(desk, masks, painted(_layers(drawn), soft / 100))
        sources = painted(_layers(from_), soft / 100) if whole else {}
        given = dict(zip(kinds, rest[: len(kinds)], strict=True))
        how = dict(zip(strengths, rest[len(kinds) :], strict=True))
        texts = [
            region_text(desk, name, mask, given[name], how[name], sources if given[name] == whole else {})
            for name, mask in places.items()
        ]
        return "; ".join(texts), ", ".join(f"**{name}** {_in_words(given[name])}" for name in places)

    @use.click(inputs=[paint.photo, paint.task, *what], outputs=[paint.fields["region"], paint.note, tabs], **QUIET)
    def apply(photo: Any, task: str, *given: Any) -> Any:
        with sentences():
            if task != "transfer" or not chosen_files("invert", photo, None):
                raise SpecError("regions need a photo and the task that paints a photo; choose both on the page Paint")
            text, words = said(*given)
        return text, f"Regions: {words}.", gr.update(selected="paint")

    @change.click(inputs=[paint.job, *what], outputs=tabs, **QUIET)
    def steer(number: int | None, *given: Any) -> Any:
        with sentences():
            if number is None:
                raise SpecError("no run is being painted; press Use these regions, and then paint")
            desk.change(number, {"region": said(*given)[0]})
        return gr.update(selected="paint")

    none.click(lambda: ("", "", gr.update(selected="paint")), None, [paint.fields["region"], paint.note, tabs], **QUIET)


def region_text(
    desk: Desk,
    name: str,
    mask: Path,
    kind: str,
    strength: float,
    sources: Mapping[str, PillowImage.Image],
) -> str:
    """A region as the setting `region` takes it: its mask is an upload, and so are pictures. Raises an ImpastoError."""
    text = str(mask.relative_to(desk.runs))
    if kind == PHOTO:
        return f"{text}=photo"
    if kind != REST:
        text += f"={desk.taken(Path(kind)).relative_to(desk.runs)}"
    if strength != 1:
        text += f",strength={strength:g}"
    if name in sources:
        text += f",from={saved(sources[name], f'{name}-from', desk.runs).relative_to(desk.runs)}"
    return text


def _masks(desk: Desk, files: Any, drawn: Mapping[str, PillowImage.Image]) -> dict[str, Path]:
    """The masks' files among the uploads, by brush: those that were given, else those that were painted."""
    given = [Path(path) for path in paths_of(files)]
    if len(given) > len(BRUSHES):
        raise SpecError(f"{len(given)} masks are given; at most {len(BRUSHES)} can be, one for each colour")
    if given:
        return {name: desk.taken(file) for name, file in zip(BRUSHES, given, strict=False)}
    if not drawn:
        raise SpecError("no region is painted; choose a brush and paint over the photo first, or give masks as files")
    return {name: saved(mask, name, desk.runs) for name, mask in drawn.items()}


def _editor(label: str, name: str) -> gr.ImageEditor:
    brush = gr.Brush(colors=list(BRUSHES.values()), default_color=BRUSHES["red"], color_mode="fixed", default_size=40)
    more: dict[str, Any] = {"sources": [], "transforms": [], "format": "png", "buttons": [], "height": 520}
    return gr.ImageEditor(label=label, type="pil", brush=brush, elem_id=name, canvas_size=(EDITOR_PX, 480), **more)


def _sheet(path: str) -> dict[str, Any]:
    """A picture in the editor, with nothing painted over it."""
    with sentences():
        picture = enlarged(thumbnail(Path(path), EDITOR_PX), EDITOR_PX)
    return {"background": picture, "layers": [], "composite": None}


def _layers(drawn: Mapping[str, Any] | None) -> Sequence[PillowImage.Image]:
    return [] if drawn is None else [layer for layer in drawn.get("layers") or [] if layer is not None]


def _in_words(kind: str) -> str:
    return f"is {kind}" if kind in (PHOTO, REST) else f"is in the style of {Path(kind).name}"
