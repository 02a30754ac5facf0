"""How a run fits into memory: whole if it can, else in tiles, and with a shorter memory of L-BFGS if need be.

All follows from plain values, the sizes and one number of bytes, which run.toml keeps, so that a resumed run does as
before.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch

from impasto.errors import OutOfMemoryError
from impasto.images.image import Size, size_with_long_side
from impasto.machine import free_memory, in_use
from impasto.networks.layers import IMAGE
from impasto.networks.network import Network
from impasto.objectives.criterion import Criterion
from impasto.objectives.objective import Objective
from impasto.objectives.representations import Pointwise, WholeMap
from impasto.tiles.criterion import bind_tiled, require_tiles
from impasto.tiles.tiler import MakeTiler, go_on, unsaid
from impasto.tiles.tilings import Tiling, tilings
from impasto.tiles.windows import crop_lengths, cut, grid_px, margin_px

VECTOR = 12.0  # bytes of a picture's pixel: three colours in float32
VECTORS = 10  # of the picture's size, beside those that L-BFGS remembers
DECENT_PX = 1024  # side of a core whose margins cost little: from there on L-BFGS' pairs are worth more
FEWEST_PAIRS = 2
GAPS = 300e6  # bytes that the C library's heap loses between tensors of many sizes: 100 to 290 MB as measured
SMALLEST_PX = 32  # side of a picture that is worth to be proposed


@dataclass(frozen=True)
class Limits:
    """Bytes that a run may take beyond what the process has at its start, and the tiles' side if one is asked for."""

    memory: float
    tile_px: int | None = None


