"""The worker process of a queue: makes one run after the other, and hears what is asked of it meanwhile.

All that is heard goes through one connection, read by a thread. If the connection is lost, because the program that
holds the queue has ended or was killed, the present run writes a checkpoint and the process ends.
"""

import os
import queue
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection

from impasto.errors import ImpastoError, InterruptedRunError
from impasto.events import Event
from impasto.jobs.messages import Ready, Stop, Work, WorkEnded


def serve(connection: Connection) -> None:
    """The main function of the process: runs are made as they come over the connection, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the queue handles it
    with open(os.devnull) as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), sys.stdin.fileno() if sys.stdin else 0)
    from impasto.runs import paint  # noqa: F401  loads PyTorch before there is work

    _Worker(connection).work()


class _Worker:
    """One run at a time, in the main thread; a second thread reads what is asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._lost = False
        threading.Thread(target=self._listen, daemon=True).start()

    def work(self) -> None:
        self._send(Ready())
        while (work := self._work.get()) is not None:
            self._send(self._made(work))

    def _listen(self) -> None:
        try:
            while True:
                match self._connection.recv():
                    case Work() as work:
                        self._stop.clear()
                        self._work.put(work)
                    case Stop():
                        self._stop.set()
        except (EOFError, OSError):
            self._lost = True
            self._stop.set()
            self._work.put(None)

    def _send(self, event: Event) -> None:
        if self._lost:
            return
        try:
            self._connection.send(event)
        except OSError:  # nobody is there any more: the listening thread stops the run
            self._lost = True

    def _made(self, work: Work) -> WorkEnded:
        """How the run ended. No error of a run ends this process."""
        from impasto.jobs.previews import Previews
        from impasto.runs.start import resume, run

        watched = {"recorders": [Previews(self._send)], "stop": self._stop, "listener": self._send}
        try:
            if work.spec is None:
                resume(work.folder, **watched)
            else:
                run(work.spec, work.folder, **watched)
        except InterruptedRunError as error:
            return WorkEnded("stopped", str(error))
        except ImpastoError as error:
            return WorkEnded("failed", str(error))
        except OSError as error:
            return WorkEnded("failed", f"{work.folder} cannot be written: {error.strerror or error}")
        except MemoryError:
            return WorkEnded("failed", "there is not enough memory")
        except Exception as error:
            traceback.print_exc()
            words = " ".join(str(error).split())
            return WorkEnded("failed", f"impasto itself failed ({type(error).__name__}: {words})")
        return WorkEnded("done")
