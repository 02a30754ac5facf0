"""Named settings: a preset replaces a task's defaults, and the user's own settings replace the preset's."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from impasto.errors import SpecError, nearest
from impasto.modules.names import is_name_of_module
from impasto.tasks.settings import Settings
from impasto.tasks.table import TASKS, make_settings, overridden
from impasto.tasks.values import Layers

DEFAULT = "default"


@cache
def presets() -> dict[str, dict[str, Any]]:
    """All presets by name: "about", "source", "departs", and settings for each task that a preset supports."""
    return tomllib.loads((files("impasto") / "data" / "presets.toml").read_text("utf-8"))


def preset(task: str, name: str, **asked: Any) -> Settings:
    """The settings of a task from a preset; `asked` overrides the preset. Raises SpecError.

    >>> preset("transfer", "fast").size
    256
    """
    if name == DEFAULT:
        return make_settings(task, **asked)
    if name not in presets():
        raise SpecError(f"there is no preset {name!r}; {nearest(name, [DEFAULT, *presets()])}")
    if task not in presets()[name]:
        fitting = [DEFAULT, *(each for each, tasks in presets().items() if task in tasks)]
        raise SpecError(f"preset {name!r} is not for {task}; {', '.join(fitting)} are")
    chosen = presets()[name][task]
    if is_name_of_module(str(asked.get("network", ""))):
        usual = TASKS[task].settings.model_fields
        chosen = {
            key: Layers(value).by_depth() if isinstance(usual[key].default, Layers) else value
            for key, value in chosen.items()
        }
    return make_settings(task, **overridden(chosen, asked))
