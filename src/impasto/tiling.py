"""The objective at one size in tiles: the losses and the gradient of the whole picture, in the memory of one tile.

Two passes. The first adds up the statistics of all tiles; then each loss of statistics and its slope are known. The
second pushes these slopes, and the errors of activations, back through each tile and adds up what comes out.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from impasto.distances import SquaredError, aim
from impasto.errors import SpecError
from impasto.images import Image, Size, size_of
from impasto.networks import Network
from impasto.objectives import BoundTerm, Losses, Match, Objective, Prior, read_out
from impasto.passes import read
from impasto.representations import activations
from impasto.tile_passes import Key, Share, Statistics, tile_gradient, tile_statistics
from impasto.tiles import Tile, cut

STRIP_PIXELS = 1 << 20  # of the picture, for priors
Found = TypeVar("Found")


def go_on() -> None:
    """What is done between tiles unless something else is asked for: nothing."""


class Target(NamedTuple):
    """What the activations of the whole picture should be at a layer."""

    name: str
    layer: str
    weight: float
    distance: SquaredError
    maps: Tensor  # in the network's precision
    scale: Tensor

    def share(self, tile: Tile, stride: int) -> Share:
        """A tile's."""
        return Share(self.layer, tile.core.of(self.maps, stride), self.weight, self.distance, self.scale)


