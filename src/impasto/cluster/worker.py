"""A worker of a cluster, which computes some tiles of one large picture.

A worker does not know the cluster or the other workers. All of its data can be sent to another worker, so nothing is
missing if a worker is lost.
"""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from impasto.errors import WeightsError
from impasto.extras import own_version
from impasto.files import sha256
from impasto.images.image import Size
from impasto.machine import Precision, free_memory
from impasto.networks.catalogue import Choice
from impasto.networks.network import Network, precision_of
from impasto.objectives.neighbours import Chosen
from impasto.tiles.budget import limits
from impasto.tiles.passes import Key, MapTerm, TileError, owned, tile_gradient, tile_statistics
from impasto.tiles.tiler import weight_of
from impasto.tiles.windows import Tile

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Equipment:
    """The data that a worker starts with: the network to open, and a memory limit in bytes.

    The network is opened in `precision` first; each picture's work names its own precision.
    """

    choice: Choice
    precision: Precision
    memory: float | None = None


class Work(NamedTuple):
    """The data that all tiles of a picture share; sent once to each worker."""

    name: str
    precision: Precision
    size: Size
    references: tuple[int, ...]  # for each map term, the number of its reference, or of its bank after all references
    banks: tuple[Tensor, ...] = ()  # features to choose from, on the CPU


class Piece(NamedTuple):
    """A tile, with the keys and the map terms of the positions that it owns; sent once to the tile's worker."""

    tile: Tile
    keys: tuple[Key, ...]
    terms: tuple[MapTerm, ...]


class About(NamedTuple):
    """A worker's description of itself; `free` bytes of its machine or device are free, and `allowed` may be used."""

    machine: str
    accelerated: bool
    free: float
    allowed: float
    identity: dict[str, str]


@dataclass(eq=False)
class _TileData:
    """A tile's piece of work, its targets, one for each map term, and its crop of the current picture."""

    piece: Piece
    targets: list[Tensor] = field(default_factory=list)
    crop: Tensor | None = None


@dataclass(eq=False)
class _Sum:
    """The sums over the tiles of one turn."""

    turn: int
    statistics: list[Tensor] = field(default_factory=list)  # in the order of the keys, which are each tile's own
    errors: list[float] = field(default_factory=list)

    def add(self, statistics: list[Tensor], errors: list[float]) -> None:
        """Add the statistics and errors of another tile."""
        for total, more in zip(self.statistics, statistics, strict=False):
            total.add_(more)
        self.statistics = self.statistics or statistics
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
        network = self._equipment.choice.open(self._equipment.precision)
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

    def keep(self, number: int, piece: Piece, references: Sequence[Array], rows: Sequence[Array] = ()) -> list[float]:
        """Compute the tile's targets from its crops of the references; return each map term's scale over the tile.

        `rows` has, for each of the work's banks, the rows that the tile's own positions are compared with.
        """
        network, targets = self._network(self._work.precision), dict[int, Tensor]()
        for at, (bank, chosen) in enumerate(zip(self._work.banks, rows, strict=True), start=len(references)):
            target = Chosen(bank.to(network.device), self._tensor(chosen)).maps()
            targets |= {n: target for n, place in enumerate(self._work.references) if place == at}

        for at, reference in enumerate(references):
            terms = {n: term for n, term in enumerate(piece.terms) if self._work.references[n] == at}
            layers = {term.layer for term in terms.values()}
            for layer, own in owned(network, self._tensor(reference), piece.tile.inside, layers):
                targets |= {n: own.clone() for n, term in terms.items() if term.layer == layer}

        data = self._tiles[number] = _TileData(piece, [targets[n] for n in range(len(piece.terms))])
        return [float(term.scale(target)) for term, target in zip(piece.terms, data.targets, strict=True)]

    def look(self, turn: int, number: int, crop: Array, scales: Sequence[float] | None) -> None:
        """Pass a tile forward; add its statistics, and its errors if `scales` are given, to the sums of this turn."""
        if self._sum.turn != turn:
            self._sum = _Sum(turn)
        network, image, data = self._network(self._work.precision), self._tensor(crop), self._tiles[number]
        data.crop, piece = image, data.piece
        asked = [] if scales is None else _errors(data, scales)
        found, values = tile_statistics(network, image, piece.tile.inside, piece.keys, asked)
        weighted = [found[key] * self._fraction(piece.tile, key) for key in piece.keys]
        self._sum.add(weighted, [float(value) for value in values])

    def sums(self, turn: int) -> tuple[list[Array], list[float]]:
        """Sums over the tiles of a turn: statistics in the order of the keys, and the map terms' errors."""
        assert self._sum.turn == turn
        return [found.cpu().numpy() for found in self._sum.statistics], self._sum.errors

    def gradient(
        self, number: int, crop: Array | None, slopes: Sequence[Array], scales: Sequence[float]
    ) -> tuple[list[float], Array]:
        """Pass a tile forward and back: each map term's error, and the gradient of the tile's crop.

        If `crop` is None, the tile's last crop is used.
        """
        network, data = self._network(self._work.precision), self._tiles[number]
        if crop is not None:
            data.crop = self._tensor(crop)
        assert data.crop is not None
        tile = data.piece.tile
        scaled = {
            key: self._tensor(slope) * self._fraction(tile, key)
            for key, slope in zip(data.piece.keys, slopes, strict=True)
        }
        values, found = tile_gradient(network, data.crop, tile.inside, scaled, _errors(data, scales))
        return [float(value) for value in values], found.contiguous().cpu().numpy()

    def drop(self, number: int) -> None:
        """Forget a tile that another worker has now."""
        self._tiles.pop(number, None)

    def _network(self, precision: Precision) -> Network:
        if precision not in self._networks:
            self._networks[precision] = self._equipment.choice.open(precision)
        return self._networks[precision]

    def _tensor(self, array: Array) -> Tensor:
        return torch.tensor(array, device=self._network(self._work.precision).device)

    def _fraction(self, tile: Tile, key: Key) -> float:
        return weight_of(self._network(self._work.precision), self._work.size, tile, key)


def _errors(data: _TileData, scales: Sequence[float]) -> list[TileError]:
    return [
        TileError(term, target, term.represent(target).new_tensor(scale))
        for term, target, scale in zip(data.piece.terms, data.targets, scales, strict=True)
    ]


def identity(equipment: Equipment) -> dict[str, str]:
    """The versions and hashes that must be the same on all machines of a picture. Raises WeightsError."""
    files = equipment.choice.files()
    try:
        hashes = {f"the {what}": sha256(path) for what, path in files.items()}
    except OSError as error:
        raise WeightsError(f"{error.filename} cannot be read: {error.strerror}") from None
    return {"impasto": own_version(), "PyTorch": torch.__version__.partition("+")[0], **hashes}
