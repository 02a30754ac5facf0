"""One run at a time in a folder, also across machines: a file names the owner, and a heartbeat keeps the file fresh.

On the same machine, a folder is free as soon as its owner's process has ended. An owner on another machine is known
only by its heartbeat: the folder is free once the heartbeat has stopped for `STALE_SECONDS`.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from impasto.errors import FolderLostError, OutputError
from impasto.files import write_bytes
from impasto.folders.processes import (
    Life,
    Owner,
    life,
    parse_owner,
    read_text,
    this_process,
)

OWNER = ".impasto-owner"
PRESENT = f"{OWNER}.beside."  # the beginning of a name: each of several processes at work in a folder has such a file
BEAT_SECONDS = 2.0
STALE_SECONDS = 15.0  # without a heartbeat; longer than network file systems cache a file


Busy = Callable[[Path, Owner], None]
"""What is done while the owner of a folder is alive: `refuse`, or `wait`."""


def refuse(folder: Path, owner: Owner) -> None:
    """Raise OutputError, which names the owner."""
    raise OutputError(
        f"{folder} is in use by {owner.words()}; wait until that process has ended, or name another folder"
    )


def wait(folder: Path, owner: Owner) -> None:
    """Let the owner work on: the folder is taken once the owner has ended or its heartbeat has stopped."""


def stop_in_a_sentence() -> None:
    """The loss is reported by the next call of `Ownership.require`."""


def end_the_process() -> None:
    """End this process at once: not one more byte is written to the folder."""
    os._exit(1)


class Ownership:
    """A folder that this process owns, or has lost because its heartbeat had stopped for too long.

    A process that was suspended, or a machine that was cut off, learns of the loss from `require`, which is called
    before anything is written. `on_loss` is called first, in the thread that finds the loss.
    """

    def __init__(self, folder: Path, mine: Owner, on_loss: Callable[[], None]) -> None:
        self.folder = folder
        self._file, self._mine, self._on_loss = folder / OWNER, mine, on_loss
        self._looked = time.time()  # unlike the monotonic clock, this clock goes on while the machine sleeps

    @property
    def name(self) -> str:
        """Letters and digits that no other owner has."""
        return self._mine.name[:8]

    def is_lost(self) -> bool:
        """Whether another process has the folder; looks at the file if the last look is two heartbeats ago."""
        if abs(time.time() - self._looked) < 2 * BEAT_SECONDS:
            return False
        return self._taker() is not None

    def require(self) -> None:
        """Raise FolderLostError if another process has the folder."""
        if self.is_lost() and (taker := self._taker()) is not None:
            raise FolderLostError(
                f"{self.folder} was taken by {taker.words()}, while this process was suspended or cut off"
            )

    def beat_until(self, ended: threading.Event) -> None:
        """Renew the file every `BEAT_SECONDS`, until the end or until the folder is lost."""
        count = 0
        while not ended.wait(BEAT_SECONDS):
            with suppress(OSError):  # the run itself reports what is wrong with the folder
                if self._taker() is not None:
                    return
                count += 1
                self._renew(json.dumps(asdict(replace(self._mine, beat=count))))

    def release(self) -> None:
        """Remove the file, if it is still this process's."""
        with suppress(OSError):
            if _is_mine(self._file, self._mine):
                self._file.unlink()

    def _taker(self) -> Owner | None:
        """The other owner, if the folder is lost; a file that cannot be read says nothing."""
        try:
            owner = parse_owner(read_text(self._file))
        except OSError:
            return None
        if owner is None or owner.name == self._mine.name:
            self._looked = time.time()
            return None
        self._looked = 0.0
        self._on_loss()
        return owner

    def _renew(self, text: str) -> None:
        beside = self._file.with_name(f"{OWNER}.{self.name}")
        if self._file.exists():
            beside.write_text(text, "utf-8")
            beside.replace(self._file)
        else:  # another process may be taking the folder: of both, one makes the file
            _make(self._file, text)


