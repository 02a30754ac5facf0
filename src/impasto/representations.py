"""What is kept of a feature map. Each is a sum over positions, then a normalisation, so that sizes compare."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from impasto.networks import FeatureMap

Representation = Callable[[Tensor], Tensor]


def activations(features: FeatureMap) -> FeatureMap:
    """Everything: which feature occurs where.

    Source: Mahendran & Vedaldi 2015 (arXiv:1412.0035), section 2.
    """
    return features


def gram_matrix(features: FeatureMap) -> Float[Tensor, "_channels _channels"]:
    """Which features occur together, not where: G[i, j] = mean over positions p of F[i, p] · F[j, p].

    Source: Gatys, Ecker & Bethge 2015 (arXiv:1505.07376), equation 1.
    Departs: divided by height · width, so that pictures of different size compare; the paper does so in its loss.
    """
    rows = features.flatten(2)[0]  # (channels, positions)
    return rows @ rows.T / rows.shape[1]


def channel_moments(features: FeatureMap) -> Float[Tensor, "2 _channels"]:
    """How strong each feature is on average, and on average squared: its first two moments over positions.

    Source: Li, Wang, Liu & Hou 2017 (arXiv:1701.01036), section 4.2.
    Departs: the second moment stands for the standard deviation, because it is a sum over positions.
    """
    rows = features.flatten(2)[0]
    return torch.stack([rows.mean(1), rows.square().mean(1)])
