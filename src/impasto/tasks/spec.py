"""A whole run as data: its task, pictures and settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, model_validator

from impasto.errors import nearest
from impasto.files import as_text, is_text
from impasto.tasks.changes import Change, in_force
from impasto.tasks.settings import Settings
from impasto.tasks.table import TASKS

if TYPE_CHECKING:
    from impasto.images.image import Image, Picture
    from impasto.tasks.parts import Part


class RunSpec(BaseModel):
    """A whole run: task, picture files (content before styles), settings. Processes exchange runs only as specs.

    `preset` is only the name of the preset that the settings started from; the settings are complete without it.
    `changes` are the settings that were changed while the run went on, in order.
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
            raise ValueError(f"{self.task} takes {count} picture{'s' if task.most > 1 else ''}, not {given}")
        self.settings.require_pictures(given)
        settings, names = self.settings, part_names(self)
        for change in self.changes:
            if change.part not in names:
                raise ValueError(f"a change names the part {change.part!r}; {nearest(change.part, names)}")
        in_force(self.task, self.settings, self.changes).require_pictures(given)
        for path in (*self.pictures, settings.init, settings.weights, settings.means, *settings.files):
            if path is not None and not is_text(str(path)):
                raise ValueError(f"the name of {as_text(Path(path))} contains bytes that are not text; rename the file")
        return self


def part_names(spec: RunSpec) -> list[str]:
    """The names of a run's parts in order; in a run that makes one picture, the only part's name is ""."""
    return TASKS[spec.task].part_names(spec.settings)


def framed(spec: RunSpec, pictures: "Sequence[Picture]") -> "list[Picture]":
    """The pictures as the run reads them: for a print, the content is cropped to the print's proportions."""
    size = spec.settings.print.size if spec.settings.print else None
    if size is None or not TASKS[spec.task].has_content:
        return list(pictures)
    return [pictures[0].cropped(size), *pictures[1:]]


def compose(spec: RunSpec, images: "Sequence[Image]") -> "list[Part]":
    """The syntheses of a run: one, or one for each layer."""
    return TASKS[spec.task].recipe()(spec.settings, images, part_names(spec))
