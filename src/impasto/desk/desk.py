"""What the studio does, without a page: begin runs, find them again, change and delete them. Gradio is not imported."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impasto.desk.places import delete_run, picture_taken, require_inside, run_folder
from impasto.errors import ImpastoError, RunFolderError, SpecError
from impasto.files import sha256
from impasto.folders.names import FOLDER, RESULT, SETTINGS_FILE
from impasto.folders.records import UNFINISHED, RunRecord, read_run
from impasto.folders.specfiles import read_spec
from impasto.jobs.queue import Job, Jobs
from impasto.tasks.presets import preset
from impasto.tasks.settings import INITS
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import TASKS, make_settings

RESUMABLE = (UNFINISHED, "interrupted", "out of memory")


@dataclass(frozen=True)
class Card:
    """A run in the gallery: its name, how it ended, and its picture if it has one."""

    name: str
    status: str
    picture: Path | None


@dataclass(frozen=True, eq=False)
class Desk:
    """The folder of runs, the queue of jobs, and the folder into which the server puts what is uploaded."""

    runs: Path
    jobs: Jobs
    inbox: Path

    def begin(self, task: str, files: Sequence[Path], preset_name: str, values: Mapping[str, Any]) -> Job:
        """Begin a run of uploaded pictures. Raises an ImpastoError in one sentence."""
        if task not in TASKS:
            make_settings(task)  # raises the sentence for an unknown task
        self._require_pictures(task, len(files))
        for file in files:  # a program may name any file; only what was uploaded is taken
            if not file.resolve().is_relative_to(self.inbox.resolve()):
                raise SpecError(f"{file} was not uploaded; send the picture itself, not its name")
        taken = tuple(picture_taken(file, self.runs) for file in files)
        return self.repeat(RunSpec(task=task, pictures=taken, settings=self.settings(task, preset_name, values)))

    def settings(self, task: str, preset_name: str, values: Mapping[str, Any]) -> Any:
        """The settings of a task: a preset's, and values in their place. Files must lie inside the folder of runs."""
        settings = make_settings(task, **{**preset(task, preset_name).model_dump(exclude_unset=True), **values})
        changes: dict[str, Any] = {}
        for name, value in settings:
            if isinstance(value, Path) or (name == "init" and value not in INITS):
                require_inside(value, self.runs, name)
                changes[name] = self.runs / value if isinstance(value, Path) else str(self.runs / value)
        return settings.model_copy(update=changes) if changes else settings

    def handed_out(self, file: Path) -> str:
        """A copy of a file in the inbox, from where the server may hand it out, and take it back."""
        there = self.inbox / sha256(file)[:16] / file.name
        there.parent.mkdir(parents=True, exist_ok=True)
        if not there.is_file():
            shutil.copyfile(file, there)
        return str(there)

    def repeat(self, spec: RunSpec) -> Job:
        """Begin a run of pictures that are there already."""
        return self.jobs.add(spec)

    def resume(self, name: str) -> Job:
        """Continue a run that has ended early. Raises RunFolderError."""
        folder = run_folder(self.runs, name)
        return self.jobs.resume(folder, read_spec(folder).spec)

    def delete(self, name: str) -> None:
        """Delete a run's folder. Raises OutputError if the run is being made."""
        if (job := self.jobs.of(self.runs / name)) is not None and job.state in ("waiting", "running"):
            raise SpecError(f"{name} is being painted; stop the run first")
        delete_run(self.runs, name)

    def record(self, name: str) -> RunRecord:
        """What a run's folder holds. Raises RunFolderError."""
        return read_run(run_folder(self.runs, name))

    def cards(self) -> list[Card]:
        """All runs in the folder of runs, the newest first."""
        found = [folder for folder in self._folders() if (folder / SETTINGS_FILE).is_file()]
        found.sort(key=lambda folder: (folder / SETTINGS_FILE).stat().st_mtime, reverse=True)
        return [self._card(folder) for folder in found]

    def unfinished(self) -> list[str]:
        """The names of runs that ended early, can be resumed, and are no jobs."""
        cards = [card for card in self.cards() if card.status in RESUMABLE]
        return [card.name for card in cards if self.jobs.of(self.runs / card.name) is None and self._has_begun(card)]

    def _has_begun(self, card: Card) -> bool:
        return (self.runs / card.name / FOLDER).is_dir()

    def _card(self, folder: Path) -> Card:
        picture = folder / RESULT if (folder / RESULT).is_file() else None
        if (job := self.jobs.of(folder)) is not None:
            return Card(folder.name, job.state, picture)
        try:
            return Card(folder.name, read_run(folder).status, picture)
        except RunFolderError:  # no step yet, or damaged
            return Card(folder.name, UNFINISHED, picture)

    def _folders(self) -> list[Path]:
        try:
            inside = list(self.runs.iterdir())
        except OSError:
            return []
        return [each for each in inside if each.is_dir() and not each.is_symlink() and not each.name.startswith(".")]

    def _require_pictures(self, task: str, given: int) -> None:
        row = TASKS[task]
        if row.least <= given <= row.most:
            return
        needed = " and ".join("a photo" if role.name == "content" else "a painting" for role in row.roles)
        if given < row.least:
            raise SpecError(f"{task} needs {needed}; choose {'one' if row.least - given == 1 else 'them'} first")
        raise SpecError(f"{task} takes at most {row.most} picture{'s' if row.most > 1 else ''}, not {given}")


def sentence(error: ImpastoError) -> str:
    """An error in one sentence that begins with a capital letter."""
    words = (
        str(error) if isinstance(error, ImpastoError) else f"impasto itself failed ({type(error).__name__}: {error})"
    )
    return f"{words[:1].upper()}{words[1:]}"
