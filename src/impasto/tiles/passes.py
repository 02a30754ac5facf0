"""One tile, one pass: from its crop to statistics, and from the slopes of losses to the gradient of the crop.

The results depend on the arguments alone, so a tile can be computed in another process or on another machine.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from impasto.images.image import Image, Size, size_of
from impasto.networks.layers import IMAGE
from impasto.networks.network import Network
from impasto.networks.passes import backward, forward, read
from impasto.networks.steps import FeatureMap
from impasto.objectives.distances import SquaredError
from impasto.objectives.representations import Representation
from impasto.tiles.windows import Window

Key = tuple[str, Representation]  # a layer, by its canonical name, and a representation of its map
Statistics = dict[Key, Tensor]


class MapTerm(NamedTuple):
    """A summand that compares two feature maps in place: weight · distance(represent(map), represent(target's map))."""

    layer: str  # by its canonical name
    represent: Representation  # a `Pointwise`
    weight: float
    distance: SquaredError

    def own(self, core: Window, stride: int, size: Size) -> "MapTerm":
        """The term for the positions that a tile owns, in a picture of that size."""
        return self._replace(represent=self.represent.cut(*core.slices(stride, size)))

    def scale(self, maps: FeatureMap) -> Tensor:
        """The error's divisor for these maps of the target; the divisor of the whole is the sum over its tiles."""
        return self.distance.scale(self.represent(maps))


class TileError(NamedTuple):
    """A tile's contribution to one error: weight / scale · Σ of the errors at the positions that the tile owns."""

    term: MapTerm
    target: FeatureMap  # the tile's own positions of the target's map, in the network's precision
    scale: Tensor  # of the whole target

    def of(self, found: Tensor) -> Tensor:
        """The weighted error of the representation of the tile's own positions."""
        target = self.term.represent(self.target)
        return self.term.weight * self.term.distance.scaled(found, target, self.scale)


def own_key(key: Key, core: Window, stride: int, size: Size) -> Key:
    """The key for the positions that a tile owns; the key itself, unless its positions have weights."""
    return key[0], key[1].cut(*core.slices(stride, size))


def tile_statistics(
    network: Network, crop: Image, inside: Window, keys: Collection[Key], errors: Sequence[TileError] = ()
) -> tuple[Statistics, list[Tensor]]:
    """One pass forward: each representation's mean over the positions inside, and the value of each error.

    The keys are those of the tile's own positions (see `own_key`), as in `tile_gradient`.
    """
    statistics: Statistics = {}
    values: dict[int, Tensor] = {}
    layers = {layer for layer, _ in keys} | {error.term.layer for error in errors}
    with torch.no_grad():
        for layer, own in owned(network, crop, inside, layers):
            statistics |= {key: key[1](own) for key in keys if key[0] == layer}
            values |= {number: error.of(error.term.represent(own)) for number, error in _at(layer, errors)}
    return statistics, [values[number] for number in range(len(errors))]


def tile_gradient(
    network: Network, crop: Image, inside: Window, slopes: Mapping[Key, Tensor], errors: Sequence[TileError]
) -> tuple[list[Tensor], Image]:
    """One pass forward and back: the value of each error, and the gradient with respect to the crop.

    The gradient is that of these errors plus Σ slopes · statistics, both over the positions inside; it has the crop's
    shape and type.
    """
    values: dict[int, Tensor] = {}

    def visit(layer: str, maps: FeatureMap, gradient: FeatureMap | None) -> FeatureMap:
        gradient = torch.zeros_like(maps) if gradient is None else gradient
        stride = network.stride(layer)
        own, onto = (inside.own(each, stride, size_of(crop)) for each in (maps, gradient))
        for key in [key for key in slopes if key[0] == layer]:
            key[1].pull_back(own, slopes[key], onto)
        values.update((number, _pull_back_error(error, own, onto)) for number, error in _at(layer, errors))
        return gradient

    layers = {layer for layer, _ in slopes} | {error.term.layer for error in errors}
    gradient = backward(forward(network, crop, layers), visit)
    if IMAGE in layers:
        gradient = visit(IMAGE, crop, gradient)
    return [values[number] for number in range(len(errors))], gradient


def owned(network: Network, crop: Image, inside: Window, layers: Collection[str]) -> Iterator[tuple[str, FeatureMap]]:
    """A tile's own positions of each layer's map, the shallowest first; each is valid until the next is asked for."""
    for layer, maps in read(network, crop, layers):
        yield layer, inside.own(maps, network.stride(layer), size_of(crop))


def _at(layer: str, errors: Sequence[TileError]) -> list[tuple[int, TileError]]:
    """The errors at a layer, each with its number."""
    return [(number, error) for number, error in enumerate(errors) if error.term.layer == layer]


def _pull_back_error(error: TileError, own: FeatureMap, onto: FeatureMap) -> Tensor:
    """The error's value; its gradient is added to `onto`."""
    with torch.enable_grad():
        found = error.term.represent(own).detach().requires_grad_()
        value = error.of(found)
        (slope,) = torch.autograd.grad(value, found)
    error.term.represent.pull_back(own, slope, onto)
    return value.detach()
