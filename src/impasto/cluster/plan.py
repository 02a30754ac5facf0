"""The choice between the cluster and this process for each size of picture, and of the tiles."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch

from impasto.amounts import parse_memory
from impasto.cluster.connection import connected
from impasto.cluster.crew import Crew
from impasto.cluster.tiler import AHEAD, Traffic, cluster_tiler
from impasto.cluster.worker import Equipment
from impasto.events import Listener
from impasto.images.image import Size
from impasto.tasks.parts import choice_of
from impasto.tasks.settings import Settings
from impasto.tiles.budget import VECTOR, MemoryPlan
from impasto.tiles.tiler import MakeTiler
from impasto.tiles.tilings import LEAST_PX, TILE_PX, Tiling

PASSES = 1.4  # cost of an evaluation in tiles, with its second pass forward, relative to one of the whole picture


@contextmanager
def crew_at(address: str | None, settings: Settings, listener: Listener) -> Iterator[Crew | None]:
    """A crew on the cluster at an address ("auto": this machine's cluster); None without an address.

    Raises SpecError and OutputError as `connected`, ClusterError if the cluster cannot be used for this run.
    """
    if address is None:
        yield None
        return
    across = math.ceil(settings.size / (settings.tile or LEAST_PX))
    with connected(address) as ray:
        yield Crew(ray, equipment(settings), settings.threads or 1, most=max(1, across**2 // 2), listener=listener)


def equipment(settings: Settings) -> Equipment:
    """The equipment of a worker for a run with these settings."""
    return Equipment(choice_of(settings), settings.precision, parse_memory(settings.memory))


@dataclass(frozen=True, eq=False)
class CrewHelper:
    """A crew that computes the tiles of pictures, if it is faster than this process. See `Helper`."""

    crew: Crew
    traffic: dict[Size, Traffic] = field(default_factory=dict)

    def core(self, plan: MemoryPlan, size: Size) -> Size | None:
        """The size of the tiles that workers compute; None if this process is faster.

        Each worker gets at least two tiles if they are large enough: one is sent while another is computed.
        """
        if not plan.layers or not plan.network.tileable(plan.layers):
            return None
        if plan.limits.tile_px is not None:
            return plan.forced(size)
        best = self._best(plan, size)
        slow_here = plan.network.device.type == "cpu" and self.crew.workers[0].about.accelerated
        there = PASSES * self._turns_px(best) / self.crew.threads
        return best.core if slow_here or there < _here_px(plan, size) else None

    def needed(self, plan: MemoryPlan, size: Size, core: Size, history: int) -> float:
        """Approximate peak of memory in bytes: this process holds crops in transit, but no maps and no targets."""
        in_transit = AHEAD * len(self.crew.workers) * plan.largest_crop(size, core)
        return VECTOR * (size[0] * size[1] * (plan.vectors(history) + 1) + 2 * in_transit)

    def make_tiler(self, plan: MemoryPlan, size: Size, core: Size, between_tiles: Callable[[], None]) -> MakeTiler:
        """A tiler that adds its traffic to that of the other evaluations at this size."""
        traffic = self.traffic.setdefault(size, Traffic())
        return partial(cluster_tiler, self.crew, traffic, plan.network, core, between_tiles)

    def words(self, plan: MemoryPlan, size: Size) -> list[str]:
        """The plan in words: the number of workers, or that the cluster would not help."""
        core, workers = self.core(plan, size), len(self.crew.workers)
        if core is None:
            tiles = not plan.layers or plan.network.tileable(plan.layers)
            why = "too small to gain from the cluster" if tiles else plan.network.untileable()
            return [*plan.words_here(size), f"on this machine alone: {why}"]
        return [f"{plan.words_of_tiles(size, core)} on {workers} worker{'s' * (workers > 1)}"]

    def as_summary(self, size: Size) -> dict[str, object]:
        """Tiles, workers, and the mean number of bytes sent over the network per evaluation."""
        traffic = self.traffic.get(size)
        if traffic is None or not traffic.evaluations:
            return {}
        counted = {
            "workers": traffic.workers,
            "lost": self.crew.lost,
            "tiles": traffic.tiles,
            "bytes_per_evaluation": (traffic.sent_bytes + traffic.returned_bytes) // traffic.evaluations,
        }
        return {"tile_px": list(traffic.core), "cluster": counted}

    def _best(self, plan: MemoryPlan, size: Size) -> Tiling:
        """The fastest tiling that fits into the workers' memory, or the one with the smallest tiles if none fits."""
        found, workers = plan.tilings(size), len(self.crew.workers)
        kept = size[0] * size[1] * (plan.target_bytes() + 2 * VECTOR)  # targets and crops, on all workers together
        most_px = (self.crew.memory - kept / workers) / plan.bytes_per_pixel
        smallest = min(found, key=lambda tiling: tiling.largest_px)
        fitting = [tiling for tiling in found if tiling.largest_px <= most_px] or [smallest]
        enough = [tiling for tiling in fitting if tiling.tiles >= 2 * workers] or fitting
        return min(enough, key=lambda each: (self._turns_px(each), each.largest_px, each.tiles, each.core))

    def _turns_px(self, tiling: Tiling) -> int:
        """The pixels that the worker with the most tiles computes."""
        return -(-tiling.tiles // len(self.crew.workers)) * (tiling.largest_px + TILE_PX)


def _here_px(plan: MemoryPlan, size: Size) -> float:
    """The cost of an evaluation in this process, in pixels per core."""
    pixels = size[0] * size[1]
    whole = pixels * (plan.bytes_per_pixel + VECTOR * plan.vectors(plan.history_asked)) <= plan.limits.memory
    return pixels * (1 if whole else PASSES) / torch.get_num_threads()
