"""Changes of a run's settings while it goes on: which are possible, and the settings in force after a step.

A change is part of the spec, so a run that was changed is repeated and resumed like any other, bit for bit.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from impasto.errors import SpecError, nearest
from impasto.tasks.settings import Settings
from impasto.tasks.table import TASKS, make_settings

CHANGEABLE = (  # settings that enter only the objective
    "content_weight",
    "style_weight",
    "style_weights",
    "style_scale",
    "content_layers",
    "style_layers",
    "layers",
    "smoothness",
    "smoothness_exponent",
    "contrast",
    "statistics",
    "distance",
)


class Change(BaseModel):
    """Settings that hold from the step after `step` of a part on, 0 from its first, and in the parts that follow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: str = ""
    step: Annotated[int, Field(ge=0)]
    settings: dict[str, Any]


def changeable(task: str) -> list[str]:
    """The settings of a task that can be changed while a run goes on."""
    return [name for name in CHANGEABLE if name in TASKS[task].settings.model_fields]


def changed(task: str, settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings with other values. Raises SpecError if a value is not allowed, or cannot be changed during a run."""
    for name in values:
        if name not in TASKS[task].settings.model_fields:
            raise SpecError(f"there is no setting {name!r}; {nearest(name, changeable(task))}")
        if name not in CHANGEABLE:
            possible = ", ".join(changeable(task))
            raise SpecError(f"{name} cannot be changed while a run goes on; {possible} can")
    after = make_settings(task, **{**settings.model_dump(exclude_unset=True), **values})
    if TASKS[task].part_names(after) != TASKS[task].part_names(settings):
        raise SpecError(
            f"{', '.join(values)} cannot be changed while this run goes on: each layer has a part of its own"
        )
    return after


def in_force(
    task: str, settings: Settings, changes: Sequence[Change], part: str = "", step: int | None = None
) -> Settings:
    """The settings after `step` steps of a part; after all changes if no step is given."""
    names = TASKS[task].part_names(settings)
    for change in changes:
        here = (names.index(change.part), change.step)
        if step is None or here <= (names.index(part), step):
            settings = changed(task, settings, change.settings)
    return settings
