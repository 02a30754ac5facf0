"""First and second moments of a feature map over positions, without a wide copy of the map.

Products of bfloat16 numbers are exact and are summed in float32, but PyTorch rounds the sum to bfloat16. So the sum
over positions is taken in slices, which are added in float32.
"""

from typing import Any

import torch
from torch import Tensor

from impasto.networks.passes import wide

GRAM_SLICES = 16  # rounding left: about 5e-4 of the matrix (random rectified features), for ¼ of float32's time
MEAN_SLICES = 64  # rounding left: about 2e-4; these slices cost nothing


def gram(features: Tensor) -> Tensor:
    """(channels, channels): mean over positions p of F[i, p] · F[j, p]."""
    found: Tensor = _Gram.apply(features)  # type: ignore[no-untyped-call]
    return found


def pull_back_gram(features: Tensor, slope: Tensor, onto: Tensor | None) -> Tensor:
    """The gradient of Σ slope · gram(features), added to `onto`, in the network's precision."""
    rows = _rows(features)
    across = ((slope + slope.T) / rows.shape[0]).to(rows.dtype)
    if onto is None:
        return (rows @ across).reshape(1, *features.shape[2:], -1).permute(0, 3, 1, 2)
    into = _rows(onto)
    if into.data_ptr() == onto.data_ptr():  # a view of `onto`, unless that is a tile's window
        into.addmm_(rows, across)
        return onto
    return onto.add_((rows @ across).reshape(1, *features.shape[2:], -1).permute(0, 3, 1, 2))


def mean_above_gram(features: Tensor) -> Tensor:
    """(channels + 1, channels): each channel's mean over positions, above the Gram matrix."""
    return torch.cat([_mean(_rows(features)), gram(features)])


def pull_back_mean_above_gram(features: Tensor, slope: Tensor, onto: Tensor | None) -> Tensor:
    """The gradient of Σ slope · mean_above_gram(features), added to `onto`."""
    found = pull_back_gram(features, slope[1:], onto)
    return found.add_(slope[:1].T[None, ..., None].to(found.dtype) / features[0, 0].numel())


def first_two(features: Tensor) -> Tensor:
    """(2, channels): each channel's mean over positions, and the mean of its square."""
    rows = wide(features).flatten(2)[0]
    return torch.stack([rows.mean(1), rows.square().mean(1)])


class _Gram(torch.autograd.Function):
    """The Gram matrix for autograd, which would keep a wide copy of the feature map for the way back."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        rows = _rows(features)
        each = rows.shape[0] // GRAM_SLICES
        if rows.dtype in (torch.float32, torch.float64) or each == 0:
            exact = wide(rows)
            return exact.T @ exact / rows.shape[0]
        slices = rows[: each * GRAM_SLICES].reshape(GRAM_SLICES, each, -1)
        rest = rows[each * GRAM_SLICES :].float()
        return torch.bmm(slices.transpose(1, 2), slices).float().sum(0).addmm_(rest.T, rest) / rows.shape[0]

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        return pull_back_gram(features, slopes[0], None)


def _mean(rows: Tensor) -> Tensor:
    """(1, channels): the mean over positions, as a product with ones: PyTorch's sum takes ten times as long."""
    each = rows.shape[0] // MEAN_SLICES
    if rows.dtype in (torch.float32, torch.float64) or each == 0:
        exact = wide(rows)
        return exact.new_ones(1, len(exact)) @ exact / len(exact)
    slices, rest = rows[: each * MEAN_SLICES].reshape(MEAN_SLICES, each, -1), rows[each * MEAN_SLICES :].float()
    sums = torch.bmm(rows.new_ones(1, 1, 1).expand(MEAN_SLICES, 1, each), slices).float().sum(0)
    return (sums + rest.sum(0)) / len(rows)


def _rows(features: Tensor) -> Tensor:
    """(positions, channels); no copy if channels lie innermost, as the network leaves them."""
    return features[0].permute(1, 2, 0).flatten(0, 1)
