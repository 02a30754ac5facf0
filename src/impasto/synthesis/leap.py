"""A first step from noise almost to the target: a linear inverse of a layer, fitted to pictures of noise.

The best linear inverse of a layer is found by least squares over pictures of noise, whose maps can be computed. The
inverse is a convolution: it turns a difference of maps, at a position and its neighbours, into a difference of the
square of pixels below. One step with the inverse from the first picture replaces hundreds of gradient steps, and
gradient descent finds better minima from there.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from impasto.images.image import Image, Size, resize, size_of
from impasto.images.noise import noise_picture
from impasto.networks.network import Network
from impasto.networks.steps import FeatureMap
from impasto.tiles.passes import owned
from impasto.tiles.windows import cut

PICTURE_PX = 224
TILE_PX = 512
MOST_UNKNOWNS = 2304  # 256 channels at 3 × 3 positions; a layer with more channels is read at one position only
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)  # of the mean energy; deep layers, far from linear, need the large ones
Inverse = Float[Tensor, "_pixels channels _down _across"]  # a convolution's weights: 3 · stride² values of a square


@dataclass(frozen=True, eq=False)
class Leap:
    """A move that brings a layer's map closer to that of `goal`, by an inverse fitted to `pictures` of noise."""

    layer: str
    goal: Image
    pictures: int
    seed: int = 0

    @property
    def evaluations(self) -> int:
        """Forward passes, each counted as one evaluation (a pass forward and back)."""
        return self.pictures + 2 + len(RIDGES)

    def __call__(self, network: Network, image: Image) -> Image:
        """The picture after the step, in [0, 1]; the picture itself if no inverse brings it closer to the goal."""
        size = size_of(image)
        network.require_size(size, [self.layer])
        wanted = maps_of(network, resize(self.goal, size).to(image), self.layer)
        before = maps_of(network, image, self.layer)
        best, least = image, float((wanted - before).norm())
        for inverse in inverses(network, self.layer, self.pictures, self.seed):
            found = (image + pixel_change(wanted - before, inverse, size)).clamp(0, 1)
            error = float((wanted - maps_of(network, found, self.layer)).norm())
            if error < least:
                best, least = found, error
        return best


@torch.no_grad()
def maps_of(network: Network, image: Image, layer: str) -> FeatureMap:
    """The layer's map of the whole picture in float32, read in tiles if the picture is large."""
    name, rows = network.canonical(layer), list[Tensor]()
    tiles = cut(size_of(image), (TILE_PX, TILE_PX), network, [layer])
    for top in sorted({tile.core.top for tile in tiles}):
        row = [tile for tile in tiles if tile.core.top == top]
        maps = [own for tile in row for _, own in owned(network, tile.crop.of(image), tile.inside, [name])]
        rows.append(torch.cat([own.float() for own in maps], dim=3))
    return torch.cat(rows, dim=2)


def inverses(network: Network, layer: str, pictures: int, seed: int = 0) -> Iterator[Inverse]:
    """Linear maps from a layer's map to the pixels below, by regression on pictures of noise: one for each ridge."""
    channels = network.channels(network.canonical(layer))
    kernel = 3 if 9 * channels <= MOST_UNKNOWNS else 1
    unknowns, values = channels * kernel**2, 3 * network.stride(layer) ** 2
    alike, crossed = _covariances(_samples(network, layer, kernel, pictures, seed), unknowns, values)
    for ridge in RIDGES:
        energy = alike + ridge * alike.diagonal().mean() * torch.eye(unknowns, dtype=alike.dtype)
        inverse = torch.linalg.solve(energy, crossed)
        yield inverse.T.reshape(-1, channels, kernel, kernel).to(network.device)


def _samples(network: Network, layer: str, kernel: int, pictures: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each picture of noise, a row per position: the map's values there and around, and the square of pixels."""
    stride, generator = network.stride(layer), torch.Generator().manual_seed(seed)
    side = max(PICTURE_PX, network.smallest_side([layer])) // stride * stride
    for number in range(pictures):
        picture = noise_picture(side, generator, leaves=number % 2 == 1)
        maps = maps_of(network, picture.to(network.device), layer).cpu()
        seen = functional.unfold(maps, kernel, padding=kernel // 2)[0].T
        yield seen, functional.pixel_unshuffle(picture, stride)[0].flatten(1).T


def _covariances(samples: Iterator[tuple[Tensor, Tensor]], unknowns: int, values: int) -> tuple[Tensor, Tensor]:
    """Covariances over all samples: of the unknowns with one another, and of the unknowns with the pixels' values."""
    count, mean_seen, mean_pixels = 0, _zeros(unknowns), _zeros(values)
    alike, crossed = _zeros(unknowns, unknowns), _zeros(unknowns, values)
    for seen, pixels in samples:
        count, mean_seen, mean_pixels = count + len(seen), mean_seen + seen.sum(0), mean_pixels + pixels.sum(0)
        alike, crossed = alike.addmm_(seen.T, seen), crossed.addmm_(seen.T, pixels)
    alike = alike / count - torch.outer(mean_seen, mean_seen) / count**2
    return alike, crossed / count - torch.outer(mean_seen, mean_pixels) / count**2


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float32)  # a program that imports impasto may have another default dtype


def pixel_change(difference: FeatureMap, inverse: Inverse, size: Size) -> Image:
    """The change of a picture that an inverse makes of a difference of maps; 0 beyond the last whole position."""
    stride = round((inverse.shape[0] / 3) ** 0.5)
    change = functional.pixel_shuffle(functional.conv2d(difference, inverse, padding=inverse.shape[-1] // 2), stride)
    return functional.pad(change, (0, size[1] - change.shape[3], 0, size[0] - change.shape[2]))
