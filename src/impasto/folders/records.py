"""The content of a run's folder as frozen data: settings, pictures, steps, measures. Nothing is computed here."""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from impasto.errors import RunFolderError
from impasto.folders.finding import file_of_hash, require_there
from impasto.folders.names import FRAMES, METRICS, RESULT, SETTINGS_FILE, SUMMARY
from impasto.tasks.spec import RunSpec, part_names
from impasto.tasks.table import TASKS

TAIL_BYTES = 4096
UNFINISHED = "unfinished"
Model = TypeVar("Model", bound=BaseModel)


class Line(BaseModel):
    """A line of metrics.jsonl: one step; its losses are those of the picture before the step."""

    model_config = ConfigDict(frozen=True)

    part: str = ""
    step: int
    steps: int
    stage: int
    size: tuple[int, int]
    seconds: float
    evaluations: int
    total: float
    losses: dict[str, float]


class Metrics(BaseModel):
    """The distance of the saved picture from the content, and a unit's response; None if a number is not finite."""

    model_config = ConfigDict(frozen=True)

    feature_error: dict[str, float | None] = {}
    psnr: float | None = None
    response: float | None = None


class Summary(BaseModel):
    """A part's summary.json: how the part ended, its cost, and the saved picture's losses, weights, metrics, hash."""

    model_config = ConfigDict(frozen=True)

    status: str
    reason: str = ""
    steps: int
    evaluations: int
    seconds: float
    peak_memory_mb: float
    losses: dict[str, float | None]
    weights: dict[str, float] = {}
    metrics: Metrics
    result_sha256: str = ""  # of the picture's file; empty for runs of earlier versions


@dataclass(frozen=True)
class Frame:
    """A picture kept during a run; step 0 is the first picture."""

    step: int
    path: Path


@dataclass(frozen=True)
class PartRecord:
    """One synthesis of a run.

    A part that was killed has no summary and perhaps no result; a part that failed at its first step has no lines.
    `lines` are in the order of steps.
    """

    name: str
    result: Path | None
    frames: tuple[Frame, ...]
    lines: tuple[Line, ...]
    summary: Summary | None

    @property
    def status(self) -> str:
        """How the part ended: done, interrupted, diverged, out of memory, or unfinished."""
        return UNFINISHED if self.summary is None else self.summary.status


@dataclass(frozen=True)
class PictureRecord:
    """A picture that a run read; if it is no longer available, `path` is None and `missing` says why."""

    role: str
    given: Path
    path: Path | None
    missing: str = ""


@dataclass(frozen=True)
class RunRecord:
    """A whole run. `planned` are the names of all parts; `parts` are the parts that were begun."""

    folder: Path
    spec: RunSpec
    toml: str
    provenance: Mapping[str, Any]
    pictures: tuple[PictureRecord, ...]
    planned: tuple[str, ...]
    parts: tuple[PartRecord, ...]

    @property
    def progress(self) -> str:
        """The last step of the run, in words."""
        part = self.parts[-1]
        done = sum(each.status == "done" for each in self.parts)
        step = part.summary.steps if part.summary is not None else part.lines[-1].step
        words = f"step {step} of {part.lines[-1].steps}" if part.lines else f"step {step}"
        return words if len(self.planned) == 1 else f"{words} of {part.name}, {done} of {len(self.planned)} parts done"

    @property
    def reason(self) -> str:
        """Why the run ended early, in the run's own sentence; empty if the run left none."""
        return next((part.summary.reason for part in self.parts if part.summary and part.summary.reason), "")

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    @property
    def status(self) -> str:
        """The status of the first part that is not done; unfinished if a part was never begun."""
        begun = next((part.status for part in self.parts if part.status != "done"), "done")
        return UNFINISHED if begun == "done" and len(self.parts) < len(self.planned) else begun


def require_run_folder(folder: Path) -> None:
    """Raise RunFolderError if a path is not the folder of a run."""
    if not folder.exists():
        raise RunFolderError(f"there is no folder {folder}")
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; name the folder of a run")
    if not (folder / SETTINGS_FILE).is_file():
        raise RunFolderError(f"{folder} is not the folder of a run: it has no {SETTINGS_FILE}")


def start_again(folder: Path) -> str:
    """The advice to make a run once more, for the end of a sentence."""
    return f"start again with impasto run {folder / SETTINGS_FILE}"


def read_run(folder: str | Path, pictures: Sequence[Path] = ()) -> RunRecord:
    """Read a run's folder, also of a run that was interrupted or killed. Raises RunFolderError in one sentence.

    `pictures` are files and folders in which pictures that were moved are found by their hashes.
    """
    folder = Path(folder)
    require_run_folder(folder)
    require_there(pictures)
    toml = _text(folder / SETTINGS_FILE)
    spec, provenance = _spec(folder / SETTINGS_FILE, toml)
    lines = read_lines(folder / METRICS)
    planned = tuple(part_names(spec))
    parts = tuple(
        part
        for name in dict.fromkeys([*planned, *(line.part for line in lines)])
        if (part := _part(folder, name, lines, alone=len(planned) == 1)).lines or part.summary is not None
    )
    if not parts:
        raise RunFolderError(f"{folder} holds no step yet; there is nothing to show")
    found = _pictures(folder, spec, provenance, pictures)
    return RunRecord(folder, spec, toml, provenance, found, planned, parts)


