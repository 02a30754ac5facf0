"""Sliced distributions: how features are distributed along directions, which is more than means and covariances say.

A distribution along a direction is a histogram, whose bins are means over positions; so it compares between sizes, and
can be computed tile by tile. At the picture itself it is the distribution of colours, a palette.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.networks.passes import wide
from impasto.networks.steps import FeatureMap
from impasto.objectives.distances import Scalar
from impasto.objectives.moments import mean_above_gram, pull_back_mean_above_gram
from impasto.objectives.representations import MeanOverPositions

BINS = 64
SPREADS = 5.0  # standard deviations on each side of the mean that bins cover
LEAST = 0.05  # of the usual standard deviation: narrower directions are hardly more than rounding
FEWEST, MOST = 32, 128  # directions; in between, half as many as channels
SEED = 0


@dataclass(frozen=True)
class Sliced(MeanOverPositions):
    """Histograms along directions that suit a reference: half its leading principal directions, half random ones.

    Before a reference is known, this is its moments; `fitted` makes the histograms from these moments.
    """

    def fitted(self, found: Tensor) -> MeanOverPositions:
        """Histograms (directions, bins), with directions and bins for a reference with these moments."""
        histograms = Histograms.of(found)
        return MeanOverPositions(histograms, histograms.pull_back)


@dataclass(frozen=True, eq=False)
class Histograms:
    """Mean over positions of soft histograms of the features along directions: (directions, bins + 1).

    A value between the centres of two bins counts in both, more in the nearer one. Values beyond the outermost bins
    count in those, and the last number is the mean square of how far beyond they are, in bins. `directions` are
    (channels, directions), each divided by a bin's width; `first` are the first bins' centres in the same unit.
    """

    directions: Tensor
    first: Tensor

    @classmethod
    def of(cls, moments: Tensor) -> "Histograms":
        """The histograms for features with these moments (`mean_and_gram`)."""
        mean, gram = moments[0].double().cpu(), moments[1:].double().cpu()
        spread = gram - torch.outer(mean, mean)
        channels = len(mean)
        count = min(MOST, max(FEWEST, channels // 2))
        leading = _principal(spread, count // 2)
        generator = torch.Generator().manual_seed(SEED)
        others = torch.randn(channels, count - leading.shape[1], generator=generator, dtype=torch.float64)
        across = torch.cat([leading, others / others.norm(dim=0)], 1)
        deviations = (across * (spread @ across)).sum(0).clamp_min(0).sqrt()
        usual = deviations.square().mean().sqrt()
        widths = deviations.clamp_min(float(LEAST * usual) or 1.0) * (2 * SPREADS / (BINS - 1))
        across = across / widths
        first = mean @ across - (BINS - 1) / 2
        return cls(across.to(moments), first.to(moments))

    def __call__(self, features: FeatureMap) -> Tensor:
        """The histograms of a feature map (1, channels, height, width)."""
        bins, over, beyond = self._placed(features)
        counts = over.new_zeros(BINS, over.shape[1])
        counts.scatter_add_(0, bins, 1 - over).scatter_add_(0, bins + 1, over)
        return torch.cat([counts, beyond.square().sum(0, keepdim=True)]).T / len(over)

    def pull_back(self, features: FeatureMap, slope: Tensor, onto: FeatureMap | None) -> FeatureMap:
        """The gradient of Σ slope · histograms, added to `onto`: a value moves weight from one bin to the next."""
        bins, _, beyond = self._placed(features)
        table = slope.T
        inside = (table.gather(0, bins + 1) - table.gather(0, bins)) * (beyond == 0)
        steps = inside + 2 * beyond * table[-1]
        rows = (steps / len(steps)) @ self.directions.to(steps).T
        found = rows.to(features.dtype).reshape(1, *features.shape[2:], -1).permute(0, 3, 1, 2)
        return found if onto is None else onto.add_(found)

    def _placed(self, features: FeatureMap) -> tuple[Tensor, Tensor, Tensor]:
        """For each position and direction: the bin below the value, how far above its centre, and beyond all bins."""
        rows = wide(features)[0].permute(1, 2, 0).flatten(0, 1)
        places = rows @ self.directions.to(rows) - self.first.to(rows)
        kept = places.clamp(0, BINS - 1)
        bins = kept.floor().clamp(max=BINS - 2)
        return bins.long(), kept - bins, places - kept


def _principal(spread: Tensor, most: int) -> Tensor:
    """The principal directions (channels, directions), at most so many, those of the greatest variance.

    If there are more channels, directions without variance are left out: there are fewer positions than channels then,
    and rounding chooses among the many directions in which the features do not vary.
    """
    directions: Tensor
    variances, directions = torch.linalg.eigh((spread + spread.T) / 2)
    if len(variances) > most:
        directions = directions[:, variances > LEAST**2 * variances.mean()]
    return directions[:, -most:]


@dataclass(frozen=True)
class SlicedWasserstein:
    """Mean over directions of the squared Wasserstein-2 distance of two histograms, relative to the target's variance.

    Sources: Rabin et al. 2011 (Wasserstein barycenter and its application to texture mixing), sliced distance;
    Heitz et al. 2021 (arXiv:2006.07229), of a network's features. Departs: distributions in bins in place of sorted
    values, with squares of what lies beyond the bins added; directions that are fixed and half of them principal, each
    relative to the target's variance along it.
    """

    def __call__(self, found: Tensor, target: Tensor) -> Scalar:
        """The distance of two sets of histograms (directions, bins + 1)."""
        return self.to(target)(found)

    def to(self, target: Tensor) -> Callable[[Tensor], Scalar]:
        """The distance to fixed histograms."""
        centres = torch.arange(BINS, dtype=target.dtype, device=target.device)
        counts, outside = target[:, :-1], target[:, -1]
        mean = (counts * centres).sum(1, keepdim=True)
        variances = (counts * (centres - mean).square()).sum(1)
        unit, wanted = variances.clamp_min(1e-3), counts.cumsum(1)

        def distance(found: Tensor) -> Scalar:
            here, beyond = found[:, :-1].cumsum(1), (found[:, -1] - outside.to(found)).clamp_min(0)
            levels = torch.cat([here, wanted.to(here)], 1).sort(1).values
            lengths = levels.diff(dim=1, prepend=levels.new_zeros(len(levels), 1))
            middles = (levels - lengths / 2).detach().contiguous()
            apart = _bin_at(here.detach(), middles) - _bin_at(wanted.to(here), middles)
            squares: Scalar = (((apart.square() * lengths).sum(1) + beyond) / unit.to(here)).mean()
            return squares

        return distance


def _bin_at(sums: Tensor, levels: Tensor) -> Tensor:
    """The bin in which cumulative sums reach each level."""
    return torch.searchsorted(sums.contiguous(), levels).clamp(max=BINS - 1).to(levels)


sliced = Sliced(mean_above_gram, pull_back_mean_above_gram)
"""Distributions along directions, as histograms that suit the reference; for `sliced_wasserstein`."""

sliced_wasserstein = SlicedWasserstein()
"""The mean squared Wasserstein-2 distance of histograms."""
