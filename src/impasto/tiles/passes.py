"""One tile, one pass: from its crop to statistics, and from the slopes of losses to the gradient of the crop.

What comes out depends on what goes in alone, so a tile may as well be computed in another process or machine.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from impasto.images.image import Image
from impasto.networks.layers import IMAGE
from impasto.networks.network import Network
from impasto.networks.passes import backward, forward, read
from impasto.networks.steps import FeatureMap
from impasto.objectives.distances import SquaredError
from impasto.objectives.representations import Representation, activations, pull_back
from impasto.tiles.windows import Window

Key = tuple[str, Representation]  # a layer, by its canonical name, and what is kept of it
Statistics = dict[Key, Tensor]


class Share(NamedTuple):
    """A tile's part of one error of activations: Σ weight / scale · (maps − target)² over what the tile owns."""

    layer: str
    target: Tensor  # in the network's precision
    weight: float
    distance: SquaredError
    scale: Tensor  # of the whole target

    def error(self, maps: FeatureMap) -> Tensor:
        """Weighted, for the maps that the tile owns."""
        found = activations(maps)
        return self.weight * self.distance.share(found, self.target.to(found.dtype), self.scale)


def tile_statistics(
    network: Network, crop: Image, inside: Window, keys: Collection[Key], shares: Sequence[Share] = ()
) -> tuple[Statistics, list[Tensor]]:
    """One pass forward: each representation's mean over the positions inside, and the shares' errors."""
    statistics: Statistics = {}
    errors: dict[int, Tensor] = {}
    layers = {layer for layer, _ in keys} | {share.layer for share in shares}
    with torch.no_grad():
        for layer, maps in read(network, crop, layers):
            own = inside.of(maps, network.stride(layer))
            for key in keys:
                if key[0] == layer:
                    statistics[key] = key[1](own)
            errors.update((n, share.error(own)) for n, share in enumerate(shares) if share.layer == layer)
    return statistics, [errors[number] for number in range(len(shares))]


def tile_gradient(
    network: Network, crop: Image, inside: Window, slopes: Mapping[Key, Tensor], shares: Sequence[Share]
) -> tuple[list[Tensor], Image]:
    """One pass forward and back: the shares' errors, and the gradient with respect to the crop.

    It is that of these errors and of Σ slopes · statistics, both of the positions inside; shape and type of the crop.
    """
    errors: dict[int, Tensor] = {}

    def visit(layer: str, maps: FeatureMap, gradient: FeatureMap | None) -> FeatureMap:
        if gradient is None:
            gradient = torch.zeros_like(maps)
        stride = network.stride(layer)
        own, onto = inside.of(maps, stride), inside.of(gradient, stride)
        for (at, represent), slope in slopes.items():
            if at == layer:
                pull_back(represent, own, slope, onto)
        for number, share in enumerate(shares):
            if share.layer == layer:
                with torch.enable_grad():
                    variable = activations(own).detach().requires_grad_()
                    errors[number] = share.error(variable)
                    (slope,) = torch.autograd.grad(errors[number], variable)
                errors[number] = errors[number].detach()
                pull_back(activations, own, slope, onto)
        return gradient

    layers = {layer for layer, _ in slopes} | {share.layer for share in shares}
    gradient = backward(forward(network, crop, layers), visit)
    if IMAGE in layers:
        gradient = visit(IMAGE, crop, gradient)
    return [errors[number] for number in range(len(shares))], gradient