def limits(memory: float | None, tile_px: int | None, device: torch.device, recorded: int | None = None) -> Limits:
    """Those of a run that begins now, in whole bytes less a reserve, or as they were `recorded`.

    `memory` is the most that the process may take, in bytes; None for all that is free.
    """
    if recorded is not None:
        return Limits(float(recorded), tile_px)
    free = free_memory(device)
    gaps = GAPS if device.type == "cpu" else 0.0  # the C library's heap is the processor's
    allowed = 0.9 * free if memory is None else min(free, 0.92 * memory - gaps - in_use(device))
    return Limits(allowed if math.isinf(allowed) else allowed // 1, tile_px)


@runtime_checkable
class Helper(Protocol):
    """Who computes the tiles of large pictures in place of this process."""

    def core(self, plan: "MemoryPlan", size: Size) -> Size | None:
        """The size of the tiles that the helper computes; None if it is quicker here."""

    def needed(self, plan: "MemoryPlan", size: Size, core: Size, history: int) -> float:
        """Bytes at the peak in this process, about, with these tiles."""

    def make_tiler(self, plan: "MemoryPlan", size: Size, core: Size, between_tiles: Callable[[], None]) -> MakeTiler:
        """How the tiles are computed."""

    def words(self, plan: "MemoryPlan", size: Size) -> list[str]:
        """How a picture of that size is read, for the user."""

    def as_summary(self, size: Size) -> dict[str, object]:
        """What was done for pictures of that size, as data."""


@dataclass(frozen=True, eq=False)
class MemoryPlan:
    """How one objective is read by one network within limits, next to an optimiser's memory.

    `history_asked` is how many pairs of vectors of the picture's size the optimiser would remember: 0 for Adam.
    """

    network: Network
    objective: Objective
    limits: Limits
    history_asked: int
    helper: Helper | None = None

    def history(self, size: Size) -> int:
        """How many pairs L-BFGS can remember at that size: all that is asked for, unless memory is short."""
        asked = self.history_asked
        if self.needed(size, None, asked) <= self.limits.memory:
            return asked
        core = self.forced(size) or (min(size[0], DECENT_PX), min(size[1], DECENT_PX))
        left = self.limits.memory - self.needed(size, core, 0)
        return int(min(asked, max(FEWEST_PAIRS, left // (2 * VECTOR * size[0] * size[1]))))

    def core(self, size: Size, history: int | None = None) -> Size | None:
        """The tiles' size here, None for the whole picture at once: the best that fits, or the smallest if none does.

        Best are the smallest whose margins and number cost no more than 5 % above the least possible.
        """
        if self.limits.tile_px is not None:
            return self.forced(size)
        history = self._alone.history(size) if history is None else history
        if not self.layers or self._alone.needed(size, None, history) <= self.limits.memory:
            return None
        found = self.tilings(size)
        most_px = (self.limits.memory - self._fixed(size, history)) / self.bytes_per_pixel
        fitting = [tiling for tiling in found if tiling.largest_px <= most_px]
        if not fitting:
            return min(found, key=lambda tiling: tiling.largest_px).core
        least = min(tiling.cost for tiling in fitting)
        cheap = [tiling for tiling in fitting if tiling.cost <= 1.05 * least]
        return min(cheap, key=lambda tiling: tiling.largest_px).core

    def needed(self, size: Size, core: Size | None, history: int) -> float:
        """Bytes at the peak in this process, about."""
        if self.helper is not None and (theirs := self.helper.core(self, size)) is not None:
            return self.helper.needed(self, size, theirs, history)
        pixels = size[0] * size[1]
        if core is None or not self.layers:
            return pixels * (self.bytes_per_pixel + VECTOR * self.vectors(history))
        return self._fixed(size, history) + self.largest_crop(size, core) * self.bytes_per_pixel

    def bind(
        self, size: Size, between_tiles: Callable[[], None] = go_on, halved: Callable[[Size], None] = unsaid
    ) -> Criterion:
        """The objective at that size, whole or in tiles; see `bind_tiled` for what is called on the way."""
        if self.helper is not None and (theirs := self.helper.core(self, size)) is not None:
            make = self.helper.make_tiler(self, size, theirs, between_tiles)
            return bind_tiled(self.objective, self.network, size, theirs, between_tiles, make)
        core = self.core(size)
        if core is None:
            return self.objective.bind(self.network, size)
        return bind_tiled(self.objective, self.network, size, core, between_tiles, halved=halved)

    def needed_within(self, size: Size) -> float:
        """Bytes at the peak as it is read within these limits, or with the smallest tiles if they are too tight."""
        return self.needed(size, self.core(size), self.history(size))

    def require(self, size: Size) -> None:
        """Raise OutOfMemoryError if that size cannot fit, with one that does; SpecError if it must and cannot be tiled.

        Nothing is computed.
        """
        if self._in_tiles(size):
            require_tiles(self.objective)
        needed = self.needed_within(size)
        if needed <= self.limits.memory:
            return
        side, too_large = 1, max(size)
        while too_large - side > max(1, side // 50):
            between = (side + too_large) // 2
            fits = self.needed_within(size_with_long_side(size, between)) <= self.limits.memory
            side, too_large = (between, too_large) if fits else (side, between)
        way_out = f"--size {side} would fit" if side >= SMALLEST_PX else "hardly any size would fit"
        raise OutOfMemoryError(
            f"a result of {size[1]} × {size[0]} px needs about {_said(needed)} of memory beside the program's own, "
            f"even in tiles, and {_said(self.limits.memory)} are left; {way_out}"
        )

    def words(self, size: Size) -> str | None:
        """What is done about memory at that size, for the user."""
        history, said = self.history(size), self.words_here(size)
        if self.helper is not None:
            said = self.helper.words(self, size)
        if history < self.history_asked:
            said.append(f"with {history} steps remembered in place of {self.history_asked}")
        return f"{size[1]} × {size[0]} px {' and '.join(said)}" if said else None

    def words_here(self, size: Size) -> list[str]:
        """In which tiles this process reads a picture of that size, if in any."""
        core = self.core(size)
        return [] if core is None else [self.words_of_tiles(size, core)]

    def words_of_tiles(self, size: Size, core: Size) -> str:
        """How many tiles there are, and how large."""
        return f"in {len(cut(size, core, self.network, self.layers))} tiles of up to {core[1]} × {core[0]} px"

    def as_summary(self, size: Size) -> dict[str, object]:
        """The same as data: what differs from a run that has memory enough."""
        core, history = self.core(size), self.history(size)
        tile = {} if core is None else {"tile_px": list(core)}
        shorter = {} if history == self.history_asked else {"history": history}
        return tile | shorter | ({} if self.helper is None else self.helper.as_summary(size))

    def forced(self, size: Size) -> Size | None:
        """The tiles' size that is asked for, None if it holds the whole picture."""
        side = self.limits.tile_px
        return None if side is None or side >= max(size) else (side, side)

    def tilings(self, size: Size) -> list[Tiling]:
        """Ways to cut a picture of that size."""
        return tilings(size, grid_px(self.network, self.layers), margin_px(self.network, self.layers))

    def largest_crop(self, size: Size, core: Size) -> int:
        """Pixels of the largest crop, in tiles that own at most `core`."""
        grid, margin = grid_px(self.network, self.layers), margin_px(self.network, self.layers)
        height, width = (max(crop_lengths(side, most, grid, margin)) for side, most in zip(size, core, strict=True))
        return height * width

    def vectors(self, history: int) -> int:
        """How many vectors of the picture's size there are beside what is read."""
        return VECTORS + 2 * history

    def target_bytes(self) -> float:
        """Bytes for a pixel of the picture that the maps take which it is compared with in place."""
        total = 0.0
        for layer in {self.network.canonical(layer) for layer in self.objective.layers(Pointwise)} - {IMAGE}:
            total += self.network.channels(layer) * self.network.precision.itemsize / self.network.stride(layer) ** 2
        return total

    @property
    def layers(self) -> list[str]:
        """All that are read."""
        return self.objective.layers()

    @property
    def bytes_per_pixel(self) -> float:
        """Bytes for a pixel of a tile, forward and back."""
        return self.network.bytes_per_pixel(self.layers, self.objective.layers(Pointwise, WholeMap))

    @property
    def _alone(self) -> "MemoryPlan":
        return replace(self, helper=None)

    def _in_tiles(self, size: Size) -> bool:
        theirs = None if self.helper is None else self.helper.core(self, size)
        return theirs is not None or self.core(size) is not None

    def _fixed(self, size: Size, history: int) -> float:
        """Bytes that tiles do not change: pictures, the optimiser, and the maps that are compared in place."""
        return size[0] * size[1] * (self.target_bytes() + VECTOR * self.vectors(history))


def _said(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(0.0, size) / 1e6:.0f} MB"


def lessened(plans: Sequence[MemoryPlan], sizes: Sequence[Size], share: float) -> list[MemoryPlan]:
    """The same plans with a share of their memory, but no less than all need at these sizes, if they have as much."""
    memory = plans[0].limits.memory
    if share == 1:
        return list(plans)
    plans = [replace(plan, limits=replace(plan.limits, memory=share * memory)) for plan in plans]
    least = max(plan.needed_within(size) for plan, size in zip(plans, sizes, strict=True))
    bounded = min(memory, max(share * memory, least))
    whole = bounded if math.isinf(bounded) else float(math.ceil(bounded))
    return [replace(plan, limits=replace(plan.limits, memory=whole)) for plan in plans]
