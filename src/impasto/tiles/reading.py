"""Statistics and differences of large pictures, read once, tile by tile."""

import math
from collections.abc import Collection, Iterable
from typing import NamedTuple

import torch

from impasto.images.image import Image, Size, size_of
from impasto.networks.network import Network
from impasto.networks.passes import read
from impasto.networks.steps import FeatureMap
from impasto.tiles.passes import Key, Statistics
from impasto.tiles.windows import Window, cut


class Difference(NamedTuple):
    """Of two feature maps: Σ (found − target)², Σ target², and how many numbers they have."""

    missed: float
    energy: float
    numbers: int

    @property
    def error(self) -> float:
        """Normalised: ‖found − target‖ / ‖target‖."""
        return math.sqrt(self.missed) / max(math.sqrt(self.energy), 1e-30)


@torch.no_grad()
def read_once(
    network: Network,
    image: Image,
    keys: Collection[Key] = (),
    core: Size | None = None,
    *,
    reference: Image | None = None,
    layers: Collection[str] = (),
) -> tuple[Statistics, dict[str, Difference]]:
    """A picture's statistics, and at `layers` (canonical names) its differences from a reference of the same size.

    Each picture is read in one pass, in tiles that own at most `core` (height, width), by default whole.
    """
    size, every = size_of(image), {*layers, *(layer for layer, _ in keys)}
    network.require_size(size, every)
    whole, statistics = Window(0, size[0], 0, size[1]), Statistics()
    sums = {layer: Difference(0.0, 0.0, 0) for layer in layers}
    for tile in cut(size, core or size, network, every) if every else ():
        targets: dict[str, FeatureMap] = {}
        if reference is not None:
            for layer, maps in read(network, tile.crop.of(reference), layers):
                targets[layer] = tile.inside.of(maps, network.stride(layer)).clone()
        for layer, maps in read(network, tile.crop.of(image), every):
            stride = network.stride(layer)
            own = tile.inside.of(maps, stride)
            if layer in targets:
                aim, so_far = targets.pop(layer), sums[layer]
                missed, energy = float((own - aim).norm()) ** 2, float(aim.norm()) ** 2
                sums[layer] = Difference(so_far.missed + missed, so_far.energy + energy, so_far.numbers + aim.numel())
            for key in keys:
                if key[0] == layer:
                    share = key[1](own) * (tile.core.positions(stride) / whole.positions(stride))
                    statistics[key] = statistics[key] + share if key in statistics else share
    return statistics, sums


def feature_error(
    network: Network, image: Image, reference: Image, layers: Iterable[str], core: Size | None = None
) -> dict[str, float]:
    """Normalised error e = ‖Φ(x) − Φ₀‖ / ‖Φ₀‖ per layer, for images of equal size; 0 is perfect, 1 is an empty code.

    Give it a float32 network. Large pictures can be read in tiles that own at most `core` (height, width).
    Source: Mahendran & Vedaldi 2016 (arXiv:1512.02017), whose figures are this square root.
    """
    names = {layer: network.canonical(layer) for layer in layers}
    there, aim = image.to(network.device), reference.to(network.device)
    _, differences = read_once(network, there, (), core, reference=aim, layers=set(names.values()))
    return {layer: differences[name].error for layer, name in names.items()}
