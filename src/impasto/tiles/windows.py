"""A picture in tiles: who owns which positions of a feature map, and how much around them must be read.

Each tile owns a core, and all cores together are the picture, so that each position of each feature map has one owner.
A tile is computed from its crop: the core and what its positions see around it, cut where the picture ends. There the
crop is padded as the picture is; elsewhere its padding is false, but no position that the tile owns sees any of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from impasto.images.image import Size
from impasto.networks.network import Network


class Window(NamedTuple):
    """Part of a picture in pixels; bottom and right are the first row and column outside."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, maps: Tensor, stride: int = 1) -> Tensor:
        """What a picture, or a feature map of that stride, has there: a view. Sides are rounded as poolings do."""
        rows = slice(self.top // stride, self.bottom // stride)
        return maps[..., rows, self.left // stride : self.right // stride]

    def positions(self, stride: int = 1) -> int:
        """How many there are at that stride."""
        rows = self.bottom // stride - self.top // stride
        return rows * (self.right // stride - self.left // stride)


@dataclass(frozen=True)
class Tile:
    """What one piece of work owns (`core`) and reads (`crop`), in pixels of the whole picture."""

    core: Window
    crop: Window

    @property
    def inside(self) -> Window:
        """The core, counted from the crop's corner."""
        top, left = self.crop.top, self.crop.left
        return Window(self.core.top - top, self.core.bottom - top, self.core.left - left, self.core.right - left)


def grid_px(network: Network, layers: Iterable[str]) -> int:
    """Where tiles may begin: at multiples of this, so that all poolings have the same windows as in the whole."""
    return network.smallest_side(layers)


def margin_px(network: Network, layers: Iterable[str]) -> int:
    """What a crop has around its core: the reach of the layer that sees farthest, up to the grid."""
    layers = list(layers)
    grid = grid_px(network, layers)
    reach = max((network.reach_px(layer) for layer in layers), default=0)
    return -(-reach // grid) * grid


def cut(size: Size, core: Size, network: Network, layers: Iterable[str]) -> tuple[Tile, ...]:
    """Tiles for a picture, row by row, alike in size; `core` is the most that one owns, but for an odd rest.

    A core has at least one position of the deepest layer; the last ones take the rows and columns left over.
    """
    layers = list(layers)
    grid, margin = grid_px(network, layers), margin_px(network, layers)
    sides = [spans(length, most, grid) for length, most in zip(size, core, strict=True)]
    return tuple(
        Tile(
            Window(top, bottom, left, right),
            Window(
                max(0, top - margin), min(size[0], bottom + margin), max(0, left - margin), min(size[1], right + margin)
            ),
        )
        for top, bottom in sides[0]
        for left, right in sides[1]
    )


def crop_lengths(length: int, most: int, grid: int, margin: int) -> list[int]:
    """How long the crops along a side are."""
    return [min(length, end + margin) - max(0, begin - margin) for begin, end in spans(length, most, grid)]


def spans(length: int, most: int, grid: int) -> list[tuple[int, int]]:
    """Where along a side each core begins and ends: at multiples of the grid, alike within one of its steps."""
    cells = max(1, length // grid)
    count = -(-cells // max(1, most // grid))
    ends = [cells * number // count * grid for number in range(count)]
    return list(pairwise([*ends, length]))
