"""What a worker of a cluster does: it holds some tiles of one large picture, and computes them.

Nothing here knows of the cluster or of the other workers. All that a worker holds can be sent to another one, so none
of it is missed when it is gone.
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
from impasto.networks.catalogue import entry
from impasto.networks.network import Network, precision_of
from impasto.networks.passes import read
from impasto.objectives.representations import activations
from impasto.tasks.parts import network_of
from impasto.tasks.settings import Settings
from impasto.tiles.budget import limits
from impasto.tiles.passes import Key, Share, Statistics, tile_gradient, tile_statistics
from impasto.tiles.tiler import Aim, share_of
from impasto.tiles.windows import Tile

Array = np.ndarray[Any, np.dtype[Any]]


class Work(NamedTuple):
    """What all tiles of a picture have in common; each worker is told once."""

    name: str
    precision: Precision
    size: Size
    keys: tuple[Key, ...]
    aims: tuple[Aim, ...]
    references: tuple[int, ...]  # which of the references each aim is about


class About(NamedTuple):
    """A worker as it describes itself: bytes are free on its machine, or device, and allowed to it by the settings."""

    machine: str
    accelerated: bool
    free: float
    allowed: float
    identity: dict[str, str]


@dataclass(eq=False)
class _Held:
    """A tile's targets, one for each aim, and its crop of the present picture."""

    targets: list[Tensor] = field(default_factory=list)
    crop: Tensor | None = None


@dataclass(eq=False)
class _Sum:
    """What the tiles of one turn add up to."""

    turn: int
    statistics: Statistics = field(default_factory=dict)
    errors: list[float] = field(default_factory=list)


class TileWorker:
    """Computes tiles by a network that it opens itself; it is asked one thing after another."""

    def __init__(self, settings: Settings, threads: int) -> None:
        torch.set_num_threads(threads)
        self._settings = settings
        self._networks: dict[Precision, Network] = {}
        self._held: dict[int, _Held] = {}
        self._sum = _Sum(-1)

    def about(self) -> About:
        """Open the network; say where that is and what may differ from other machines. Raises WeightsError."""
        network = network_of(self._settings, self._settings.precision)
        self._networks[precision_of(network)] = network
        device = network.device
        allowed = limits(self._settings, device).memory
        free, accelerated = free_memory(device), device.type != "cpu"
        return About(platform.node(), accelerated, free, allowed, identity(self._settings))

    def begin(self, work: Work) -> None:
        """Turn to another picture, or size; what is held of the one before is let go."""
        self._work = work
        self._held.clear()
        self._sum = _Sum(-1)
        self._network(work.precision)

    def keep(self, number: int, tile: Tile, references: Sequence[Array]) -> list[float]:
        """Read the tile's targets, from its crops of the references; returns each aim's scale there."""
        network, targets = self._network(self._work.precision), dict[int, Tensor]()
        for place, reference in enumerate(references):
            aims = {n: aim for n, aim in enumerate(self._work.aims) if self._work.references[n] == place}
            for layer, maps in read(network, self._tensor(reference), {aim.layer for aim in aims.values()}):
                own = tile.inside.of(maps, network.stride(layer))
                targets |= {n: own.clone() for n, aim in aims.items() if aim.layer == layer}
        held = self._held.setdefault(number, _Held())
        held.targets = [targets[n] for n in range(len(self._work.aims))]
        pairs = zip(self._work.aims, held.targets, strict=True)
        return [float(aim.distance.scale(activations(target))) for aim, target in pairs]

    def look(self, turn: int, number: int, tile: Tile, crop: Array, scales: Sequence[float] | None) -> None:
        """Pass a tile forward and add its statistics, and with `scales` its errors, to the sums of this turn."""
        if self._sum.turn != turn:
            self._sum = _Sum(turn)
        network, keys, held = self._network(self._work.precision), self._work.keys, self._held
        image = self._tensor(crop)
        held.setdefault(number, _Held()).crop = image
        shares = [] if scales is None else self._shares(number, scales)
        found, missed = tile_statistics(network, image, tile.inside, keys, shares)
        total = self._sum.statistics
        for key, mean in found.items():
            share = mean * share_of(network, self._work.size, tile, key[0])
            total[key] = total[key].add_(share) if key in total else share
        errors = [float(error) for error in missed]
        before = self._sum.errors or [0.0] * len(errors)
        self._sum.errors = [a + b for a, b in zip(before, errors, strict=True)]

    def sums(self, turn: int) -> tuple[list[Array], list[float]]:
        """The statistics of all tiles of that turn, in the order of the work's keys, and each aim's error."""
        assert self._sum.turn == turn
        return [self._sum.statistics[key].cpu().numpy() for key in self._work.keys], self._sum.errors

    def gradient(
        self, number: int, tile: Tile, crop: Array | None, slopes: Sequence[Array], scales: Sequence[float]
    ) -> tuple[list[float], Array]:
        """Pass a tile forward and back: each aim's error, and the gradient of its crop.

        Without a crop it is the one that was looked at last.
        """
        network, held = self._network(self._work.precision), self._held.setdefault(number, _Held())
        if crop is not None:
            held.crop = self._tensor(crop)
        assert held.crop is not None
        scaled = {
            key: self._tensor(slope) * share_of(network, self._work.size, tile, key[0])
            for key, slope in zip(self._work.keys, slopes, strict=True)
        }
        missed, found = tile_gradient(network, held.crop, tile.inside, scaled, self._shares(number, scales))
        return [float(error) for error in missed], found.contiguous().cpu().numpy()

    def drop(self, number: int) -> None:
        """Another worker has this tile now."""
        self._held.pop(number, None)

    def _network(self, precision: Precision) -> Network:
        if precision not in self._networks:
            self._networks[precision] = network_of(self._settings, precision)
        return self._networks[precision]

    def _tensor(self, array: Array) -> Tensor:
        return torch.tensor(array, device=self._network(self._work.precision).device)

    def _shares(self, number: int, scales: Sequence[float]) -> list[Share]:
        return [
            Share(aim.layer, target, aim.weight, aim.distance, activations(target).new_tensor(scale))
            for aim, target, scale in zip(self._work.aims, self._held[number].targets, scales, strict=True)
        ]


def identity(settings: Settings) -> dict[str, str]:
    """What has to be the same on all machines that compute one picture. Raises WeightsError."""
    files = entry(settings.network).files(settings.weights, settings.means)
    try:
        hashes = {f"the {what}": sha256(path) for what, path in files.items()}
    except OSError as error:
        raise WeightsError(f"{error.filename} cannot be read: {error.strerror}") from None
    return {"impasto": own_version(), "PyTorch": torch.__version__.partition("+")[0], **hashes}
