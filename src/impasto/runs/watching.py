"""What watches the synthesis of a part: the choice of recorders and trackers, and where each of them goes on."""

import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from impasto.events import Show
from impasto.extras import TrackerName
from impasto.folders.checkpoints import Checkpoint, Checkpoints
from impasto.folders.names import METRICS
from impasto.folders.specfiles import fingerprint
from impasto.images.image import Image
from impasto.runs.recorders import Bar, Frames, JsonLines, MetricsFile, PlainLines, Recorder
from impasto.runs.trackers import Tracked
from impasto.runs.tracking import Tracking
from impasto.tasks.parts import Part
from impasto.tasks.settings import Settings
from impasto.tasks.spec import RunSpec


@dataclass(frozen=True)
class Watching:
    """How a run is watched; none of it changes the result."""

    show: Show = "progress"
    track: tuple[TrackerName, ...] = ()
    mp4: bool = False
    checkpoint_seconds: float = 30.0


def trackers(
    names: Sequence[TrackerName], part: Part, first: Image, folder: Path, toml: str, settings: Settings, show: Show
) -> Tracking:
    """Start those that are named, with the first picture."""
    about = Tracked(folder, part.name, tomllib.loads(toml))
    return Tracking(names, about, first, part.composition.steps, settings.frames, quiet=show != "progress")


def recorders(
    part: Part,
    first: Image,
    folder: Path,
    place: Path,
    spec: RunSpec,
    watching: Watching,
    checkpoint: Checkpoint | None,
) -> list[Recorder]:
    """Lines, frames and a bar of a part whose results are in `place`, on from a checkpoint if there is one."""
    steps = part.composition.steps
    title = f"{spec.task} {part.name}".strip()
    step, before = (0, 0.0) if checkpoint is None else (checkpoint.step, checkpoint.seconds)
    chosen: list[Recorder] = [MetricsFile(folder / METRICS, part.name, before)]
    if spec.settings.frames:
        after = None if checkpoint is None else (step, checkpoint.state.image(part.composition))
        chosen.append(Frames(place, first, steps, spec.settings.frames, mp4=watching.mp4, after=after))
    if watching.show == "json":
        chosen.append(JsonLines(part.name, before))
    elif watching.show == "progress":
        lines = PlainLines(title, steps, before=before)
        chosen.append(Bar(title, steps, step) if sys.stderr.isatty() else lines)
    return chosen


def checkpoints(folder: Path, toml: str, number: int, watching: Watching, checkpoint: Checkpoint | None) -> Checkpoints:
    """The recorder that keeps where part `number` stands, never ahead of the lines."""
    before = 0.0 if checkpoint is None else checkpoint.seconds
    every = watching.checkpoint_seconds
    return Checkpoints(folder, fingerprint(toml), number, every, before=before, files=[folder / METRICS])
