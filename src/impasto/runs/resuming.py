"""Resuming a run: read the progress in its folder, check that its inputs are unchanged, remove all later files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any

import torch

from impasto.errors import DivergedError, RunFolderError, SpecError
from impasto.events import Listener, Notice
from impasto.files import HALF, write_bytes
from impasto.folders.checkpoints import Checkpoint, checkpoint_files, newest_checkpoint
from impasto.folders.names import FOLDER, FRAMES, METRICS, RESULT, SETTINGS_FILE, SUMMARY, place_of, remove_part
from impasto.folders.records import Line, read_lines, read_summary, require_run_folder, start_again
from impasto.folders.results import Summary
from impasto.folders.specfiles import SpecFile, read_spec

EXACT = ("impasto", "torch", "machine", "device", "precision", "threads")


@dataclass(frozen=True, eq=False)
class Past:
    """The progress of a run: summaries of finished parts by name, the lines of all parts, the next part's checkpoint.

    Without a checkpoint the next part starts from the beginning. A checkpoint can be many times the size of the
    picture. Whoever resumes from it takes it with `take()`, so that it is not kept alive beside the running state.
    """

    summaries: Mapping[str, Summary]
    lines: Sequence[Line]
    kept: list[Checkpoint] = field(default_factory=list)  # one or none

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint, if there is one."""
        return self.kept[0] if self.kept else None

    def take(self) -> Checkpoint | None:
        """Hand over the checkpoint and forget it, so that its tensors can be freed."""
        return self.kept.pop() if self.kept else None


NOTHING = Past({}, ())


def open_run(folder: Path) -> SpecFile:
    """The settings of a run to resume. Raises RunFolderError if the folder is not a run's."""
    require_run_folder(folder)
    try:
        return read_spec(folder)
    except SpecError as error:
        raise RunFolderError(str(error)) from None


def finished(folder: Path, names: Sequence[str]) -> bool:
    """Whether the run is done. Raises DivergedError if the run diverged, because it would diverge again.

    Raises RunFolderError if the run is done, but a picture is missing.
    """
    places = [place_of(folder, names, name) for name in names]
    summaries = [_summary(place) for place in places]
    for summary in summaries:
        if summary is not None and summary["status"] == "diverged":
            why = summary.get("reason", "a loss is no longer finite")
            raise DivergedError(f"{folder} has diverged and would diverge again: {why}")
    if not all(summary is not None and summary["status"] == "done" for summary in summaries):
        return False
    if (folder / FOLDER).exists():
        return False
    for place in places:
        if not (place / RESULT).is_file():
            raise RunFolderError(f"{folder} is done, but {place / RESULT} is missing; {start_again(folder)}")
    return True


def require_same(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any], listener: Listener) -> None:
    """Raise RunFolderError if a file that the run reads has changed; notify the listener of other changes."""
    names = {"weights_sha256": "the weights", "means_sha256": "the means", "pictures_sha256": "the pictures"}
    names |= {
        "network_sha256": "the network's file",
        "init_sha256": "the first picture",
        "colours_sha256": "the palette",
    }
    files = [words for key, words in names.items() if key in then and then[key] != now.get(key)]
    if files:
        changed = f"{', '.join(files)} changed after the run was started"
        raise RunFolderError(f"{folder} cannot be resumed: {changed}; {start_again(folder)}")
    others = [
        f"{key} was {then[key]} and is {now[key]} now" for key in EXACT if key in then and then[key] != now.get(key)
    ]
    if others:
        listener(Notice(f"the result may differ from an uninterrupted run: {'; '.join(others)}"))


