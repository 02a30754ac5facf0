"""Who computes the tiles of a picture: a protocol, and this process, one tile after another."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from impasto.images.image import Image, Size, size_of
from impasto.networks.network import Network
from impasto.networks.passes import read
from impasto.objectives.distances import SquaredError
from impasto.objectives.representations import activations
from impasto.tiles.passes import Key, Share, Statistics, tile_gradient, tile_statistics
from impasto.tiles.windows import Tile, cut

Found = TypeVar("Found")


def go_on() -> None:
    """What is done between tiles unless something else is asked for: nothing."""


class Aim(NamedTuple):
    """What is asked of the activations at a layer: to be those of a reference of the picture's size."""

    layer: str
    weight: float
    distance: SquaredError


@runtime_checkable
class Tiler(Protocol):
    """Who computes the tiles of pictures of one size: this process, or others."""

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The tiles as they are now."""

    def statistics(self, image: Image, *, errors: bool) -> tuple[Statistics, list[Tensor]]:
        """One pass forward: each representation of the whole and, where asked for, each aim's weighed error."""

    def gradient(self, image: Image, slopes: Statistics) -> tuple[list[Tensor], Image]:
        """One pass forward and back, of the picture whose statistics were asked for last.

        Each aim's weighed error, and the gradient of these errors and of Σ slopes · statistics.
        """


MakeTiler = Callable[[Size, Sequence[Key], Sequence[tuple[Aim, Image]]], Tiler]


class Target(NamedTuple):
    """An aim with what the activations of the whole picture should be."""

    aim: Aim
    maps: Tensor  # in the network's precision
    scale: Tensor

    def share(self, tile: Tile, stride: int) -> Share:
        """A tile's."""
        layer, weight, distance = self.aim
        return Share(layer, tile.core.of(self.maps, stride), weight, distance, self.scale)


@dataclass(eq=False)
class LocalTiler:
    """Computes one tile after another in this process.

    Where an accelerator's memory turns out to be too short, tiles are halved from then on and that is said.
    `between_tiles` is called before each tile; with large pictures one evaluation takes minutes, and it may end that
    by raising an error.
    """

    network: Network
    core: Size
    size: Size
    keys: tuple[Key, ...]
    targets: tuple[Target, ...]
    between_tiles: Callable[[], None] = go_on

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The tiles as they are now."""
        layers = {layer for layer, _ in self.keys} | {target.aim.layer for target in self.targets}
        return cut(self.size, self.core, self.network, layers) if layers else ()

    def statistics(self, image: Image, *, errors: bool) -> tuple[Statistics, list[Tensor]]:
        """See `Tiler`."""
        return self._as_memory_allows(lambda: self._statistics(image, self.targets if errors else ()))

    def gradient(self, image: Image, slopes: Statistics) -> tuple[list[Tensor], Image]:
        """See `Tiler`."""
        return self._as_memory_allows(lambda: self._gradient(image, slopes))

    def _statistics(self, image: Image, targets: Sequence[Target]) -> tuple[Statistics, list[Tensor]]:
        total: Statistics = {}
        errors: list[Tensor] = []
        for tile in self.tiles if self.keys or targets else ():
            self.between_tiles()
            shares = self._shares(tile, targets)
            found, missed = tile_statistics(self.network, tile.crop.of(image), tile.inside, self.keys, shares)
            for key, mean in found.items():
                share = mean * share_of(self.network, self.size, tile, key[0])
                total[key] = total[key].add_(share) if key in total else share
            errors = _added(errors, missed)
        return total, errors

    def _gradient(self, image: Image, slopes: Statistics) -> tuple[list[Tensor], Image]:
        gradient = torch.zeros_like(image, memory_format=torch.contiguous_format)
        errors: list[Tensor] = []
        for tile in self.tiles:
            self.between_tiles()
            shares = self._shares(tile, self.targets)
            scaled = {key: s * share_of(self.network, self.size, tile, key[0]) for key, s in slopes.items()}
            missed, found = tile_gradient(self.network, tile.crop.of(image), tile.inside, scaled, shares)
            tile.crop.of(gradient).add_(found)
            errors = _added(errors, missed)
        return errors, gradient

    def _shares(self, tile: Tile, targets: Sequence[Target]) -> list[Share]:
        return [target.share(tile, self.network.stride(target.aim.layer)) for target in targets]

    def _as_memory_allows(self, evaluate: Callable[[], Found]) -> Found:
        while True:
            before = self.tiles
            try:
                return evaluate()
            except torch.OutOfMemoryError:
                smaller = (max(1, self.core[0] // 2), max(1, self.core[1] // 2))
                self.core, core = smaller, self.core
                if self.tiles == before:
                    self.core = core
                    raise
            print(f"impasto: memory is short; tiles are halved to {smaller[1]} × {smaller[0]} px", file=sys.stderr)


def share_of(network: Network, size: Size, tile: Tile, layer: str) -> float:
    """How much of the layer's positions the tile owns, in a picture of that size."""
    stride = network.stride(layer)
    return tile.core.positions(stride) / ((size[0] // stride) * (size[1] // stride))


def local_tiler(
    network: Network,
    core: Size,
    between_tiles: Callable[[], None],
    size: Size,
    keys: Sequence[Key],
    aims: Sequence[tuple[Aim, Image]],
) -> LocalTiler:
    """A tiler in this process; the aims' references are read here, in tiles."""
    targets: list[Target] = []
    for _, group in groupby(aims, key=lambda aim: id(aim[1])):  # a reference is read once for all its layers
        found = list(group)
        targets += _targets([aim for aim, _ in found], network, found[0][1], core, between_tiles)
    return LocalTiler(network, core, size, tuple(keys), tuple(targets), between_tiles)


def _targets(
    aims: Sequence[Aim], network: Network, reference: Image, core: Size, between_tiles: Callable[[], None]
) -> list[Target]:
    height, width = size_of(reference)
    layers = {aim.layer for aim in aims}
    whole: dict[str, Tensor] = {}
    scales: dict[int, Tensor] = {}
    for tile in cut((height, width), core, network, layers):
        between_tiles()
        for layer, maps in read(network, tile.crop.of(reference), layers):
            stride = network.stride(layer)
            own = tile.inside.of(maps, stride)
            if layer not in whole:
                shape = (1, maps.shape[1], height // stride, width // stride)
                whole[layer] = torch.empty(shape, dtype=maps.dtype, device=maps.device)
            tile.core.of(whole[layer], stride).copy_(own)
            for number, aim in enumerate(aims):
                if aim.layer == layer:
                    scale = aim.distance.scale(activations(own))
                    scales[number] = scales[number] + scale if number in scales else scale
    return [Target(aim, whole[aim.layer], scales[number]) for number, aim in enumerate(aims)]


def _added(sums: Sequence[Tensor], more: Sequence[Tensor]) -> list[Tensor]:
    return [total + one for total, one in zip(sums, more, strict=True)] if sums else list(more)
