"""What a worker of a cluster does: it holds some tiles of one large picture, and computes them.

Nothing here knows of the cluster or of the other workers. All that a worker holds can be sent to another one, so none
of it is missed when it is gone.
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
from impasto.files import bundled, sha256
from impasto.images.image import Size
from impasto.machine import Precision, free_memory
from impasto.networks.catalogue import open_network
from impasto.networks.network import Network, Padding, Pooling, precision_of
from impasto.tiles.budget import limits
from impasto.tiles.passes import Key, MapTerm, Statistics, TileError, owned, tile_gradient, tile_statistics
from impasto.tiles.tiler import add_statistics, fraction
from impasto.tiles.windows import Tile

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Equipment:
    """What a worker needs to begin: the network that it opens, its files, and the most memory it may take in bytes.

    `precision` is what the network is tried in first; pictures come with their own.
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
    """What all tiles of a picture have in common; each worker is told once."""

    name: str
    precision: Precision
    size: Size
    keys: tuple[Key, ...]
    terms: tuple[MapTerm, ...]
    references: tuple[int, ...]  # which of the references each term compares with


class About(NamedTuple):
    """A worker as it describes itself: bytes are free on its machine, or device, and allowed to it."""

    machine: str
    accelerated: bool
    free: float
    allowed: float
    identity: dict[str, str]


@dataclass(eq=False)
class _Held:
    """A tile's targets, one for each map term, and its crop of the present picture."""

    targets: list[Tensor] = field(default_factory=list)
    crop: Tensor | None = None


@dataclass(eq=False)
class _Sum:
    """What the tiles of one turn add up to."""

    turn: int
    statistics: Statistics = field(default_factory=dict)
    errors: list[float] = field(default_factory=list)

    def add(self, statistics: Statistics, errors: list[float]) -> None:
        """What another tile adds."""
        add_statistics(self.statistics, statistics)
        before = self.errors or [0.0] * len(errors)
        self.errors = [total + one for total, one in zip(before, errors, strict=True)]


class TileWorker:
    """Computes tiles by a network that it opens itself; it is asked one thing after another."""

    def __init__(self, equipment: Equipment, threads: int) -> None:
        torch.set_num_threads(threads)
        self._equipment = equipment
        self._networks: dict[Precision, Network] = {}
        self._held: dict[int, _Held] = {}
        self._sum = _Sum(-1)

    def about(self) -> About:
        """Open the network; say on which machine, and what may differ from other machines. Raises WeightsError."""
        network = self._equipment.open(self._equipment.precision)
        self._networks[precision_of(network)] = network
        device = network.device
        allowed = limits(self._equipment.memory, None, device).memory
        free, accelerated = free_memory(device), device.type != "cpu"
        return About(platform.node(), accelerated, free, allowed, identity(self._equipment))

    def begin(self, work: Work) -> None:
        """Turn to another picture, or size; what is held of the one before is let go."""
        self._work = work
        self._held.clear()
        self._sum = _Sum(-1)
        self._network(work.precision)

    def keep(self, number: int, tile: Tile, references: Sequence[Array]) -> list[float]:
        """Read the tile's targets, from its crops of the references; returns the scale of each map term there."""
        network, targets = self._network(self._work.precision), dict[int, Tensor]()
        for at, reference in enumerate(references):
            terms = {n: term for n, term in enumerate(self._work.terms) if self._work.references[n] == at}
            layers = {term.layer for term in terms.values()}
            for layer, own in owned(network, self._tensor(reference), tile.inside, layers):
                targets |= {n: own.clone() for n, term in terms.items() if term.layer == layer}
        held = self._held.setdefault(number, _Held())
        held.targets = [targets[n] for n in range(len(self._work.terms))]
        return [float(term.scale(target)) for term, target in zip(self._work.terms, held.targets, strict=True)]

    def look(self, turn: int, number: int, tile: Tile, crop: Array, scales: Sequence[float] | None) -> None:
        """Pass a tile forward and add its statistics, and with `scales` its errors, to the sums of this turn."""
        if self._sum.turn != turn:
            self._sum = _Sum(turn)
        network, image = self._network(self._work.precision), self._tensor(crop)
        self._held.setdefault(number, _Held()).crop = image
        asked = [] if scales is None else self._errors(number, scales)
        found, values = tile_statistics(network, image, tile.inside, self._work.keys, asked)
        weighed = {key: mean * self._fraction(tile, key) for key, mean in found.items()}
        self._sum.add(weighed, [float(value) for value in values])

    def sums(self, turn: int) -> tuple[list[Array], list[float]]:
        """The statistics of all tiles of that turn, in the order of the work's keys, and each map term's error."""
        assert self._sum.turn == turn
        return [self._sum.statistics[key].cpu().numpy() for key in self._work.keys], self._sum.errors

    def gradient(
        self, number: int, tile: Tile, crop: Array | None, slopes: Sequence[Array], scales: Sequence[float]
    ) -> tuple[list[float], Array]:
        """Pass a tile forward and back: each map term's error, and the gradient of the tile's crop.

        Without a crop, that is the one that was looked at last.
        """
        network, held = self._network(self._work.precision), self._held.setdefault(number, _Held())
        if crop is not None:
            held.crop = self._tensor(crop)
        assert held.crop is not None
        scaled = {
            key: self._tensor(slope) * self._fraction(tile, key)
            for key, slope in zip(self._work.keys, slopes, strict=True)
        }
        values, found = tile_gradient(network, held.crop, tile.inside, scaled, self._errors(number, scales))
        return [float(value) for value in values], found.contiguous().cpu().numpy()

    def drop(self, number: int) -> None:
        """Another worker has this tile now."""
        self._held.pop(number, None)

    def _network(self, precision: Precision) -> Network:
        if precision not in self._networks:
            self._networks[precision] = self._equipment.open(precision)
        return self._networks[precision]

    def _tensor(self, array: Array) -> Tensor:
        return torch.tensor(array, device=self._network(self._work.precision).device)

    def _fraction(self, tile: Tile, key: Key) -> float:
        return fraction(self._network(self._work.precision), self._work.size, tile, key[0])

    def _errors(self, number: int, scales: Sequence[float]) -> list[TileError]:
        return [
            TileError(term, target, term.represent(target).new_tensor(scale))
            for term, target, scale in zip(self._work.terms, self._held[number].targets, scales, strict=True)
        ]


def identity(equipment: Equipment) -> dict[str, str]:
    """What has to be the same on all machines that compute one picture. Raises WeightsError."""
    weights = equipment.weights or bundled("vgg16.safetensors")
    means = equipment.means or bundled("vgg16-means.safetensors")
    try:
        hashes = {"the weights": sha256(weights), "the means": sha256(means)}
    except OSError as error:
        raise WeightsError(f"{error.filename} cannot be read: {error.strerror}") from None
    return {"impasto": own_version(), "PyTorch": torch.__version__.partition("+")[0], **hashes}
