"""How a run fits into memory: whole where it can, else in tiles, and with a shorter memory of L-BFGS if need be.

All follows from the settings, the sizes and one number of bytes, which run.toml keeps, so that a run that goes on does
as before.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from impasto.amounts import parse_memory
from impasto.errors import OutOfMemoryError
from impasto.images.image import Size, size_with_long_side
from impasto.machine import free_memory, in_use
from impasto.networks.network import Network
from impasto.objectives.criterion import Criterion
from impasto.objectives.objective import Objective
from impasto.objectives.representations import activations
from impasto.tasks.settings import Settings
from impasto.tiles.criterion import bind_tiled
from impasto.tiles.tiler import go_on
from impasto.tiles.windows import crop_lengths, cut, grid_px, margin_px

VECTOR = 12.0  # bytes of a picture's pixel: three colours in float32
TILE_PX = 1 << 14  # a tile's own cost, as if it had so many more pixels
LEAST_PX = 128  # side of the smallest core that tiles are made of where that is not asked for
DECENT_PX = 1024  # side of a core whose margins cost little: from there on L-BFGS' pairs are worth more
FEWEST_PAIRS = 2
GAPS = 300e6  # bytes that the C library's heap loses between tensors of many sizes: 100 to 290 MB as measured
SMALLEST_PX = 32  # side of a picture that is worth to be proposed


@dataclass(frozen=True)
class Limits:
    """Bytes that a run may take beyond what the process has at its start, and the tiles' side where it is asked for."""

    memory: float
    tile_px: int | None = None


