"""Which places of a picture are alike, whatever they look like."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from impasto.images.image import Size, size_of
from impasto.matching.places import Lattice
from impasto.networks.steps import FeatureMap
from impasto.objectives.distances import Scalar
from impasto.objectives.representations import Representation

MOST = 512  # positions; the distances between all pairs take time in proportion to its square
SINGLE = 6  # the largest step at which single positions stand for their cells; docs/decisions/0060


@dataclass(frozen=True)
class Sampling:
    """From a part of a map to the features of a lattice (positions, channels): 0 outside the part.

    They are those of single positions, or, if the lattice's step is large, the means of its cells. Then the gradient of
    a large picture goes to all positions, and not to a few, which would show as a grid of dots.
    """

    lattice: Lattice
    top: int = 0
    left: int = 0

    def __call__(self, features: FeatureMap) -> Tensor:
        """The lattice's features, in float32 at least."""
        kind = torch.promote_types(features.dtype, torch.float32)
        found = features.new_zeros((*self.lattice.shape, features.shape[1]), dtype=kind)
        if self.lattice.step <= SINGLE:
            here = self.lattice.of(features[0], self.top, self.left).permute(1, 2, 0)
            found[self._part(features)] = here.to(kind)
            return found.flatten(0, 1)
        columns = self._columns(features)
        for cell, rows in self._bands(features):
            found[cell].index_add_(0, columns, features[0][:, rows].sum(1, dtype=kind).T)
        return (found / self._counts(found)).flatten(0, 1)

    def pull_back(self, features: FeatureMap, slope: Tensor, onto: FeatureMap | None) -> FeatureMap:
        """The gradient of Σ slope · the lattice's features, added to `onto`."""
        onto = torch.zeros_like(features, memory_format=torch.channels_last) if onto is None else onto
        slope = slope.reshape(*self.lattice.shape, -1)
        if self.lattice.step <= SINGLE:
            here = slope[self._part(features)].permute(2, 0, 1)
            self.lattice.of(onto[0], self.top, self.left).add_(here.to(onto.dtype))
            return onto
        each, columns = (slope / self._counts(slope)).to(onto.dtype), self._columns(features)
        for cell, rows in self._bands(features):
            onto[0][:, rows].add_(each[cell][columns].T[:, None])
        return onto

    def _columns(self, features: FeatureMap) -> Tensor:
        """The cell of each column of the part."""
        return (torch.arange(features.shape[3], device=features.device) + self.left) // self.lattice.step

    def _bands(self, features: FeatureMap) -> Iterator[tuple[int, slice]]:
        """The rows of the part that each row of cells has."""
        step, height = self.lattice.step, features.shape[2]
        for cell in range(self.top // step, (self.top + height - 1) // step + 1):
            yield cell, slice(max(0, cell * step - self.top), (cell + 1) * step - self.top)

    def _counts(self, like: Tensor) -> Tensor:
        """(rows, columns, 1): how many positions each cell of the whole map has."""
        (height, width), step = self.lattice.size, self.lattice.step
        rows, columns = (
            (length - torch.arange(0, length, step, device=like.device)).clamp(max=step) for length in (height, width)
        )
        return (rows[:, None] * columns)[..., None].to(like)

    def _part(self, features: FeatureMap) -> tuple[slice, slice]:
        return self.lattice.part(self.top, self.left, features.shape[2], features.shape[3])


@dataclass(frozen=True)
class Sampled(Representation):
    """The features of an even lattice with up to `MOST` positions, see `Sampling`: (positions, channels).

    A part of a map gives what its own positions add, and 0 for all others, so tiles add up (see `within`).
    """

    def within(self, size: Size, top: int, left: int) -> Representation:
        """The representation of a part of a map of that size; the part begins at `top` and `left`."""
        sampling = Sampling(Lattice.over(size, MOST), top, left)
        return Representation(sampling, sampling.pull_back)


def _sampling(features: FeatureMap) -> Sampling:
    return Sampling(Lattice.over(size_of(features), MOST))


def _sampled(features: FeatureMap) -> Tensor:
    return _sampling(features)(features)


def _pull_back_sampled(features: FeatureMap, slope: Tensor, onto: FeatureMap | None) -> FeatureMap:
    return _sampling(features).pull_back(features, slope, onto)


sampled = Sampled(_sampled, _pull_back_sampled)
"""The features of an even lattice, for `self_similarity`."""


@dataclass(frozen=True)
class SelfSimilarity:
    """How the cosine distances between all pairs of features differ, relative to how they vary in the target.

    Σ (D − D₀)² / Σ (D₀ − 1)², each column of D divided by its mean. Each feature may change, if those that were alike
    stay alike.
    Source: Kolkin, Salavon & Shakhnarovich 2019 (STROTSS, arXiv:1904.12785), equation 8. Departs: squares in place of
    absolute differences, for L-BFGS; positions of a fixed lattice in place of random ones; one layer at a time.
    """

    def __call__(self, found: Tensor, target: Tensor) -> Scalar:
        """The difference between two sets of features (positions, channels)."""
        return self.to(target)(found)

    def to(self, target: Tensor) -> Callable[[Tensor], Scalar]:
        """The difference from a fixed target."""
        wanted = _distances(target)
        varies = (wanted - 1).square().sum()
        unit = torch.where(varies > 0, varies, 1)
        return lambda found: (_distances(found) - wanted.to(found)).square().sum() / unit.to(found)


def _distances(features: Tensor) -> Tensor:
    rows = functional.normalize(features, dim=1)
    distances = 1 - rows @ rows.T
    return distances / distances.mean(0).clamp_min(1e-6)


self_similarity = SelfSimilarity()
"""The difference in self-similarity of features at sampled positions (`sampled`)."""
