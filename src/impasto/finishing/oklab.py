"""Oklab: lightness, green to red, blue to yellow, in which equal distances look about equal.

Source: Björn Ottosson 2020, "A perceptual color space for image processing"; the curve of sRGB is of IEC 61966-2-1.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impasto.formats.primaries import light_of_srgb, srgb_of_light
from impasto.images.image import Image

Lab = Float[Tensor, "1 3 _height _width"]  # lightness in [0, 1]; green–red and blue–yellow in about [-0.4, 0.4]
TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
HALVINGS = 12  # of the chroma, when a colour outside sRGB is brought back into its range


def to_oklab(image: Image) -> Lab:
    """A picture's colours in Oklab; values are clipped to [0, 1] first."""
    cones = _mix(light_of_srgb(image.clamp(0, 1)), TO_CONES)
    return _mix(cones.clamp(min=0).pow(1 / 3), TO_LAB)


def from_oklab(lab: Lab) -> Image:
    """Colours of Oklab as a picture in [0, 1].

    Colours that sRGB does not have keep their lightness (from black to white) and hue, and lose as much chroma as
    necessary: channels clipped one by one would change the hue.
    """
    lightness = lab[:, :1].clamp(0, 1)
    lab = torch.cat([lightness, lab[:, 1:]], 1)
    image = _to_rgb(lab)
    outside = (image < -1e-4) | (image > 1 + 1e-4)
    if not bool(outside.any()):
        return image.clamp(0, 1)
    most, least = torch.ones_like(lightness), torch.zeros_like(lightness)
    most = torch.where(outside.any(1, keepdim=True), most, 2.0)  # colours in range stay as they are
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        tried = _to_rgb(torch.cat([lightness, middle * lab[:, 1:]], 1))
        fits = ((tried >= -1e-4) & (tried <= 1 + 1e-4)).all(1, keepdim=True)
        least, most = torch.where(fits, middle, least), torch.where(fits, most, middle)
    return _to_rgb(torch.cat([lightness, least.clamp(max=1) * lab[:, 1:]], 1)).clamp(0, 1)


def _to_rgb(lab: Lab) -> Tensor:
    """Colours as sRGB, of which some may lie outside [0, 1]."""
    cones = _mix(lab, torch.linalg.inv(torch.tensor(TO_LAB, dtype=torch.float64)).tolist()).pow(3)
    light = _mix(cones, torch.linalg.inv(torch.tensor(TO_CONES, dtype=torch.float64)).tolist())
    return srgb_of_light(light)


def _mix(colours: Tensor, matrix: tuple[tuple[float, ...], ...] | list[list[float]]) -> Tensor:
    return torch.einsum("ij,njhw->nihw", torch.tensor(matrix, dtype=colours.dtype, device=colours.device), colours)
