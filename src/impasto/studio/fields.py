"""A component for each setting, made from the settings' own models, so that no option can be forgotten."""

import ast
import inspect
import types
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import gradio as gr
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from impasto.tasks.presets import preset
from impasto.tasks.table import TASKS

SLIDERS = {  # settings that are chosen by eye: least, most, step
    "size": (32, 2048, 8),
    "style_weight": (0.0, 10.0, 0.05),
    "content_weight": (0.0, 2.0, 0.01),
    "style_scale": (0.25, 4.0, 0.05),
    "smoothness": (0.0, 2.0, 0.01),
}


@dataclass(frozen=True)
class Setting:
    """A setting of one task or several: its name, its help, and the tasks that have it."""

    name: str
    help: str
    info: FieldInfo
    tasks: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ").capitalize()

    def default(self, task: str) -> Any:
        """The default of a task that has the setting, as a component shows it."""
        return shown(getattr(TASKS[task].settings(), self.name))


def settings_of_all_tasks() -> dict[str, Setting]:
    """Every setting of every task, by name; what the first task says of a setting is shown."""
    found: dict[str, Setting] = {}
    for task in TASKS.values():
        for name, info in task.settings.model_fields.items():
            having = tuple(each.name for each in TASKS.values() if name in each.settings.model_fields)
            found.setdefault(name, Setting(name, helps(task.settings)[name], info, having))
    return found


@cache
def helps(model: type[BaseModel]) -> dict[str, str]:
    """The help of each setting: the string below its field, as the command line shows it."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if not issubclass(kind, BaseModel) or kind is BaseModel:
            continue
        body = ast.parse(inspect.getsource(kind)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match below:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        found[field.target.id] = text
    return found


def component(setting: Setting, task: str, **more: Any) -> gr.components.Component:
    """The component with which a setting is chosen, with the default of a task."""
    here = setting.tasks[0] if task not in setting.tasks else task
    about = {"label": setting.label, "info": setting.help, "value": setting.default(here), "interactive": True}
    about |= {"visible": task in setting.tasks, "elem_id": f"setting-{setting.name}", **more}
    if setting.name in SLIDERS:
        least, most, step = SLIDERS[setting.name]
        return gr.Slider(least, most, step=step, **about)
    kind = _kind(setting.info.annotation)
    if get_origin(kind) is Literal:
        return gr.Dropdown(list(get_args(kind)), **about)
    if kind is bool:
        return gr.Checkbox(**about)
    if kind in (int, float) and about["value"] is not None:  # Gradio makes a 0 of no number
        return gr.Number(precision=0 if kind is int else None, **about)
    return gr.Textbox(**about)


def shown(value: Any) -> Any:
    """A setting's value as its component shows it: numbers and words; no value is an empty text or no number."""
    if isinstance(value, tuple):
        return "; ".join(map(str, value))
    return str(value) if isinstance(value, (Path, str)) else value


def values_for(task: str, name: str) -> dict[str, Any]:
    """What the components show for a task and a preset."""
    return {key: shown(value) for key, value in preset(task, name)}


def chosen(task: str, preset_name: str, names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """The settings that differ from the preset's, from the components' values. An empty field leaves the preset's."""
    usual, fields = values_for(task, preset_name), TASKS[task].settings.model_fields
    given = {name: value for name, value in zip(names, values, strict=True) if name in fields}
    return {
        name: value
        for name, value in given.items()
        if value != usual[name] and (value not in (None, "") or (value == "" and _kind(fields[name].annotation) is str))
    }


def _kind(annotation: Any) -> Any:
    """The type of a setting, without bounds and without None."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(_kind(each) for each in get_args(annotation) if each is not type(None))
    if hasattr(annotation, "__metadata__"):
        return _kind(get_args(annotation)[0])
    return annotation
