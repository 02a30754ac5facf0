"""Leases: one process at a time in a folder, also across machines, by a file that its owner renews with a heartbeat.

A node that is taken for dead may still be writing. The next process waits until the heartbeat has stopped; an owner
that finds its lease taken ends at once.
"""

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from impasto.folders.owners import BEAT_SECONDS, STALE_SECONDS, is_running, machine_id

LEASES = ".leases"


@contextmanager
def leased(out: Path, name: str) -> Iterator[None]:
    """Hold the folder `name` of a batch's folder `out`; wait while another process holds it. Raises OSError."""
    file = out / LEASES / name
    file.parent.mkdir(exist_ok=True)
    _wait(file)
    owner = f"{machine_id()} {os.getpid()} {uuid.uuid4().hex}"
    _write(file, owner, 0)
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(file, owner, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        if (_read(file) or "").startswith(owner):
            file.unlink(missing_ok=True)


def leases_held(out: Path) -> list[str]:
    """The names of the folders that a process holds, or held when it was killed."""
    try:
        return sorted(path.name for path in (out / LEASES).iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _wait(file: Path) -> None:
    """Wait until the lease is gone, its owner on this machine has ended, or its heartbeat has stopped."""
    seen, since = _read(file), time.monotonic()
    while seen is not None:
        words = seen.split()
        if len(words) == 4 and words[0] == machine_id() and not is_running(int(words[1])):
            return
        if time.monotonic() - since > STALE_SECONDS:
            return
        time.sleep(0.2)
        now = _read(file)
        if now != seen:
            seen, since = now, time.monotonic()


def _beat(file: Path, owner: str, ended: threading.Event) -> None:
    count = 0
    while not ended.wait(BEAT_SECONDS):
        try:
            now = _read(file)
            if now is not None and not now.startswith(owner):
                os._exit(1)  # another process has the lease: not one more byte may be written here
            count += 1
            _write(file, owner, count)
        except OSError:
            continue  # the run itself reports what is wrong with the folder


def _read(file: Path) -> str | None:
    """The text of the file; None if there is no file."""
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return None


def _write(file: Path, owner: str, count: int) -> None:
    neighbour = file.with_name(f".{file.name}.{os.getpid()}")
    neighbour.write_text(f"{owner} {count}", "utf-8")
    neighbour.replace(file)
