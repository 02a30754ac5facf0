"""A whole run as data: its task, pictures and settings, and the changes of its settings while it goes on.

A change is part of the spec, so a run that was changed is repeated and resumed like any other, bit for bit.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from impasto.errors import SpecError, nearest
from impasto.files import as_text, is_text
from impasto.tasks.settings import Settings, TransferSettings
from impasto.tasks.table import TASKS, explicit, make_settings
from impasto.tasks.values import validated

if TYPE_CHECKING:
    from impasto.images.image import Picture
    from impasto.tasks.parts import Part

CHANGEABLE = (  # settings that enter only the objective and what is laid over the picture
    "content_weight",
    "style_weight",
    "style_weights",
    "neighbours",
    "layout",
    "style_scale",
    "strokes",
    "content_layers",
    "style_layers",
    "neighbour_layers",
    "layout_layers",
    "layers",
    "smoothness",
    "smoothness_exponent",
    "contrast",
    "statistics",
    "distance",
    "region",
)


class Change(BaseModel):
    """Settings that hold from the step after `step` of a part on, 0 from its first, and in the parts that follow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: str = ""
    step: Annotated[int, Field(ge=0)]
    settings: dict[str, Any]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the settings name, in order."""
        return TransferSettings(region=self.settings.get("region", ())).files

    def with_files(self, change: Callable[[Path], Path]) -> "Change":
        """The change with a function applied to the path of each of `files`."""
        return self.model_copy(update={"settings": values_with_files(self.settings, change)})


def values_with_files(values: Mapping[str, Any], change: Callable[[Path], Path]) -> dict[str, Any]:
    """Changed settings with a function applied to the path of each file that they name. Raises SpecError."""
    if "region" not in values:
        return dict(values)
    regions = validated(TransferSettings, region=values["region"]).with_files(change)
    return {**values, "region": regions.model_dump(mode="json")["region"]}


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
    after = make_settings(task, **{**explicit(settings), **values})
    if TASKS[task].part_names(after) != TASKS[task].part_names(settings):
        raise SpecError(
            f"{', '.join(values)} cannot be changed while this run goes on: each layer has a part of its own"
        )
    return after


def in_order(task: str, settings: Settings, changes: Sequence[Change]) -> list[Change]:
    """Changes in the order in which they hold; of two at the same step the one given later comes later."""
    names = TASKS[task].part_names(settings)
    return sorted(changes, key=lambda change: (names.index(change.part), change.step))


def in_force(
    task: str, settings: Settings, changes: Sequence[Change], part: str = "", step: int | None = None
) -> Settings:
    """The settings after `step` steps of a part; after all changes if no step is given."""
    names = TASKS[task].part_names(settings)
    for change in in_order(task, settings, changes):
        if step is None or (names.index(change.part), change.step) <= (names.index(part), step):
            settings = changed(task, settings, change.settings)
    return settings


def overruled(changes: Sequence[Change], names: Collection[str]) -> tuple[Change, ...]:
    """The changes without the settings of these names, whose values are given for the whole run."""
    left = (
        change.model_copy(
            update={"settings": {name: value for name, value in change.settings.items() if name not in names}}
        )
        for change in changes
    )
    return tuple(change for change in left if change.settings)


class RunSpec(BaseModel):
    """A whole run: task, picture files (content before styles), settings. Processes exchange runs only as specs.

    `preset` is only the name of the preset that the settings started from; the settings are complete without it.
    `changes` are the settings that were changed while the run went on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    pictures: tuple[Path, ...]
    settings: Settings
    preset: str = "default"
    changes: tuple[Change, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _settings_of_the_task(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("settings"), dict) and given.get("task") in TASKS:
            return {**given, "settings": TASKS[given["task"]].settings(**given["settings"])}
        return given

    @model_validator(mode="after")
    def _fits(self) -> "RunSpec":
        if self.task not in TASKS:
            raise ValueError(f"there is no task {self.task!r}; {nearest(self.task, TASKS)}")
        task, given = TASKS[self.task], len(self.pictures)
        if type(self.settings) is not task.settings:
            raise ValueError(f"{type(self.settings).__name__} are not the settings of {self.task}")
        if not task.least <= given <= task.most:
            count = f"{task.least} to {task.most}" if task.least < task.most else str(task.least)
            raise ValueError(f"{self.task} takes {count} picture{'' if task.most == 1 else 's'}, not {given}")
        self.settings.require_pictures(given)
        settings, names = self.settings, part_names(self)
        for change in self.changes:
            if change.part not in names:
                raise ValueError(f"a change names the part {change.part!r}; {nearest(change.part, names)}")
        in_force(self.task, self.settings, self.changes).require_pictures(given)
        direction = getattr(settings, "direction", None)
        later = [file for change in self.changes for file in change.files]
        named = (*self.pictures, settings.init, settings.weights, settings.means, direction, *settings.files, *later)
        for path in named:
            if path is not None and not is_text(str(path)):
                raise ValueError(f"the name of {as_text(Path(path))} contains bytes that are not text; rename the file")
        return self


def part_names(spec: RunSpec) -> list[str]:
    """The names of a run's parts in order; in a run that makes one picture, the only part's name is ""."""
    return TASKS[spec.task].part_names(spec.settings)


def framed(spec: RunSpec, pictures: "Sequence[Picture]") -> "list[Picture]":
    """The pictures as the run reads them: of paintings what can be seen, and the content in a print's proportions.

    Raises ImageError if nothing of a picture can be seen.
    """
    task, size = TASKS[spec.task], spec.settings.print.size if spec.settings.print else None
    found = list(pictures)
    for number, painting in enumerate(pictures):
        painting.require_visible(spec.pictures[number])
        if task.is_painting(number):
            found[number] = painting.visible(spec.pictures[number])
    return [found[0].cropped(size), *found[1:]] if size is not None and task.has_content else found


def compose(spec: RunSpec, pictures: "Sequence[Picture]") -> "list[Part]":
    """The syntheses of a run, of pictures as `framed` gives them: one, or one for each layer."""
    return TASKS[spec.task].recipe()(spec.settings, pictures, part_names(spec))
