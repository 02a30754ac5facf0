"""Workers on a Ray cluster, started wherever there is room and replaced if they are lost."""

import platform
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from types import ModuleType
from typing import Any

import torch

from impasto.cluster.worker import About, Equipment, TileWorker, identity
from impasto.errors import ClusterError, ImpastoError, OutOfMemoryError
from impasto.events import Listener, Notice, silent

START_SECONDS = 120.0  # to wait for a first worker, or for another one if none is left
GATHER_SECONDS = 30.0  # to wait at the start for all workers that the cluster has room for
LOOK_SECONDS = 1.0
LOSSES = 5  # workers lost during one evaluation before the run fails, or the largest size of the crew if larger


class LostError(Exception):
    """A worker that was asked for something is gone."""


class _Actor(TileWorker):
    """A tile worker as a Ray actor."""

    def node(self) -> str:
        import ray

        return str(ray.get_runtime_context().get_node_id())


@dataclass(eq=False)
class Worker:
    """A worker as its crew knows it, with the data that it has been sent."""

    actor: Any
    node: str
    about: About
    work: str = ""
    kept: set[int] = field(default_factory=set)  # tiles whose targets the worker has
    seen: set[int] = field(default_factory=set)  # tiles whose crop of the current picture the worker has


class Crew:
    """All workers of a run. Each takes `threads` cores of its node, and a GPU if the cluster has any.

    Raises ClusterError if no worker can be started, or if one differs from this machine.
    """

    def __init__(
        self, ray: ModuleType, equipment: Equipment, threads: int, most: int, listener: Listener = silent
    ) -> None:
        self.workers: list[Worker] = []
        self.turns = count()
        self.threads = threads
        self.lost = 0
        self._ray, self._most, self._listener = ray, most, listener
        self._identity = identity(equipment)
        choice = equipment.choice
        self._accelerated = choice.device != "cpu" and bool(ray.cluster_resources().get("GPU"))
        there = replace(choice.with_absolute_files(), device="auto" if self._accelerated else "cpu")
        self._there = replace(equipment, choice=there)
        resources = {"num_cpus": self.threads, "num_gpus": int(self._accelerated)}
        self._actor = ray.remote(_Actor).options(**resources, max_restarts=0)
        self._coming: dict[Any, tuple[Any, Any]] = {}
        self._failed = self._in_a_row = self._largest = 0
        self._why = "the cluster has no free core"
        self._begun = False
        self.muster(GATHER_SECONDS)
        if self._coming and not self.workers:
            self._wait_for_one()
        self._require_some()
        self._begun = True

    @property
    def memory(self) -> float:
        """Bytes that each worker may take: half of its machine's free memory, divided among the machine's workers.

        Half, because a worker may take over tiles of a lost one, and the machine that leads the run may be the same.
        """
        machines = [worker.about.machine for worker in self.workers]

        def limit(about: About) -> float:
            workers = 1 if about.accelerated else machines.count(about.machine)
            return min(about.allowed, about.free / 2 / workers)

        return min(limit(worker.about) for worker in self.workers)

    @property
    def nodes(self) -> int:
        """The number of nodes that have workers."""
        return len({worker.node for worker in self.workers})

    def muster(self, seconds: float = 0.0, *, one: bool = False) -> None:
        """Ask for as many workers as there is room for; wait at most `seconds` for all of them, or for only one."""
        end = time.monotonic() + seconds
        while True:
            for _ in range(self._room() - self._failed - len(self.workers) - len(self._coming)):
                actor = self._actor.remote(self._there, self.threads)
                self._coming[actor.about.remote()] = (actor, actor.node.remote())
            left = max(0.0, end - time.monotonic())
            if self._coming:
                least = 1 if one else len(self._coming)
                ready, _ = self._ray.wait(list(self._coming), num_returns=least, timeout=min(left, LOOK_SECONDS))
                for reference in ready:
                    self._take_on(reference, *self._coming.pop(reference))
            elif one and not self.workers:
                time.sleep(min(left, LOOK_SECONDS))
            if not left or (self.workers if one else not self._coming):
                return

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Raise a ClusterError in one sentence if the cluster refuses data, for instance because it is full."""
        try:
            yield
        except self._ray.exceptions.RayError as error:
            raise ClusterError(f"the cluster accepts no more data ({_short(error)})") from None

    def put(self, content: object) -> Any:
        """Store an object that several workers will read."""
        with self.sending():
            return self._ray.put(content)

    def get(self, worker: Worker, reference: Any) -> Any:
        """A worker's answer. Raises LostError if the worker is gone, or the ImpastoError that the worker raised."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, self._ray.exceptions.RayError):
                raise _failure(worker.about.machine, error.cause) from None
            self._lose(worker, error.cause)
        except self._ray.exceptions.RayError as error:
            self._lose(worker, error)
        raise LostError

    def completed(self) -> None:
        """Count losses from zero, after an evaluation that succeeded."""
        self._in_a_row = 0

    def _lose(self, worker: Worker, error: Exception) -> None:
        if worker in self.workers:
            self.workers.remove(worker)
            with suppress(Exception):  # the worker may only be out of reach, and must not continue
                self._ray.kill(worker.actor)
            self.lost, self._in_a_row, self._why = self.lost + 1, self._in_a_row + 1, _why_lost(error)
            self._say(f"a worker on {worker.about.machine} is lost; others take its tiles")
            if self._in_a_row > max(LOSSES, self._largest):
                raise ClusterError(f"{self._in_a_row} workers were lost in one evaluation ({self._why})")
        self.muster()
        if not self.workers:
            self._wait_for_one()
            self._require_some()

    def _say(self, words: str) -> None:
        self._listener(Notice(words))

    def _wait_for_one(self) -> None:
        self._say("waiting for the cluster to start a worker")
        self.muster(START_SECONDS, one=True)

    def _require_some(self) -> None:
        if not self.workers:
            raise ClusterError(f"the cluster has no worker for this run ({self._why})")

    def _room(self) -> int:
        """The number of workers that the nodes have room for, if nothing else runs there."""
        try:
            resources = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        except Exception:  # the head node is gone or slow: continue with the present workers
            return len(self.workers)
        rooms = [int(each.get("CPU", 0) // self.threads) for each in resources]
        if self._accelerated:
            rooms = [min(room, int(each.get("GPU", 0))) for room, each in zip(rooms, resources, strict=True)]
        return min(self._most, sum(rooms))

    def _take_on(self, reference: Any, actor: Any, node: Any) -> None:
        try:
            worker = Worker(actor, self._ray.get(node), self._ray.get(reference))
            self._require_same(worker.about)
        except self._ray.exceptions.RayTaskError as error:
            self._refuse(actor, _failure("a node", error.cause))
        except self._ray.exceptions.RayError as error:  # the node is gone, or has no impasto
            self._failed, self._why = self._failed + 1, _why_lost(error)
        except ClusterError as error:
            self._refuse(actor, error)
        else:
            self.workers.append(worker)
            self._largest, self._failed = max(self._largest, len(self.workers)), 0

    def _require_same(self, about: About) -> None:
        for name, here in self._identity.items():
            there = about.identity[name]
            if there != here:
                both = f" ({there} there, {here} here)" if len(here) < 32 else ""
                differ = f"{about.machine} and {platform.node()} differ in {name}{both}"
                raise ClusterError(f"{differ}; all machines need the same")

    def _refuse(self, actor: Any, error: ImpastoError) -> None:
        """End a run that is starting if a worker cannot be used; later, leave the worker out."""
        if not self._begun:
            raise error
        self._failed, self._why = self._failed + 1, str(error)
        with suppress(Exception):
            self._ray.kill(actor)
        self._say(f"a worker is left out: {error}")


def assigned(tiles: int, workers: Sequence[Worker], before: Mapping[int, Worker]) -> dict[int, Worker]:
    """Tiles divided evenly among workers; a tile stays with its worker if possible, so that little is sent again."""
    most = -(-tiles // len(workers))
    load = dict.fromkeys(workers, 0)
    owners: dict[int, Worker] = {}
    for number, worker in before.items():
        if load.get(worker, most) < most:
            owners[number] = worker
            load[worker] += 1
    for number in range(tiles):
        if number not in owners:
            owners[number] = min(workers, key=load.__getitem__)
            load[owners[number]] += 1
    return owners


def _failure(machine: str, cause: BaseException) -> ImpastoError:
    """The error of a worker that is still running, as an error of this process."""
    if isinstance(cause, ImpastoError):
        return type(cause)(f"{machine}: {cause}")
    if isinstance(cause, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(cause):
        return OutOfMemoryError(f"{machine} does not have enough memory for its tiles; choose a smaller --tile")
    return ClusterError(f"a worker on {machine} failed ({type(cause).__name__}: {_short(cause)})")


def _why_lost(error: BaseException) -> str:
    """The reason for a loss, from Ray's message of half a page."""
    text = str(error)
    if "creation task" in text:
        return f"a node cannot run impasto: {text.strip().splitlines()[-1][:200]}"
    found = re.search(r"because (its [^.\n]+|it [^.\n]+)", text)
    return _short(error) if found is None else f"the last one is gone because {found[1]}"


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
