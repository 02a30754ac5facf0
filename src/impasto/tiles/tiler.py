"""Tilers compute the tiles of a picture: the protocol, and one that takes tile after tile in this process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from impasto.images.image import Image, Size, size_of
from impasto.networks.network import Network
from impasto.objectives.neighbours import Chosen
from impasto.objectives.similarity import Sampled
from impasto.tiles.passes import Key, MapTerm, Statistics, TileError, own_key, owned, tile_gradient, tile_statistics
from impasto.tiles.windows import Tile, Window, cut

Found = TypeVar("Found")


def do_nothing() -> None:
    """The default between tiles."""


def ignore_halving(core: Size) -> None:
    """The default when tiles have been halved."""


@runtime_checkable
class Tiler(Protocol):
    """Computes the tiles of pictures of one size, in this process or in others."""

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The tiles as they are now."""

    def statistics(self, image: Image, *, errors: bool) -> tuple[Statistics, list[Tensor]]:
        """One pass forward: each statistic of the whole picture and, if `errors`, the error of each map term."""

    def gradient(self, image: Image, slopes: Statistics) -> tuple[list[Tensor], Image]:
        """One pass forward and back over the picture whose statistics were computed last.

        Returns the weighted error of each map term, and the gradient of these errors plus Σ slopes · statistics.
        """


Aim = Image | Chosen  # what a map term compares with: a picture read in place, or features chosen from a bank
MakeTiler = Callable[[Size, Sequence[Key], Sequence[tuple[MapTerm, Aim]]], Tiler]


class Target(NamedTuple):
    """A map term with the feature map that the whole picture is compared with."""

    term: MapTerm
    maps: Tensor | Chosen  # in the network's precision
    scale: Tensor

    def error(self, tile: Tile, stride: int, size: Size) -> TileError:
        """The tile's contribution to the term, in a picture of that size."""
        maps, core = self.maps, tile.core
        if isinstance(maps, Chosen):
            target = maps.maps(core.own(maps.rows, stride, size))
        else:
            target = core.own(maps, stride, size)
        return TileError(self.term.own(core, stride, size), target, self.scale)


@dataclass(eq=False)
class LocalTiler:
    """Computes one tile after another in this process.

    If an accelerator runs out of memory, tiles are halved from then on, and `halved` is called with the new core.
    `between_tiles` is called before each tile, and may end an evaluation, which takes minutes for a large picture, by
    raising an error.
    """

    network: Network
    core: Size
    size: Size
    keys: tuple[Key, ...]
    targets: tuple[Target, ...]
    between_tiles: Callable[[], None] = do_nothing
    halved: Callable[[Size], None] = ignore_halving

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The tiles as they are now."""
        layers = {layer for layer, _ in self.keys} | {target.term.layer for target in self.targets}
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
            asked, own = self._errors(tile, targets), self._own(tile)
            found, values = tile_statistics(self.network, tile.crop.of(image), tile.inside, own.values(), asked)
            add_statistics(total, {key: found[own[key]] * self._fraction(tile, key) for key in self.keys})
            errors = _added(errors, values)
        return total, errors

    def _gradient(self, image: Image, slopes: Statistics) -> tuple[list[Tensor], Image]:
        gradient = torch.zeros_like(image, memory_format=torch.contiguous_format)
        errors: list[Tensor] = []
        for tile in self.tiles:
            self.between_tiles()
            asked, own = self._errors(tile, self.targets), self._own(tile)
            scaled = {own[key]: slope * self._fraction(tile, key) for key, slope in slopes.items()}
            values, found = tile_gradient(self.network, tile.crop.of(image), tile.inside, scaled, asked)
            tile.crop.of(gradient).add_(found)
            errors = _added(errors, values)
        return errors, gradient

    def _errors(self, tile: Tile, targets: Sequence[Target]) -> list[TileError]:
        return [target.error(tile, self.network.stride(target.term.layer), self.size) for target in targets]

    def _own(self, tile: Tile) -> dict[Key, Key]:
        """Each key with the key of the positions that the tile owns."""
        return {key: placed(self.network, self.size, tile, key) for key in self.keys}

    def _fraction(self, tile: Tile, key: Key) -> float:
        return weight_of(self.network, self.size, tile, key)

    def _as_memory_allows(self, evaluate: Callable[[], Found]) -> Found:
        while True:
            before = self.tiles
            try:
                return evaluate()
            except torch.OutOfMemoryError:
                self.core, core = half(self.core), self.core
                if self.tiles == before:
                    self.core = core
                    raise
            self.halved(self.core)


def half(core: Size) -> Size:
    """The size of tiles when memory was short for tiles of this size."""
    return max(1, core[0] // 2), max(1, core[1] // 2)


def fraction(network: Network, size: Size, tile: Tile, layer: str) -> float:
    """The fraction of the layer's positions that the tile owns, in a picture of that size."""
    if tile.core == Window(0, size[0], 0, size[1]):
        return 1.0
    known = network.layer(layer)
    height, width = known.positions(size)
    rows, columns = tile.core.slices(known.stride, size)
    return len(range(height)[rows]) * len(range(width)[columns]) / (height * width)


