"""How a run is spread over a cluster: which sizes are worth it, and in which tiles."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch

from impasto.cluster.connection import connected
from impasto.cluster.crew import Crew
from impasto.cluster.tiler import AHEAD, Record, cluster_tiler
from impasto.images.image import Size
from impasto.networks.network import Network
from impasto.objectives.criterion import Criterion
from impasto.objectives.objective import Objective
from impasto.objectives.representations import activations
from impasto.tasks.settings import Settings
from impasto.tiles.budget import LEAST_PX, TILE_PX, VECTOR, Fit, divisions
from impasto.tiles.criterion import bind_tiled
from impasto.tiles.tiler import go_on
from impasto.tiles.windows import crop_lengths, cut

PASSES = 1.4  # what an evaluation in tiles takes, with its second pass forward, next to the whole


@contextmanager
def crew_at(address: str | None, settings: Settings) -> Iterator[Crew | None]:
    """A crew on the cluster at an address, "auto" for the one of this machine; none without an address.

    Raises SpecError without the package or for what is no address, OutputError where no cluster is, ClusterError where
    it does not serve.
    """
    if address is None:
        yield None
        return
    across = math.ceil(settings.size / (settings.tile or LEAST_PX))
    with connected(address) as ray:
        yield Crew(ray, settings, most=max(1, across**2 // 2))


def spread(fit: Fit, crew: Crew | None) -> Fit:
    """The fit, with a crew to help where there is one."""
    return fit if crew is None else SpreadFit(fit.network, fit.objective, fit.limits, fit.settings, crew)


@dataclass(frozen=True, eq=False)
class SpreadFit(Fit):
    """How an objective is read with the help of a crew: large sizes in tiles on its workers, others here."""

    crew: Crew
    records: dict[Size, Record] = field(default_factory=dict)

    def core(self, size: Size, history: int | None = None) -> Size | None:
        """The size of the tiles where the picture is read here."""
        return Fit(self.network, self.objective, self.limits, self.settings).core(size, history)

    def spread_core(self, size: Size) -> Size | None:
        """The size of the tiles that workers compute; None where that takes longer than here.

        At least two tiles a worker where they are large enough, so that one is sent while another is computed.
        """
        if not self._layers:
            return None
        if self.limits.tile_px is not None:
            return self._forced(size)
        workers = len(self.crew.workers)
        rows, columns = (divisions(length, *self._grid_and_margin) for length in size)
        found = [
            (-(-high * wide // workers) * (largest * widest + TILE_PX), largest * widest, high * wide, (core, width))
            for core, largest, _, high in rows
            for width, widest, _, wide in columns
        ]
        most = (self.crew.memory - self._held(size) / workers) / self._per_pixel
        fitting = [each for each in found if each[1] <= most] or [min(found, key=lambda each: each[1])]
        best = min([each for each in fitting if each[2] >= 2 * workers] or fitting)
        whole = super().needed(size, None, self.settings.history) <= self.limits.memory
        here = size[0] * size[1] * (1 if whole else PASSES) / torch.get_num_threads()
        slow = self.network.device.type == "cpu" and self.crew.workers[0].about.accelerated
        return best[3] if slow or PASSES * best[0] / self.crew.threads < here else None

    def needed(self, size: Size, core: Size | None, history: int) -> float:
        """Bytes at the peak, about: of a size that is spread, no maps and no targets are here, but crops under way."""
        spread = self.spread_core(size)
        if spread is None:
            return super().needed(size, core, history)
        sides = [
            max(crop_lengths(length, most, *self._grid_and_margin)) for length, most in zip(size, spread, strict=True)
        ]
        under_way = AHEAD * len(self.crew.workers) * sides[0] * sides[1]
        return VECTOR * (size[0] * size[1] * (self._vectors(history) + 1) + 2 * under_way)

    def bind(
        self, objective: Objective, network: Network, size: Size, between_tiles: Callable[[], None] = go_on
    ) -> Criterion:
        """The objective at that size: whole or in tiles here, or in tiles on the workers."""
        core = self.spread_core(size) if objective.layers() else None
        if core is None:
            return super().bind(objective, network, size, between_tiles)
        record = self.records.setdefault(size, Record())
        make = partial(cluster_tiler, self.crew, record, network, core, between_tiles)
        return bind_tiled(objective, network, size, core, between_tiles, make)

    def as_summary(self, size: Size) -> dict[str, object]:
        """The same as data, with the bytes that went over the network for an evaluation, on average."""
        record = self.records.get(size)
        if record is None or not record.evaluations:
            return super().as_summary(size)
        counted = {
            "workers": record.workers,
            "lost": self.crew.lost,
            "tiles": record.tiles,
            "bytes_per_evaluation": (record.sent_bytes + record.returned_bytes) // record.evaluations,
        }
        return super().as_summary(size) | {"tile_px": list(record.core), "cluster": counted}

    def _words_of_tiles(self, size: Size) -> list[str]:
        core, workers = self.spread_core(size), len(self.crew.workers)
        if core is None:
            return [*super()._words_of_tiles(size), "on this machine alone: too small to gain from the cluster"]
        count = len(cut(size, core, self.network, self._layers))
        return [f"in {count} tiles of up to {core[1]} × {core[0]} px on {workers} worker{'s' * (workers > 1)}"]

    def _held(self, size: Size) -> float:
        """Bytes that all workers together hold: targets and crops."""
        targets = 0.0
        for layer in {self.network.canonical(layer) for layer in self.objective.layers(activations)}:
            targets += self.network.channels(layer) * self.network.precision.itemsize / self.network.stride(layer) ** 2
        return size[0] * size[1] * (targets + 2 * VECTOR)
