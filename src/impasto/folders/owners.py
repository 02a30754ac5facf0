"""One run at a time in a folder, also across machines: a file names the owner, and a heartbeat keeps the file fresh.

On the same machine, a folder is free as soon as its owner's process has ended. An owner on another machine is known
only by its heartbeat: the folder is free once the heartbeat has stopped for `STALE_SECONDS`.
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
from impasto.files import write_bytes

OWNER = ".impasto-owner"
PRESENT = f"{OWNER}.beside."  # the beginning of a name: each of several processes at work in a folder has such a file
BEAT_SECONDS = 2.0
STALE_SECONDS = 15.0  # without a heartbeat; longer than network file systems cache a file
CLOCK_SECONDS = 2.0  # a clock may be adjusted by this much while a process runs


@dataclass(frozen=True)
class Owner:
    """The owner of a folder: host, process id, since when (local time), and the count of its heartbeats.

    `machine` is the space in which process ids are unique. `started` (seconds) tells a process from a later one with
    the same id.
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


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Own an existing folder until the end of the block.

    Raises OutputError if another process or thread owns the folder (the error names its host, process and time), and if
    the folder cannot be written.
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


@contextmanager
def present(folder: Path) -> Iterator[None]:
    """Say until the end of the block that this process works in an existing folder, beside others.

    `require_unowned` refuses the folder meanwhile. Raises OutputError if the folder cannot be written.
    """
    mine = _me()
    file = folder / f"{PRESENT}{mine.name}"
    try:
        for left in folder.glob(f"{PRESENT}*"):
            if (owner := _owner(_read(left))) is not None and owner.machine == mine.machine and not _is_alive(owner):
                left.unlink(missing_ok=True)  # of a process that was killed
        write_bytes(file, json.dumps(asdict(mine)).encode())
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def require_unowned(folder: Path) -> None:
    """Raise OutputError if a running process of this machine owns the folder, is present there, or owns one inside."""
    try:
        files = [folder / OWNER, *folder.glob(f"{PRESENT}*"), *folder.glob(f"*/{OWNER}"), *folder.glob(f"*/*/{OWNER}")]
    except OSError:
        return
    for file in files:
        owner = _owner(_read(file))
        if owner is not None and owner.machine == machine_id() and _is_alive(owner):
            raise _refusal(file, owner)


def machine_id() -> str:
    """The space in which a process id is unique: this machine, since its boot, and the container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        space = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        boot, space = str(int(psutil.boot_time())), ""
    return f"{platform.node()}/{boot}/{space}".replace(" ", "-")


def is_running(process: int) -> bool:
    """Whether a process of this machine is running."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_alive(owner: Owner) -> bool:
    """Whether the owner's process, of this machine, is running."""
    return is_running(owner.process) and _is_known(owner)


def _is_known(owner: Owner) -> bool:
    """Whether the running process is the owner, and not a later process with the same id."""
    try:
        return abs(psutil.Process(owner.process).create_time() - owner.started) < CLOCK_SECONDS
    except psutil.Error:
        return False


def _me() -> Owner:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    started = psutil.Process().create_time()
    return Owner(platform.node(), os.getpid(), since, machine_id(), started, uuid.uuid4().hex)


def _take(file: Path, mine: Owner) -> None:
    while True:
        try:
            with file.open("x", encoding="utf-8") as opened:  # of several at once, one succeeds
                opened.write(json.dumps(asdict(mine)))
            return
        except FileExistsError:
            _remove_stale(file)


def _remove_stale(file: Path) -> None:
    """Remove the file of an owner that has ended. Raises OutputError if the owner is alive."""
    seen = _watched(file)
    if seen is None:
        return
    aside = file.with_name(f"{OWNER}.{uuid.uuid4().hex[:8]}")
    try:
        file.rename(aside)
    except FileNotFoundError:  # another process has removed it
        return
    if _read(aside) != seen:  # another process has taken the folder meanwhile: give its file back
        with suppress(OSError):
            os.link(aside, file)
    aside.unlink()


def _watched(file: Path) -> str | None:
    """The text of the file of an owner that has ended; None if it is gone. Raises OutputError for a live owner."""
    seen, since = _read(file), time.monotonic()
    while seen is not None:
        owner = _owner(seen)
        if owner is not None and owner.machine == machine_id():
            if not is_running(owner.process):
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
    return OutputError(f"{file.parent} is in use by {owner.words()}; wait until it has ended, or name another folder")


def _beat(file: Path, mine: Owner, ended: threading.Event) -> None:
    count = 0
    while not ended.wait(BEAT_SECONDS):
        with suppress(OSError):  # the run itself reports what is wrong with the folder
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
