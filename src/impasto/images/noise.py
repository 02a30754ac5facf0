"""Random pictures: pink noise and dead leaves, whose statistics resemble those of photographs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from impasto.images.image import Image

Values = np.ndarray[Any, np.dtype[np.float32]]
PLAIN: Mapping[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # whatever the host's defaults are


def noise_picture(side: int, generator: torch.Generator, *, leaves: bool) -> Image:
    """Noise with a photograph's statistics: amplitude 1/frequency and correlated colours; with `leaves`, dead leaves.

    Dead leaves (Lee, Mumford & Huang 2001) are discs of many sizes that cover one another: they add edges.
    """
    frequency = torch.fft.fftfreq(side, **PLAIN)[:, None].square() + torch.fft.rfftfreq(side, **PLAIN).square()
    frequency[0, 0] = 1 / side**2
    white = torch.randn(1, 3, side, side, generator=generator, **PLAIN)
    pink: Image = torch.fft.irfft2(torch.fft.rfft2(white) / frequency.sqrt(), s=(side, side))
    pink = pink / pink.std()
    grey = torch.rand(1, generator=generator, **PLAIN)
    pink = (1 - grey) * pink + grey * 1.4 * pink.mean(1, keepdim=True)
    if leaves:
        return (dead_leaves(side, generator) + 0.05 * pink).clamp(0, 1)
    return (0.5 + 0.22 * pink).clamp(0, 1)


def dead_leaves(side: int, generator: torch.Generator, discs: int = 600, largest_px: float = 90.0) -> Image:
    """Discs in random colours, each over those before; the density of radii from 2 px to `largest_px` falls as r⁻³."""
    picture = torch.rand(3, 1, 1, generator=generator, **PLAIN).expand(3, side, side).clone()
    drawn = torch.rand(discs, 6, generator=generator, **PLAIN)
    radii = (0.25 + drawn[:, 0] * (largest_px**-2 - 0.25)).rsqrt()
    pixels, colours = picture.numpy(), drawn[:, 3:, None, None].numpy()  # NumPy takes less time for each small disc
    for radius, (y, x), colour in zip(radii.tolist(), (drawn[:, 1:3] * side).tolist(), colours, strict=True):
        _draw_disc(pixels, y, x, radius, colour)
    return picture[None]


def _draw_disc(picture: Values, y: float, x: float, radius: float, colour: Values) -> None:
    """Colour the pixels of `picture` (3, side, side) within `radius` of (y, x)."""
    top, left = max(0, int(y - radius)), max(0, int(x - radius))
    box = picture[:, top : int(y + radius) + 1, left : int(x + radius) + 1]
    down = np.arange(top, top + box.shape[1], dtype=np.float32)[:, None] - np.float32(y)
    across = np.arange(left, left + box.shape[2], dtype=np.float32) - np.float32(x)
    np.copyto(box, colour, where=np.square(down) + np.square(across) <= np.float32(radius**2))
