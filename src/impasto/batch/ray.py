"""The runs of a batch on a Ray cluster: a task for each, begun again on another node if its node is lost.

A task gets a RunSpec and the name of a folder that all nodes see; a task begun again finds the last checkpoint there.
Ray's own retries are off, since they would not use less memory after memory ran out.
"""

import platform
import signal
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

from impasto.batch.processes import LOOK_SECONDS, Again, Ended, Engine, Job, KilledError, Try
from impasto.batch.worker import Failure, Workplace, attempt
from impasto.cluster.connection import connected
from impasto.errors import ImpastoError, InterruptedRunError, OutputError
from impasto.tasks.spec import RunSpec

RETRIES = 5  # of one run, each after its node was lost
AHEAD = 2  # tasks handed over for each that the cluster can run at once, so that no core waits
PATIENCE_SECONDS = 60.0  # until tasks that were asked to stop are killed


@contextmanager
def on_cluster(address: str, workplace: Workplace, marker: Path, jobs_at_once: int | None) -> Iterator[Engine]:
    """An engine on the Ray cluster at an address ("auto": this machine's cluster), disconnected at the end.

    `marker` is a file in the batch's folder, by which a node verifies that it sees that folder. A run uses as many
    cores as threads, and a graphics processor if the cluster has one. Raises SpecError if Ray is not installed,
    OutputError if there is no cluster.
    """
    with connected(address) as ray:
        yield lambda jobs, stop: _work(_Tasks(ray, jobs, workplace, marker, jobs_at_once), stop)


def _attempt_there(spec: RunSpec, name: str, workplace: Workplace, marker: bytes, file: str) -> Failure | None:
    """`attempt` on a node, which must see the batch's folder."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in nodes that a script started in its background, SIGINT
        signal.signal(signal.SIGINT, signal.default_int_handler)  # is ignored, but `ray.cancel` sends SIGINT
    try:
        seen = (workplace.out / file).read_bytes()
    except OSError:
        seen = b""
    if seen != marker:
        needed = "a batch on a cluster needs a folder that all nodes share"
        return Failure("OutputError", f"the node {platform.node()} does not see {workplace.out}; {needed}")
    return attempt(spec, name, workplace)


def _work(tasks: "_Tasks", stop: Event) -> Iterator[Ended | Again | None]:
    lost = Counter[str]()  # how many nodes each run has lost
    while tasks.waiting or tasks.handed:
        tasks.hand_over(stop)
        if stop.is_set():
            tasks.give_up()
        done = tasks.done()
        if not done:
            yield None

        for this, error in done:
            if stop.is_set():
                unfinished = isinstance(error, (KilledError, _LostError, _UnfitError))
                yield this.ended(InterruptedRunError("stopped") if unfinished else error)
            elif isinstance(error, _LostError) and lost[this.job.name] < RETRIES:
                lost[this.job.name] += 1
                tasks.waiting.appendleft(this)
            elif further := this.next(error, beside_others=True):
                tasks.waiting.append(further)
                yield further.again(error, "")
            else:
                yield this.ended(error)


class _Tasks:
    """The tries of a batch that are waiting, and those handed over to the cluster as tasks."""

    def __init__(
        self, ray: ModuleType, jobs: Sequence[Job], workplace: Workplace, marker: Path, jobs_at_once: int | None
    ) -> None:
        self.waiting, self.handed = deque(Try(job, workplace) for job in jobs), dict[Any, Try]()
        self._ray, self._jobs_at_once, self._threads = ray, jobs_at_once, workplace.threads
        self._task = ray.remote(_attempt_there).options(**_resources(ray, jobs, workplace), max_retries=0)
        self._marker, self._mark = marker.name, marker.read_bytes()
        self._cancel = _Cancelling(ray)

    def hand_over(self, stop: Event) -> None:
        """Hand over as many tries as the cluster takes at its present size, or until a stop is asked for."""
        while self.waiting and not stop.is_set() and len(self.handed) < self._most():
            this = self.waiting.popleft()
            reference = self._task.remote(this.job.spec, this.job.name, this.workplace, self._mark, self._marker)
            self.handed[reference] = this

    def give_up(self) -> None:
        """Forget the tries that wait, and ask the tasks to stop."""
        self.waiting.clear()
        self._cancel(self.handed)

    def done(self) -> list[tuple[Try, ImpastoError | None]]:
        """The tries that have ended, each with its error; empty if none ends within LOOK_SECONDS."""
        if not self.handed:
            return []
        done, _ = self._ray.wait(list(self.handed), num_returns=1, timeout=LOOK_SECONDS)
        return [(self.handed.pop(reference), _error(self._ray, reference)) for reference in done]

    def _most(self) -> int:
        """How many tasks may be handed over at once."""
        if self._jobs_at_once is not None:
            return self._jobs_at_once
        return max(16, AHEAD * int(self._ray.cluster_resources().get("CPU", 1) // self._threads))


class _Cancelling:
    """Asks tasks to stop, and kills those that have not stopped after PATIENCE_SECONDS."""

    def __init__(self, ray: ModuleType) -> None:
        self._ray = ray
        self._asked_at: float | None = None

    def __call__(self, references: Iterable[Any]) -> None:
        """Cancel the tasks, unless they were asked a short time ago."""
        now = time.monotonic()
        late = self._asked_at is not None and now - self._asked_at > PATIENCE_SECONDS
        if self._asked_at is not None and not late:
            return
        self._asked_at = now
        for reference in references:
            with suppress(Exception):  # the task may have just ended
                self._ray.cancel(reference, force=late)


class _LostError(ImpastoError):
    """The node of a run was lost."""


class _UnfitError(OutputError):
    """A run could not begin on its node.

    A stop can cause this too: if it comes while Ray reads a task's arguments, Ray calls the handler of SIGINT, which is
    not a function in nodes that a script started in its background.
    """


def _resources(ray: ModuleType, jobs: Sequence[Job], workplace: Workplace) -> dict[str, Any]:
    wants = any(job.spec.settings.device != "cpu" for job in jobs)
    return {"num_cpus": workplace.threads, **({"num_gpus": 1} if wants and ray.cluster_resources().get("GPU") else {})}


def _error(ray: ModuleType, reference: Any) -> ImpastoError | None:
    """The error of a task that ended, if it failed."""
    try:
        failure: Failure | None = ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        return InterruptedRunError("stopped")
    except ray.exceptions.RayTaskError as error:  # before the run began: `attempt` raises nothing
        return _UnfitError(
            f"a node cannot run impasto ({' '.join(str(error.cause).split())[:300]}); install it on all nodes"
        )
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        return KilledError("its process was ended, perhaps because memory was short", short=True)
    except ray.exceptions.RayError as error:
        return _LostError(f"its node was lost each of {RETRIES + 1} times ({' '.join(str(error).split())[:300]})")
    return None if failure is None else failure.error()
