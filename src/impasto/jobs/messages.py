"""What goes between the queue and its worker process: frozen data only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from impasto.events import Event
from impasto.tasks.spec import RunSpec

Ending = Literal["done", "stopped", "failed"]


@dataclass(frozen=True)
class Work:
    """Make the run that a spec describes in a folder; without a spec, resume the folder's run."""

    folder: Path
    spec: RunSpec | None


@dataclass(frozen=True)
class Stop:
    """Let the present run write a checkpoint and end."""


@dataclass(frozen=True)
class Ready(Event):
    """The worker has loaded everything that a run needs."""


@dataclass(frozen=True)
class Preview(Event):
    """The picture after a step, as a JPEG file whose long side is at most PREVIEW_PX; step 0 is the first picture."""

    step: int
    jpeg: bytes


@dataclass(frozen=True)
class WorkEnded(Event):
    """The run has ended: done, stopped with a checkpoint, or failed. `sentence` says why if the run is not done."""

    ending: Ending
    sentence: str = ""


@dataclass(frozen=True)
class Change:
    """Change settings of the present run from its next step on."""

    values: Mapping[str, Any]
