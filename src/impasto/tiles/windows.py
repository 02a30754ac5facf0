"""A picture in tiles: the positions of feature maps that each tile owns, and the margin around them to be read.

Each tile owns a core, and the cores make up the picture, so that each position of each feature map has one owner. A
tile is computed from its crop: the core with a margin that holds all that its positions see, cut off at the picture's
border. There the crop is padded as the picture is; its other padding is wrong, but too far from the core to be seen.
"""

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

    def of(self, maps: Tensor, stride: int = 1) -> Tensor:
        """A view of this window of a picture, or a feature map of that stride; sides are rounded down as in pooling."""
        rows, columns = self.slices(stride)
        return maps[..., rows, columns]

    def slices(self, stride: int = 1) -> tuple[slice, slice]:
        """The window's rows and columns in a feature map of that stride."""
        rows, columns = (self.top, self.bottom), (self.left, self.right)
        return slice(*(side // stride for side in rows)), slice(*(side // stride for side in columns))

    def positions(self, stride: int = 1) -> int:
        """How many positions the window has at that stride."""
        rows = self.bottom // stride - self.top // stride
        return rows * (self.right // stride - self.left // stride)


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


def grid_px(network: Network, layers: Iterable[str]) -> int:
    """Tiles begin at multiples of this, so that poolings in a tile have the same windows as in the whole picture."""
    return network.smallest_side(layers)


def margin_px(network: Network, layers: Iterable[str]) -> int:
    """The margin of a crop around its core: the farthest reach of the layers, rounded up to the grid."""
    layers = list(layers)
    grid = grid_px(network, layers)
    reach = max((network.reach_px(layer) for layer in layers), default=0)
    return -(-reach // grid) * grid


def cut(size: Size, core: Size, network: Network, layers: Iterable[str]) -> tuple[Tile, ...]:
    """Tiles of nearly equal size for a picture, row by row; each owns at most `core`.

    A core has at least one position of the deepest layer, even if that exceeds `core`. The last row and column of tiles
    also take the pixels that do not fill the grid.
    """
    layers = list(layers)
    grid, margin = grid_px(network, layers), margin_px(network, layers)
    rows, columns = (spans(length, most, grid) for length, most in zip(size, core, strict=True))
    return tuple(_tile(Window(*row, *column), margin, size) for row in rows for column in columns)


def _tile(core: Window, margin: int, size: Size) -> Tile:
    """The tile of a core in a picture of that size."""
    top, left = max(0, core.top - margin), max(0, core.left - margin)
    return Tile(core, Window(top, min(size[0], core.bottom + margin), left, min(size[1], core.right + margin)))


def crop_lengths(length: int, most: int, grid: int, margin: int) -> list[int]:
    """The lengths of the crops along a side."""
    return [min(length, end + margin) - max(0, begin - margin) for begin, end in spans(length, most, grid)]


def spans(length: int, most: int, grid: int) -> list[tuple[int, int]]:
    """Where each core begins and ends along a side: at multiples of the grid, lengths equal up to one step of it."""
    cells = max(1, length // grid)
    count = -(-cells // max(1, most // grid))
    ends = [cells * number // count * grid for number in range(count)]
    return list(pairwise([*ends, length]))
