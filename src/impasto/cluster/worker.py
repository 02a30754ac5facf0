"""A worker of a cluster, which computes some tiles of one large picture.

A worker does not know the cluster or the other workers. All of its data can be sent to another worker, so nothing is
missing if a worker is lost.
"""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from impasto.errors import WeightsError
from impasto.extras import own_version
from impasto.files import sha256
from impasto.images.image import Size
from impasto.machine import Precision, free_memory
from impasto.networks.catalogue import entry, open_network
from impasto.networks.network import Network, Padding, Pooling, precision_of
from impasto.objectives.neighbours import Chosen
from impasto.tiles.budget import limits
from impasto.tiles.passes import Key, MapTerm, Statistics, TileError, owned, tile_gradient, tile_statistics
from impasto.tiles.tiler import add_statistics, placed, weight_of
from impasto.tiles.windows import Tile

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Equipment:
    """The data that a worker starts with: the network to open, its files, and a memory limit in bytes.

    The network is opened in `precision` first; each picture's work names its own precision.
    """

    network: str
    weights: Path | None
    means: Path | None
    pooling: Pooling
    padding: Padding
    precision: Precision
    device: str
    memory: float | None = None

    def open(self, precision: Precision) -> Network:
        """The network in a precision. Raises as `open_network`."""
        return open_network(
            self.network,
            weights=self.weights,
            means=self.means,
            pooling=self.pooling,
            padding=self.padding,
            precision=precision,
            device=self.device,
        )


class Work(NamedTuple):
    """The data that all tiles of a picture share; sent once to each worker."""

    name: str
    precision: Precision
    size: Size
    keys: tuple[Key, ...]
    terms: tuple[MapTerm, ...]
    references: tuple[int, ...]  # for each term, the number of its reference, or of its bank after all references
    banks: tuple[Tensor, ...] = ()  # features to choose from, on the CPU


class About(NamedTuple):
    """A worker's description of itself; `free` bytes of its machine or device are free, and `allowed` may be used."""

    machine: str
    accelerated: bool
    free: float
    allowed: float
    identity: dict[str, str]


@dataclass(eq=False)
class _TileData:
    """A tile's targets, one for each map term, and its crop of the current picture."""

    targets: list[Tensor] = field(default_factory=list)
    crop: Tensor | None = None


@dataclass(eq=False)
class _Sum:
    """The sums over the tiles of one turn."""

    turn: int
    statistics: Statistics = field(default_factory=dict)
    errors: list[float] = field(default_factory=list)

    def add(self, statistics: Statistics, errors: list[float]) -> None:
        """Add the statistics and errors of another tile."""
        add_statistics(self.statistics, statistics)
        before = self.errors or [0.0] * len(errors)
        self.errors = [total + one for total, one in zip(before, errors, strict=True)]


