"""Priors, penalties on the image itself without a reference: all are means over pixels."""

import torch
from torch.nn import functional

from impasto.images.image import Image
from impasto.objectives.distances import Scalar


def total_variation(image: Image, beta: float = 2.0) -> Scalar:
    """Roughness: mean over pixels of the sum over channels of (dx² + dy²)^(β/2), forward differences, 0 at the rim.

    Source: Mahendran & Vedaldi 2015 (arXiv:1412.0035), equation 4; β = 1 keeps edges and gives spikes, β = 2 blurs.
    Departs: a mean over pixels of an image in [0, 1], so that a weight means the same at every size.
    """
    across = functional.pad(image[:, :, :, 1:] - image[:, :, :, :-1], (0, 1, 0, 0))
    down = functional.pad(image[:, :, 1:, :] - image[:, :, :-1, :], (0, 0, 0, 1))
    squares = across.square() + down.square()
    # The floor keeps the gradient finite on flat areas: for β < 2 the power has none at 0.
    powers = squares if beta == 2 else squares.clamp_min(1e-8).pow(beta / 2) - 1e-8 ** (beta / 2)
    return powers.sum(1).mean()


def alpha_norm(image: Image, alpha: float = 6.0) -> Scalar:
    """Extreme colours: mean over pixels and channels of |2x − 1|^α, 0 for mid grey and 1 for black or white.

    Source: Mahendran & Vedaldi 2015 (arXiv:1412.0035), equation 3.
    Departs: taken about mid grey in units of half the range, not about the data's mean in grey levels.
    """
    return (2 * image - 1).abs().pow(alpha).mean()


def out_of_range(image: Image) -> Scalar:
    """How far values leave [0, 1]: mean over pixels and channels of the squared excess."""
    return torch.relu(image - 1).square().mean() + torch.relu(-image).square().mean()
