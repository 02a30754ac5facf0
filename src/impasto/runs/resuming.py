"""Going on with a run that was ended: what its folder holds, whether it is still the same run, and a clean cut."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from impasto.errors import DivergedError, RunFolderError, SpecError
from impasto.events import Listener, Notice
from impasto.files import HALF, write_bytes
from impasto.folders.checkpoints import Checkpoint, checkpoint_files, newest_checkpoint
from impasto.folders.names import FOLDER, FRAMES, METRICS, SETTINGS_FILE, SUMMARY, place_of, remove_part
from impasto.folders.records import Line, read_lines, read_summary, require_run_folder
from impasto.folders.results import Summary
from impasto.folders.specfiles import SpecFile, read_spec

EXACT = ("impasto", "torch", "machine", "device", "precision", "threads")


@dataclass(frozen=True, eq=False)
class Past:
    """What a run has done: the summaries of finished parts by name, the lines of all, and where the next part stands.

    Without a checkpoint the next part starts at its beginning. It may be many times as large as the picture: who goes
    on from it takes it, so that nobody keeps it beside what becomes of it.
    """

    summaries: Mapping[str, Summary]
    lines: Sequence[Line]
    kept: list[Checkpoint] = field(default_factory=list)  # one or none

    @property
    def checkpoint(self) -> Checkpoint | None:
        """A look at it."""
        return self.kept[0] if self.kept else None

    def take(self) -> Checkpoint | None:
        """It, for good."""
        return self.kept.pop() if self.kept else None


NOTHING = Past({}, ())


def open_run(folder: Path) -> SpecFile:
    """The settings of a run that is to go on. Raises RunFolderError where the folder is none."""
    require_run_folder(folder)
    try:
        return read_spec(folder)
    except SpecError as error:
        raise RunFolderError(str(error)) from None


def finished(folder: Path, names: Sequence[str]) -> bool:
    """Whether nothing is left to do. Raises DivergedError where going on would only diverge again."""
    summaries = [_summary(place_of(folder, names, name)) for name in names]
    for summary in summaries:
        if summary is not None and summary["status"] == "diverged":
            why = summary.get("reason", "a loss is no longer finite")
            raise DivergedError(f"{folder} has diverged and would again: {why}")
    done = all(summary is not None and summary["status"] == "done" for summary in summaries)
    return done and not (folder / FOLDER).exists()


def require_same(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any], listener: Listener) -> None:
    """Raise RunFolderError where what the run reads has changed; tell the listener if versions or the machine have."""
    names = {"weights_sha256": "the weights", "means_sha256": "the means", "pictures_sha256": "the pictures"}
    names["init_sha256"] = "the first picture"
    files = [words for key, words in names.items() if key in then and then[key] != now.get(key)]
    if files:
        again = f"start again with impasto run {folder / SETTINGS_FILE}"
        raise RunFolderError(f"{folder} cannot go on, for it read other files: {', '.join(files)} changed; {again}")
    others = [f"{key} is {now[key]}, was {then[key]}" for key in EXACT if key in then and then[key] != now.get(key)]
    if others:
        listener(Notice(f"the result may differ from that of one go: {'; '.join(others)}"))


def look_back(folder: Path, names: Sequence[str], fingerprint: str, device: torch.device, listener: Listener) -> Past:
    """What the run has done so far; damaged checkpoints are named.

    Raises RunFolderError where all checkpoints are damaged or of other settings, or something finished is missing.
    """
    summaries: dict[str, Summary] = {}
    for name in names:
        summary = _summary(place_of(folder, names, name))
        if summary is None or summary["status"] != "done":
            break
        summaries[name] = summary
    part, lines = len(summaries), read_lines(folder / METRICS)
    checkpoint, damaged = newest_checkpoint(folder, part, device)
    for path in damaged:
        before = "" if checkpoint is None else f"; the one before it, of step {checkpoint.step}, is used"
        listener(Notice(f"{path} is damaged{before}"))
    if any(path.name > f"{part + 1:03}" for path in checkpoint_files(folder / FOLDER)):
        raise RunFolderError(f"{folder} is damaged: {names[part]} was finished and has no {SUMMARY}")
    again = f"start again with impasto run {folder / SETTINGS_FILE}"
    if checkpoint is None and damaged:
        raise RunFolderError(f"no checkpoint of {folder} can be read; {again}")
    if checkpoint is not None and checkpoint.fingerprint != fingerprint:
        raise RunFolderError(f"{folder} cannot go on: {SETTINGS_FILE} has been edited since it was begun; {again}")
    if checkpoint is None and part < len(names) and any(line.part == names[part] for line in lines):
        place = place_of(folder, names, names[part])
        listener(Notice(f"{place} has no checkpoint yet and starts at its beginning"))
    return Past(summaries, lines, [] if checkpoint is None else [checkpoint])


def cut_back(folder: Path, names: Sequence[str], past: Past) -> Past:
    """Remove from the folder what is beyond the past; frames see to themselves. Raises OutputError."""
    done, checkpoint = len(past.summaries), past.checkpoint
    step = 0 if checkpoint is None else checkpoint.step
    current = names[done] if done < len(names) else None

    def stays(line: Line) -> bool:
        return line.part in past.summaries or (line.part == current and line.step <= step)

    if (folder / METRICS).is_file():
        texts = (folder / METRICS).read_text("utf-8").splitlines()
        whole = [f"{text}\n" for text, line in zip(texts, past.lines, strict=False) if stays(line)]
        write_bytes(folder / METRICS, "".join(whole).encode())
    for path in checkpoint_files(folder / FOLDER):
        if checkpoint is None or path.name > f"{checkpoint.part:03}-{checkpoint.step:07}.safetensors":
            path.unlink()
    (folder / FOLDER).mkdir(exist_ok=True)
    for number, name in enumerate(names):
        place = place_of(folder, names, name)
        if number > done and len(names) > 1 and place.is_dir():
            remove_part(place)
        elif number == done:
            (place / SUMMARY).unlink(missing_ok=True)
    for place in {folder, folder / FOLDER, *(place_of(folder, names, name) for name in names)}:
        for left in [
            *place.glob(f".*{HALF}"),
            *place.glob(f"{FRAMES}/.*{HALF}"),
        ]:  # half written when the run was killed
            left.unlink()
    return replace(past, lines=[line for line in past.lines if stays(line)])


def _summary(place: Path) -> Summary | None:
    """A part's summary, as it was handed to be saved."""
    if not (place / SUMMARY).is_file():
        return None
    read_summary(place / SUMMARY)  # checks it
    summary: Summary = json.loads((place / SUMMARY).read_text("utf-8"))
    summary.pop("task", None)
    return summary
