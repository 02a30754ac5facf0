"""Who works in a folder: a process, of a machine, since when; and whether that process is still running."""

import json
import os
import platform
import time
import uuid
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import psutil

CLOCK_SECONDS = 2.0  # the system gives the time of its boot in whole seconds


@dataclass(frozen=True)
class Owner:
    """The owner of a folder: host, process id, since when (local time), and the count of its heartbeats.

    `machine` is the space in which process ids are unique. `started` (seconds after the machine's) tells a process from
    a later one with the same id.
    """

    host: str
    process: int
    since: str
    machine: str
    started: float
    name: str
    beat: int = 0

    def words(self) -> str:
        """Host, process, since when."""
        return f"process {self.process} on {self.host}, since {self.since}"


def this_process() -> Owner:
    """The running process as an owner, with a new name."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return Owner(platform.node(), os.getpid(), since, machine_id(), _started(psutil.Process()), uuid.uuid4().hex)


def machine_id() -> str:
    """The space in which a process id is unique: this machine, since its boot, and the container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        space = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        boot, space = str(int(psutil.boot_time())), ""
    return f"{platform.node()}/{boot}/{space}".replace(" ", "-")


class Life(Enum):
    """What is known of an owner's process.

    `DOUBTFUL`: a process with the owner's id runs, and began at another time, or may not be looked at. Either a later
    process has the id, or the clock was adjusted meanwhile.
    """

    RUNNING = auto()
    ENDED = auto()
    DOUBTFUL = auto()
    ELSEWHERE = auto()  # on another machine, or in another container


def life(owner: Owner) -> Life:
    """What this machine knows of the owner's process."""
    if owner.machine != machine_id():
        return Life.ELSEWHERE
    try:
        if psutil.Process(owner.process).status() == psutil.STATUS_ZOMBIE:
            return Life.ENDED
        same = abs(_started(psutil.Process(owner.process)) - owner.started) < CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return Life.ENDED
    except psutil.Error:
        return Life.DOUBTFUL
    return Life.RUNNING if same else Life.DOUBTFUL


def _started(process: psutil.Process) -> float:
    """Seconds from the machine's boot to the process's beginning, which stay the same if the clock is set."""
    return process.create_time() - psutil.boot_time()


def read_text(file: Path) -> str | None:
    """The text of an owner's file; None if there is no file."""
    try:
        return file.read_text("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def parse_owner(text: str | None) -> Owner | None:
    """The owner whom a text names; None if the text is not yet, or not any more, an owner's."""
    try:
        return Owner(**json.loads(text or ""))
    except (ValueError, TypeError):
        return None
