"""Worker processes that fail, each in its own way; those that paint nothing import nothing slow, and start quickly."""

import os
import re
import resource
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from impasto.errors import OutOfMemoryError


@dataclass(frozen=True)
class Place:
    """What is used of a batch's Workplace, whose module would import PyTorch."""

    out: Path
    memory_share: float = 1.0


class Refusal:
    """As a worker's answer: an error that is made where it is read."""

    def error(self) -> OutOfMemoryError:
        return OutOfMemoryError("too little memory")


def killed(connection: Connection, place: Place, number: int) -> None:
    _, name = connection.recv()
    with open(place.out / name, "a") as file:  # noqa: PTH123
        file.write(f"{place.memory_share}\n")
    os.kill(os.getpid(), signal.SIGKILL)


def short_of_memory_at_first(connection: Connection, place: Place, number: int) -> None:
    """Refuses the first of each name, by a mark beside the folder of the run, which is not begun."""
    while True:
        try:
            _, name = connection.recv()
        except EOFError:
            return
        mark = place.out / f"{name}.refused"
        again = mark.exists()
        mark.touch()
        connection.send(None if again else Refusal())


def given_little_memory(connection: Connection, place: Any, number: int) -> None:
    """A real worker, to which the system gives 250 MB more than it has when it begins to paint."""
    from impasto.batch import worker
    from impasto.runs import start

    paint, limited = start.paint, False

    def paint_with_little(*given: Any) -> None:
        nonlocal limited
        if not limited:
            data = int(re.findall(r"VmData:\s*(\d+)", Path("/proc/self/status").read_text())[0]) * 1024
            resource.setrlimit(resource.RLIMIT_DATA, (data + 250_000_000,) * 2)
            limited = True
        paint(*given)

    start.paint = paint_with_little
    worker.serve(connection, place, number)
