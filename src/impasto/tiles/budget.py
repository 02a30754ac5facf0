"""How a run fits into memory: whole if possible, else in tiles, and with a shorter history of L-BFGS if necessary.

The plan depends only on plain values, sizes and a budget in bytes. The budget is in run.toml, so a resumed run uses the
same tiles.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch

from impasto.errors import OutOfMemoryError, SpecError
from impasto.images.image import Size, size_with_long_side
from impasto.machine import free_memory, in_use
from impasto.networks.layers import IMAGE
from impasto.networks.network import Network
from impasto.objectives.criterion import Criterion
from impasto.objectives.objective import Objective
from impasto.objectives.representations import Pointwise, WholeMap
from impasto.objectives.terms import Match
from impasto.tiles.criterion import bind_tiled, require_tiles
from impasto.tiles.tiler import MakeTiler, do_nothing, ignore_halving
from impasto.tiles.tilings import Tiling, tilings
from impasto.tiles.windows import cut, cutting

VECTOR = 12.0  # bytes of a picture's pixel: three colours in float32
WEIGHT = 5.0  # bytes of a position's weight: its level, and its place in the order of weights
VECTORS = 10  # of the picture's size, without those that L-BFGS remembers
ENLARGED = 2  # copies of a reference that is larger than the picture, while the reference is read
ROW = 4.0  # bytes of a chosen feature's number
DECENT_PX = 1024  # side of a core whose margins cost little: above, memory is better spent on L-BFGS' pairs
FEWEST_PAIRS = 2
GAPS = 300e6  # bytes that the C library's heap loses between tensors of many sizes: 100 to 290 MB as measured
SMALLEST_PX = 32  # smallest side worth proposing
HOPELESS = "no useful size fits; free memory, or give more with --memory"


@dataclass(frozen=True)
class Limits:
    """Bytes that a run may take in addition to the process's at its start, and the tiles' side if one is asked for."""

    memory: float
    tile_px: int | None = None


def limits(memory: float | None, tile_px: int | None, device: torch.device, recorded: int | None = None) -> Limits:
    """The limits of a run that begins now, in whole bytes and less a reserve; `recorded` bytes are taken as they are.

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
    """Other processes that compute the tiles of large pictures in place of this one."""

    def core(self, plan: "MemoryPlan", size: Size) -> Size | None:
        """The size of the tiles that the helper computes; None if this process is quicker."""

    def needed(self, plan: "MemoryPlan", size: Size, core: Size, history: int) -> float:
        """About how many bytes this process takes at its peak, with these tiles."""

    def make_tiler(self, plan: "MemoryPlan", size: Size, core: Size, between_tiles: Callable[[], None]) -> MakeTiler:
        """A maker of tilers that let the helper compute the tiles."""

    def words(self, plan: "MemoryPlan", size: Size) -> list[str]:
        """How a picture of that size is computed, in words for the user."""

    def as_summary(self, size: Size) -> dict[str, object]:
        """How pictures of that size were computed, as data for the summary."""


