"""A picture in tiles: the positions of feature maps that each tile owns, and the margin around them to be read.

Each tile owns a core, and the cores make up the picture, so that each position of each feature map has one owner. A
tile is computed from its crop: the core with a margin that holds all that its positions see, cut off at the picture's
border. There the crop is padded as the picture is; its other padding is wrong, but too far from the core to be seen.

Strided convolutions and poolings give the same positions in a crop as in the picture if the crop begins at a multiple
of their strides. A map may have fewer or more positions than the picture has whole squares: the last cores along a side
own all that are left, and begin early enough to own one of each layer.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from impasto.images.image import Size
from impasto.networks.network import Network


class Window(NamedTuple):
    """A rectangle of a picture in pixels; bottom and right are the first row and column outside."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, picture: Tensor) -> Tensor:
        """A view of this window of a picture."""
        return picture[..., self.top : self.bottom, self.left : self.right]

    def own(self, maps: Tensor, stride: int, size: Size) -> Tensor:
        """A view of the window's positions in a map of that stride, of a picture of that size."""
        return maps[..., *self.slices(stride, size)]

    def slices(self, stride: int, size: Size) -> tuple[slice, slice]:
        """The window's rows and columns in such a map; at the picture's end all that are left."""
        rows, columns = (self.top, self.bottom, size[0]), (self.left, self.right, size[1])
        return _positions(*rows, stride), _positions(*columns, stride)


def _positions(begin: int, end: int, side: int, stride: int) -> slice:
    return slice(begin // stride, None if end == side else end // stride)


@dataclass(frozen=True)
class Tile:
    """One piece of work: the window it owns (`core`) and the window it reads (`crop`), in the picture's pixels."""

    core: Window
    crop: Window

    @property
    def inside(self) -> Window:
        """The core in the crop's coordinates."""
        top, left = self.crop.top, self.crop.left
        return Window(self.core.top - top, self.core.bottom - top, self.core.left - left, self.core.right - left)


class Cutting(NamedTuple):
    """How tiles follow from layers, in pixels.

    Tiles begin at multiples of `grid`, so that strides in a tile meet the same positions as in the whole picture.
    `margin` is how far a crop reaches beyond its core. `unread` pixels at a side's end may give no position. If what
    positions see `shifts`, a crop's side leaves the same remainder as the picture's when divided by the grid.
    """

    grid: int
    margin: int
    unread: int = 0
    shifts: bool = False

    def spans(self, length: int, most: int) -> list[tuple[int, int]]:
        """Where each core begins and ends along a side: at multiples of the grid, lengths equal up to one step of it.

        The last core also takes the pixels that do not fill the grid.
        """
        cells = max(1, (length - self.unread) // self.grid)
        count = -(-cells // max(1, most // self.grid))
        ends = [cells * number // count * self.grid for number in range(count)]
        return list(pairwise([*ends, length]))

    def around(self, begin: int, end: int, length: int) -> tuple[int, int]:
        """Where the crop of such a core begins and ends along a side of that length."""
        more = length % self.grid if self.shifts and end < length else 0
        return max(0, begin - self.margin), min(length, end + self.margin + more)

    def crop_lengths(self, length: int, most: int) -> list[int]:
        """The lengths of the crops along a side."""
        crops = [self.around(*span, length) for span in self.spans(length, most)]
        return [end - begin for begin, end in crops]


def cutting(network: Network, layers: Iterable[str]) -> Cutting:
    """How a picture is cut for these layers: by their common stride, farthest reach and fewest positions."""
    known = [network.layer(layer) for layer in layers]
    grid = math.lcm(*(layer.stride for layer in known))
    reach = max((layer.reach_px for layer in known), default=0)
    unread = max((-layer.extra_px for layer in known), default=0)
    return Cutting(grid, -(-reach // grid) * grid, max(0, unread), any(layer.shifts for layer in known))


def cut(size: Size, core: Size, network: Network, layers: Iterable[str]) -> tuple[Tile, ...]:
    """Tiles of nearly equal size for a picture, row by row; each owns at most `core`.

    A core has at least one position of the deepest layer, even if that exceeds `core`. The last row and column of tiles
    also take the pixels that do not fill the grid.
    """
    known = cutting(network, layers)
    rows, columns = (
        [(span, known.around(*span, length)) for span in known.spans(length, most)]
        for length, most in zip(size, core, strict=True)
    )
    return tuple(
        Tile(Window(*row, *column), Window(*rows_read, *columns_read))
        for row, rows_read in rows
        for column, columns_read in columns
    )
