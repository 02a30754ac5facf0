"""The page Paint: pictures and settings on one side, the picture as it is painted on the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from impasto.desk.desk import Desk, sentence
from impasto.desk.drawing import as_data
from impasto.desk.places import PICTURES, as_jpeg, picture_ending, thumbnail
from impasto.errors import ImpastoError
from impasto.files import bundled
from impasto.studio.answers import QUIET, sentences
from impasto.studio.easel import easel
from impasto.studio.fields import Setting, chosen, component, settings_of_all_tasks, shown, values_for
from impasto.tasks.presets import DEFAULT, presets
from impasto.tasks.table import TASKS

FIRST = "transfer"
MAIN = ("size", "style_weight", "style_scale", "layer", "steps", "seed")  # what matters first; the rest is Advanced
TASK_WORDS = {
    "transfer": "Paint a photo in the style of paintings",
    "texture": "A texture of a painting",
    "invert": "What one layer keeps of a photo",
    "reconstruct": "What each layer keeps of a photo",
    "amalgamate": "Imprint a photo on a painting",
    "maximise": "What units of a network answer to",
    "caricature": "A photo as one layer exaggerates it",
    "dream": "A photo as one layer dreams on it",
}
PHOTOS = {"Kingfisher": "kingfisher.webp", "Red panda": "red-panda.webp"}
PAINTINGS = {"Night Café": "night-cafe.webp", "Church at Auvers": "church-at-auvers.webp"}
TO_THE_PICTURE = """() => {
  const easel = document.querySelector(".easel"), top = easel.getBoundingClientRect().top;
  if (top > innerHeight / 2) easel.scrollIntoView();  // below the choices, as on a phone
}"""


@dataclass(frozen=True, eq=False)
class PaintPage:
    """The components that other pages need: the task, its pictures and settings, and the job that is shown."""

    task: gr.Radio
    photo: gr.File
    paintings: gr.File
    preset: gr.Dropdown
    fields: dict[str, gr.components.Component]
    job: gr.State
    note: gr.Markdown  # which regions will be painted
    repeated: gr.State  # the name of a run whose pictures and settings the page takes over


def paint_page(desk: Desk, groups: Mapping[str, Sequence[str]]) -> PaintPage:
    """Build the page inside the present Blocks; `groups` are headings and the settings below each."""
    settings = settings_of_all_tasks()
    job = gr.State(None)
    with gr.Row(elem_classes="desk"):
        with gr.Column(scale=4, min_width=320, elem_classes="choices"):
            found = _choices(desk, settings, groups, job)
            paint = gr.Button("Paint", variant="primary", size="lg", elem_id="paint")
        with gr.Column(scale=7, min_width=320, elem_classes="easel"):
            panel = easel(desk, settings, FIRST, job)
    names = list(found.fields)
    _take_over(desk, found)

    def begin(task: str, photo: Any, paintings: Any, preset: str, *values: Any) -> list[Any]:
        given, typed = values[: len(names)], values[len(names) :]
        with sentences():
            files = chosen_files(task, photo, paintings)
            begun = desk.begin(task, files, preset, chosen(task, preset, names, given))
        return [begun.number, *panel.taken_over(desk, begun, typed)]

    what = [found.task, found.photo, found.paintings, found.preset, *found.fields.values()]
    begun = paint.click(begin, [*what, *panel.inputs], [job, *panel.outputs], **QUIET)
    panel.fill_after(begun)
    begun.success(None, None, None, js=TO_THE_PICTURE, **QUIET)
    return found


def _choices(
    desk: Desk, settings: Mapping[str, Setting], groups: Mapping[str, Sequence[str]], job: gr.State
) -> PaintPage:
    tasks = [*TASK_WORDS, *(name for name in TASKS if name not in TASK_WORDS)]
    task = gr.Radio([(TASK_WORDS.get(name, name), name) for name in tasks], value=FIRST, label="Task", elem_id="task")
    photo = gr.File(label="Photo", file_types=PICTURES, height=130, elem_id="photo")
    photo_shown = gr.HTML()
    photos = _examples(PHOTOS)
    paintings = gr.File(label="Paintings", file_types=PICTURES, file_count="multiple", height=130, elem_id="paintings")
    paintings_shown = gr.HTML()
    styles = _examples(PAINTINGS)
    preset = gr.Dropdown(_presets(FIRST), value=DEFAULT, label="Preset", info="Named settings to start from.")
    main = [name for name in MAIN if name in settings]
    fields = {name: component(settings[name], FIRST) for name in main}
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        for title, names in grouped(settings, groups).items():
            gr.Markdown(f"## {title}")
            fields |= {name: component(settings[name], FIRST) for name in names if name not in main}
    note = gr.Markdown("", elem_id="note")
    page = PaintPage(task, photo, paintings, preset, fields, job, note, gr.State(None))
    _follow_choices(desk, page, (photos, styles), (photo_shown, paintings_shown))
    return page


def grouped(settings: Mapping[str, Setting], groups: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The settings under each heading; those that no group names stand at the end."""
    found = {
        title: [name for each in names if (name := each.replace("-", "_")) in settings]
        for title, names in groups.items()
    }
    named = {name for names in found.values() for name in names}
    found["More"] = [name for name in settings if name not in named]
    return {title: names for title, names in found.items() if set(names) - set(MAIN)}


