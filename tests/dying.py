"""Worker processes that fail, each in its own way; those that paint nothing import nothing slow, and start quickly."""

import os
import re
import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from impasto.errors import OutOfMemoryError

STEP = 4  # in which something happens; the steps before are written down, and their checkpoints


@dataclass(frozen=True)
class Place:
    """What is used of a batch's Workplace, whose module would import PyTorch."""

    out: Path
    memory_share: float = 1.0


class Refusal:
    """As a worker's answer: an error that is made where it is read."""

    def error(self) -> OutOfMemoryError:
        return OutOfMemoryError("too little memory")


def waiting_briefly(connection: Connection, place: None, number: int) -> None:
    """Says how long its threads wait."""
    connection.send([os.environ.get(name) for name in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")])


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


def killed_in_a_step(connection: Connection, place: Any, number: int) -> None:
    """A real worker, the first of its batch to come to the step: then it is killed."""
    _serve(connection, place, number, lambda: _first(place) and os.kill(os.getpid(), signal.SIGKILL))


def stopped_in_a_step(connection: Connection, place: Any, number: int) -> None:
    """Real workers: the first to come to the step stops the batch, and each waits there until it is stopped itself."""

    def stop() -> None:
        if _first(place):
            os.kill(os.getppid(), signal.SIGTERM)
        while signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:  # which the handler leaves, see stop_signal
            time.sleep(0.01)

    _serve(connection, place, number, stop)


def without_their_folder(connection: Connection, place: Any, number: int) -> None:
    """Real workers: as the first comes to the step, the batch's folder is moved away."""
    _serve(connection, place, number, lambda: _first(place) and place.out.rename(place.out.with_name("elsewhere")))


def on_a_full_disk(connection: Connection, place: Any, number: int) -> None:
    """A real worker; the system refuses larger files, as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
    _serve(connection, place, number, lambda: None)


def _first(place: Any) -> bool:
    """Whether nobody has asked before, by a mark beside the batch's folder."""
    try:
        place.out.with_name("asked").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _serve(connection: Connection, place: Any, number: int, act: Callable[[], object]) -> None:
    """Work, and act in the step of each run."""
    from impasto.batch import worker
    from impasto.runs import paint

    synthesise = paint.synthesise

    def acting(*given: Any) -> Iterator[Any]:
        for iterate in synthesise(*given):
            if iterate.step == STEP:
                act()
            yield iterate

    paint.synthesise = acting
    worker.serve(connection, place, number)
