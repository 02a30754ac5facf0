"""Places of a picture on a lattice, which are beside each other, and the features of a picture there."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from impasto.images.image import Image, Size
from impasto.networks.passes import wide
from impasto.networks.steps import FeatureMap

SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # above, below, left, right
OPPOSITE = [1, 0, 3, 2]  # the number of the side opposite to each
GOLDEN = (5**0.5 - 1) / 2  # whose multiples, modulo 1, are spread most evenly; source: Knuth, TAOCP 3, 6.4


@dataclass(frozen=True)
class Lattice:
    """Every `step`-th row and column of a map of that size, beginning with the first."""

    size: Size
    step: int

    @classmethod
    def over(cls, size: Size, most: int) -> "Lattice":
        """The finest lattice with at most `most` positions."""
        height, width = size
        step = max(1, math.isqrt(height * width // most))
        while -(-height // step) * -(-width // step) > most:
            step += 1
        return cls(size, step)

    @property
    def shape(self) -> Size:
        """Rows and columns of the lattice."""
        return -(-self.size[0] // self.step), -(-self.size[1] // self.step)

    def part(self, top: int, left: int, height: int, width: int) -> tuple[slice, slice]:
        """The lattice's rows and columns within a part of the map that begins at `top` and `left`."""
        rows = slice(-(-top // self.step), -(-(top + height) // self.step))
        return rows, slice(-(-left // self.step), -(-(left + width) // self.step))

    def of(self, maps: Tensor, top: int = 0, left: int = 0) -> Tensor:
        """A view of the lattice's positions in a part of the map (…, height, width) that begins at `top` and `left`."""
        return maps[..., -top % self.step :: self.step, -left % self.step :: self.step]


@dataclass(frozen=True, eq=False)
class Places:
    """Some positions of a map of that size: rows `y` and columns `x`, and how much each counts; mostly `step` apart."""

    size: Size
    y: Tensor
    x: Tensor
    counts: Tensor
    step: int

    @classmethod
    def on(cls, lattice: Lattice, levels: Tensor | None = None) -> "Places":
        """All positions of a lattice, or those of them whose level (height, width) is above 0."""
        y, x = (lattice.of(each).flatten() for each in torch.meshgrid(*map(torch.arange, lattice.size), indexing="ij"))
        counts = torch.ones(len(y), dtype=torch.float32) if levels is None else levels.cpu()[y, x].float()
        there = counts > 0
        return cls(lattice.size, y[there], x[there], counts[there], lattice.step)

    @property
    def turned(self) -> "Places":
        """The same places, in the same order, after a quarter turn of the picture, anticlockwise."""
        height, width = self.size
        return Places((width, height), width - 1 - self.x, self.y, self.counts, self.step)

    def beside(self, distance: int) -> Tensor:
        """For each place the number of the one at that distance (4, places) on each of `SIDES`; −1 if there is none."""
        height, width = self.size
        numbers = torch.full((height + 2 * distance, width + 2 * distance), -1)
        y, x = self.y + distance, self.x + distance
        numbers[y, x] = torch.arange(len(y))
        return torch.stack([numbers[y + down * distance, x + across * distance] for down, across in SIDES])


def evenly(maps: Sequence[tuple[Size, Tensor | None]], most: int) -> list[Places]:
    """At most `most` places of these maps together, on lattices of one step, so that strokes go on in each of them.

    A map is given by its size, and by the levels of its positions (height, width) if only those above 0 are taken,
    which count by their levels. A region too thin for the lattice is not missed: as many of its positions are taken.
    """
    total = sum(height * width if levels is None else int((levels > 0).sum()) for (height, width), levels in maps)
    step, found = max(1, math.isqrt(total // (2 * most))), list[Places]()
    while not found or sum(len(places.y) for places in found) > most:
        found = [_spread(Lattice(size, step), levels) for size, levels in maps]
        step += 1
    return found


def _spread(lattice: Lattice, levels: Tensor | None) -> Places:
    """The places of one map, as many as the lattice has on an area of that size."""
    places = Places.on(lattice, levels)
    if levels is None:
        return places
    share = max(1, int((levels > 0).sum()) // lattice.step**2)
    return _scattered(lattice, levels, share) if 2 * len(places.y) < share else places


def _scattered(lattice: Lattice, levels: Tensor, count: int) -> Places:
    """About `count` of the positions whose level is above 0, spread evenly, and at no fixed distance."""
    counting = levels.cpu().nonzero()
    order = torch.arange(count, dtype=torch.float64) * GOLDEN % 1 * len(counting)
    y, x = counting[sorted({*order.long().tolist()})].T
    return Places(lattice.size, y, x, levels.cpu()[y, x].float(), lattice.step)


@dataclass(frozen=True, eq=False)
class Links:
    """Which row of a bank is beside which: `rows` (4, positions), on each of `SIDES` at a distance of `step`, or −1.

    A bank is a list of features; each row is the feature at one place of a picture.
    """

    step: int
    rows: Tensor

    @classmethod
    def of(cls, pictures: Sequence[Places]) -> "Links":
        """The links of a bank whose rows are the places of these pictures, one picture after the other.

        A bank of few places has them at larger distances, so they continue neighbours at that distance.
        """
        step, before, rows = max(places.step for places in pictures), 0, list[Tensor]()
        for places in pictures:
            found = places.beside(step)
            rows.append(torch.where(found >= 0, found + before, -1))
            before += found.shape[1]
        return cls(step, torch.cat(rows, 1))

    def to(self, device: torch.device) -> "Links":
        """The same on a device."""
        return replace(self, rows=self.rows.to(device))

    def wishes(self, chosen: Tensor, y: Tensor, x: Tensor, levels: Tensor | None = None) -> Tensor:
        """The row (4, positions) that would continue each neighbour's choice at these positions, or −1.

        `chosen` (height, width) has the row of the bank that each position has chosen; if there are `levels`, only
        positions whose level is above 0 have.
        """
        height, width = chosen.shape
        wished = []
        for (down, across), continuing in zip(SIDES, self.rows[OPPOSITE], strict=True):
            there, aside = y + down * self.step, x + across * self.step
            inside = (there >= 0) & (there < height) & (aside >= 0) & (aside < width)
            there, aside = there.clamp(0, height - 1), aside.clamp(0, width - 1)
            if levels is not None:
                inside &= levels.to(inside.device)[there, aside] > 0
            wished.append(torch.where(inside, continuing[chosen[there, aside].long()], -1))
        return torch.stack(wished)


class Piece(NamedTuple):
    """A part of a feature map: the layer, the position of its first row and column, and the features."""

    layer: str
    top: int
    left: int
    maps: FeatureMap


Read = Callable[[Image, Collection[str]], Iterator[Piece]]  # a picture's feature maps, whole or in pieces


class Sample(NamedTuple):
    """Features of some positions (positions, channels), and how much each position counts (positions,)."""

    rows: Tensor
    counts: Tensor

    @property
    def fractions(self) -> Tensor:
        """How much each position counts, all together 1."""
        return self.counts / float(self.counts.sum())


def samples(pieces: Read, image: Image, taken: Mapping[str, Places]) -> dict[str, Sample]:
    """The features of a picture at the places taken of each layer."""
    rows: dict[str, Tensor] = {}
    for layer, top, left, maps in pieces(image, taken):
        places = taken[layer]
        y, x = (each.to(maps.device) for each in (places.y - top, places.x - left))
        here = (y >= 0) & (y < maps.shape[2]) & (x >= 0) & (x < maps.shape[3])
        if layer not in rows:
            rows[layer] = maps.new_empty((len(y), maps.shape[1]))
        rows[layer][here] = maps[0].permute(1, 2, 0)[y[here], x[here]]
    return {layer: Sample(found, taken[layer].counts.to(wide(found[:0]))) for layer, found in rows.items()}
