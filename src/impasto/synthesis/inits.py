"""The first picture."""

from collections.abc import Callable

import torch

from impasto.images.image import Image, Size, fit, resize

Init = Callable[[Size], Image]


def noise(seed: int = 0, deviation: float = 0.02) -> Init:
    """White noise about mid grey, drawn on the CPU so that all devices start alike.

    Its deviation is in units of the range [0, 1]: much of the noise that a layer does not see stays in the picture.
    """

    def init(size: Size) -> Image:
        generator = torch.Generator().manual_seed(seed)
        return (0.5 + deviation * torch.randn(1, 3, *size, generator=generator, dtype=torch.float32)).clamp(0, 1)

    return init


def from_image(image: Image) -> Init:
    """A picture resized to the canvas."""
    return lambda size: resize(image, size)


def covering(image: Image) -> Init:
    """A picture that covers the canvas in its own proportions, cut if they differ from the canvas."""
    return lambda size: fit(image, size)
