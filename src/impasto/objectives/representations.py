"""What is kept of a feature map: an object that says how it is computed, and how a gradient goes back through it.

There are three kinds. Of one position (`Pointwise`): the values at a position follow from the features there alone, so
that two maps are compared in place. A mean over positions (`MeanOverPositions`): means compare between sizes, and that
of a map is the mean of those of its tiles, each weighed by how many positions the tile has. Of the whole map
(`WholeMap`): anything else, which cannot be taken tile by tile.

Feature maps come in the network's precision; every sum here is taken in float32 at least.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.networks.network import FeatureMap
from impasto.objectives.moments import first_two, gram, mean_above_gram, pull_back_gram, pull_back_mean_above_gram, wide

Function = Callable[[Tensor], Tensor]
WayBack = Callable[[FeatureMap, Tensor, FeatureMap | None], FeatureMap]


@dataclass(frozen=True)
class Representation:
    """What a function keeps of a feature map (1, channels, height, width), and the way back through that function.

    Two are equal if they are of one kind and have the same functions; functions of a module can be sent to other
    processes. Make a `Pointwise`, a `MeanOverPositions` or a `WholeMap`.
    """

    function: Function
    way_back: WayBack | None = None  # as `pull_back`; without one, autograd finds the gradient

    def __call__(self, features: FeatureMap) -> Tensor:
        """What is kept of the feature map."""
        return self.function(features)

    def pull_back(self, features: FeatureMap, slope: Tensor, onto: FeatureMap | None) -> FeatureMap:
        """The gradient with respect to `features` of Σ slope · represent(features), added to `onto` in place.

        The gradient is in the type of `features`, channels innermost; without `onto` it is a new tensor.
        """
        if self.way_back is not None:
            return self.way_back(features, slope, onto)
        with torch.enable_grad():
            variable = features.detach().requires_grad_()
            (found,) = torch.autograd.grad(self.function(variable), variable, slope)
        return _added(found, features, onto)


@dataclass(frozen=True)
class Pointwise(Representation):
    """Of one position: what is kept there follows from the features there alone, such as their squares."""


@dataclass(frozen=True)
class MeanOverPositions(Representation):
    """A mean over positions of something that follows from the features at each position.

    The function has to be such a mean: tiles rely on that, and nothing can test it.
    """


@dataclass(frozen=True)
class WholeMap(Representation):
    """Of the whole map, such as a maximum or a spectrum. It cannot be taken in tiles."""


def represented(function: Function) -> Representation:
    """The function as a representation; one that does not say its kind may need the whole map."""
    return function if isinstance(function, Representation) else WholeMap(function)


def _added(found: Tensor, features: Tensor, onto: Tensor | None) -> Tensor:
    if onto is not None:
        return onto.add_(found)
    return torch.empty_like(features, memory_format=torch.channels_last).copy_(found)


def _pull_back_activations(features: Tensor, slope: Tensor, onto: Tensor | None) -> Tensor:
    return _added(slope, features, onto)


activations = Pointwise(wide, _pull_back_activations)
"""Everything: which feature occurs where. (1, channels, height, width), as the feature map.

Source: Mahendran & Vedaldi 2015 (arXiv:1412.0035), section 2.
"""

gram_matrix = MeanOverPositions(gram, pull_back_gram)
"""Which features occur together, not where: G[i, j] = mean over positions p of F[i, p] · F[j, p].

(channels, channels). Source: Gatys, Ecker & Bethge 2015 (arXiv:1505.07376), equation 1. Departs: divided by height ·
width, so that pictures of different size compare; the paper does so in its loss.
"""

mean_and_gram = MeanOverPositions(mean_above_gram, pull_back_mean_above_gram)
"""All first and second moments: the mean of each feature above the Gram matrix. (channels + 1, channels).

What a normal distribution of features needs, for `wasserstein_distance`. Both are means over positions, which the
covariance is not.
"""

channel_moments = MeanOverPositions(first_two)
"""How strong each feature is on average, and on average squared: its first two moments over positions. (2, channels).

Source: Li, Wang, Liu & Hou 2017 (arXiv:1701.01036), section 4.2.
Departs: the second moment stands for the standard deviation, because it is a mean over positions.
"""