@contextmanager
def owned(
    folder: Path,
    *,
    held: Ownership | None = None,
    busy: Busy = refuse,
    on_loss: Callable[[], None] = stop_in_a_sentence,
) -> Iterator[Ownership]:
    """Own an existing folder until the end of the block; if the caller has `held` the folder already, only pass it on.

    While another process or thread owns the folder, `busy` is called: `refuse` raises OutputError, which names host,
    process and time; `wait` waits. `on_loss` is called if another process takes the folder. Raises OutputError if the
    folder cannot be written.
    """
    if held is not None:
        yield held
        return
    mine = this_process()
    try:
        _take(folder / OWNER, mine, busy)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from None
    ownership, ended = Ownership(folder, mine, on_loss), threading.Event()
    beat = threading.Thread(target=ownership.beat_until, args=(ended,), daemon=True)
    beat.start()
    try:
        yield ownership
    finally:
        ended.set()
        beat.join()
        ownership.release()


@contextmanager
def present(folder: Path) -> Iterator[None]:
    """Say until the end of the block that this process works in an existing folder, beside others.

    `require_unowned` refuses the folder meanwhile. Raises OutputError if the folder cannot be written.
    """
    mine = this_process()
    file = folder / f"{PRESENT}{mine.name}"
    try:
        for left in folder.glob(f"{PRESENT}*"):
            owner = parse_owner(read_text(left))
            if owner is not None and life(owner) in (Life.ENDED, Life.DOUBTFUL):
                left.unlink(missing_ok=True)  # of a process that was killed
        write_bytes(file, json.dumps(asdict(mine)).encode())
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def require_unowned(folder: Path, held: Ownership | None = None) -> None:
    """Raise OutputError if a running process of this machine owns the folder, is present there, or owns one inside.

    The owner `held` may.
    """
    try:
        files = [folder / OWNER, *folder.glob(f"{PRESENT}*"), *folder.glob(f"*/{OWNER}"), *folder.glob(f"*/*/{OWNER}")]
    except OSError:
        return
    for file in files:
        owner = parse_owner(read_text(file))
        if owner is None or (held is not None and owner.name.startswith(held.name)):
            continue
        if life(owner) is Life.RUNNING:
            refuse(file.parent, owner)


def _take(file: Path, mine: Owner, busy: Busy) -> None:
    while not _make(file, json.dumps(asdict(mine))):
        _remove_stale(file, busy)


def _make(file: Path, text: str) -> bool:
    """Make the file, unless there is one: of several processes at once, one succeeds."""
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        return False
    return True


def _remove_stale(file: Path, busy: Busy) -> None:
    """Remove the file of an owner that has ended; `busy` says what is done while the owner is alive."""
    seen = _watched(file, busy)
    if seen is None:
        return
    aside = file.with_name(f"{OWNER}.{uuid.uuid4().hex[:8]}")
    try:
        file.rename(aside)
    except FileNotFoundError:  # another process has removed it
        return
    if read_text(aside) != seen:  # another process has taken the folder meanwhile: give its file back
        with suppress(OSError):
            os.link(aside, file)
    aside.unlink()


def _watched(file: Path, busy: Busy) -> str | None:
    """The text of the file of an owner that has ended, or whose heartbeat has stopped; None if the file is gone."""
    seen, since = read_text(file), time.monotonic()
    while seen is not None:
        owner = parse_owner(seen)
        known = None if owner is None else life(owner)
        if known is Life.ENDED:
            return seen
        if owner is not None and known is Life.RUNNING:
            busy(file.parent, owner)
        if time.monotonic() - since > STALE_SECONDS:
            return seen
        time.sleep(0.2)
        now = read_text(file)
        if now != seen:
            if now is not None and (owner := parse_owner(now)) is not None:
                busy(file.parent, owner)
            since = time.monotonic()
        seen = now
    return None


def _is_mine(file: Path, mine: Owner) -> bool:
    owner = parse_owner(read_text(file))
    return owner is not None and owner.name == mine.name
