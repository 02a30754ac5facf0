"""Where the lines of a picture run, so that strokes of a brush can follow them."""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from impasto.images.image import Image, Size, resize, size_of, size_with_long_side
from impasto.matching.places import Piece, Read

FAINT = 1 / 255  # a difference between pixels beside each other that no line has


class Grain(NamedTuple):
    """How fine lines are: the long side at which a larger picture is read, and the side of a cell."""

    most_px: int
    cell_px: int


SHAPES = Grain(256, 20)  # outlines of things, whatever the size of the result; docs/decisions/0059
STROKES = Grain(1024, 8)  # as a layer sees them whose positions stand for four pixels


def lines(image: Image, grain: Grain) -> Tensor:
    """(1, 2, rows, columns): c · cos 2θ and c · sin 2θ in each cell, θ the angle at which lines run.

    θ is 0 for lines that run across and grows anticlockwise; c is between 0, where lines run in all directions, and 1,
    where all run alike.
    Source: Bigün & Granlund 1987, the structure tensor; its colours are added (Di Zenzo 1986).
    """
    size = size_of(image)
    image = resize(image, size_with_long_side(size, min(grain.most_px, max(size))))
    padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    pairs = (across, across), (down, down), (across, down)
    products = torch.cat([(a * b).mean(1, keepdim=True) for a, b in pairs], 1)
    height, width = (max(1, round(side / grain.cell_px)) for side in size_of(image))
    along_x, along_y, both = _spread(products, (height, width)).unbind(1)
    return torch.stack([along_y - along_x, 2 * both], 1) / (along_x + along_y + FAINT**2)


def following(pieces: Read, field: Tensor, shapes: Mapping[str, Size]) -> Read:
    """The same pieces of one picture, each position's feature followed by the field (1, numbers, …) at that position.

    `shapes` has the size of each layer's map, over which the field is stretched.
    """
    over = {layer: _spread(field, size) for layer, size in shapes.items()}

    def read(image: Image, layers: Collection[str]) -> Iterator[Piece]:
        for layer, top, left, maps in pieces(image, layers):
            height, width = size_of(maps)
            there = over[layer][..., top : top + height, left : left + width]
            yield Piece(layer, top, left, torch.cat([maps, there.to(maps)], 1))

    return read


def _spread(field: Tensor, size: Size) -> Tensor:
    """A field at another size: linear, and antialiased if it becomes smaller."""
    return functional.interpolate(field, size=size, mode="bilinear", antialias=True, align_corners=False)
