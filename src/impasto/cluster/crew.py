"""Workers on a Ray cluster: asked for wherever there is room, and replaced if they are lost."""

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

PLACE_SECONDS = 120.0  # for a first worker, or another one if none is left
GATHER_SECONDS = 30.0  # for all that the cluster has room for, at the beginning
LOOK_SECONDS = 1.0
LOSSES = 5  # of workers during one evaluation, or as many as there were at most


class LostError(Exception):
    """The worker that was asked is gone."""


class _Actor(TileWorker):
    """A worker as Ray has it."""

    def node(self) -> str:
        import ray

        return str(ray.get_runtime_context().get_node_id())


@dataclass(eq=False)
class Worker:
    """A worker as seen from here: what it has been sent, of which work."""

    actor: Any
    node: str
    about: About
    work: str = ""
    kept: set[int] = field(default_factory=set)  # tiles whose targets it holds
    seen: set[int] = field(default_factory=set)  # tiles whose crop of the present picture it holds


class Crew:
    """All workers of a run. Each takes `threads` cores of its node, and a graphics processor if there are some.

    Raises ClusterError if none can be had, or if one differs from this machine.
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
        self._accelerated = equipment.device != "cpu" and bool(ray.cluster_resources().get("GPU"))
        self._there = replace(
            equipment,
            device="auto" if self._accelerated else "cpu",
            weights=equipment.weights and equipment.weights.absolute(),
            means=equipment.means and equipment.means.absolute(),
        )
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
        """Bytes that each worker may take: half of what is free, since it may inherit tiles and the picture is near."""
        machines = [worker.about.machine for worker in self.workers]

        def share(about: About) -> float:
            beside = 1 if about.accelerated else machines.count(about.machine)
            return min(about.allowed, about.free / 2 / beside)

        return min(share(worker.about) for worker in self.workers)

    @property
    def nodes(self) -> int:
        """How many nodes there are workers on."""
        return len({worker.node for worker in self.workers})

    def muster(self, seconds: float = 0.0, *, one: bool = False) -> None:
        """Ask for as many workers as there is room for, and wait so long for all that may come, or for only one."""
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
        """What the cluster refuses to take is said in a sentence: for want of room, for instance."""
        try:
            yield
        except self._ray.exceptions.RayError as error:
            raise ClusterError(f"the cluster takes no more data ({_short(error)})") from None

    def put(self, content: object) -> Any:
        """Something that several workers are to read."""
        with self.sending():
            return self._ray.put(content)

    def get(self, worker: Worker, reference: Any) -> Any:
        """What a worker answers. Raises LostError if the worker is gone, the ImpastoError of what went wrong there."""
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
        """An evaluation went well, so losses are counted anew."""
        self._in_a_row = 0

    def _lose(self, worker: Worker, error: Exception) -> None:
        if worker in self.workers:
            self.workers.remove(worker)
            with suppress(Exception):  # it may only be out of reach: it must not go on
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
        self._say("waiting for the cluster to begin a worker")
        self.muster(PLACE_SECONDS, one=True)

    def _require_some(self) -> None:
        if not self.workers:
            raise ClusterError(f"the cluster has no worker for this run ({self._why})")

    def _room(self) -> int:
        """How many workers the nodes have room for, others' work not counted."""
        try:
            resources = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        except Exception:  # the head is gone or slow: the workers there are will do
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
        except self._ray.exceptions.RayError as error:  # its node went, or it has no impasto
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
                raise ClusterError(f"{about.machine} and {platform.node()} differ in {name}{both}; all need the same")

    def _refuse(self, actor: Any, error: ImpastoError) -> None:
        """A worker that does not serve ends a run that begins; one that comes later is left out."""
        if not self._begun:
            raise error
        self._failed, self._why = self._failed + 1, str(error)
        with suppress(Exception):
            self._ray.kill(actor)
        self._say(f"a worker is left out: {error}")


def shared_out(tiles: int, workers: Sequence[Worker], before: Mapping[int, Worker]) -> dict[int, Worker]:
    """Which worker has which tile, as many each: as before if that is fair, so that little has to be sent again."""
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
    """What went wrong on a worker that is still there, as an error here."""
    if isinstance(cause, ImpastoError):
        return type(cause)(f"{machine}: {cause}")
    if isinstance(cause, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(cause):
        return OutOfMemoryError(f"{machine} has not enough memory for its tiles; give a smaller --tile")
    return ClusterError(f"a worker on {machine} failed ({type(cause).__name__}: {_short(cause)})")


def _why_lost(error: BaseException) -> str:
    """What matters of the half page that Ray says."""
    text = str(error)
    if "creation task" in text:
        return f"a node cannot run impasto: {text.strip().splitlines()[-1][:200]}"
    found = re.search(r"because (its [^.\n]+|it [^.\n]+)", text)
    return _short(error) if found is None else f"the last one is gone because {found[1]}"


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
