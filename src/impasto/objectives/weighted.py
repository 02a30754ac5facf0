"""Representations weighted by position: the same functions, with positions that count more, less, or not at all."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import reduce

import torch
from torch import Tensor

from impasto.errors import SpecError
from impasto.networks.steps import FeatureMap
from impasto.objectives.representations import MeanOverPositions, Pointwise, Representation
from impasto.objectives.weightmaps import PositionWeights


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
