"""Representations: functions of a feature map that say their kind, with the way back for gradients.

There are three kinds. `Pointwise`: the values at a position depend on the features at that position alone, and two maps
are compared position by position. `MeanOverPositions`: means compare between sizes, and can be computed tile by tile,
because the mean over a map is the mean of its tiles' means, weighted by their numbers of positions. `WholeMap`:
anything else, which cannot be computed tile by tile.

Feature maps come in the network's precision; every sum here is taken in float32 at least.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.gradients import end
from impasto.images.image import size_of
from impasto.matching.directions import LEAST_LENGTH, apart, directions
from impasto.networks.passes import wide
from impasto.networks.steps import FeatureMap
from impasto.objectives.moments import first_two, gram, mean_above_gram, pull_back_gram, pull_back_mean_above_gram

Function = Callable[[Tensor], Tensor]
WayBack = Callable[[FeatureMap, Tensor, FeatureMap | None], FeatureMap]
FAINT = 1e-5  # of a map's largest value: less is rounding, of a picture of one colour that was resized


@dataclass(frozen=True)
class Representation:
    """A function of a feature map (1, channels, height, width), and the way back through that function.

    Make a `Pointwise`, a `MeanOverPositions` or a `WholeMap`. Representations are equal if their kind and functions
    are. One whose functions are defined in a module can be sent to other processes.
    """

    function: Function
    way_back: WayBack | None = None  # as `pull_back`; None: autograd finds the gradient

    def __call__(self, features: FeatureMap) -> Tensor:
        """The representation of the feature map."""
        return self.function(features)

    def fitted(self, found: Tensor) -> "Representation":
        """The representation to compare by, once `found`, its value for the reference, is known: mostly itself."""
        return self

    def pull_back(self, features: FeatureMap, slope: Tensor, onto: FeatureMap | None) -> FeatureMap:
        """The gradient with respect to `features` of Σ slope · represent(features), added to `onto` in place.

        The gradient is in the type of `features`, channels innermost; without `onto` it is a new tensor.
        """
        if self.way_back is not None:
            return self.way_back(features, slope, onto)
        with torch.enable_grad():
            variable = features.detach().requires_grad_()
            (found,) = torch.autograd.grad(end(self.function(variable), slope), variable)
        return _added(found, features, onto)

    def cut(self, rows: slice, columns: slice) -> "Representation":
        """The representation of a window of the map; the same one, unless the weights of positions differ."""
        return self

    @property
    def bytes(self) -> int:
        """The bytes of data that the representation holds; 0 unless positions have weights."""
        return 0


@dataclass(frozen=True)
class Pointwise(Representation):
    """Values that each depend on the features at one position alone, such as their squares."""


@dataclass(frozen=True)
class MeanOverPositions(Representation):
    """A mean over positions of values that each depend on the features at one position alone.

    The function must be such a mean: tiles rely on this, and no check can prove it.
    """


@dataclass(frozen=True)
class WholeMap(Representation):
    """A function of the whole map, such as a maximum or a spectrum, which cannot be computed in tiles."""


@dataclass(frozen=True)
class MeanOverPairs(WholeMap):
    """A mean over pairs of positions, wherever in the map they are: needs the whole map, but no arrangement of it."""


def represented(function: Function) -> Representation:
    """The function as a representation; a plain function becomes a `WholeMap`."""
    return function if isinstance(function, Representation) else WholeMap(function)


def _added(found: Tensor, features: Tensor, onto: Tensor | None) -> Tensor:
    if onto is not None:
        return onto.add_(found)
    return torch.empty_like(features, memory_format=torch.channels_last).copy_(found)


def _pull_back_activations(features: Tensor, slope: Tensor, onto: Tensor | None) -> Tensor:
    return _added(slope, features, onto)


@dataclass(frozen=True, eq=False)
class _Directions:
    """From a feature map to its directions from a centre, and the way back."""

    centre: Tensor  # (channels,)

    def __call__(self, features: FeatureMap) -> Tensor:
        return directions(features, self.centre)

    def pull_back(self, features: FeatureMap, slope: Tensor, onto: FeatureMap | None) -> FeatureMap:
        found = apart(features, self.centre)
        length = torch.linalg.vector_norm(found, dim=1, keepdim=True).clamp_min_(LEAST_LENGTH)
        direction = found.div_(length)
        along = (direction * slope).sum(1, keepdim=True)
        return _added(torch.addcmul(slope, direction, along, value=-1).div_(length), features, onto)


def directions_from(centre: Tensor) -> Pointwise:
    """The direction of the feature at each position from `centre` (channels,): (1, channels, height, width).

    Each is a vector of length 1, so half the squared difference of two directions is 1 − their cosine.
    """
    found = _Directions(centre)
    return Pointwise(found, found.pull_back)


activations = Pointwise(wide, _pull_back_activations)
"""The feature map itself: which feature occurs where. (1, channels, height, width).

