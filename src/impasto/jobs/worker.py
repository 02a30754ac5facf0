"""The worker process of a queue: makes one run after the other, and hears what is asked of it meanwhile.

All that is heard goes through one connection, read by a thread. If the connection is lost, because the program that
holds the queue has ended or was killed, the present run writes a checkpoint and the process ends.
"""

import gc
import os
import queue
import signal
import threading
import traceback
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from impasto.errors import ImpastoError, InterruptedRunError, SpecError
from impasto.events import Event
from impasto.jobs.messages import ChangeSettings, Close, Ready, Request, Stop, Work, WorkEnded
from impasto.jobs.orders import Ways

if TYPE_CHECKING:
    from impasto.runs.stopping import Steering


def serve(connection: Connection) -> None:
    """The main function of the process: runs are made as they come over the connection, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the queue handles it
    with open(os.devnull) as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    worker = _Worker(connection)
    from impasto.runs import start  # noqa: F401  loads PyTorch before there is work

    worker.work()


class _Worker:
    """Makes runs in the main thread; a second thread reads what is asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._works: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._stopped = -1  # the serial up to which works are to stop
        self._lock = threading.Lock()
        self._early: list[ChangeSettings] = []
        self._steering: tuple[int, Steering] | None = None
        self._lost = False
        threading.Thread(target=self._listen, daemon=True).start()

    def work(self) -> None:
        """Make the runs that come, until the connection is closed."""
        self._send(Ready())
        while (work := self._works.get()) is not None:
            ended = self._made(work)
            gc.collect()  # a run leaves pictures and features in cycles: hundreds of MB after a few runs
            self._send(replace(ended, values=self._left()))

    def _left(self) -> dict[str, Any]:
        """The changes that were asked for and have not been made."""
        with self._lock:
            steering, self._steering = self._steering, None
        return {} if steering is None else steering[1].take()

    def _listen(self) -> None:
        try:
            while self._hear(self._connection.recv()):
                pass
        except (EOFError, OSError):
            pass
        self._lost = True
        self._works.put(None)

    def _hear(self, request: Request) -> bool:
        """Take note of a request; False if it is the last."""
        match request:
            case Work():
                self._works.put(request)
            case Stop():
                self._stopped = request.serial
            case ChangeSettings():
                self._change(request)
        return not isinstance(request, Close)

    def _change(self, request: ChangeSettings) -> None:
        with self._lock:
            if self._steering is None or self._steering[0] != request.serial:
                self._early.append(request)  # its run is still being prepared
                return
            with suppress(SpecError):  # the queue has checked the values before it sent them
                self._steering[1].change(**request.values)

    def _send(self, event: Event) -> None:
        try:
            self._connection.send(event)
        except OSError:  # the listening thread notices too, and stops the run
            self._lost = True

    def _made(self, work: Work) -> WorkEnded:
        """How the run ended. No error of a run ends this process."""
        try:
            self._make(work)
        except InterruptedRunError as error:
            return WorkEnded("stopped", str(error))
        except ImpastoError as error:
            return WorkEnded("failed", str(error))
        except OSError as error:
            return WorkEnded("failed", f"{work.folder} cannot be written: {error.strerror or error}")
        except MemoryError:
            return WorkEnded("failed", "there is not enough memory for this run")
        except Exception as error:
            traceback.print_exc()
            words = " ".join(str(error).split())
            return WorkEnded("failed", f"impasto itself failed ({type(error).__name__}: {words})")
        return WorkEnded("done")

    def _make(self, work: Work) -> None:
        from impasto.folders.specfiles import read_spec
        from impasto.jobs.previews import Previews
        from impasto.runs.stopping import Steering

        steering = Steering(read_spec(work.folder).spec if work.resumes else work.order.spec)
        with self._lock:
            early = [request.values for request in self._early if request.serial == work.serial]
            self._early, self._steering = [], (work.serial, steering)
            for values in (work.values, *early):
                steering.change(**values)

        def stop() -> bool:
            return self._lost or self._stopped >= work.serial

        work.order.make(work.folder, Ways(self._send, [Previews(self._send)], stop, steering), resumes=work.resumes)