def limits(settings: Settings, device: torch.device, recorded: int | None = None) -> Limits:
    """Those of a run that begins now, in whole bytes less a reserve, or as they were `recorded`."""
    if recorded is not None:
        return Limits(float(recorded), settings.tile)
    free, given = free_memory(device), parse_memory(settings.memory)
    allowed = 0.9 * free if given is None else min(free, 0.92 * given - GAPS - in_use(device))
    return Limits(allowed if math.isinf(allowed) else allowed // 1, settings.tile)


@dataclass(frozen=True, eq=False)
class Fit:
    """How one objective is read within limits, by one network, next to so many vectors of the picture's size."""

    network: Network
    objective: Objective
    limits: Limits
    settings: Settings

    def history(self, size: Size) -> int:
        """How many pairs L-BFGS can remember at that size: all that is asked for, unless memory is short."""
        asked = self.settings.history
        if self.settings.optimiser == "adam" or self.needed(size, None, asked) <= self.limits.memory:
            return asked
        core = self._forced(size) or (min(size[0], DECENT_PX), min(size[1], DECENT_PX))
        left = self.limits.memory - self.needed(size, core, 0)
        return int(min(asked, max(FEWEST_PAIRS, left // (2 * VECTOR * size[0] * size[1]))))

    def core(self, size: Size, history: int | None = None) -> Size | None:
        """The tiles' size, None for the whole picture at once: the best that fits, or the smallest where none does.

        Best are the smallest whose margins and number cost no more than 5 % above the least possible.
        """
        if self.limits.tile_px is not None:
            return self._forced(size)
        history = self.history(size) if history is None else history
        if not self._layers or self.needed(size, None, history) <= self.limits.memory:
            return None
        rows, columns = (divisions(length, *self._grid_and_margin) for length in size)
        found = [
            (down * across + TILE_PX * high * wide, largest * widest, (core, width))
            for core, largest, down, high in rows
            for width, widest, across, wide in columns
        ]
        most = (self.limits.memory - self._fixed(size, history)) / self._per_pixel
        fitting = [each for each in found if each[1] <= most]
        if not fitting:
            return min(found, key=lambda each: each[1])[2]
        least = min(total for total, _, _ in fitting)
        return min((each for each in fitting if each[0] <= 1.05 * least), key=lambda each: each[1])[2]

    def needed(self, size: Size, core: Size | None, history: int) -> float:
        """Bytes at the peak, about."""
        pixels = size[0] * size[1]
        if core is None or not self._layers:
            return pixels * (self._per_pixel + VECTOR * self._vectors(history))
        grid, margin = self._grid_and_margin
        sides = [max(crop_lengths(length, most, grid, margin)) for length, most in zip(size, core, strict=True)]
        return self._fixed(size, history) + sides[0] * sides[1] * self._per_pixel

    def bind(
        self, objective: Objective, network: Network, size: Size, between_tiles: Callable[[], None] = go_on
    ) -> Criterion:
        """The objective at that size, whole or in tiles, with something to be done before each tile."""
        core = replace(self, objective=objective, network=network).core(size)
        if core is None:
            return objective.bind(network, size)
        return bind_tiled(objective, network, size, core, between_tiles)

    def needed_within(self, size: Size) -> float:
        """Bytes at the peak as it is read within these limits, or with the smallest tiles where they are too tight."""
        return self.needed(size, self.core(size), self.history(size))

    def require(self, size: Size) -> None:
        """Raise OutOfMemoryError where that size cannot fit, with one that does."""
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
        history, said = self.history(size), self._words_of_tiles(size)
        if self.settings.optimiser != "adam" and history < self.settings.history:
            said.append(f"with {history} steps remembered in place of {self.settings.history}")
        return f"{size[1]} × {size[0]} px {' and '.join(said)}" if said else None

    def _words_of_tiles(self, size: Size) -> list[str]:
        core = self.core(size)
        if core is None:
            return []
        return [f"in {len(cut(size, core, self.network, self._layers))} tiles of up to {core[1]} × {core[0]} px"]

    def as_summary(self, size: Size) -> dict[str, object]:
        """The same as data: what differs from a run that has memory enough."""
        core, history = self.core(size), self.history(size)
        tile = {} if core is None else {"tile_px": list(core)}
        return tile | ({} if history == self.settings.history else {"history": history})

    def _forced(self, size: Size) -> Size | None:
        side = self.limits.tile_px
        return None if side is None or side >= max(size) else (side, side)

    def _fixed(self, size: Size, history: int) -> float:
        """Bytes that tiles do not change: pictures, the optimiser, and the activations aimed at."""
        targets = 0.0
        for layer in {self.network.canonical(layer) for layer in self.objective.layers(activations)} - {"image"}:
            channels = self.network.channels(layer)
            targets += channels * self.network.precision.itemsize / self.network.stride(layer) ** 2
        return size[0] * size[1] * (targets + VECTOR * self._vectors(history))

    def _vectors(self, history: int) -> int:
        return 10 if self.settings.optimiser == "adam" else 10 + 2 * history

    @property
    def _grid_and_margin(self) -> tuple[int, int]:
        return grid_px(self.network, self._layers), margin_px(self.network, self._layers)

    @property
    def _layers(self) -> list[str]:
        return self.objective.layers()

    @property
    def _per_pixel(self) -> float:
        """Bytes for a pixel of a tile, forward and back."""
        return self.network.bytes_per_pixel(self._layers, self.objective.layers(activations))


def _said(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(0.0, size) / 1e6:.0f} MB"


def divisions(length: int, grid: int, margin: int) -> list[tuple[int, int, int, int]]:
    """Ways to divide a side into equal parts: (core, longest crop, all crops together, how many)."""
    found, count = [], 1
    while count == 1 or length // count >= LEAST_PX:
        core = -(-length // count // grid) * grid
        crops = crop_lengths(length, core, grid, margin)
        found.append((core, max(crops), sum(crops), len(crops)))
        count += 1 + count // 16  # many parts differ little from a few more
    return found


def lessened(fits: Sequence[Fit], sizes: Sequence[Size], share: float) -> list[Fit]:
    """The same fits with a share of their memory, though with no less than all need at these sizes, if they have it."""
    memory = fits[0].limits.memory
    if share == 1:
        return list(fits)
    fits = [replace(fit, limits=replace(fit.limits, memory=share * memory)) for fit in fits]
    least = max(fit.needed_within(size) for fit, size in zip(fits, sizes, strict=True))
    bounded = min(memory, max(share * memory, least))
    whole = bounded if math.isinf(bounded) else float(math.ceil(bounded))
    return [replace(fit, limits=replace(fit.limits, memory=whole)) for fit in fits]