def weight_of(network: Network, size: Size, tile: Tile, key: Key) -> float:
    """What a tile's statistic counts in the whole: its fraction of a mean over positions, all of its sampled ones."""
    return 1.0 if isinstance(key[1], Sampled) else fraction(network, size, tile, key[0])


def placed(network: Network, size: Size, tile: Tile, key: Key) -> Key:
    """The key of the positions that a tile owns: sampled positions are found by where the tile is."""
    layer, represent = key
    known = network.layer(layer)
    if not isinstance(represent, Sampled):
        return own_key(key, tile.core, known.stride, size)
    return layer, represent.within(known.positions(size), tile.core.top // known.stride, tile.core.left // known.stride)


def add_statistics(total: Statistics, more: Statistics) -> None:
    """Add to the total in place; the tensor of a new key is taken over, and changed by later additions."""
    for key, found in more.items():
        total[key] = total[key].add_(found) if key in total else found


def local_tiler(
    network: Network,
    core: Size,
    between_tiles: Callable[[], None],
    size: Size,
    keys: Sequence[Key],
    terms: Sequence[tuple[MapTerm, Aim]],
    halved: Callable[[Size], None] = ignore_halving,
) -> LocalTiler:
    """A tiler in this process; the references of the map terms are read here, in tiles."""
    targets: list[Target] = []
    for _, group in groupby(terms, key=lambda pair: id(pair[1])):  # each reference is read once for all its layers
        asked = list(group)
        aim = asked[0][1]
        if isinstance(aim, Chosen):
            targets += [Target(term, aim, term.distance.scale(aim.rows)) for term, _ in asked]
        else:
            targets += _targets([term for term, _ in asked], network, aim, core, between_tiles)
    return LocalTiler(network, core, size, tuple(keys), tuple(targets), between_tiles, halved)


def _targets(
    terms: Sequence[MapTerm], network: Network, reference: Image, core: Size, between_tiles: Callable[[], None]
) -> list[Target]:
    size, layers = size_of(reference), {term.layer for term in terms}
    maps: dict[str, Tensor] = {}
    scales: dict[int, Tensor] = {}
    for tile in cut(size, core, network, layers):
        between_tiles()
        for layer, own in owned(network, tile.crop.of(reference), tile.inside, layers):
            known = network.layer(layer)
            if layer not in maps:
                maps[layer] = own.new_empty((1, own.shape[1], *known.positions(size)))
            tile.core.own(maps[layer], known.stride, size).copy_(own)
            here = {n: term.own(tile.core, known.stride, size) for n, term in enumerate(terms) if term.layer == layer}
            _add_scales(scales, {n: term.scale(own) for n, term in here.items()})
    return [Target(term, maps[term.layer], scales[number]) for number, term in enumerate(terms)]


def _add_scales(scales: dict[int, Tensor], more: dict[int, Tensor]) -> None:
    for number, scale in more.items():
        scales[number] = scales[number] + scale if number in scales else scale


def _added(sums: Sequence[Tensor], more: Sequence[Tensor]) -> list[Tensor]:
    return [total + one for total, one in zip(sums, more, strict=True)] if sums else list(more)
