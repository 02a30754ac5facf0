"""One run at a time in a folder, also across machines: a file says whose the folder is, and a beat that it still is.

On the same machine a process that is gone has no folder any more. Of a process elsewhere nothing can be known but its
beat: the folder is free once that has stopped for `STALE_SECONDS`.
"""

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from impasto.errors import OutputError

OWNER = ".impasto-owner"
BEAT_SECONDS = 2.0
STALE_SECONDS = 15.0  # without a beat; longer than the caches of network file systems keep a file
CLOCK_SECONDS = 2.0  # by which clocks are set while a process runs


@dataclass(frozen=True)
class Owner:
    """Who has a folder: host, process, since when (local time), and the count of its beats.

    `place` is where numbers of processes mean the same; `started` (seconds) tells a process from a later one with its
    number.
    """

    host: str
    process: int
    since: str
    place: str
    started: float
    name: str
    beat: int = 0

    def words(self) -> str:
        """Host, process, since when."""
        return f"process {self.process} on {self.host}, since {self.since}"


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Have a folder that exists for oneself.

    Raises OutputError if another process or thread has it, with the owner's host, process and time, and if the folder
    cannot be written.
    """
    file = folder / OWNER
    mine = _me()
    try:
        _take(file, mine)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from None
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(file, mine, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        with suppress(OSError):
            if _is_mine(file, mine):
                file.unlink()


def require_unowned(folder: Path) -> None:
    """Raise OutputError if a process has the folder or one of the folders in it, as far as can be told at once."""
    try:
        files = [folder / OWNER, *folder.glob(f"*/{OWNER}"), *folder.glob(f"*/*/{OWNER}")]
    except OSError:
        return
    for file in files:
        owner = _owner(_read(file))
        if owner is not None and owner.place == place() and runs(owner.process) and _is_known(owner):
            raise _refusal(file, owner)


def place() -> str:
    """Where numbers of processes mean the same: this machine since it was started, and the container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        space = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        boot, space = str(int(psutil.boot_time())), ""
    return f"{platform.node()}/{boot}/{space}".replace(" ", "-")


def runs(number: int) -> bool:
    """Whether the process `number` of this place runs."""
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_known(owner: Owner) -> bool:
    """Whether the process that runs is surely the owner; else it may have been given the number of one that is gone."""
    try:
        return abs(psutil.Process(owner.process).create_time() - owner.started) < CLOCK_SECONDS
    except psutil.Error:
        return False


def _me() -> Owner:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    started = psutil.Process().create_time()
    return Owner(platform.node(), os.getpid(), since, place(), started, uuid.uuid4().hex)


def _take(file: Path, mine: Owner) -> None:
    while True:
        try:
            with file.open("x", encoding="utf-8") as opened:  # of several at once, one succeeds
                opened.write(json.dumps(asdict(mine)))
            return
        except FileExistsError:
            _remove_stale(file)


def _remove_stale(file: Path) -> None:
    """Remove the file of an owner that is gone; raises OutputError if the owner is not."""
    seen = _watched(file)
    if seen is None:
        return
    aside = file.with_name(f"{OWNER}.{uuid.uuid4().hex[:8]}")
    try:
        file.rename(aside)
    except FileNotFoundError:  # another has done so
        return
    if _read(aside) != seen:  # another has, and the folder is already the other's
        with suppress(OSError):
            os.link(aside, file)
    aside.unlink()


def _watched(file: Path) -> str | None:
    """What the file of an owner that is gone says, None if there is none any more. Raises OutputError."""
    seen, since = _read(file), time.monotonic()
    while seen is not None:
        owner = _owner(seen)
        if owner is not None and owner.place == place():
            if not runs(owner.process):
                return seen
            if _is_known(owner):
                raise _refusal(file, owner)
        if time.monotonic() - since > STALE_SECONDS:
            return seen
        time.sleep(0.2)
        now = _read(file)
        if now is not None and now != seen and (owner := _owner(now)) is not None:
            raise _refusal(file, owner)
        seen = now
    return None


def _refusal(file: Path, owner: Owner) -> OutputError:
    return OutputError(f"{file.parent} is in use by {owner.words()}; wait until that has ended, or name another folder")


def _beat(file: Path, mine: Owner, ended: threading.Event) -> None:
    count = 0
    while not ended.wait(BEAT_SECONDS):
        with suppress(OSError):  # the run itself will say what is wrong with the folder
            if not _is_mine(file, mine):
                return
            count += 1
            beside = file.with_name(f"{OWNER}.{mine.name[:8]}")
            beside.write_text(json.dumps(asdict(replace(mine, beat=count))), "utf-8")
            beside.replace(file)


def _is_mine(file: Path, mine: Owner) -> bool:
    owner = _owner(_read(file))
    return owner is not None and owner.name == mine.name


def _read(file: Path) -> str | None:
    try:
        return file.read_text("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _owner(text: str | None) -> Owner | None:
    """None if the text is not yet, or not any more, an owner's."""
    try:
        return Owner(**json.loads(text or ""))
    except (ValueError, TypeError):
        return None