def _examples(pictures: Mapping[str, str]) -> list[tuple[gr.Button, Path]]:
    with gr.Row(elem_classes="examples"):
        files = [bundled(f"studio/{file}") for file in pictures.values()]
        return [
            (gr.Button(name, icon=str(file), size="sm", min_width=100), file)
            for name, file in zip(pictures, files, strict=True)
        ]


def _presets(task: str) -> list[tuple[str, str]]:
    fitting = {name: tasks["about"] for name, tasks in presets().items() if task in tasks}
    return [("default", DEFAULT), *((f"{name}: {about}", name) for name, about in fitting.items())]


def _follow_choices(
    desk: Desk,
    page: PaintPage,
    examples: tuple[list[tuple[gr.Button, Path]], list[tuple[gr.Button, Path]]],
    previews: tuple[gr.HTML, gr.HTML],
) -> None:
    """What changes on the page if a task, a preset or a picture is chosen."""
    buttons = [[button for button, _ in each] for each in examples]

    @page.task.input(
        inputs=page.task,
        outputs=[page.preset, page.photo, page.paintings, *previews, *buttons[0], *buttons[1], *page.fields.values()],
        **QUIET,
    )
    def for_task(task: str) -> list[Any]:
        roles = {role.name for role in TASKS[task].roles}
        photo, style = gr.update(visible="content" in roles), gr.update(visible="style" in roles)
        values = values_for(task, DEFAULT)
        fields = [gr.update(visible=name in values, value=values.get(name)) for name in page.fields]
        pictures = [photo, style, photo, style, *([photo] * len(buttons[0])), *([style] * len(buttons[1]))]
        return [gr.update(choices=_presets(task), value=DEFAULT), *pictures, *fields]

    @page.preset.input(inputs=[page.task, page.preset], outputs=list(page.fields.values()), **QUIET)
    def for_preset(task: str, name: str) -> list[Any]:
        values = values_for(task, name)
        return [gr.update(value=values[each]) if each in values else gr.skip() for each in page.fields]

    for component_, preview in zip((page.photo, page.paintings), previews, strict=True):

        @component_.change(inputs=component_, outputs=[component_, preview], **QUIET)
        def preview(files: Any) -> tuple[Any, Any]:
            if not (paths := paths_of(files)):
                return gr.skip(), ""
            try:
                pictures = [(Path(path).name, _small(Path(path))) for path in paths]
            except ImpastoError as error:
                gr.Warning(sentence(error))
                return None, ""
            images = "".join(f'<img src="{source}" alt="Chosen: {name}">' for name, source in _escaped(pictures))
            return gr.skip(), f'<div class="chosen">{images}</div>'

    for component_, choices in zip((page.photo, page.paintings), examples, strict=True):
        for button, file in choices:
            several = component_ is page.paintings
            button.click(
                lambda file=file, several=several: [str(file)] if several else str(file), None, component_, **QUIET
            )


def _small(file: Path) -> str:
    """An uploaded picture in small, as an address. Raises ImageError if the studio does not take the file."""
    picture_ending(file)
    return as_data(as_jpeg(thumbnail(file, 320)))


def _take_over(desk: Desk, page: PaintPage) -> None:
    """If a run is to be repeated, choose its task, pictures and settings on the page."""
    shows = [page.repeated, page.task, page.photo, page.paintings, page.preset, page.note, *page.fields.values()]

    @page.repeated.change(inputs=page.repeated, outputs=shows, **QUIET)
    def take(name: str | None) -> list[Any]:
        if name is None:
            return [gr.skip()] * len(shows)
        with sentences():
            record = desk.record(name)
            spec = desk.from_here(record)
        task, values = spec.task, {key: shown(value) for key, value in spec.settings}
        pictures: list[str | None] = [
            None if each.path is None else desk.handed_out(each.path) for each in record.pictures
        ]
        photo = pictures.pop(0) if TASKS[task].has_content else None
        fields = [gr.update(visible=key in values, value=values.get(key)) for key in page.fields]
        chosen_ = [gr.update(value=photo), gr.update(value=[path for path in pictures if path])]
        preset = gr.update(choices=_presets(task), value=record.spec.preset)
        note = f"Regions: as in {name}." if values.get("region") else ""
        return [None, gr.update(value=task), *chosen_, preset, note, *fields]


def chosen_files(task: str, photo: Any, paintings: Any) -> list[Path]:
    """The files of a task's pictures, from the values of the two components."""
    roles = [role.name for role in TASKS[task].roles]
    photos = [Path(path) for path in paths_of(photo)] if "content" in roles else []
    return photos + ([Path(path) for path in paths_of(paintings)] if "style" in roles else [])


def paths_of(files: Any) -> list[str]:
    """The paths in the value of a component for one file or several."""
    return [] if files is None else [str(file) for file in (files if isinstance(files, list) else [files])]


def _escaped(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    from html import escape

    return [(escape(name), source) for name, source in pairs]
