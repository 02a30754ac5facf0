"""Statistics and differences of large pictures, read in one pass, tile by tile."""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.images.image import Image, Size, size_of
from impasto.networks.network import Network
from impasto.objectives.representations import activations
from impasto.tiles.passes import Key, Statistics, own_key, owned
from impasto.tiles.tiler import add_statistics, fraction, half, ignore_halving
from impasto.tiles.windows import Tile, cut


@dataclass(frozen=True)
class Difference:
    """How two representations differ: Σ (found − target)², Σ target², and their number of elements."""

    missed: float
    energy: float
    numbers: int

    @property
    def error(self) -> float:
        """The normalised error, ‖found − target‖ / ‖target‖."""
        return math.sqrt(self.missed) / max(math.sqrt(self.energy), 1e-30)

    def __add__(self, other: "Difference") -> "Difference":
        """The difference over the elements of both."""
        return Difference(self.missed + other.missed, self.energy + other.energy, self.numbers + other.numbers)


@torch.no_grad()
def read_once(
    network: Network,
    image: Image,
    keys: Collection[Key] = (),
    core: Size | None = None,
    *,
    reference: Image | None = None,
    compared: Collection[Key] = (),
    halved: Callable[[Size], None] = ignore_halving,
) -> tuple[Statistics, dict[Key, Difference]]:
    """A picture's statistics at `keys`, and its differences at `compared` from a reference of the same size.

    Each picture is read in one pass, in tiles that own at most `core` (height, width), by default whole. `keys` must be
    of `MeanOverPositions`, `compared` of `Pointwise`. If an accelerator runs out of memory, the picture is read again
    in tiles of half the size, and `halved` is called with their core.
    """
    size, layers = size_of(image), {layer for layer, _ in [*keys, *compared]}
    network.require_size(size, layers)
    while True:
        tiles = cut(size, core or size, network, layers) if layers else ()
        try:
            return _read(network, image, keys, tiles, reference, compared)
        except torch.OutOfMemoryError:
            core = half(core or size)
            if not network.tileable(layers) or cut(size, core, network, layers) == tiles:
                raise
        halved(core)


def _read(
    network: Network,
    image: Image,
    keys: Collection[Key],
    tiles: Iterable[Tile],
    reference: Image | None,
    compared: Collection[Key],
) -> tuple[Statistics, dict[Key, Difference]]:
    size = size_of(image)
    statistics, differences = Statistics(), {key: Difference(0.0, 0.0, 0) for key in compared}
    for tile in tiles:
        layers = {layer for layer, _ in [*keys, *compared]}
        targets = {} if reference is None else _kept(network, reference, tile, compared)
        for layer, own in owned(network, tile.crop.of(image), tile.inside, layers):
            owned_fraction, stride = fraction(network, size, tile, layer), network.stride(layer)
            here = {key: own_key(key, tile.core, stride, size)[1] for key in keys if key[0] == layer}
            add_statistics(statistics, {key: represent(own) * owned_fraction for key, represent in here.items()})
            for key in [key for key in targets if key[0] == layer]:
                differences[key] += _difference(key[1](own), targets.pop(key))
    return statistics, differences


def feature_error(
    network: Network, image: Image, reference: Image, layers: Iterable[str], core: Size | None = None
) -> dict[str, float]:
    """Normalised error e = ‖Φ(x) − Φ₀‖ / ‖Φ₀‖ per layer, for images of equal size; 0 is perfect, 1 is an empty code.

    The network should be in float32. Large pictures can be read in tiles that own at most `core` (height, width).
    Source: Mahendran & Vedaldi 2016 (arXiv:1512.02017), whose figures are this square root.
    """
    keys = {layer: (network.canonical(layer), activations) for layer in layers}
    found, target = image.to(network.device), reference.to(network.device)
    _, differences = read_once(network, found, (), core, reference=target, compared=set(keys.values()))
    return {layer: differences[key].error for layer, key in keys.items()}


def _kept(network: Network, image: Image, tile: Tile, keys: Collection[Key]) -> dict[Key, Tensor]:
    """Copies of the representations of the tile's own positions."""
    found: dict[Key, Tensor] = {}
    for layer, own in owned(network, tile.crop.of(image), tile.inside, {layer for layer, _ in keys}):
        found |= {key: key[1](own).clone() for key in keys if key[0] == layer}
    return found


def _difference(found: Tensor, target: Tensor) -> Difference:
    return Difference(float((found - target).norm()) ** 2, float(target.norm()) ** 2, target.numel())
