"""Rounding to 8 bits with little effect on a layer: rounding errors are diffused into changes the layer hardly sees.

Rounding adds an error n to a picture, which changes the layer's map by J n, where J is the layer's Jacobian. The size
of this change, ‖J n‖², follows from JᵀJ. Averaged over positions, JᵀJ says how similar two changes of the picture are
to the layer, by the offset between them. Values are rounded in raster order; after each, the values still to come are
adjusted so that the total change of the map stays as small as possible.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from impasto.images.image import Image, quantise, size_of
from impasto.networks.network import Network
from impasto.networks.passes import backward, forward
from impasto.networks.steps import FeatureMap

REACH = 7  # px: how far an error is diffused downwards and to either side
MOST_PX = 512  # side of the central crop that is probed
RIDGE = 1e-3  # of the mean energy, so that directions the layer hardly sees do not receive all of the error
LEVELS = 255
Alikeness = Float[Tensor, "_down _across 3 3"]  # by offset, from -2 · REACH to 2 · REACH, and pair of colours


class Diffusion(NamedTuple):
    """Where an error is diffused: pixel offsets (down, right), its own pixel first; coefficients (from, pixel, to)."""

    offsets: tuple[tuple[int, int], ...]
    coefficients: Float[Tensor, "3 _pixels 3"]


@dataclass(frozen=True)
class Dither:
    """A move that rounds a picture to 8 bits for one layer, whose JᵀJ is estimated with `probes` random probes."""

    layer: str
    probes: int
    seed: int = 0

    @property
    def evaluations(self) -> int:
        """A pass forward and back for each probe."""
        return self.probes

    def __call__(self, network: Network, image: Image) -> Image:
        """The picture rounded to multiples of 1/255."""
        return diffuse(image, diffusion(alikeness(network, image, self.layer, self.probes, self.seed)))


def alikeness(network: Network, image: Image, layer: str, probes: int, seed: int = 0) -> Alikeness:
    """JᵀJ of a layer at a picture, averaged over positions; of a large picture only the centre is probed.

    Each probe is white noise z at the layer, pulled back to the picture: E[(Jᵀz)(Jᵀz)ᵀ] = JᵀJ, and each position gives
    one more sample of JᵀJ.
    """
    centre = _centre(image)
    height, width = size_of(centre)
    far, total = 2 * REACH, torch.zeros(())
    padded = (height + far, width + far)  # so that nothing wraps around
    for probe in _probes(network, centre, layer, probes, seed):
        spectrum = torch.fft.rfft2(probe, s=padded)
        total = total + spectrum.conj()[:, None] * spectrum[None]
    by_offset = torch.fft.irfft2(total, s=padded) / (probes * height * width)
    offsets = torch.arange(-far, far + 1)
    alike: Tensor = by_offset[:, :, offsets][..., offsets].permute(2, 3, 0, 1)
    return alike


def _centre(image: Image) -> Image:
    height, width = size_of(image)
    top, left = max(0, height - MOST_PX) // 2, max(0, width - MOST_PX) // 2
    return image[:, :, top : top + MOST_PX, left : left + MOST_PX]


def _probes(network: Network, image: Image, layer: str, count: int, seed: int) -> Iterator[Float[Tensor, "3 _h _w"]]:
    """White noise at a layer, pulled back to the picture: Jᵀz, `count` times."""
    generator = torch.Generator().manual_seed(seed)

    def noise(_: str, maps: FeatureMap, __: FeatureMap | None) -> FeatureMap:
        drawn = torch.randn(maps.shape, generator=generator, dtype=torch.float32)
        return drawn.to(maps).contiguous(memory_format=torch.channels_last)

    for _ in range(count):
        yield backward(forward(network, image, {network.canonical(layer)}), noise)[0].to("cpu", torch.float64)


def diffusion(alike: Alikeness) -> Diffusion:
    """The adjustments of the values still to come that best compensate an error in each colour.

    Rounding one by one with these coefficients is Babai's nearest plane algorithm (Combinatorica 6, 1986) for a
    shift-invariant lattice; with a fixed table of coefficients it is Floyd & Steinberg's error diffusion (1976).
    """
    offsets = tuple((y, x) for y in range(REACH + 1) for x in range(-REACH, REACH + 1) if y > 0 or x >= 0)
    far = alike.shape[0] // 2
    down, right = (torch.tensor(each) for each in zip(*offsets, strict=True))
    together = alike[far + down[None] - down[:, None], far + right[None] - right[:, None]]  # (pixel, pixel, 3, 3)
    count = 3 * len(offsets)
    energy = together.permute(0, 2, 1, 3).reshape(count, count)
    energy = (energy + energy.T) / 2
    energy = energy + RIDGE * energy.diagonal().mean() * torch.eye(count, dtype=energy.dtype)
    coefficients = torch.zeros(3, count, dtype=energy.dtype)
    for colour in range(3):  # red, green, blue of a pixel are rounded in this order
        later = slice(colour + 1, None)
        coefficients[colour, later] = -torch.linalg.solve(energy[later, later], energy[later, colour])
    return Diffusion(offsets, coefficients.reshape(3, -1, 3).float())


def diffuse(image: Image, filters: Diffusion) -> Image:
    """The picture rounded to multiples of 1/255, each value's error diffused to the values after it.

    The pixels of a slanting line are rounded together, because their errors do not reach one another.
    """
    height, width = size_of(image)
    wide = width + 2 * REACH
    values, rounded = _padded(image, wide), torch.zeros(3, height * width, dtype=torch.float32)
    steps = torch.tensor([y * wide + x for y, x in filters.offsets[1:]])
    for rows, columns in _lines(height, width):
        here = rows * wide + columns + REACH
        rounded[:, rows * width + columns], errors = _rounded(values[:, here], filters)
        moves = torch.einsum("cn,cpd->dpn", errors, filters.coefficients[:, 1:])
        values.index_add_(1, (steps[:, None] + here[None]).flatten(), moves.flatten(1))
    return quantise(rounded.reshape(1, 3, height, width).to(image) / LEVELS)


def _padded(image: Image, wide: int) -> Float[Tensor, "3 _count"]:
    """The picture's values from 0 to 255 as flat rows of `wide` values, padded so that errors may leave the picture."""
    height, width = size_of(image)
    values = torch.zeros(3, height + REACH, wide, dtype=torch.float32)
    values[:, :height, REACH : REACH + width] = image[0].to("cpu", torch.float32) * LEVELS
    return values.flatten(1)


def _lines(height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and columns of the pixels of each slanting line, in the order of rounding."""
    slant = REACH + 1
    for line in range(width + slant * (height - 1)):
        first, last = max(0, -(-(line - width + 1) // slant)), min(height - 1, line // slant)
        rows = torch.arange(first, last + 1)
        yield rows, line - slant * rows


def _rounded(values: Float[Tensor, "3 _count"], filters: Diffusion) -> tuple[Tensor, Tensor]:
    """Pixels rounded colour by colour, and their errors; each error adjusts the later colours of the same pixel."""
    levels, errors = torch.zeros_like(values), torch.zeros_like(values)
    for colour in range(3):
        levels[colour] = values[colour].round().clamp(0, LEVELS)
        errors[colour] = (levels[colour] - values[colour]).clamp(-0.5, 0.5)  # the clipping of values is not diffused
        values = values + filters.coefficients[colour, 0][:, None] * errors[colour]
    return levels, errors
