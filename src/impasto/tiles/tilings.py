"""Ways to cut a picture into equal tiles, and the cost of each."""

from typing import NamedTuple

from impasto.images.image import Size
from impasto.tiles.windows import Cutting

TILE_PX = 1 << 14  # a tile's fixed cost, in pixels
LEAST_PX = 128  # the smallest side of a core, unless a side is asked for


class Tiling(NamedTuple):
    """One way to cut a picture."""

    core: Size  # the most that a tile owns, in pixels
    largest_px: int  # pixels of the largest crop
    all_px: int  # pixels of all crops
    tiles: int

    @property
    def cost(self) -> int:
        """The cost of an evaluation, in pixels."""
        return self.all_px + TILE_PX * self.tiles


class _Division(NamedTuple):
    """One way to divide a side, lengths in pixels."""

    core: int
    longest: int  # of the crops
    all_crops: int  # together
    cores: int


def tilings(size: Size, cutting: Cutting) -> list[Tiling]:
    """Ways to cut a picture into tiles."""
    rows, columns = (_divisions(length, cutting) for length in size)
    return [
        Tiling(
            (row.core, column.core),
            row.longest * column.longest,
            row.all_crops * column.all_crops,
            row.cores * column.cores,
        )
        for row in rows
        for column in columns
    ]


def _divisions(length: int, cutting: Cutting) -> list[_Division]:
    found, count = [], 1
    while count == 1 or length // count >= LEAST_PX:
        core = -(-length // count // cutting.grid) * cutting.grid
        crops = cutting.crop_lengths(length, core)
        found.append(_Division(core, max(crops), sum(crops), len(crops)))
        count += 1 + count // 16  # one more tile matters less, the more there are
    return found
