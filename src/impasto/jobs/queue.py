"""A queue of runs: one at a time, in a process of its own, so that no run can take the program down.

A job that is paused is a run that was stopped: its checkpoint is on the disk, its memory is free, and going on resumes
the run bit for bit. So a job survives also the end of the program: `unfinished` finds it again.
"""

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Literal

from impasto.errors import SpecError
from impasto.events import Event, PartBegun, Step
from impasto.folders.places import new_in
from impasto.folders.records import UNFINISHED
from impasto.jobs.messages import Preview, Ready, Stop, Work, WorkEnded
from impasto.jobs.worker import serve
from impasto.tasks.spec import RunSpec
from impasto.waiting import for_children

State = Literal["waiting", "running", "paused", "done", "stopped", "failed"]
ENDED = ("done", "stopped", "failed")
KEPT = 50  # jobs that have ended and are still listed
PATIENCE_SECONDS = 10.0  # until a worker that was asked to end is killed


@dataclass(frozen=True)
class Job:
    """A run in the queue, as it is at this moment.

    `title` is the present part's. `steps` are the steps seen since the job was added, `preview` is the newest picture.
    `wish` is the state that the job takes once its run has stopped; "" if no stop has been asked for.
    `sentence` says why a job has stopped or failed.
    """

    number: int
    folder: Path
    spec: RunSpec
    state: State = "waiting"
    begun: bool = False
    title: str = ""
    steps: tuple[Step, ...] = field(default=(), repr=False)
    preview: Preview | None = field(default=None, repr=False)
    wish: Literal["", "paused", "stopped"] = ""
    sentence: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen unless the run is resumed as another job."""
        return self.state in ENDED


class Jobs:
    """The queue. All methods may be called from any thread; jobs are frozen data, replaced as they change."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds the folders of the runs."""
        self.folder = folder
        self._jobs: dict[int, Job] = {}
        self._steps: dict[int, list[Step]] = {}
        self._changed = threading.Condition()
        self._worker: _Process | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work_off, name="impasto jobs", daemon=True)
        self._thread.start()

    def all(self) -> tuple[Job, ...]:
        """All jobs, in the order in which they were added."""
        with self._changed:
            return tuple(self._jobs.values())
