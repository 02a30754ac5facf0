"""Which places of a picture are alike, whatever they look like."""

from collections.abc import Callable
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


@dataclass(frozen=True)
class Sampling:
    """From a part of a map to the features at all positions of a lattice (positions, channels): 0 outside the part."""

    lattice: Lattice
    top: int = 0
    left: int = 0

    def __call__(self, features: FeatureMap) -> Tensor:
        """The features at the lattice's positions, in float32 at least."""
        here = self.lattice.of(features[0], self.top, self.left).permute(1, 2, 0)
        kind = torch.promote_types(here.dtype, torch.float32)
        found = here.new_zeros((*self.lattice.shape, here.shape[2]), dtype=kind)
        found[self._part(features)] = here.to(kind)
        return found.flatten(0, 1)

    def pull_back(self, features: FeatureMap, slope: Tensor, onto: FeatureMap | None) -> FeatureMap:
        """The gradient of Σ slope · features at the lattice's positions, added to `onto`."""
        onto = torch.zeros_like(features, memory_format=torch.channels_last) if onto is None else onto
        here = slope.reshape(*self.lattice.shape, -1)[self._part(features)].permute(2, 0, 1)
        self.lattice.of(onto[0], self.top, self.left).add_(here.to(onto.dtype))
        return onto

    def _part(self, features: FeatureMap) -> tuple[slice, slice]:
        return self.lattice.part(self.top, self.left, features.shape[2], features.shape[3])


@dataclass(frozen=True)
class Sampled(Representation):
    """The features at up to `MOST` positions of an even lattice: (positions, channels).

    A part of a map gives the features at its own positions, and 0 at all others, so tiles add up (see `within`).
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
"""The features at the positions of an even lattice, for `self_similarity`."""


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
