"""The page Understand: what layers of a network keep of a picture and what their units answer to, seen by sliding."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from impasto.desk.desk import Desk
from impasto.desk.drawing import layers_shown, status
from impasto.desk.places import UPLOADS
from impasto.errors import ImpastoError
from impasto.studio.answers import QUIET, sentences
from impasto.studio.painting import PaintPage, chosen_files
from impasto.tasks.presets import DEFAULT
from impasto.tasks.table import TASKS, part_title

LOOK_SECONDS = 0.6
LAYERS = "conv1_1,conv2_1,conv3_1,conv4_1,conv5_1"
QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {  # the task that answers each, and its settings beside the defaults
    "What does each layer keep of the photo?": ("reconstruct", {"layers": LAYERS, "size": 160, "steps": 60}),
    "What style do the layers up to each one see in the painting?": (
        "texture",
        {"cumulative": True, "size": "192", "steps": 40, "smallest": 192},
    ),
    "What does each layer imprint of the photo on the painting?": (
        "amalgamate",
        {"layers": LAYERS, "size": 160, "steps": 40},
    ),
    "What do units of a layer answer to most?": ("maximise", {"size": 128, "steps": 80}),
}
UNITS = "maximise"
NETWORKS = {"rescaled: each filter's mean is 1": "vgg16-normalised", "as it was trained": "vgg16"}
NO_PICTURE = '<p class="hint">There is no picture of this run.</p>'
HINT = (
    "A network looks at a picture layer by layer, and each layer forgets something. Here a picture is painted for each "
    "layer, from what that layer alone says. The photo and the painting are those of the page *Paint*. A layer has "
    "many units, and each looks for something of its own: the last question paints the pattern that a unit likes best."
)


def understand_page(desk: Desk, paint: PaintPage, tab: gr.Tab) -> None:
    """Build the page inside the present Blocks."""
    seen = gr.State("")
    gr.Markdown(HINT)
    question = gr.Radio(list(QUESTIONS), value=next(iter(QUESTIONS)), label="Question", elem_id="question")
    with gr.Row(elem_classes="controls", visible=False) as units:
        layer = gr.Textbox("conv4_1", label="Layer", info="conv1_1 to conv5_3", elem_id="units-layer")
        channel = gr.Textbox("12,40,77", label="Units", info="Channels: 12,40 or 0-8", elem_id="units-channel")
    with gr.Row(elem_classes="controls"):
        network = gr.Dropdown(
            list(NETWORKS.items()), value="vgg16-normalised", label="VGG-16", min_width=260, elem_id="network"
        )
        look = gr.Button("Look inside", variant="primary", min_width=140, elem_id="look-inside")
    with gr.Row(elem_classes="controls"):
        shown = gr.Dropdown([], label="Shown", min_width=220, elem_id="shown")
        beside = gr.Dropdown([], label="Beside, another network's for instance", min_width=220, elem_id="other")
    words = gr.HTML("", elem_id="inside-status")
    stage = gr.HTML('<p class="hint">Press <i>Look inside</i>, or choose a run.</p>', elem_id="layers")

    question.input(lambda asked: gr.update(visible=QUESTIONS[asked][0] == UNITS), question, units, **QUIET)

    @look.click(inputs=[question, network, layer, channel, paint.photo, paint.paintings], outputs=shown, **QUIET)
    def begin(asked: str, network: str, layer: str, channel: str, photo: Any, paintings: Any) -> Any:
        task, usual = QUESTIONS[asked]
        settings = {**usual, "network": network}
        if task == UNITS:
            settings |= {"layer": layer, "channel": channel}
        with sentences():
            files = chosen_files(task, photo, paintings)[: TASKS[task].most]
            begun = desk.begin(task, files, DEFAULT, settings)
        return gr.update(choices=[begun.folder.name, *desk.layered()], value=begun.folder.name)

    def follow(name: str | None, other: str | None, before: str) -> list[Any]:
        if name is None:
            return [gr.skip()] * 3
        runs = [each for each in (name, other) if each]
        columns = [(each, _pictures(desk, each)) for each in runs]
        job = next((job for job in reversed(desk.jobs.all()) if job.folder.name == name), None)
        told, ended = ("", True) if job is None else (status(job), job.ended)
        here = f"{runs} {ended} {[[title for title, _ in pictures] for _, pictures in columns]}"
        if before == f"{here} {told}":
            return [gr.skip()] * 3
        if before.startswith(here):
            return [f"{here} {told}", told, gr.skip()]
        nothing = ended and not any(pictures for _, pictures in columns)
        drawn = NO_PICTURE if nothing else layers_shown(columns, _originals(desk, name), _each(desk, name))
        return [f"{here} {told}", told, drawn]

    gr.Timer(LOOK_SECONDS).tick(follow, [shown, beside, seen], [seen, words, stage], queue=False, **QUIET)

    @tab.select(inputs=shown, outputs=[shown, beside], **QUIET)
    def arrive(now: str | None) -> tuple[Any, Any]:
        every = desk.layered()
        return gr.update(choices=every, value=now or next(iter(every), None)), gr.update(choices=every)


def _each(desk: Desk, name: str) -> str:
    """What each picture of a run shows: a layer, or a unit."""
    try:
        return TASKS[desk.record(name).spec.task].each
    except ImpastoError:
        return "layer"


def _originals(desk: Desk, name: str) -> list[tuple[str, str]]:
    """The pictures of a run that lie among the uploads, each with its address."""
    try:
        paths = [picture.path for picture in desk.record(name).pictures if picture.path is not None]
    except ImpastoError:
        return []
    uploads = (desk.runs / UPLOADS).resolve()
    inside = [path.resolve() for path in paths if path.resolve().is_relative_to(uploads)]
    return [(path.stem, f"files/{UPLOADS}/{path.relative_to(uploads).as_posix()}") for path in inside]


def _pictures(desk: Desk, name: str) -> Sequence[tuple[str, str]]:
    """The layers of a run that are done, each with the address of its picture."""
    try:
        record = desk.record(name)
    except ImpastoError:
        return []
    done = [(part.name, part.result.relative_to(record.folder)) for part in record.parts if part.result is not None]
    return [(part_title(part) or name, f"files/{name}/{there.as_posix()}") for part, there in done]
