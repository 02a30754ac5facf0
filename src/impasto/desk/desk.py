"""What the studio does, without a page: begin runs, find them again, change and delete them. Gradio is not imported."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impasto.desk.places import delete_run, inside, picture_taken, run_folder
from impasto.errors import ImpastoError, RunFolderError, SpecError
from impasto.files import sha256
from impasto.folders.named import with_files
from impasto.folders.names import FOLDER, RESULT, SETTINGS_FILE, SHEET, SHEET_FILE
from impasto.folders.records import UNFINISHED, RunRecord, read_run
from impasto.folders.specfiles import located, parse_spec, read_spec
from impasto.jobs.orders import OneRun, Sheet
from impasto.jobs.queue import Job, Jobs
from impasto.modules.names import file_of, is_name_of_module, with_file
from impasto.sequels.larger import larger_run
from impasto.tasks.presets import DEFAULT, preset
from impasto.tasks.settings import Settings
from impasto.tasks.spec import RunSpec, values_with_files
from impasto.tasks.table import TASKS, make_settings

RESUMABLE = (UNFINISHED, "interrupted", "out of memory")
LAYERED = ("reconstruct", "texture", "amalgamate", "maximise")  # tasks that can make a picture for each layer or unit
# Of candidates, painted at one size: nine take well under a minute on two cores.
SMALL = {"size": 192, "smallest": 192, "steps": 15, "frames": 0}
WAYS: Mapping[str, Mapping[str, Any]] = {
    "strength and strokes": {"strengths": (0.3, 1.0, 3.0), "strokes": (0.6, 1.0, 1.6)},
    "preset and strength": {
        "presets": (DEFAULT, "classic", "gatys2016"),
        "strengths": (0.3, 1.0, 3.0),
        "strokes": (1.0,),
    },
}


@dataclass(frozen=True)
class Card:
    """A run or a sheet in the gallery: its name, how it ended, and its picture if it has one."""

    name: str
    status: str
    picture: Path | None


@dataclass(frozen=True)
class Candidate:
    """A painted candidate of a sheet: its number, what it differs in, and its folder."""

    number: int
    words: str
    folder: Path


@dataclass(frozen=True, eq=False)
class Desk:
    """The folder of runs, the queue of jobs, and the folder into which the server puts what is uploaded.

    `networks` are names of modules, code that is installed or lies in a file, that settings may choose.
    """

    runs: Path
    jobs: Jobs
    inbox: Path
    networks: tuple[str, ...] = ()

    def begin(self, task: str, files: Sequence[Path], preset_name: str, values: Mapping[str, Any]) -> Job:
        """Begin a run of uploaded pictures. Raises an ImpastoError in one sentence."""
        if task not in TASKS:
            make_settings(task)  # raises the sentence for an unknown task
        self._require_pictures(task, len(files))
        return self.jobs.add(self._spec(task, files, preset(task, preset_name, **values), preset_name))

    def change(self, number: int, values: Mapping[str, Any]) -> None:
        """Change settings of a job, see `Jobs.change`; files lie inside the folder of runs. Raises SpecError."""
        self.jobs.change(number, **values_with_files(values, lambda path: inside(path, self.runs)))

    def settings_here(self, job: Job) -> Settings:
        """The settings in force of a job, with the files of regions named relative to the folder of runs."""
        return job.settings.with_files(lambda path: Path(os.path.relpath(path, self.runs)))

    def explore(self, files: Sequence[Path], differ: str) -> Job:
        """Begin a sheet of nine small candidates that differ as WAYS says. Raises an ImpastoError in one sentence."""
        self._require_pictures("transfer", len(files))
        if differ not in WAYS:
            raise SpecError(f"candidates do not differ in {differ!r}; choose from {', '.join(WAYS)}")
        spec = self._spec("transfer", files, make_settings("transfer", **SMALL))
        return self.jobs.add(Sheet(spec, tuple(SMALL), **WAYS[differ]))

    def enlarge(self, folder: Path, size: int) -> Job:
        """Begin to paint the picture in the folder of a run large, starting from it. Raises an ImpastoError."""
        frames = make_settings("transfer").frames  # as any run has them; a candidate's spec says 0
        return self.jobs.add(OneRun(larger_run(folder, size, {"frames": frames}), "enlarge"))

    def taken(self, file: Path) -> Path:
        """A copy of an uploaded picture among the uploads. Raises an ImpastoError."""
        if not file.resolve().is_relative_to(self.inbox.resolve()):  # a program may name any file
            raise SpecError(f"{file} was not uploaded; send the picture itself, not its name")
        return picture_taken(file, self.runs)

    def from_here(self, record: RunRecord) -> RunSpec:
        """The spec of a run with its files as the studio's settings name them: relative to the folder of runs.

        Raises ImageError or WeightsError if a file is missing.
        """
        spec, _ = located(read_spec(record.folder))
        return self._placed(spec, lambda path: Path(os.path.relpath(path, self.runs)))

    def _spec(self, task: str, files: Sequence[Path], settings: Settings, preset_name: str = DEFAULT) -> RunSpec:
        """The spec of a run of uploaded pictures. Files that settings name must lie inside the folder of runs."""
        trusted = map(_whole, self.networks)
        if is_name_of_module(settings.network) and _whole(settings.network) not in trusted:
            raise SpecError(
                f"the network {settings.network} is code that would be run here; end the studio and start it with "
                f"--network {settings.network} if you trust that code"
            )
        pictures = tuple(self.taken(file).relative_to(self.runs) for file in files)
        spec = RunSpec(task=task, pictures=pictures, settings=settings, preset=preset_name)
        return self._placed(spec, lambda path: inside(path, self.runs))

    def _placed(self, spec: RunSpec, change: Callable[[Path], Path]) -> RunSpec:
        """The spec with a function applied to the path of each file, but for the code that settings may choose."""
        code = file_of(spec.settings.network)
        return with_files(spec, lambda path: path.resolve() if path == code else change(path))

    def handed_out(self, file: Path) -> str:
        """A copy of a file in the inbox, from where the server may hand it out, and take it back."""
        there = self.inbox / sha256(file)[:16] / file.name
        there.parent.mkdir(parents=True, exist_ok=True)
        if not there.is_file():
            shutil.copyfile(file, there)
        return str(there)

    def resume(self, name: str) -> Job:
        """Continue a run that has ended early. Raises RunFolderError."""
        folder = run_folder(self.runs, name)
        return self.jobs.resume(folder, read_spec(folder).spec)

    def delete(self, name: str) -> None:
        """Delete a run's folder. Raises SpecError if the run is being made."""
        if (job := self.jobs.of(self.runs / name)) is not None and job.state in ("waiting", "running"):
            raise SpecError(f"{name} is being painted; stop the run first")
        delete_run(self.runs, name)

    def record(self, name: str) -> RunRecord:
        """What a run's folder holds. Raises RunFolderError."""
        return read_run(run_folder(self.runs, name))

    def cards(self) -> list[Card]:
        """All runs in the folder of runs, the newest first."""
        return [self._card(folder) for folder in self._newest(SETTINGS_FILE)]

    def state(self) -> dict[str, tuple[int, str]]:
        """Of each run and sheet something that changes if files come to its folder or go, or if its job goes on."""
        jobs = {job.folder.name: job.state for job in self.jobs.all()}
        named = {folder.name: folder for file in (SETTINGS_FILE, SHEET_FILE) for folder in self._newest(file)}
        return {name: (_time(folder), jobs.get(name, "")) for name, folder in named.items()}

    def names(self) -> list[str]:
        """The names of all runs in the folder of runs, the newest first."""
        return [folder.name for folder in self._newest(SETTINGS_FILE)]

    def sheets(self) -> list[str]:
        """The names of all sheets in the folder of runs, the newest first."""
        return [folder.name for folder in self._newest(SHEET_FILE)]

    def gallery(self) -> list[Card]:
        """All runs and sheets in the folder of runs, the newest first."""
        runs = dict.fromkeys(self._newest(SETTINGS_FILE), self._card)
        sheets = dict.fromkeys(self._newest(SHEET_FILE), self._sheet_card)
        made = {**runs, **sheets}
        return [made[folder](folder) for folder in sorted(made, key=_begun, reverse=True)]

    def candidates(self, name: str) -> list[Candidate]:
        """The candidates of a sheet that are painted. Raises RunFolderError if there is no such sheet."""
        folder = run_folder(self.runs, name, SHEET_FILE)
        _, known = parse_spec((folder / SHEET_FILE).read_text("utf-8"), str(folder / SHEET_FILE))
        found = []
        for number, varied in enumerate(known.get("candidates", ()), start=1):
            own = folder / f"{number:02}"
            words = ", ".join(f"{key} {value}" for key, value in varied.items() if (key, value) != ("preset", DEFAULT))
            if (own / RESULT).is_file():
                found.append(Candidate(number, words, own))
        return found

    def layered(self) -> list[str]:
        """The names of runs with a picture for each layer or unit, the newest first."""
        begun = tuple(f"{task}-" for task in LAYERED)
        return [name for name in self.names() if name.startswith(begun)]

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

    def _sheet_card(self, folder: Path) -> Card:
        painted = self.candidates(folder.name)
        pictures = [folder / SHEET, *(each.folder / RESULT for each in painted)]
        return Card(folder.name, f"sheet of {len(painted)}", next(filter(Path.is_file, pictures), None))

    def _newest(self, file: str) -> list[Path]:
        """The folders that hold the file, the newest first."""
        found = [folder for folder in self._folders() if (folder / file).is_file()]
        return sorted(found, key=lambda folder: _time(folder / file), reverse=True)

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


def _begun(folder: Path) -> int:
    return max(_time(folder / file) for file in (SETTINGS_FILE, SHEET_FILE))


def _time(path: Path) -> int:
    """When a file or folder was changed; 0 if there is none, since others may delete it at any moment."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def sentence(error: ImpastoError) -> str:
    """An error in one sentence that begins with a capital letter, or with the name of a file or run as it is."""
    words = (
        str(error) if isinstance(error, ImpastoError) else f"impasto itself failed ({type(error).__name__}: {error})"
    )
    is_word = words.partition(" ")[0].strip(",:;").isalpha()
    return f"{words[:1].upper()}{words[1:]}" if is_word else words


def _whole(network: str) -> str:
    """The name of a network with the whole path of its file, if it has one."""
    file = file_of(network)
    return network if file is None else with_file(network, file.resolve())
