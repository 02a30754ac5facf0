"""A first step from noise almost to the goal: a linear way back from a layer, fitted on pictures of noise.

How a layer's map answers to a change of the picture is a convolution and much that is not linear. Least squares over
pictures of noise, whose maps are known, gives the linear map that best leads back: from a difference of maps, at a
position and those around it, to a difference of the square of pixels below. One step of it from the first picture does
what gradients need hundreds for, and ends where they find better minima.
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
from impasto.tiles.windows import cut

PICTURE_PX = 224
TILE_PX = 512
MOST_UNKNOWNS = 2304  # of 256 channels at 3 × 3 positions; more channels than that are taken at one position alone
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)  # of the mean energy; deep layers, far from linear, need the large ones
Way = Float[Tensor, "_pixels channels _down _across"]  # a convolution's weights: 3 · stride² values of a square


@dataclass(frozen=True, eq=False)
class Leap:
    """A move of the first picture by which a layer's map nears that of `goal`, by so many pictures of noise."""

    layer: str
    goal: Image
    pictures: int
    seed: int = 0

    @property
    def evaluations(self) -> int:
        """Passes forward, each counted like one forward and back."""
        return self.pictures + 2 + len(RIDGES)

    def __call__(self, network: Network, image: Image) -> Image:
        """The picture after the step, in [0, 1]; the picture itself if no ridge leads nearer to the goal."""
        size = size_of(image)
        network.require_size(size, [self.layer])
        wanted = maps_of(network, resize(self.goal, size).to(image), self.layer)
        before = maps_of(network, image, self.layer)
        best, least = image, float((wanted - before).norm())
        for way in ways_back(network, self.layer, self.pictures, self.seed):
            found = (image + moved(wanted - before, way, size)).clamp(0, 1)
            error = float((wanted - maps_of(network, found, self.layer)).norm())
            if error < least:
                best, least = found, error
        return best


@torch.no_grad()
def maps_of(network: Network, image: Image, layer: str) -> FeatureMap:
    """The layer's map of the whole picture in float32, read in tiles if the picture is large."""
    stride, name = network.stride(layer), network.canonical(layer)
    rows = []
    tiles = cut(size_of(image), (TILE_PX, TILE_PX), network, [layer])
    for top in sorted({tile.core.top for tile in tiles}):
        row = [tile for tile in tiles if tile.core.top == top]
        maps = [tile.inside.of(network(tile.crop.of(image), [name])[name].float(), stride) for tile in row]
        rows.append(torch.cat(maps, dim=3))
    return torch.cat(rows, dim=2)


def ways_back(network: Network, layer: str, pictures: int, seed: int = 0) -> Iterator[Way]:
    """Linear maps from a layer's map to the pixels below, by regression on pictures of noise: one for each ridge."""
    channels = network.channels(network.canonical(layer))
    kernel = 3 if 9 * channels <= MOST_UNKNOWNS else 1
    unknowns, values = channels * kernel**2, 3 * network.stride(layer) ** 2
    alike, crossed = _covariances(_samples(network, layer, kernel, pictures, seed), unknowns, values)
    for ridge in RIDGES:
        energy = alike + ridge * alike.diagonal().mean() * torch.eye(unknowns, dtype=alike.dtype)
        way = torch.linalg.solve(energy, crossed)
        yield way.T.reshape(-1, channels, kernel, kernel).to(network.device)


def _samples(network: Network, layer: str, kernel: int, pictures: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each picture of noise and each position: the maps there and around, and the square of pixels below."""
    stride, generator = network.stride(layer), torch.Generator().manual_seed(seed)
    side = max(PICTURE_PX, network.smallest_side([layer])) // stride * stride
    for number in range(pictures):
        picture = noise_picture(side, generator, leaves=number % 2 == 1)
        maps = maps_of(network, picture.to(network.device), layer).cpu()
        seen = functional.unfold(maps, kernel, padding=kernel // 2)[0].T
        yield seen, functional.pixel_unshuffle(picture, stride)[0].flatten(1).T


def _covariances(samples: Iterator[tuple[Tensor, Tensor]], unknowns: int, values: int) -> tuple[Tensor, Tensor]:
    """Of so many unknowns with one another, and with the values of pixels, over all samples."""
    count, mean_seen, mean_pixels = 0, _zeros(unknowns), _zeros(values)
    alike, crossed = _zeros(unknowns, unknowns), _zeros(unknowns, values)
    for seen, pixels in samples:
        count, mean_seen, mean_pixels = count + len(seen), mean_seen + seen.sum(0), mean_pixels + pixels.sum(0)
        alike, crossed = alike.addmm_(seen.T, seen), crossed.addmm_(seen.T, pixels)
    alike = alike / count - torch.outer(mean_seen, mean_seen) / count**2
    return alike, crossed / count - torch.outer(mean_seen, mean_pixels) / count**2


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float32)  # whatever the host's default is


def moved(difference: FeatureMap, way: Way, size: Size) -> Image:
    """The change of a picture that a difference of maps asks for; 0 beyond the last whole position."""
    stride = round((way.shape[0] / 3) ** 0.5)
    change = functional.pixel_shuffle(functional.conv2d(difference, way, padding=way.shape[-1] // 2), stride)
    return functional.pad(change, (0, size[1] - change.shape[3], 0, size[0] - change.shape[2]))
