"""The first picture."""

from collections.abc import Callable

import torch

from impasto.images.image import Image, Size, cover, resize, size_of

Init = Callable[[Size], Image]
LEVEL = 1 / 255
UNIFORM = 0.95  # fraction of neighbours that differ by less than half a level, above which a picture is almost plain


def noise(seed: int = 0, deviation: float = 0.02) -> Init:
    """White noise around mid grey, drawn on the CPU so that all devices start from the same picture.

    `deviation` is in units of the range [0, 1]. Keep it small: noise that a layer does not see stays in the picture.
    """

    def init(size: Size) -> Image:
        generator = torch.Generator().manual_seed(seed)
        white = torch.randn(1, 3, *size, generator=generator, dtype=torch.float32, device="cpu")
        return (0.5 + deviation * white).clamp(0, 1)

    return init


def from_image(image: Image, seed: int = 0) -> Init:
    """A picture resized to the canvas; see `uneven`."""
    return lambda size: uneven(resize(image, size), seed)


def covering(image: Image, seed: int = 0) -> Init:
    """A picture that covers the canvas in its own proportions, cropped if the proportions differ; see `uneven`."""
    return lambda size: uneven(cover(image, size), seed)


def uneven(image: Image, seed: int) -> Image:
    """The picture, with a little noise added if neighbours hardly differ along columns or along rows.

    A plain colour has the same gradient everywhere: gradient descent turns it into a lattice, or leaves it plain.
    """
    steps = (image.diff(dim=axis).abs() for axis in (2, 3))
    if not any(step.numel() and (step < LEVEL / 2).float().mean() > UNIFORM for step in steps):
        return image
    return (image + noise(seed)(size_of(image)).to(image) - 0.5).clamp(0, 1)
