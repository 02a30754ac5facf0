"""How alike two pictures look: the structural similarity of their lightness."""

import torch
from torch import Tensor
from torch.nn import functional

from impasto.finishing.oklab import to_oklab
from impasto.images.image import Image, resize, size_of

RADIUS, DEVIATION = 5, 1.5  # px, of the window. Source: Wang et al. 2004, section III.B
K1, K2 = 0.01, 0.03  # of the range. Source: as above


def ssim(image: Image, reference: Image) -> float:
    """Mean structural similarity, at the reference's size: 1 if the pictures are equal, about 0 if unrelated.

    Source: Wang, Bovik, Sheikh & Simoncelli 2004, "Image quality assessment: from error visibility to structural
    similarity". Departs: lightness in Oklab; a picture smaller than the window is compared as far as windows overlap.
    """
    one = to_oklab(resize(image.cpu().float(), size_of(reference)))[:, :1].double()
    other = to_oklab(reference.cpu().float())[:, :1].double()
    mean, other_mean = _window(one), _window(other)
    variance = _window(one.square()) - mean.square()
    other_variance = _window(other.square()) - other_mean.square()
    covariance = _window(one * other) - mean * other_mean
    likeness = (2 * mean * other_mean + K1**2) / (mean.square() + other_mean.square() + K1**2)
    structure = (2 * covariance + K2**2) / (variance + other_variance + K2**2)
    return float((likeness * structure).mean())


def _window(maps: Tensor) -> Tensor:
    """Means weighted by a Gaussian, over windows that lie inside."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=maps.dtype)
    weights = torch.exp(-offsets.square() / (2 * DEVIATION**2))
    weights = weights / weights.sum()
    rows, columns = (min(RADIUS, (side - 1) // 2) for side in size_of(maps))
    down = _cut(weights, rows)[None, None, :, None]
    across = _cut(weights, columns)[None, None, None]
    return functional.conv2d(functional.conv2d(maps, down), across)


def _cut(weights: Tensor, radius: int) -> Tensor:
    kept = weights[RADIUS - radius : RADIUS + radius + 1]
    return kept / kept.sum()