@dataclass(eq=False)
class TiledCriterion:
    """A criterion that reads the picture tile by tile.

    Where an accelerator's memory turns out to be too short, tiles are halved from then on and that is said.
    `between_tiles` is called before each tile; with large pictures one evaluation takes minutes, and it may end that
    by raising an error.
    """

    network: Network
    size: Size
    core: Size
    names: tuple[str, ...]  # of the losses, in the objective's order
    statistics: tuple[BoundTerm, ...]
    targets: tuple[Target, ...]
    priors: tuple[Prior, ...]
    between_tiles: Callable[[], None] = go_on

    @property
    def layers(self) -> frozenset[str]:
        """All layers read."""
        return frozenset([part.layer for part in self.statistics] + [target.layer for target in self.targets])

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The tiles as they are now."""
        return cut(self.size, self.core, self.network, self.layers) if self.layers else ()

    def losses(self, image: Image) -> Losses:
        """Each weighted term by name."""
        return self._as_memory_allows(self._losses, image.detach())

    def losses_and_gradient(self, image: Image) -> tuple[Losses, Image]:
        """Each weighted term by name, and the gradient of their sum, of the image's shape and type."""
        return self._as_memory_allows(self._losses_and_gradient, image.detach())

    def _losses(self, image: Image) -> Losses:
        statistics, values = self._first_pass(image, self.targets)
        for part in self.statistics:
            _add(values, part.name, part.weight * part.loss(statistics[part.layer, part.represent]))
        for prior in self.priors:
            _add(values, prior.name, _in_strips(prior, image, None))
        return self._in_order(values)

    def _losses_and_gradient(self, image: Image) -> tuple[Losses, Image]:
        statistics, values = self._first_pass(image, ())
        slopes: Statistics = {}
        for key, found in statistics.items():
            with torch.enable_grad():
                variable = found.detach().requires_grad_()
                parts = [part for part in self.statistics if (part.layer, part.represent) == key]
                weighed = [part.weight * part.loss(variable) for part in parts]
                (slopes[key],) = torch.autograd.grad(torch.stack(weighed).sum(), variable)
            for part, value in zip(parts, weighed, strict=True):
                _add(values, part.name, value.detach())
        gradient = torch.zeros_like(image, memory_format=torch.contiguous_format)
        for tile in self.tiles:
            self.between_tiles()
            shares = self._shares(tile, self.targets)
            scaled = {key: slope * self._part(tile, key[0]) for key, slope in slopes.items()}
            errors, found = tile_gradient(self.network, tile.crop.of(image), tile.inside, scaled, shares)
            tile.crop.of(gradient).add_(found)
            for target, error in zip(self.targets, errors, strict=True):
                _add(values, target.name, error)
        for prior in self.priors:
            _add(values, prior.name, _in_strips(prior, image, gradient))
        return self._in_order(values), gradient

    def _first_pass(self, image: Image, targets: Sequence[Target]) -> tuple[Statistics, dict[str, Tensor]]:
        """Statistics of the whole, and errors of activations by name."""
        keys = dict.fromkeys((part.layer, part.represent) for part in self.statistics)
        values: dict[str, Tensor] = {}
        total: Statistics = {}
        for tile in self.tiles if keys or targets else ():
            self.between_tiles()
            shares = self._shares(tile, targets)
            found, errors = tile_statistics(self.network, tile.crop.of(image), tile.inside, keys, shares)
            for key, mean in found.items():
                share = mean * self._part(tile, key[0])
                total[key] = total[key].add_(share) if key in total else share
            for target, error in zip(targets, errors, strict=True):
                _add(values, target.name, error)
        return total, values

    def _part(self, tile: Tile, layer: str) -> float:
        """How much of the layer's positions the tile owns."""
        stride = self.network.stride(layer)
        height, width = self.size
        return tile.core.positions(stride) / ((height // stride) * (width // stride))

    def _shares(self, tile: Tile, targets: Sequence[Target]) -> list[Share]:
        return [target.share(tile, self.network.stride(target.layer)) for target in targets]

    def _in_order(self, values: Mapping[str, Tensor]) -> Losses:
        return read_out(self.names, [values[name] for name in self.names])

    def _as_memory_allows(self, evaluate: Callable[[Image], Found], image: Image) -> Found:
        while True:
            try:
                return evaluate(image)
            except torch.OutOfMemoryError:
                smaller = (max(1, self.core[0] // 2), max(1, self.core[1] // 2))
                if cut(self.size, smaller, self.network, self.layers) == self.tiles:
                    raise
                self.core = smaller
            print(f"impasto: memory is short; tiles are halved to {smaller[1]} × {smaller[0]} px", file=sys.stderr)


def bind_tiled(
    objective: Objective, network: Network, size: Size, core: Size, between_tiles: Callable[[], None] = go_on
) -> TiledCriterion:
    """The objective at one size, read in tiles that own at most `core` (height, width) in pixels.

    References are read in tiles too; `between_tiles` is called before each tile, also of these.
    Raises ImageError where a picture is too small for a layer; SpecError where the objective is empty, or compares
    activations by a distance that cannot be taken in parts.
    """
    statistics: list[BoundTerm] = []
    targets: list[Target] = []
    for term in objective.terms:
        if not isinstance(term, Match):
            continue
        reference = term.frame(term.reference, size).to(network.device)
        network.require_size(size_of(reference), term.layers)
        if term.represent is activations:
            targets += _targets(term, network, reference, core, between_tiles)
            continue
        keys = {layer: (network.canonical(layer), term.represent) for layer in term.layers}
        found = mean_statistics(network, reference, core, list(keys.values()), between_tiles)
        for layer, weight in term.layers.items():
            loss = aim(term.distance, found[keys[layer]])
            statistics.append(BoundTerm(f"{term.name}/{layer}", keys[layer][0], weight, term.represent, loss))
    names = tuple(objective.weights())
    if not names:
        raise SpecError("the objective has no term; give at least one a weight above 0")
    network.require_size(size, [part.layer for part in statistics] + [target.layer for target in targets])
    priors = tuple(term for term in objective.terms if isinstance(term, Prior))
    return TiledCriterion(network, size, core, names, tuple(statistics), tuple(targets), priors, between_tiles)


def mean_statistics(
    network: Network, image: Image, core: Size, keys: Sequence[Key], between_tiles: Callable[[], None] = go_on
) -> Statistics:
    """Representations of a whole picture, read in tiles."""
    terms = tuple(BoundTerm("", layer, 0.0, represent, torch.sum) for layer, represent in keys)
    whole = TiledCriterion(network, size_of(image), core, (), terms, (), (), between_tiles)
    return whole._first_pass(image, ())[0]


def _targets(
    term: Match, network: Network, reference: Image, core: Size, between_tiles: Callable[[], None]
) -> list[Target]:
    if not isinstance(term.distance, SquaredError):
        raise SpecError(
            f"{term.name}: this distance of activations cannot be taken in tiles; use mean_squared_error or "
            "normalised_squared_error, or a size that fits in memory as a whole"
        )
    names = {layer: network.canonical(layer) for layer in term.layers}
    height, width = size_of(reference)
    whole: dict[str, Tensor] = {}
    scales: dict[str, Tensor] = {}
    for tile in cut((height, width), core, network, names.values()):
        between_tiles()
        for layer, maps in read(network, tile.crop.of(reference), names.values()):
            stride = network.stride(layer)
            own = tile.inside.of(maps, stride)
            if layer not in whole:
                shape = (1, maps.shape[1], height // stride, width // stride)
                whole[layer] = torch.empty(shape, dtype=maps.dtype, device=maps.device)
            tile.core.of(whole[layer], stride).copy_(own)
            scale = term.distance.scale(activations(own))
            scales[layer] = scales[layer] + scale if layer in scales else scale
    return [
        Target(f"{term.name}/{layer}", name, term.layers[layer], term.distance, whole[name], scales[name])
        for layer, name in names.items()
    ]


def _in_strips(prior: Prior, image: Image, gradient: Image | None) -> Tensor:
    """The weighted penalty, strip by strip, its gradient added to `gradient` where there is one.

    A strip is taken with the rows below that its own rows look at, less what these rows are alone.
    """
    height, width = size_of(image)
    rows = height if prior.reach_px is None else max(1, STRIP_PIXELS // width)
    reach = prior.reach_px or 0
    total = image.new_zeros(())
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        below = min(bottom + reach, height)
        with torch.set_grad_enabled(gradient is not None):
            strip = image[:, :, top:below].detach().requires_grad_(gradient is not None)
            value = prior.penalty(strip) * ((below - top) / height)
            if below > bottom:
                value = value - prior.penalty(strip[:, :, bottom - top :]) * ((below - bottom) / height)
            value = prior.weight * value
        if gradient is not None:
            gradient[:, :, top:below].add_(torch.autograd.grad(value, strip)[0])
        total = total + value.detach()
    return total


def _add(values: dict[str, Tensor], name: str, value: Tensor) -> None:
    values[name] = values[name] + value if name in values else value
