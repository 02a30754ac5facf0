"""Two pictures mixed in Oklab, where the mixture of two colours looks halfway between them."""

import torch

from impasto.errors import ImageError
from impasto.finishing.bands import in_bands
from impasto.finishing.oklab import from_oklab, to_oklab
from impasto.images.image import Image, resize, size_of, stretch

NEAR = 0.02  # by which proportions may differ, relatively: sizes are whole numbers of pixels


def blended(first: Image, second: Image, strength: float) -> Image:
    """From the first picture (strength 0) to the second (1), at the second's size.

    Raises ImageError if the proportions differ by more than NEAR.
    """
    (height, width), (rows, columns) = size_of(second), size_of(first)
    if stretch((rows, columns), (height, width)) > max(NEAR, 1 / min(height, width, rows, columns)):
        raise ImageError(
            f"pictures of {columns} × {rows} and {width} × {height} px cannot be blended; their proportions must agree"
        )
    first = resize(first, (height, width))
    if strength in (0, 1):
        return second if strength else first

    def mixed(one: Image, other: Image) -> Image:
        return from_oklab(torch.lerp(to_oklab(one), to_oklab(other), strength))

    return in_bands(mixed, first, second)
