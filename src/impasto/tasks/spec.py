"""A whole run as data: a task, its pictures, its settings."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from impasto.errors import nearest
from impasto.tasks.settings import MOST_PICTURES, TASKS, Settings


class RunSpec(BaseModel):
    """A whole run: task, picture files (content before styles), settings. Nothing else crosses a process border.

    `preset` is only the name of what the settings started from; they are complete without it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    pictures: tuple[Path, ...]
    settings: Settings
    preset: str = "default"

    @model_validator(mode="before")
    @classmethod
    def _settings_of_the_task(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("settings"), dict) and given.get("task") in TASKS:
            return {**given, "settings": TASKS[given["task"]](**given["settings"])}
        return given

    @model_validator(mode="after")
    def _fits(self) -> "RunSpec":
        if self.task not in TASKS:
            raise ValueError(f"there is no task {self.task!r}; {nearest(self.task, TASKS)}")
        if type(self.settings) is not TASKS[self.task]:
            raise ValueError(f"{type(self.settings).__name__} are not the settings of {self.task}")
        least, most = 2 if self.task in ("amalgamate", "transfer") else 1, MOST_PICTURES[self.task]
        if not least <= len(self.pictures) <= most:
            count = f"{least} to {most}" if least < most else str(least)
            raise ValueError(f"{self.task} takes {count} picture{'s' * (most > 1)}, not {len(self.pictures)}")
        return self