def _spec(path: Path, toml: str) -> tuple[RunSpec, dict[str, Any]]:
    try:
        read = tomllib.loads(toml)
        provenance = read.pop("provenance", {})
        if not isinstance(provenance, dict):
            raise RunFolderError(f"{path} is damaged: its provenance is not a table")
        return RunSpec(**read), provenance
    except tomllib.TOMLDecodeError as error:
        raise RunFolderError(f"{path} is damaged: {error}") from None
    except ValidationError as error:
        raise RunFolderError(f"{path} is damaged: {_first(error)}") from None


def read_lines(path: Path) -> list[Line]:
    """All steps, without a last line that a killed run left half written. Raises RunFolderError."""
    if not path.is_file():
        return []
    texts = _text(path).splitlines()
    lines: list[Line] = []
    for number, text in enumerate(texts, start=1):
        try:
            lines.append(Line.model_validate_json(text))
        except ValidationError:
            if number < len(texts):
                raise RunFolderError(f"{path} is damaged at line {number}") from None
    return lines


def _part(folder: Path, name: str, lines: list[Line], *, alone: bool) -> PartRecord:
    if Path(name).name != name or name == "..":  # also keeps a page from reading outside its folder
        raise RunFolderError(f"{folder / METRICS} is damaged: {name!r} is not the name of a part")
    place = folder if alone else folder / name
    summary = _model(Summary, place / SUMMARY) if (place / SUMMARY).is_file() else None
    by_step = {line.step: line for line in lines if line.part == name}  # if a step was taken twice, the later counts
    steps = tuple(by_step[step] for step in sorted(by_step))
    result = place / RESULT if (place / RESULT).is_file() else None
    return PartRecord(name, result, tuple(_frames(place / FRAMES)), steps, summary)


def _frames(folder: Path) -> Iterable[Frame]:
    return [Frame(int(path.stem), path) for path in sorted(folder.glob("*.jpg")) if path.stem.isdecimal()]


def read_summary(path: Path) -> Summary:
    """A part's summary.json. Raises RunFolderError."""
    return _model(Summary, path)


def _model(model: type[Model], path: Path) -> Model:
    try:
        return model.model_validate_json(_text(path))
    except ValidationError as error:
        raise RunFolderError(f"{path} is damaged: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    """The first error, without the input, which may be a whole file."""
    first = error.errors(include_url=False, include_input=False)[0]
    keys = ".".join(str(key) for key in first["loc"])
    return f"{keys}: {first['msg']}" if keys else first["msg"]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise RunFolderError(f"{path} is damaged: it is not text in UTF-8") from None
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror or error}") from None


def _pictures(
    folder: Path, spec: RunSpec, provenance: Mapping[str, Any], among: Sequence[Path]
) -> tuple[PictureRecord, ...]:
    hashes = provenance.get("pictures_sha256", [])
    roles = TASKS[spec.task].roles_of(len(spec.pictures))
    if not isinstance(hashes, list) or len(hashes) != len(roles):
        hashes = [None] * len(roles)
    pictures = [_picture(*each, folder, among) for each in zip(roles, spec.pictures, hashes, strict=True)]
    return (*pictures, *_paintings_of_regions(folder, spec, provenance, among))


def _paintings_of_regions(
    folder: Path, spec: RunSpec, provenance: Mapping[str, Any], among: Sequence[Path]
) -> list[PictureRecord]:
    files, hashes = spec.settings.files, provenance.get("region_files_sha256", [])
    known = dict(zip(files, hashes, strict=True)) if isinstance(hashes, list) and len(hashes) == len(files) else {}
    painted = [region for region in getattr(spec.settings, "region", ()) if region.painting is not None]
    return [
        _picture(f"style in {region.mask.name}", region.painting, known.get(region.painting), folder, among)
        for region in painted
    ]


def _picture(role: str, given: Path, sha: str | None, folder: Path, among: Sequence[Path]) -> PictureRecord:
    """The picture as given if its hash is unknown; else a file with its hash, also if the picture was moved."""
    exists = given.is_file()
    path = (given if exists else None) if sha is None else file_of_hash(given, folder, sha, among)
    if path is not None:
        return PictureRecord(role, given, path)
    return PictureRecord(role, given, None, "has changed since the run" if exists else "no longer exists")


def last_line(path: Path) -> Line | None:
    """The last step that a run has written completely, without reading the whole file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            whole = file.read().decode("utf-8", "ignore").rpartition("\n")[0]
        return Line(**json.loads(whole.splitlines()[-1]))
    except (OSError, ValueError, IndexError):
        return None
