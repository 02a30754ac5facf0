"""What does the runs of a batch: a function from jobs to how they ended, as they end. Here, processes of this machine.

An engine is called with the jobs and an event that asks it to stop. It yields an `Ended` for each job that ended, and
None now and then while nothing ends, so that the caller can look at the folders.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Event

from impasto.errors import ImpastoError, InterruptedRunError, OutOfMemoryError
from impasto.specs import RunSpec
from impasto.workers import Failure, Place, serve

LOOK_SECONDS = 0.25
PATIENCE_SECONDS = 10.0  # for a process that has been asked to end
TRIES_ALONE = 2


@dataclass(frozen=True)
class Job:
    """A run of a batch and the name of its folder."""

    name: str
    spec: RunSpec


@dataclass(frozen=True)
class Ended:
    """How a job ended: done where there is no error."""

    job: Job
    error: ImpastoError | None


Engine = Callable[[Sequence[Job], Event], Iterator[Ended | None]]


def on_this_machine(jobs: Sequence[Job], stop: Event, *, place: Place, workers: int) -> Iterator[Ended | None]:
    """Each job in one of so many processes. `stop` lets each keep where it stands and end.

    A job whose process is killed, or that finds too little memory beside others, is tried again after all the others,
    alone, on from its last checkpoint.
    """
    again: list[Job] = []
    for ended in _work(jobs, stop, place, workers):
        if isinstance(ended, Ended) and _worth_another_try(ended, workers) and not stop.is_set():
            again.append(ended.job)
        else:
            yield ended
    for job in again:
        for tries_left in reversed(range(TRIES_ALONE)):
            killed = False
            for ended in _work([job], stop, place, 1):
                killed = ended is not None and isinstance(ended.error, _KilledError)
                if not killed or not tries_left or stop.is_set():
                    yield ended
            if not killed or stop.is_set():
                break


class _KilledError(ImpastoError):
    """A worker process has ended in the middle of a run."""


def _worth_another_try(ended: Ended, workers: int) -> bool:
    short = isinstance(ended.error, OutOfMemoryError) and workers > 1
    return short or isinstance(ended.error, _KilledError)


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    connection: Connection
    job: Job | None = None


def _work(jobs: Sequence[Job], stop: Event, place: Place, workers: int) -> Iterator[Ended | None]:
    waiting, crew, begun = deque(jobs), list[_Worker](), 0
    asked = False
    try:
        while True:
            while waiting and not stop.is_set():
                idle = next((worker for worker in crew if worker.job is None), None)
                if idle is None and len(crew) < workers:
                    idle = _begin(place, begun)
                    begun += 1
                    crew.append(idle)
                if idle is None:
                    break
                _give(idle, waiting.popleft())
            busy = {worker.connection: worker for worker in crew if worker.job is not None}
            if not busy:
                return
            if stop.is_set() and not asked:
                for worker in busy.values():
                    worker.process.terminate()
                asked = True
            ready = wait(list(busy), LOOK_SECONDS)
            if not ready:
                yield None
            for connection in ready:
                worker = busy[connection]  # type: ignore[index]
                ended = _ended(worker, stop)
                if isinstance(ended.error, _KilledError) or not worker.process.is_alive():
                    crew.remove(worker)
                yield ended
    finally:
        _dismiss(crew)


def _begin(place: Place, number: int) -> _Worker:
    context = get_context("spawn")  # a fork would inherit PyTorch's threads
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, place, number))
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _give(worker: _Worker, job: Job) -> None:
    worker.job = job
    with suppress(OSError):  # it is gone: that is found where its answer is waited for
        worker.connection.send((job.spec, job.name))


def _ended(worker: _Worker, stop: Event) -> Ended:
    job, worker.job = worker.job, None
    assert job is not None
    try:
        failure: Failure | None = worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        if stop.is_set():
            return Ended(job, InterruptedRunError("stopped"))
        return Ended(job, _KilledError(_how_it_died(worker.process.exitcode or 0)))
    return Ended(job, None if failure is None else failure.error())


def _how_it_died(code: int) -> str:
    if code == -signal.SIGTERM or code >= 0:
        return f"its process ended in the middle of the run, with exit code {code}; workers.log may say why"
    name = signal.Signals(-code).name
    memory = "; perhaps memory was short: try fewer --jobs, or a smaller --size" if name == "SIGKILL" else ""
    return f"its process was ended by {name}, each time it was tried{memory}"


def _dismiss(crew: Sequence[_Worker]) -> None:
    """Let idle workers go; end those that are still busy, which happens only where this process is to end at once."""
    for worker in crew:
        worker.connection.close()
        if worker.job is not None:
            worker.process.terminate()
    for worker in crew:
        worker.process.join(PATIENCE_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