@dataclass(frozen=True, eq=False)
class MemoryPlan:
    """How one objective is computed with one network within memory limits, beside the optimiser's history.

    `history_asked` is how many pairs of vectors of the picture's size the optimiser should remember: 0 for Adam.
    `beside` is how many vectors of that size the loop holds for something else.
    """

    network: Network
    objective: Objective
    limits: Limits
    history_asked: int
    helper: Helper | None = None
    beside: int = 0

    def history(self, size: Size) -> int:
        """How many pairs L-BFGS can remember at that size: as many as asked for, unless memory is short."""
        asked = self.history_asked
        if self.needed(size, None, asked) <= self.limits.memory:
            return asked
        core = self.forced(size) or (min(size[0], DECENT_PX), min(size[1], DECENT_PX))
        left = self.limits.memory - self.needed(size, core, 0)
        return int(min(asked, max(FEWEST_PAIRS, left // (2 * VECTOR * size[0] * size[1]))))

    def core(self, size: Size, history: int | None = None) -> Size | None:
        """The tiles' size in this process: the best that fits, else the smallest; None for the whole picture at once.

        Best are the smallest tiles that cost at most 5 % more, by their margins and number, than the cheapest that fit.
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
        """About how many bytes this process takes at its peak."""
        if self.helper is not None and (theirs := self.helper.core(self, size)) is not None:
            return self.helper.needed(self, size, theirs, history)
        pixels, read = size[0] * size[1], self.objective.read_size(size)
        if core is None or not self.layers:
            widest = max(read[0] * read[1], self.objective.reference_px(size))
            vectors = pixels * VECTOR * self.vectors(history)
            return widest * self.bytes_per_pixel + vectors + self.matching_bytes(size)
        return self._fixed(size, history) + self.largest_crop(size, core) * self.bytes_per_pixel

    def bind(
        self,
        size: Size,
        between_tiles: Callable[[], None] = do_nothing,
        halved: Callable[[Size], None] = ignore_halving,
    ) -> Criterion:
        """The objective at that size, whole or in tiles; see `bind_tiled` for the two functions."""
        if self.helper is not None and (theirs := self.helper.core(self, size)) is not None:
            make = self.helper.make_tiler(self, size, theirs, between_tiles)
            return bind_tiled(self.objective, self.network, size, theirs, between_tiles, make)
        core = self.core(size)
        if core is None:
            return self.objective.bind(self.network, size)
        return bind_tiled(self.objective, self.network, size, core, between_tiles, halved=halved)

    def needed_within(self, size: Size) -> float:
        """The bytes needed with the tiles and history chosen for these limits, or with the smallest if none fit."""
        return self.needed(size, self.core(size), self.history(size))

    def require(self, size: Size) -> None:
        """Raise OutOfMemoryError, with a size that fits, if this one cannot; SpecError if needed tiles are impossible.

        Nothing is computed.
        """
        if self._in_tiles(size):
            require_tiles(self.objective)
            self._require_reach(size)
        needed = self.needed_within(size)
        if needed <= self.limits.memory:
            return
        side = self._largest_side(size, lambda smaller: self.needed_within(smaller) <= self.limits.memory)
        remedy = f"--size {side} would fit" if side >= SMALLEST_PX else HOPELESS
        raise OutOfMemoryError(
            f"a result of {size[1]} × {size[0]} px needs about {_in_words(needed)} of memory in "
            f"addition to the program's own, even in tiles, and {_in_words(self.limits.memory)} are left; {remedy}"
        )

    def _require_reach(self, size: Size) -> None:
        """Raise if tiles are needed, but a layer cannot be computed in tiles."""
        if self.network.tileable(self.layers):
            return
        why = self.network.untileable()
        if self.limits.tile_px is not None:
            raise SpecError(f"{why}; leave out --tile")
        fitting = self._largest_side(size, lambda side: self.core(side) is None)
        remedy = f"--size {fitting} would fit" if fitting >= SMALLEST_PX else HOPELESS
        needed = self.needed(size, None, FEWEST_PAIRS if self.history_asked else 0)
        raise OutOfMemoryError(
            f"{why}, and a whole result of {size[1]} × {size[0]} px needs about {_in_words(needed)} of memory in "
            f"addition to the program's own, but {_in_words(self.limits.memory)} are left; {remedy}"
        )

    def words(self, size: Size) -> str | None:
        """How memory is saved at that size, in words for the user; None if memory is sufficient."""
        history, said = self.history(size), self.words_here(size)
        if self.helper is not None:
            said = self.helper.words(self, size)
        if history < self.history_asked:
            said.append(f"with {history} steps remembered in place of {self.history_asked}")
        return f"{size[1]} × {size[0]} px {' and '.join(said)}" if said else None

    def words_here(self, size: Size) -> list[str]:
        """The tiles in which this process computes a picture of that size, in words; empty without tiles."""
        core = self.core(size)
        return [] if core is None else [self.words_of_tiles(size, core)]

    def words_of_tiles(self, size: Size, core: Size) -> str:
        """The number and size of the tiles, in words."""
        size = self.objective.read_size(size)
        return f"in {len(cut(size, core, self.network, self.layers))} tiles of up to {core[1]} × {core[0]} px"

    def as_summary(self, size: Size) -> dict[str, object]:
        """How memory is saved at that size, as data; empty if memory is sufficient."""
        core, history = self.core(size), self.history(size)
        tile = {} if core is None else {"tile_px": list(core)}
        shorter = {} if history == self.history_asked else {"history": history}
        return tile | shorter | ({} if self.helper is None else self.helper.as_summary(size))

    def forced(self, size: Size) -> Size | None:
        """The tiles' size that is asked for; None if no size is, or the whole picture fits into one tile."""
        side = self.limits.tile_px
        return None if side is None or side >= max(size) else (side, side)

    def tilings(self, size: Size) -> list[Tiling]:
        """Ways to cut a picture of that size."""
        return tilings(self.objective.read_size(size), cutting(self.network, self.layers))

    def largest_crop(self, size: Size, core: Size) -> int:
        """Pixels of the largest crop, in tiles that own at most `core`."""
        known, read = cutting(self.network, self.layers), self.objective.read_size(size)
        height, width = (max(known.crop_lengths(side, most)) for side, most in zip(read, core, strict=True))
        return height * width

    def vectors(self, history: int) -> int:
        """How many vectors of the picture's size the loop and the optimiser hold."""
        matched = bool(self.objective.neighbours)  # these keep the picture they were matched to
        return VECTORS + self.beside + matched + 2 * history

    def target_bytes(self) -> float:
        """Bytes per pixel of the picture for the targets of maps that are compared in place, and positions' weights."""
        total, network = 0.0, self.network
        compared = {network.canonical(layer) for match in self.objective.matches(Pointwise) for layer in match.layers}
        for layer in compared - {IMAGE}:
            total += network.channels(layer) * network.precision.itemsize / network.stride(layer) ** 2
        for match in self._weighted:
            total += sum(WEIGHT / network.stride(layer) ** 2 for layer in match.layers)
        placed = [(layer, term.where is not None) for term in self.objective.neighbours for layer in term.layers]
        return total + sum((ROW + WEIGHT * weighted) / network.stride(layer) ** 2 for layer, weighted in placed)

    def matching_bytes(self, size: Size) -> float:
        """Bytes at the peak of matching neighbours, which is bounded whatever the size."""
        return sum((term.matching_bytes(self.network, size) for term in self.objective.neighbours), 0.0)

    @property
    def layers(self) -> list[str]:
        """All layers that the objective reads."""
        return self.objective.layers()

    @property
    def bytes_per_pixel(self) -> float:
        """Bytes per pixel of a tile for one pass forward and back."""
        held = self.objective.layers(Pointwise, WholeMap) + [layer for each in self._weighted for layer in each.layers]
        return self.network.bytes_per_pixel(self.layers, held)

    @property
    def _weighted(self) -> list[Match]:
        """The terms whose positions have weights: the features of the positions that count are copied."""
        return [match for match in self.objective.matches() if match.where is not None]

    @property
    def _alone(self) -> "MemoryPlan":
        return replace(self, helper=None)

    def _largest_side(self, size: Size, fits: Callable[[Size], bool]) -> int:
        """About the largest long side, below that of `size`, at which a picture of the same proportions fits."""
        side, too_large = 1, max(size)
        while too_large - side > max(1, side // 50):
            between = (side + too_large) // 2
            fitting = fits(size_with_long_side(size, between))
            side, too_large = (between, too_large) if fitting else (side, between)
        return side

    def _in_tiles(self, size: Size) -> bool:
        return (self.helper is not None and self.helper.core(self, size) is not None) or self.core(size) is not None

    def _fixed(self, size: Size, history: int) -> float:
        """Bytes that do not depend on the tiles: pictures, the optimiser, and targets that are compared in place."""
        pixels = size[0] * size[1]
        enlarged = ENLARGED * VECTOR * max(0, self.objective.reference_px(size) - pixels)
        return pixels * (self.target_bytes() + VECTOR * self.vectors(history)) + enlarged + self.matching_bytes(size)


def _in_words(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(0.0, size) / 1e6:.0f} MB"


def reduced(plans: Sequence[MemoryPlan], sizes: Sequence[Size], share: float) -> list[MemoryPlan]:
    """The plans with a share of their memory, but at least what all need at these sizes, if they have as much."""
    memory = plans[0].limits.memory
    if share == 1:
        return list(plans)
    plans = [replace(plan, limits=replace(plan.limits, memory=share * memory)) for plan in plans]
    least = max(plan.needed_within(size) for plan, size in zip(plans, sizes, strict=True))
    bounded = min(memory, max(share * memory, least))
    whole = bounded if math.isinf(bounded) else float(math.ceil(bounded))
    return [replace(plan, limits=replace(plan.limits, memory=whole)) for plan in plans]
