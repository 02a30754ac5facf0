"""One run of a batch, in any process, and the worker process that makes one run after another.

A process gets a RunSpec and the name of a folder; it returns None, or why the run failed. All else is in the folder.
"""

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from impasto import errors
from impasto.batch.thumbnails import save_thumbnails
from impasto.batch.underway import under_way
from impasto.errors import ImpastoError
from impasto.events import silent
from impasto.folders.named import hash_files
from impasto.folders.owners import end_the_process, owned, wait
from impasto.runs.stopping import HANG_UP, stop_signal
from impasto.series.members import folder_state, make_run
from impasto.tasks.spec import RunSpec

LOG = "workers.log"


@dataclass(frozen=True)
class Workplace:
    """Where and how runs are made: the batch's folder, threads per run, seconds between checkpoints.

    A run uses a `memory_share` of the memory it is allowed: less than 1 if it is tried again after memory ran out.
    """

    out: Path
    threads: int
    checkpoint_seconds: float = 30.0
    memory_share: float = 1.0


@dataclass(frozen=True)
class Failure:
    """An ImpastoError to send between processes: the name of its class, and its sentence."""

    kind: str
    sentence: str

    def error(self) -> ImpastoError:
        """The ImpastoError itself."""
        error: ImpastoError = getattr(errors, self.kind)(self.sentence)
        return error


def attempt(spec: RunSpec, name: str, workplace: Workplace) -> Failure | None:
    """Make the run `name`, from its last checkpoint if there is one. Returns None, or the failure."""
    try:
        torch.set_num_threads(workplace.threads)  # this process has nothing else to do
        return _make(spec, name, workplace)
    except ImpastoError as error:
        return Failure(type(error).__name__, str(error))
    except OSError as error:
        return Failure("OutputError", f"{workplace.out / name} cannot be written: {error.strerror or error}")
    except KeyboardInterrupt:
        return Failure("InterruptedRunError", "stopped at once")
    except MemoryError:
        return Failure("OutOfMemoryError", f"there is not enough memory for {spec.settings.size} px")
    except Exception as error:  # a fault in one run may not end the others
        traceback.print_exc()
        return Failure(
            "ImpastoError", f"impasto itself failed ({type(error).__name__}: {' '.join(str(error).split())})"
        )


def _make(spec: RunSpec, name: str, workplace: Workplace) -> Failure | None:
    """Make the run in its folder, once no other process is at work there, for instance on a node that was cut off."""
    folder = workplace.out / name
    folder.mkdir(exist_ok=True)
    try:
        with (
            owned(folder, busy=wait, on_loss=end_the_process) as held,
            under_way(workplace.out, name),
            stop_signal(silent) as stop,
        ):
            hashes = hash_files([spec])
            if missing := [path for path in spec.pictures if path not in hashes]:
                return Failure("ImageError", f"there is no file {missing[0]}")
            state = folder_state(spec, folder, hashes)
            if state == "other":
                words = f"{folder} holds another run; remove it, or make all runs again with --force"
                return Failure("OutputError", words)
            if state != "done":  # another process may have finished the run during the wait
                make_run(
                    spec,
                    folder,
                    hashes,
                    stop=stop,
                    listener=silent,
                    checkpoint_seconds=workplace.checkpoint_seconds,
                    memory_share=workplace.memory_share,
                    held=held,
                )
            save_thumbnails(workplace.out, name, spec.pictures)
    finally:
        with suppress(OSError):
            folder.rmdir()  # if the run was refused before it began
    return None


def serve(connection: Connection, workplace: Workplace, number: int) -> None:
    """The main loop of a worker process: make the runs that come over the connection, until it is closed.

    SIGTERM stops a run after its step, with a checkpoint; so does the end of the parent process. Output goes to a log
    in the batch's folder.
    """
    for ignored in (signal.SIGINT, *HANG_UP):
        signal.signal(ignored, signal.SIG_IGN)  # they reach all processes of a terminal; the parent handles them
    with open(os.devnull) as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    try:
        log = os.open(workplace.out / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError:  # the run reports the same fault
        log = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
    try:
        while True:
            spec, name = connection.recv()
            connection.send(attempt(spec, name, workplace))
    except (EOFError, OSError):
        return


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
