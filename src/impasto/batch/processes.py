"""What does the runs of a batch: a function from jobs to how they ended, as they end. Here, processes of this machine.

An engine is called with the jobs and an event that asks it to stop. It yields an `Ended` for each job that ended, an
`Again` for each that is to be tried again, and None now and then while nothing ends, so that the caller can look at the
folders.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Event

from impasto.batch.worker import Failure, Workplace, serve
from impasto.errors import ImpastoError, InterruptedRunError, OutOfMemoryError
from impasto.tasks.spec import RunSpec
from impasto.waiting import for_children

LOOK_SECONDS = 0.25
PATIENCE_SECONDS = 10.0  # for a process that has been asked to end
TRIES = 3  # of one run, each time with half of the memory where that may have been short


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


@dataclass(frozen=True)
class Again:
    """A job that has failed and is to be tried again, with what is said of it."""

    job: Job
    words: str


Engine = Callable[[Sequence[Job], Event], Iterator[Ended | Again | None]]


class KilledError(ImpastoError):
    """A process has ended in the middle of a run; `short` where too little memory may be the reason."""

    def __init__(self, sentence: str, *, short: bool = False) -> None:
        super().__init__(sentence)
        self.short = short


@dataclass(frozen=True)
class Try:
    """A job, which of its tries this is, and where and how it is made."""

    job: Job
    workplace: Workplace
    number: int = 1

    def next(self, error: ImpastoError | None, *, beside_others: bool = False) -> "Try | None":
        """Another try after it has ended so: with half of the memory where that was short. None where there is none.

        A run that was refused before it began had too little even for the smallest tiles: then only others help, by
        ending.
        """
        short, killed = isinstance(error, OutOfMemoryError), isinstance(error, KilledError)
        refused = short and not (self.workplace.out / self.job.name).exists()
        if self.number >= TRIES or not (short or killed) or (refused and not beside_others):
            return None
        short = error.short if isinstance(error, KilledError) else not refused
        share = self.workplace.memory_share / 2 if short else self.workplace.memory_share
        return replace(self, workplace=replace(self.workplace, memory_share=share), number=self.number + 1)

    def again(self, error: ImpastoError | None, how: str) -> Again:
        """What is said of this try, begun because the one before ended so."""
        return Again(self.job, f"{error}; it is tried again{how}{self._with(' with')}")

    def ended(self, error: ImpastoError | None) -> Ended:
        """How it ended for good: where it failed and was tried before, the sentence says so."""
        if isinstance(error, (OutOfMemoryError, KilledError)) and self.number > 1:
            error.args = (f"{error}; it was tried {self.number} times{self._with(', at last with')}",)
        return Ended(self.job, error)

    def _with(self, word: str) -> str:
        shares = {0.5: "half", 0.25: "a quarter"}
        return f"{word} {shares[share]} of the memory" if (share := self.workplace.memory_share) in shares else ""


def on_this_machine(
    jobs: Sequence[Job], stop: Event, *, workplace: Workplace, workers: int
) -> Iterator[Ended | Again | None]:
    """Each job in one of so many processes. `stop` lets each keep where it stands and end.

    A job whose process is killed, or that finds too little memory, is tried again after all the others, alone, on from
    its last checkpoint: twice at most, each time with half of the memory if that was or may have been short.
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
    waiting, crew, begun = deque(jobs), list[_Worker](), 0
    asked = False
    try:
        while True:
            while waiting and not stop.is_set():
                idle = next((worker for worker in crew if worker.job is None), None)
                if idle is None and len(crew) < workers:
                    idle = _begin(workplace, begun)
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
                if isinstance(ended.error, KilledError) or not worker.process.is_alive():
                    crew.remove(worker)
                yield ended
    finally:
        _dismiss(crew)


def _begin(workplace: Workplace, number: int) -> _Worker:
    context = get_context("spawn")  # a fork would inherit PyTorch's threads
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, workplace, number))
    with for_children():
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
