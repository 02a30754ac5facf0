"""What goes between the queue and its worker process: frozen data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from impasto.events import Event
from impasto.jobs.orders import Order

Ending = Literal["done", "stopped", "failed"]


@dataclass(frozen=True)
class Work:
    """Make an order in a folder, or go on with what the folder has of it.

    `serial` numbers the works of one queue. `values` are settings to change before the next step.
    """

    serial: int
    folder: Path
    order: Order
    resumes: bool
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stop:
    """Let a run write a checkpoint and end."""

    serial: int


@dataclass(frozen=True)
class ChangeSettings:
    """Change settings of a run from its next step on."""

    serial: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Close:
    """Let the present run write a checkpoint and end, and then the process."""


Request = Work | Stop | ChangeSettings | Close


@dataclass(frozen=True)
class Ready(Event):
    """The worker has loaded everything that a run needs."""


@dataclass(frozen=True)
class Preview(Event):
    """The picture after a step, as a small JPEG file; step 0 is the first picture."""

    step: int
    jpeg: bytes


@dataclass(frozen=True)
class WorkEnded(Event):
    """The run has ended: done, stopped with a checkpoint, or failed. `sentence` says why if the run is not done.

    `values` are changes that were asked for after the last step: they hold if the run is resumed.
    """

    ending: Ending
    sentence: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