class TileWorker:
    """Computes tiles with a network that it opens itself. Its methods are called one at a time."""

    def __init__(self, equipment: Equipment, threads: int) -> None:
        torch.set_num_threads(threads)
        self._equipment = equipment
        self._networks: dict[Precision, Network] = {}
        self._tiles: dict[int, _TileData] = {}
        self._sum = _Sum(-1)

    def about(self) -> About:
        """Open the network and describe the machine, with all that may differ between machines. Raises WeightsError."""
        network = self._equipment.open(self._equipment.precision)
        self._networks[precision_of(network)] = network
        device = network.device
        allowed = limits(self._equipment.memory, None, device).memory
        free, accelerated = free_memory(device), device.type != "cpu"
        return About(platform.node(), accelerated, free, allowed, identity(self._equipment))

    def begin(self, work: Work) -> None:
        """Start another picture or size, and forget the data of the one before."""
        self._work = work
        self._tiles.clear()
        self._sum = _Sum(-1)
        self._network(work.precision)

    def keep(self, number: int, tile: Tile, references: Sequence[Array], rows: Sequence[Array] = ()) -> list[float]:
        """Compute the tile's targets from its crops of the references; return each map term's scale over the tile.

        `rows` has, for each of the work's banks, the rows that the tile's own positions are compared with.
        """
        network, targets = self._network(self._work.precision), dict[int, Tensor]()
        for at, (bank, chosen) in enumerate(zip(self._work.banks, rows, strict=True), start=len(references)):
            target = Chosen(bank.to(network.device), self._tensor(chosen)).maps()
            targets |= {n: target for n, place in enumerate(self._work.references) if place == at}
        for at, reference in enumerate(references):
            terms = {n: term for n, term in enumerate(self._work.terms) if self._work.references[n] == at}
            layers = {term.layer for term in terms.values()}
            for layer, own in owned(network, self._tensor(reference), tile.inside, layers):
                targets |= {n: own.clone() for n, term in terms.items() if term.layer == layer}
        data = self._tiles.setdefault(number, _TileData())
        data.targets = [targets[n] for n in range(len(self._work.terms))]
        return [float(term.scale(target)) for term, target in zip(self._work.terms, data.targets, strict=True)]

    def look(self, turn: int, number: int, tile: Tile, crop: Array, scales: Sequence[float] | None) -> None:
        """Pass a tile forward; add its statistics, and its errors if `scales` are given, to the sums of this turn."""
        if self._sum.turn != turn:
            self._sum = _Sum(turn)
        network, image = self._network(self._work.precision), self._tensor(crop)
        self._tiles.setdefault(number, _TileData()).crop = image
        asked = [] if scales is None else self._errors(number, scales)
        keys = {key: placed(network, self._work.size, tile, key) for key in self._work.keys}
        found, values = tile_statistics(network, image, tile.inside, keys.values(), asked)
        weighted = {key: found[here] * self._fraction(tile, key) for key, here in keys.items()}
        self._sum.add(weighted, [float(value) for value in values])

    def sums(self, turn: int) -> tuple[list[Array], list[float]]:
        """Sums over the tiles of a turn: statistics in the order of the work's keys, and the map terms' errors."""
        assert self._sum.turn == turn
        return [self._sum.statistics[key].cpu().numpy() for key in self._work.keys], self._sum.errors

    def gradient(
        self, number: int, tile: Tile, crop: Array | None, slopes: Sequence[Array], scales: Sequence[float]
    ) -> tuple[list[float], Array]:
        """Pass a tile forward and back: each map term's error, and the gradient of the tile's crop.

        If `crop` is None, the tile's last crop is used.
        """
        network, data = self._network(self._work.precision), self._tiles.setdefault(number, _TileData())
        if crop is not None:
            data.crop = self._tensor(crop)
        assert data.crop is not None
        scaled = {
            placed(network, self._work.size, tile, key): self._tensor(slope) * self._fraction(tile, key)
            for key, slope in zip(self._work.keys, slopes, strict=True)
        }
        values, found = tile_gradient(network, data.crop, tile.inside, scaled, self._errors(number, scales))
        return [float(value) for value in values], found.contiguous().cpu().numpy()

    def drop(self, number: int) -> None:
        """Forget a tile that another worker has now."""
        self._tiles.pop(number, None)

    def _network(self, precision: Precision) -> Network:
        if precision not in self._networks:
            self._networks[precision] = self._equipment.open(precision)
        return self._networks[precision]

    def _tensor(self, array: Array) -> Tensor:
        return torch.tensor(array, device=self._network(self._work.precision).device)

    def _fraction(self, tile: Tile, key: Key) -> float:
        return weight_of(self._network(self._work.precision), self._work.size, tile, key)

    def _errors(self, number: int, scales: Sequence[float]) -> list[TileError]:
        return [
            TileError(term, target, term.represent(target).new_tensor(scale))
            for term, target, scale in zip(self._work.terms, self._tiles[number].targets, scales, strict=True)
        ]


def identity(equipment: Equipment) -> dict[str, str]:
    """The versions and hashes that must be the same on all machines of a picture. Raises WeightsError."""
    files = entry(equipment.network).files(equipment.weights, equipment.means)
    try:
        hashes = {f"the {what}": sha256(path) for what, path in files.items()}
    except OSError as error:
        raise WeightsError(f"{error.filename} cannot be read: {error.strerror}") from None
    return {"impasto": own_version(), "PyTorch": torch.__version__.partition("+")[0], **hashes}
