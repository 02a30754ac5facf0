"""The page Understand: what each layer of a network keeps of a picture, seen by sliding through the layers."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from impasto.desk.desk import Desk
from impasto.desk.drawing import layers_shown, status
from impasto.desk.places import UPLOADS
from impasto.errors import ImpastoError
from impasto.studio.answers import QUIET, sentences
from impasto.studio.painting import PaintPage, chosen_files
from impasto.tasks.table import part_title

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
}
NETWORKS = {"rescaled: each filter's mean is 1": "vgg16-normalised", "as it was trained": "vgg16"}
HINT = (
    "A network looks at a picture layer by layer, and each layer forgets something. Here a picture is painted for each "
    "layer, from what that layer alone says. The photo and the painting are those of the page *Paint*."
)


def understand_page(desk: Desk, paint: PaintPage, tab: gr.Tab) -> None:
    """Build the page inside the present Blocks."""
    seen = gr.State("")
    gr.Markdown(HINT)
    question = gr.Radio(list(QUESTIONS), value=next(iter(QUESTIONS)), label="Question", elem_id="question")
    with gr.Row(elem_classes="controls"):
        network = gr.Dropdown(list(NETWORKS.items()), value="vgg16-normalised", label="VGG-16", elem_id="network")
        look = gr.Button("Look inside", variant="primary", min_width=140, elem_id="look-inside")
    with gr.Row(elem_classes="controls"):
        shown = gr.Dropdown([], label="Shown", elem_id="shown")
        beside = gr.Dropdown([], label="Beside it", info="Another network's run, for instance.", elem_id="other")
    words = gr.HTML("", elem_id="inside-status")
    stage = gr.HTML('<p class="hint">Press <i>Look inside</i>, or choose a run.</p>', elem_id="layers")

    @look.click(inputs=[question, network, paint.photo, paint.paintings], outputs=shown, **QUIET)
    def begin(asked: str, name: str, photo: Any, paintings: Any) -> Any:
        task, settings = QUESTIONS[asked]
        with sentences():
            files = chosen_files(task, photo, paintings)
            begun = desk.begin(
                task, files[:2] if task == "amalgamate" else files[:1], "default", {**settings, "network": name}
            )
        return gr.update(choices=[begun.folder.name, *desk.layered()], value=begun.folder.name)

    def follow(name: str | None, other: str | None, before: str) -> list[Any]:
        if name is None:
            return [gr.skip()] * 3
        runs = [each for each in (name, other) if each]
        columns = [(each, _pictures(desk, each)) for each in runs]
        job = next((job for job in reversed(desk.jobs.all()) if job.folder.name == name), None)
        told = "" if job is None else status(job)
        here = f"{runs} {[[title for title, _ in pictures] for _, pictures in columns]}"
        drawn = layers_shown(columns, _originals(desk, name)) if not before.startswith(here) else gr.skip()
        return [f"{here} {told}", told if f"{here} {told}" != before else gr.skip(), drawn]

    gr.Timer(LOOK_SECONDS).tick(follow, [shown, beside, seen], [seen, words, stage], queue=False, **QUIET)

    @tab.select(inputs=shown, outputs=[shown, beside], **QUIET)
    def arrive(now: str | None) -> tuple[Any, Any]:
        every = desk.layered()
        return gr.update(choices=every, value=now or next(iter(every), None)), gr.update(choices=every)


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
