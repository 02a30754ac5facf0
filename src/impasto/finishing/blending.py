"""Two pictures mixed in Oklab, where the mixture of two colours looks halfway between them."""

import torch
from torch import Tensor

from impasto.errors import ImageError
from impasto.finishing.bands import in_bands
from impasto.finishing.oklab import from_oklab, to_oklab
from impasto.images.image import Alpha, Image, Picture, stretch

NEAR = 0.02  # by which proportions may differ, relatively: sizes are whole numbers of pixels


def blended(first: Picture, second: Picture, strength: float) -> Picture:
    """From the first picture (strength 0) to the second (1), at the second's size.

    Transparency is mixed too, and each colour counts as much as it can be seen (Porter & Duff 1984).
    Raises ImageError if the proportions differ by more than NEAR.
    """
    (height, width), (rows, columns) = second.size, first.size
    if stretch(first.size, second.size) > max(NEAR, 1 / min(height, width, rows, columns)):
        raise ImageError(
            f"pictures of {columns} × {rows} and {width} × {height} px cannot be blended; their proportions must agree"
        )
    first = first.resized(second.size)
    if strength in (0, 1):
        return second if strength else first
    one, other = (1 - strength) * _opacity(first), strength * _opacity(second)
    alpha = one + other
    share = torch.where(alpha > 0, other / alpha, strength)

    def mixed(one: Image, other: Image, share: Tensor) -> Image:
        return from_oklab(torch.lerp(to_oklab(one), to_oklab(other), share))

    image = in_bands(mixed, first.image, second.image, share)
    return Picture(image, None if first.alpha is None and second.alpha is None else alpha)


def _opacity(picture: Picture) -> Alpha:
    return torch.ones_like(picture.image[:, :1]) if picture.alpha is None else picture.alpha
