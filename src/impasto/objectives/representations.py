"""What is kept of a feature map: the map itself, or statistics: means over positions of something at each position.

Means compare between sizes, and can be taken in parts: that of a map is the mean of its parts', each weighed by how
many positions it has. Tiles rely on it, so a representation of one's own must be such a mean too.

Feature maps come in the network's precision; every sum here is taken in float32 at least.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from impasto.networks.steps import FeatureMap

Representation = Callable[[Tensor], Tensor]


def activations(features: FeatureMap) -> FeatureMap:
    """Everything: which feature occurs where.

    Source: Mahendran & Vedaldi 2015 (arXiv:1412.0035), section 2.
    """
    return _wide(features)


def gram_matrix(features: FeatureMap) -> Float[Tensor, "_channels _channels"]:
    """Which features occur together, not where: G[i, j] = mean over positions p of F[i, p] · F[j, p].

    Source: Gatys, Ecker & Bethge 2015 (arXiv:1505.07376), equation 1.
    Departs: divided by height · width, so that pictures of different size compare; the paper does so in its loss.
    """
    gram: Tensor = _Gram.apply(features)  # type: ignore[no-untyped-call]
    return gram


def mean_and_gram(features: FeatureMap) -> Float[Tensor, "_channels_and_one _channels"]:
    """All first and second moments: the mean of each feature above the Gram matrix.

    What a normal distribution of features needs, for `wasserstein_distance`. Both are means over positions, which the
    covariance is not.
    """
    return torch.cat([_mean(_rows(features)), gram_matrix(features)])


def channel_moments(features: FeatureMap) -> Float[Tensor, "2 _channels"]:
    """How strong each feature is on average, and on average squared: its first two moments over positions.

    Source: Li, Wang, Liu & Hou 2017 (arXiv:1701.01036), section 4.2.
    Departs: the second moment stands for the standard deviation, because it is a sum over positions.
    """
    rows = _wide(features).flatten(2)[0]
    return torch.stack([rows.mean(1), rows.square().mean(1)])


def pull_back(represent: Representation, features: FeatureMap, slope: Tensor, onto: FeatureMap | None) -> FeatureMap:
    """The gradient with respect to `features` of Σ slope · represent(features), added to `onto` in place.

    It is in the type of `features`, channels innermost; a new one where `onto` is None.
    """
    if represent is gram_matrix:
        return _pull_back_gram(features, slope, onto)
    if represent is mean_and_gram:
        found = _pull_back_gram(features, slope[1:], onto)
        return found.add_(slope[:1].T[None, ..., None].to(found.dtype) / features[0, 0].numel())
    if represent is activations:
        found = slope
    else:
        with torch.enable_grad():
            variable = features.detach().requires_grad_()
            (found,) = torch.autograd.grad(represent(variable), variable, slope)
    if onto is not None:
        return onto.add_(found)
    return torch.empty_like(features, memory_format=torch.channels_last).copy_(found)


_MEAN_PARTS = 64


def _wide(features: Tensor) -> Tensor:
    return features if features.dtype == torch.float64 else features.float()


class _Gram(torch.autograd.Function):
    """The Gram matrix without a wide copy of the feature map: autograd would keep one for the backward pass.

    A bfloat16 product is exact and its sum is taken in float32, but PyTorch rounds what comes out: so the positions are
    taken in 16 parts, whose sums are added in float32. The rounding left is about 5e-4 of the matrix (random rectified
    features), for a quarter of the time of float32. The gradient is in the network's precision, like all below it.
    """

    PARTS = 16

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        rows = _rows(features)
        each = rows.shape[0] // _Gram.PARTS
        if rows.dtype in (torch.float32, torch.float64) or each == 0:
            wide = _wide(rows)
            return wide.T @ wide / rows.shape[0]
        parts = rows[: each * _Gram.PARTS].reshape(_Gram.PARTS, each, -1)
        rest = rows[each * _Gram.PARTS :].float()
        return torch.bmm(parts.transpose(1, 2), parts).float().sum(0).addmm_(rest.T, rest) / rows.shape[0]

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        return _pull_back_gram(features, slopes[0], None)


def _pull_back_gram(features: Tensor, slope: Tensor, onto: Tensor | None) -> Tensor:
    rows = _rows(features)
    across = ((slope + slope.T) / rows.shape[0]).to(rows.dtype)
    if onto is None:
        return (rows @ across).reshape(1, *features.shape[2:], -1).permute(0, 3, 1, 2)
    into = _rows(onto)
    if into.data_ptr() == onto.data_ptr():  # a view of it, as in all maps that are whole
        into.addmm_(rows, across)
        return onto
    return onto.add_((rows @ across).reshape(1, *features.shape[2:], -1).permute(0, 3, 1, 2))


def _mean(rows: Tensor) -> Tensor:
    """(1, channels): the mean over positions, by products with ones: PyTorch's sum takes ten times as long.

    In bfloat16 by parts, as the Gram matrix; more of them, which cost nothing here: the rounding left is about 2e-4.
    """
    each = rows.shape[0] // _MEAN_PARTS
    if rows.dtype in (torch.float32, torch.float64) or each == 0:
        wide = _wide(rows)
        return wide.new_ones(1, len(wide)) @ wide / len(wide)
    parts, rest = rows[: each * _MEAN_PARTS].reshape(_MEAN_PARTS, each, -1), rows[each * _MEAN_PARTS :].float()
    sums = torch.bmm(rows.new_ones(1, 1, 1).expand(_MEAN_PARTS, 1, each), parts).float().sum(0)
    return (sums + rest.sum(0)) / len(rows)


def _rows(features: Tensor) -> Tensor:
    """(positions, channels); no copy where channels lie innermost, as the network leaves them."""
    return features[0].permute(1, 2, 0).flatten(0, 1)
