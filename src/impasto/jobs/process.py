"""The worker process as the queue sees it: started ahead of work, replaced if it dies."""

import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from threading import RLock

from impasto.events import Event
from impasto.jobs.messages import ChangeSettings, Close, Ready, Stop, Work, WorkEnded
from impasto.jobs.worker import serve
from impasto.waiting import for_children


class WorkerProcess:
    """One process that makes one run at a time."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._closed = False

    def start(self) -> None:
        """Start the process if it is not running, so that it is ready when work comes."""
        with self._lock:
            if self._closed or (self._process is not None and self._process.is_alive()):
                return
            context = get_context("spawn")  # a fork would inherit the state of threads
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=serve, args=(theirs,), name="impasto-worker", daemon=False)
            with for_children():
                self._process.start()
            theirs.close()

    def send(self, message: Stop | ChangeSettings) -> None:
        """Ask something of the run that is being made; nothing happens if the process has ended."""
        with self._lock, suppress(OSError):
            if self._connection is not None:
                self._connection.send(message)

    def make(self, work: Work, heard: Callable[[Event], object]) -> WorkEnded:
        """Let the process make a run, call `heard` with each event, and return how the run ended."""
        self.start()
        with self._lock:
            connection, process = self._connection, self._process
        if connection is None or process is None:
            return WorkEnded("stopped", "the queue is closed")
        try:
            with self._lock:
                connection.send(work)
            while not isinstance(event := connection.recv(), WorkEnded):
                if not isinstance(event, Ready):
                    heard(event)
            return event
        except (EOFError, OSError):
            process.join()
            return WorkEnded("failed", how_it_died(process.exitcode or 0))

    def close(self, patience_seconds: float) -> None:
        """Let the present run write a checkpoint, and end the process; kill it once patience ends."""
        with self._lock:
            self._closed = True
            connection, process = self._connection, self._process
        if connection is None or process is None:
            return
        with suppress(OSError):
            connection.send(Close())
        process.join(patience_seconds)
        if process.is_alive():
            process.kill()
            process.join()


def how_it_died(code: int) -> str:
    """A sentence for a process that ended in the middle of a run with this exit code."""
    if code >= 0:
        return f"the run's process ended with exit code {code}; resume the run from its last checkpoint"
    name = signal.Signals(-code).name
    why = ", perhaps because memory was short" if name == "SIGKILL" else ""
    return f"the run's process was ended by {name}{why}; resume the run from its last checkpoint"
