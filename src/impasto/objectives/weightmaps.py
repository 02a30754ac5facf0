"""Weight maps: how much each part of a picture counts in a term, and the weights at the positions of a layer.

A weight at a position is the mean of the map over the position's own square. So maps that add up to 1 at each pixel
have weights that add up to 1 at each position of each layer: between soft or hard regions there is no gap and no seam.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from impasto.errors import ImageError, SpecError
from impasto.images.image import Size, size_of
from impasto.networks.layers import Layer
from impasto.networks.network import Network
from impasto.networks.steps import FeatureMap
from impasto.objectives.representations import MeanOverPositions, Pointwise, Representation

LEVELS = 32  # weights are rounded to so many steps: 3 % of the largest, which no result shows
INSIDE = 3  # exponent: a position that sees as much of the outside as of the inside counts an eighth


class Group(NamedTuple):
    """Some positions with the same weight."""

    weight: float
    positions: int


@dataclass(frozen=True, eq=False)
class PositionWeights:
    """The weights of a layer's positions, or of a window of them: level times unit, with mean 1 over the whole map."""

    levels: Tensor  # (height, width), uint8, on the CPU
    unit: float

    @property
    def core(self) -> Tensor:
        """The levels of the positions that have at least half of the largest level: those that see little else."""
        return self.levels * (2 * self.levels.int() >= int(self.levels.max()))

    def cut(self, rows: slice, columns: slice) -> "PositionWeights":
        """The weights of a window."""
        return PositionWeights(self.levels[rows, columns].clone(), self.unit)

    def numbers(self, like: Tensor) -> Tensor:
        """(height, width): the weights on the device of `like`, in its type."""
        return self.levels.to(like) * self.unit

    @cached_property
    def order(self) -> Tensor:
        """The positions whose weight is not 0, row by row as in a flat map, in order of weight; at least one."""
        flat = self.levels.flatten()
        several = max(1, int((flat > 0).sum()))
        return flat.argsort(stable=True)[len(flat) - several :].to(torch.int32)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The weights of the positions in `order`, equal ones together."""
        levels, counts = torch.unique_consecutive(self.levels.flatten()[self.order.long()], return_counts=True)
        pairs = zip(levels.tolist(), counts.tolist(), strict=True)
        return tuple(Group(level * self.unit, count) for level, count in pairs)


@dataclass(frozen=True, eq=False)
class WeightMap:
    """How much each part of a picture counts: numbers from 0 upwards, stretched over the picture.

    Only how the weights compare matters: at each layer they are divided by their mean. Raises SpecError unless the
    weights are finite, at least 0, and not all 0.
    """

    weights: Tensor  # (1, 1, height, width)

    def __post_init__(self) -> None:
        if self.weights.ndim != 4 or self.weights.shape[:2] != (1, 1):
            raise SpecError(f"a weight map has the shape (1, 1, height, width), not {tuple(self.weights.shape)}")
        if not bool(self.weights.isfinite().all()) or bool((self.weights < 0).any()):
            raise SpecError("a weight map has a weight that is below 0 or not finite")
        if not bool((self.weights > 0).any()):
            raise SpecError("the weights of a weight map are all 0")

    @property
    def mean(self) -> float:
        """The mean of the weights."""
        return float(self.weights.mean())

    def require(self, size: Size, layer: Layer, what: str) -> None:
        """Raise ImageError if all weights together are less than those of one position, in a picture of that size.

        `what` is what the map weights, in words.
        """
        covered_px = self.mean / float(self.weights.max()) * size[0] * size[1]
        if covered_px < layer.stride**2:
            covered = f"about {covered_px:.0f} px" if covered_px >= 1 else "less than 1 px"
            raise ImageError(
                f"{what} covers {covered}, and one position of {layer.name} has {layer.stride} × {layer.stride}"
            )

    def at(self, size: Size, layer: Layer, device: torch.device) -> PositionWeights:
        """The weights of the layer's positions in a picture of that size."""
        return _rounded(_pooled(stretched(self.weights.to(device), size), layer))

    def inside(self, size: Size, layer: Layer, device: torch.device) -> PositionWeights:
        """The same, but positions count less the more they see of the outside.

        A reference's statistics are then those of its region, not of the border and what lies behind. The weight of a
        position is multiplied by the cubed mean of the map over all that the position sees.
        """
        weights = stretched(self.weights.to(device), size)
        weights = weights / weights.max()
        return _rounded(_pooled(weights * _seen(weights, layer.reach_px) ** INSIDE, layer))


def stretched(weights: Tensor, size: Size) -> Tensor:
    """A map at exactly `size`: linear and antialiased, so that the sum of maps stays their sum."""
    if size_of(weights) == size:
        return weights
    return functional.interpolate(weights, size=size, mode="bilinear", antialias=True, align_corners=False)


def coarsest_first(network: Network, layers: Iterable[str]) -> list[Layer]:
    """The layers in the order of their strides, so that an error about a small region names what it must have."""
    return sorted(map(network.layer, layers), key=lambda layer: layer.stride, reverse=True)


def _pooled(weights: Tensor, layer: Layer) -> Tensor:
    """The mean over the square of each of the layer's positions; a square beyond the picture counts as the last one."""
    means = functional.avg_pool2d(weights, layer.stride, ceil_mode=True)
    height, width = layer.positions(size_of(weights))
    more = max(0, height - means.shape[2]), max(0, width - means.shape[3])
    return functional.pad(means, (0, more[1], 0, more[0]), mode="replicate")[0, 0, :height, :width]


