"""Engines make the runs of a batch and yield how each ended; the engine here uses processes of this machine.

An engine is called with the jobs and an event that asks it to stop. It yields an `Ended` for each job that ended, an
`Again` for each job that is tried again, and None now and then in between, so that the caller can read the folders.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Event

from impasto.batch.worker import Failure, Workplace, serve
from impasto.errors import ImpastoError, InterruptedRunError, OutOfMemoryError
from impasto.folders.names import SETTINGS_FILE
from impasto.tasks.spec import RunSpec
from impasto.waiting import for_children

LOOK_SECONDS = 0.25
PATIENCE_SECONDS = 10.0  # until a process that was asked to end is killed
TRIES = 3  # of one run, each with half the memory if memory may have run out


@dataclass(frozen=True)
class Job:
    """A run of a batch and the name of its folder."""

    name: str
    spec: RunSpec


@dataclass(frozen=True)
class Ended:
    """How a job ended: done if there is no error."""

    job: Job
    error: ImpastoError | None


@dataclass(frozen=True)
class Again:
    """A job that failed and is tried again, with the sentence for people."""

    job: Job
    words: str


Engine = Callable[[Sequence[Job], Event], Iterator[Ended | Again | None]]


class KilledError(ImpastoError):
    """A process ended in the middle of a run; `short` if the reason may be too little memory."""

    def __init__(self, sentence: str, *, short: bool = False) -> None:
        super().__init__(sentence)
        self.short = short


@dataclass(frozen=True)
class Try:
    """One try of a job: where and how the run is made, and the number of the try."""

    job: Job
    workplace: Workplace
    number: int = 1

    def next(self, error: ImpastoError | None, *, beside_others: bool = False) -> "Try | None":
        """The next try after this error, with half the memory if memory ran out; None if there are no tries left.

        A run refused before it began did not fit even in the smallest tiles: trying again helps only once other
        runs have ended.
        """
        short, killed = isinstance(error, OutOfMemoryError), isinstance(error, KilledError)
        refused = short and not (self.workplace.out / self.job.name / SETTINGS_FILE).exists()
        if self.number >= TRIES or not (short or killed) or (refused and not beside_others):
            return None
        short = error.short if isinstance(error, KilledError) else not refused
        share = self.workplace.memory_share / 2 if short else self.workplace.memory_share
        return replace(self, workplace=replace(self.workplace, memory_share=share), number=self.number + 1)

    def again(self, error: ImpastoError | None, how: str) -> Again:
        """The event for this try, which follows one that ended with the error."""
        return Again(self.job, f"{error}; the run is tried again{how}{self._with(' with')}")

    def ended(self, error: ImpastoError | None) -> Ended:
        """The end of the job; if a job tried several times failed, its error says how often."""
        if isinstance(error, (OutOfMemoryError, KilledError)) and self.number > 1:
            error.args = (f"{error}; the run was tried {self.number} times{self._with(', the last time with')}",)
        return Ended(self.job, error)

    def _with(self, word: str) -> str:
        shares = {0.5: "half", 0.25: "a quarter"}
        return f"{word} {shares[share]} of the memory" if (share := self.workplace.memory_share) in shares else ""


def on_this_machine(
    jobs: Sequence[Job], stop: Event, *, workplace: Workplace, workers: int
) -> Iterator[Ended | Again | None]:
    """Make the jobs in `workers` processes. `stop` lets each run write a checkpoint and end.

    A job whose process is killed, or that runs out of memory, is tried again after all the others, alone, from its last
    checkpoint: twice at most, each time with half the memory if memory ran out or may have run out.
    """
    again: list[tuple[Try, ImpastoError | None]] = []
    for ended in _work(jobs, stop, workplace, workers):
        further = None
        if ended is not None and not stop.is_set():
            further = Try(ended.job, workplace).next(ended.error, beside_others=workers > 1)
        if ended is None or further is None:
            yield ended
        else:
            again.append((further, ended.error))
    for further, error in again:
        yield from _alone(further, error, stop)


def _alone(this: Try, error: ImpastoError | None, stop: Event) -> Iterator[Ended | Again | None]:
    while not stop.is_set():
        yield this.again(error, ", alone,")
        for ended in _work([this.job], stop, this.workplace, 1):
            if ended is None:
                yield None
                continue
            further = None if stop.is_set() else this.next(ended.error)
            if further is None:
                yield this.ended(ended.error)
                return
            this, error = further, ended.error


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    connection: Connection
    job: Job | None = None


def _work(jobs: Sequence[Job], stop: Event, workplace: Workplace, workers: int) -> Iterator[Ended | None]:
    waiting, crew, asked = deque(jobs), _Crew(workplace, workers), False
    try:
        while True:
            while waiting and not stop.is_set() and (idle := crew.idle()):
                _give(idle, waiting.popleft())
            busy = {worker.connection: worker for worker in crew.workers if worker.job is not None}
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
                if isinstance(ended.error, KilledError) or not worker.process.is_alive():
                    crew.workers.remove(worker)
                yield ended
    finally:
        _dismiss(crew.workers)


@dataclass(eq=False)
class _Crew:
    """The worker processes, at most `most` at once; `begun` counts all that were ever begun."""

    workplace: Workplace
    most: int
    begun: int = 0
    workers: list[_Worker] = field(default_factory=list)

    def idle(self) -> _Worker | None:
        """A worker without a job, begun if there is room for another; None if all are busy."""
        idle = next((worker for worker in self.workers if worker.job is None), None)
        if idle is None and len(self.workers) < self.most:
            idle = _begin(self.workplace, self.begun)
            self.begun += 1
            self.workers.append(idle)
        return idle


def _begin(workplace: Workplace, number: int) -> _Worker:
    context = get_context("spawn")  # a fork would inherit the state of PyTorch's threads
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, workplace, number))
    with for_children():
        process.start()
    theirs.close()
    return _Worker(process, ours)


def _give(worker: _Worker, job: Job) -> None:
    worker.job = job
    with suppress(OSError):  # a process that is gone is found when its answer is read
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
        return Ended(job, _how_it_died(worker.process.exitcode or 0))
    return Ended(job, None if failure is None else failure.error())


def _how_it_died(code: int) -> KilledError:
    if code == -signal.SIGTERM or code >= 0:
        words = f"its process ended in the middle of the run, with exit code {code}; workers.log may say why"
        return KilledError(words)
    name = signal.Signals(-code).name
    if name != "SIGKILL":
        return KilledError(f"its process was ended by {name}")
    return KilledError(f"its process was ended by {name}, perhaps because memory was short", short=True)


def _dismiss(crew: Sequence[_Worker]) -> None:
    """End the workers; one is still busy only if this process has to end at once."""
    for worker in crew:
        worker.connection.close()
        if worker.job is not None:
            worker.process.terminate()
    for worker in crew:
        worker.process.join(PATIENCE_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