Source: Mahendran & Vedaldi 2015 (arXiv:1412.0035), section 2.
"""

gram_matrix = MeanOverPositions(gram, pull_back_gram)
"""Which features occur together, not where: G[i, j] = mean over positions p of F[i, p] · F[j, p].

(channels, channels). Source: Gatys, Ecker & Bethge 2015 (arXiv:1505.07376), equation 1. Departs: divided by height ·
width, so that pictures of different sizes compare; the paper divides in its loss instead.
"""

mean_and_gram = MeanOverPositions(mean_above_gram, pull_back_mean_above_gram)
"""All first and second moments: the mean of each feature above the Gram matrix. (channels + 1, channels).

They determine a normal distribution of features, for `wasserstein_distance`. Both are means over positions; the
covariance is not.
"""

channel_moments = MeanOverPositions(first_two)
"""The mean of each feature and of its square: the first two moments over positions. (2, channels).

Source: Li, Wang, Liu & Hou 2017 (arXiv:1701.01036), section 4.2.
Departs: second moments replace standard deviations, which are no means over positions.
"""


@dataclass(frozen=True)
class Shifts:
    """How alike a map and the map shifted by so many positions are, for each shift of at most `reach` positions.

    (channels, 2 · reach + 1, reach + 1): the mean over the positions that both share of the product of a channel's
    values less its mean, for shifts of −reach … reach rows and 0 … reach columns. The others are the same mirrored.
    Without a reach, half the map's smaller side.
    """

    reach: int | None = None

    def __call__(self, features: FeatureMap) -> Tensor:
        """The products at each shift, found by Fourier transforms of the map with zeros around it."""
        values = wide(features)[0]
        faint, values = FAINT * values.abs().max(), values - values.mean((1, 2), keepdim=True)
        values = values.where(values.abs() > faint, 0)
        reach = min(size_of(features)) // 2 if self.reach is None else self.reach
        shared = _products(torch.ones_like(values[:1]), reach).round().clamp_min(1)
        return _products(values, reach) / shared


def _products(values: Tensor, reach: int) -> Tensor:
    """The sum of each channel times the channel shifted, which is a spectrum's inverse transform (Wiener–Khinchin)."""
    around = values.shape[1] + reach, values.shape[2] + reach
    spectrum = torch.fft.rfft2(values, s=around)
    found = torch.fft.irfft2(spectrum.abs().square(), s=around)[:, :, : reach + 1]
    return torch.cat([found[:, around[0] - reach :], found[:, : reach + 1]], 1)


@dataclass(frozen=True)
class Autocorrelation(MeanOverPairs):
    """How alike places are that lie so far apart: periods of a pattern. Compared up to the reference's reach."""

    def fitted(self, found: Tensor) -> "Autocorrelation":
        """The autocorrelation at the shifts that the reference has."""
        return Autocorrelation(Shifts(found.shape[-1] - 1))


autocorrelation = Autocorrelation(Shifts())
"""How alike a picture or a feature map is to itself, shifted: regular patterns such as bricks and weaves.

(channels, rows, columns), see `Shifts`. Source: Sendik & Cohen-Or 2017 (Deep correlations for texture synthesis).
Departs: at the picture itself, whose autocorrelation is its spectrum (Liu, Gousseau & Xia 2016,
arXiv:1605.01141), and without the weights of shifts.
"""