def look_back(folder: Path, names: Sequence[str], fingerprint: str, device: torch.device, listener: Listener) -> Past:
    """The progress of a run so far; the listener is notified of damaged checkpoints.

    Raises RunFolderError if all checkpoints are damaged, have other settings, or a finished part is missing.
    """
    summaries, lines = _finished_parts(folder, names), read_lines(folder / METRICS)
    checkpoint = _checkpoint(folder, names, len(summaries), device, listener)
    if checkpoint is not None and checkpoint.fingerprint != fingerprint:
        edited = f"{SETTINGS_FILE} has been edited since the run was started"
        raise RunFolderError(f"{folder} cannot be resumed: {edited}; {start_again(folder)}")

    name = next((name for name in names if name not in summaries), None)
    if checkpoint is None and name is not None and any(line.part == name for line in lines):
        listener(Notice(f"{place_of(folder, names, name)} has no checkpoint yet and starts from the beginning"))
    return Past(summaries, lines, [] if checkpoint is None else [checkpoint])


def _checkpoint(
    folder: Path, names: Sequence[str], part: int, device: torch.device, listener: Listener
) -> Checkpoint | None:
    """The newest checkpoint of the part that can be read, or None if the part has none."""
    checkpoint, damaged = newest_checkpoint(folder, part, device)
    for path in damaged:
        before = "" if checkpoint is None else f"; the checkpoint before, of step {checkpoint.step}, is used"
        listener(Notice(f"{path} is damaged{before}"))
    if any(path.name > f"{part + 1:03}" for path in checkpoint_files(folder / FOLDER)):
        raise RunFolderError(f"{folder} is damaged: {names[part]} was finished but has no {SUMMARY}")
    if checkpoint is None and damaged:
        raise RunFolderError(f"no checkpoint of {folder} can be read; {start_again(folder)}")
    return checkpoint


def _finished_parts(folder: Path, names: Sequence[str]) -> dict[str, Summary]:
    """The summaries of the parts that are done, up to the first that is not."""
    summaries: dict[str, Summary] = {}
    for name in names:
        summary = _summary(place_of(folder, names, name))
        if summary is None or summary["status"] != "done":
            break
        summaries[name] = summary
    return summaries


def cut_back(folder: Path, names: Sequence[str], past: Past) -> Past:
    """Remove from the folder all that is later than the past, except frames. Raises OutputError."""
    done, places = len(past.summaries), [place_of(folder, names, name) for name in names]
    stay = _lines_that_stay(names, past)
    if (folder / METRICS).is_file():
        texts = (folder / METRICS).read_text("utf-8").splitlines()
        whole = [f"{text}\n" for text, stays in zip(texts, stay, strict=False) if stays]
        write_bytes(folder / METRICS, "".join(whole).encode())
    _remove_later_checkpoints(folder / FOLDER, past.checkpoint)

    for place in places[done : done + 1]:
        (place / SUMMARY).unlink(missing_ok=True)
    for place in places[done + 1 :]:
        if place.is_dir():
            remove_part(place)
    for place in {folder, folder / FOLDER, *places}:
        for half_written in [*place.glob(f".*{HALF}"), *place.glob(f"{FRAMES}/.*{HALF}")]:
            half_written.unlink()
    return replace(past, lines=list(compress(past.lines, stay)))


def _lines_that_stay(names: Sequence[str], past: Past) -> list[bool]:
    """Whether each line is of a part that is done, or of the next part up to its checkpoint."""
    step = 0 if past.checkpoint is None else past.checkpoint.step
    current = next((name for name in names if name not in past.summaries), None)
    return [line.part in past.summaries or (line.part == current and line.step <= step) for line in past.lines]


def _remove_later_checkpoints(folder: Path, checkpoint: Checkpoint | None) -> None:
    for path in checkpoint_files(folder):
        if checkpoint is None or path.name > f"{checkpoint.part:03}-{checkpoint.step:07}.safetensors":
            path.unlink()
    folder.mkdir(exist_ok=True)


def _summary(place: Path) -> Summary | None:
    """A part's summary, in the form that was saved."""
    if not (place / SUMMARY).is_file():
        return None
    read_summary(place / SUMMARY)  # raises RunFolderError if damaged
    summary: Summary = json.loads((place / SUMMARY).read_text("utf-8"))
    summary.pop("task", None)
    return summary