def _seen(weights: Tensor, reach_px: int) -> Tensor:
    """The mean over all pixels at most `reach_px` away in each direction, within the picture."""
    return _mean_down(_mean_down(weights, reach_px).transpose(2, 3), reach_px).transpose(2, 3)


def _mean_down(weights: Tensor, reach_px: int) -> Tensor:
    """The mean over all rows at most `reach_px` away."""
    rows = torch.arange(weights.shape[2], device=weights.device)
    begins, ends = (rows - reach_px).clamp_min(0), (rows + reach_px + 1).clamp_max(len(rows))
    sums = functional.pad(weights.cumsum(2), (0, 0, 1, 0))
    total = sums.index_select(2, ends) - sums.index_select(2, begins)
    return (total / (ends - begins)[:, None]).clamp(0, 1)


def _rounded(weights: Tensor) -> PositionWeights:
    """The weights in steps, divided by their mean; the largest is never rounded to 0."""
    largest = weights.max()
    steps = weights / largest if largest > 0 else torch.ones_like(weights)
    levels = (steps * LEVELS).round_().to("cpu", torch.uint8)
    return PositionWeights(levels, 1 / float(levels.double().mean()))


def weighted_by(represent: Representation, weights: PositionWeights, name: str) -> Representation:
    """The representation weighted by position. Raises SpecError for one of the whole map."""
    kinds = {MeanOverPositions: WeightedMean, Pointwise: WeightedPointwise}
    for kind, weighted in kinds.items():
        if isinstance(represent, kind):
            return weighted(represent.function, represent.way_back, base=represent, weights=weights)
    raise SpecError(
        f"{name}: this representation needs the whole feature map and cannot be weighted by position; wrap the "
        "function as a MeanOverPositions or a Pointwise if it is of that kind"
    )


@dataclass(frozen=True)
class WeightedMean(MeanOverPositions):
    """The weighted mean over positions of `base`: Σ weight · value / number of positions, where weights have mean 1.

    A mean over positions does not depend on their arrangement: positions of the same weight are taken out of the map,
    and `base` is called for each such group. Positions of weight 0 cost nothing.
    """

    base: Representation = field(kw_only=True)
    weights: PositionWeights = field(kw_only=True)

    def __call__(self, features: FeatureMap) -> Tensor:
        """The representation of the feature map."""
        rows, count = self._rows(features), self.weights.levels.numel()
        found = (self.base(part) * (weight * part.shape[2] / count) for weight, part in self._parts(rows))
        return reduce(torch.Tensor.add_, found)

    def pull_back(self, features: FeatureMap, slope: Tensor, onto: FeatureMap | None) -> FeatureMap:
        """The gradient with respect to `features`, as in `Representation`."""
        onto = torch.zeros_like(features, memory_format=torch.channels_last) if onto is None else onto
        rows, count = self._rows(features), self.weights.levels.numel()
        for weight, part in self._parts(rows):
            found = self.base.pull_back(part, slope * (weight * part.shape[2] / count), None)
            part.copy_(found)  # the features of these positions are no longer needed
        y, x = self._positions(features)
        onto[0].permute(1, 2, 0)[y, x] += rows.to(onto.dtype)
        return onto

    def cut(self, rows: slice, columns: slice) -> "WeightedMean":
        """The representation of a window of the map."""
        return replace(self, weights=self.weights.cut(rows, columns))

    @property
    def bytes(self) -> int:
        """The bytes of the weights."""
        return self.weights.levels.numel()

    def _positions(self, features: FeatureMap) -> tuple[Tensor, Tensor]:
        order, width = self.weights.order.to(features.device, torch.int64), self.weights.levels.shape[1]
        return order // width, order % width

    def _rows(self, features: FeatureMap) -> Tensor:
        """(positions, channels): a copy of the features of the positions that count, in order of weight."""
        y, x = self._positions(features)
        return features[0].permute(1, 2, 0)[y, x]

    def _parts(self, rows: Tensor) -> Iterator[tuple[float, FeatureMap]]:
        """The features of each group of equal weight, (1, channels, positions, 1), a view of `rows`."""
        begin = 0
        for weight, positions in self.weights.groups:
            part = rows[begin : begin + positions]
            yield weight, part.reshape(1, positions, 1, -1).permute(0, 3, 1, 2)
            begin += positions


@dataclass(frozen=True)
class WeightedPointwise(Pointwise):
    """The values of `base` at each position times the root of its weight, so that squared differences are weighted."""

    base: Representation = field(kw_only=True)
    weights: PositionWeights = field(kw_only=True)

    def __call__(self, features: FeatureMap) -> Tensor:
        """The representation of the feature map."""
        found = self.base(features)
        return found * self.weights.numbers(found).sqrt()

    def pull_back(self, features: FeatureMap, slope: Tensor, onto: FeatureMap | None) -> FeatureMap:
        """The gradient with respect to `features`, as in `Representation`."""
        return self.base.pull_back(features, slope * self.weights.numbers(slope).sqrt(), onto)

    def cut(self, rows: slice, columns: slice) -> "WeightedPointwise":
        """The representation of a window of the map."""
        return replace(self, weights=self.weights.cut(rows, columns))

    @property
    def bytes(self) -> int:
        """The bytes of the weights."""
        return self.weights.levels.numel()
