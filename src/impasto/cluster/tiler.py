"""The tiles of one picture, computed by a crew of workers in the same two passes as locally, with little traffic.

A tile's crop is sent to its worker once per evaluation and kept there for the second pass. Each worker returns one sum
of statistics for all its tiles. Slopes are stored once, for all workers of a node to read. Gradients are returned tile
by tile and added in the tiles' order.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from impasto.cluster.crew import Crew, LostError, Worker, assigned
from impasto.cluster.worker import Array, Piece, Work
from impasto.images.image import Image, Size
from impasto.networks.network import Network, precision_of
from impasto.objectives.neighbours import Chosen
from impasto.tiles.passes import Key, MapTerm, Statistics
from impasto.tiles.tiler import Aim, add_statistics, placed
from impasto.tiles.windows import Tile, cut

AHEAD = 2  # tiles in transit for each worker: while one is computed, the next is sent
NUMBER_BYTES = 8  # of a scale or an error
Send = Callable[[Worker, int], list[Any]]
Take = Callable[[Worker, int, Any], None]


@dataclass(eq=False)
class Traffic:
    """The cost of evaluations: workers and tiles of the last evaluation, bytes of all together."""

    workers: int = 0
    tiles: int = 0
    core: Size = (0, 0)
    evaluations: int = 0
    sent_bytes: int = 0
    returned_bytes: int = 0


@dataclass(eq=False)
class ClusterTiler:
    """Has tiles computed by a crew. If a worker is lost, another one computes its tiles; no tile counts twice.

    The same workers give the same numbers, bit for bit; other workers change only the order of sums.
    """

    crew: Crew
    traffic: Traffic
    network: Network  # the network of this process, for its strides
    core: Size
    work: Work
    keys: tuple[Key, ...]
    terms: tuple[MapTerm, ...]
    tiles: tuple[Tile, ...]
    references: Sequence[Image]
    chosen: Sequence[Chosen]
    between_tiles: Callable[[], None]
    scales: list[float] = field(default_factory=list)
    owners: dict[int, Worker] = field(default_factory=dict)
    sent_bytes: int = 0
    returned_bytes: int = 0

    def __post_init__(self) -> None:
        self._assign()
        if self.terms:
            found: dict[int, list[float]] = {}
            self._through(range(len(self.tiles)), self._equip, lambda _, number, scales: found.update({number: scales}))
            self.scales = [sum(each) for each in zip(*(found[n] for n in sorted(found)), strict=True)]

    def statistics(self, image: Image, *, errors: bool) -> tuple[Statistics, list[Tensor]]:
        """See `Tiler`."""
        self.sent_bytes = self.returned_bytes = 0
        self.crew.muster()
        self._assign()
        for worker in self.crew.workers:
            worker.seen.clear()
        total: Statistics = {}
        values = [0.0] * len(self.terms)
        left = dict.fromkeys(range(len(self.tiles)) if self.keys or errors else ())
        while left:  # a worker returns one sum for all its tiles: all of them count, or none, so no tile counts twice
            turn = next(self.crew.turns)
            looked = self._looked(image, turn, errors, list(left))
            asked = [(worker, worker.actor.sums.remote(turn)) for worker in looked]
            for worker, reference in asked:
                if (found := self._sums(worker, reference)) is None:
                    continue
                add_statistics(total, {key: each.to(image.device) for key, each in found[0].items()})
                values = _added(values, found[1]) if errors else values
                for number in looked[worker]:
                    del left[number]
        return total, [image.new_tensor(each) for each in values] if errors else []

    def _looked(self, image: Image, turn: int, errors: bool, numbers: list[int]) -> dict[Worker, list[int]]:
        """Have tiles passed forward; the workers that did, with the tiles of each."""
        looked: dict[int, Worker] = {}
        look = partial(self._look, image, turn, errors)
        self._through(numbers, look, lambda worker, number, _: looked.update({number: worker}))
        by_worker: dict[Worker, list[int]] = {}
        for worker in self.crew.workers:
            if its := [number for number, one in looked.items() if one is worker]:
                by_worker[worker] = its
        return by_worker

    def _sums(self, worker: Worker, reference: Any) -> tuple[Statistics, list[float]] | None:
        """The sums over a worker's tiles of this turn; None if the worker is lost, whose tiles then go to others."""
        try:
            arrays, values = self.crew.get(worker, reference)
        except LostError:
            self._assign()
            return None
        self.returned_bytes += sum(each.nbytes for each in arrays) + NUMBER_BYTES * len(values)
        return {key: torch.tensor(each) for key, each in zip(self.keys, arrays, strict=True)}, values

    def gradient(self, image: Image, slopes: Statistics) -> tuple[list[Tensor], Image]:
        """See `Tiler`."""
        arrays = [slopes[key].cpu().numpy() for key in self.keys]
        placed = self.crew.put(arrays)
        self.sent_bytes += self.crew.nodes * sum(each.nbytes for each in arrays)
        gradient = torch.zeros_like(image, memory_format=torch.contiguous_format)
        values = [0.0] * len(self.terms)

        def add(_: Worker, number: int, found: tuple[list[float], Array]) -> None:
            errors, slope = found
            self.returned_bytes += slope.nbytes + NUMBER_BYTES * len(errors)
            self.tiles[number].crop.of(gradient).add_(torch.tensor(slope, device=image.device))
            values[:] = _added(values, errors)

        self._through(range(len(self.tiles)), partial(self._pull, image, placed), add)
        self.crew.completed()
        traffic = self.traffic
        traffic.workers, traffic.tiles, traffic.core = len(self.crew.workers), len(self.tiles), self.core
        traffic.evaluations += 1
        traffic.sent_bytes += self.sent_bytes
        traffic.returned_bytes += self.returned_bytes
        return [image.new_tensor(each) for each in values], gradient

    def _through(self, numbers: Iterable[int], send: Send, take: Take) -> None:
        """Send tiles to their workers, few ahead, and take the answers in order; reassign tiles of a lost worker."""
        left, in_transit = deque(numbers), deque[tuple[int, Worker, list[Any]]]()
        while left or in_transit:
            self.between_tiles()
            while left and len(in_transit) < AHEAD * len(self.crew.workers):
                number = left.popleft()
                worker = self.owners[number]
                with self.crew.sending():
                    in_transit.append((number, worker, send(worker, number)))
            number, worker, references = in_transit.popleft()
            try:
                answers = [self.crew.get(worker, reference) for reference in references]
            except LostError:
                self._assign()
                left.append(number)
            else:
                take(worker, number, answers[-1] if answers else None)

    def _equip(self, worker: Worker, number: int) -> list[Any]:
        """Send a worker the work, and the tile with its references, unless the worker has them already."""
        asked: list[Any] = []
        if worker.work != self.work.name:
            asked.append(worker.actor.begin.remote(self.work))
            worker.work = self.work.name
            worker.kept.clear()
            worker.seen.clear()
        if number not in worker.kept:
            piece = self._piece(self.tiles[number])
            crops = [_array(piece.tile.crop.of(reference)) for reference in self.references]
            rows = self._rows(piece.tile)
            self.sent_bytes += sum(each.nbytes for each in [*crops, *rows])
            self.sent_bytes += sum(key[1].bytes for key in piece.keys) + sum(t.represent.bytes for t in piece.terms)
            self.returned_bytes += NUMBER_BYTES * len(self.terms)
            asked.append(worker.actor.keep.remote(number, piece, crops, rows))
            worker.kept.add(number)
        return asked

    def _piece(self, tile: Tile) -> Piece:
        """What a worker is told about a tile, with the weights of the tile's own positions and no others."""
        keys = tuple(placed(self.network, self.work.size, tile, key) for key in self.keys)
        terms = tuple(term.own(tile.core, self.network.stride(term.layer), self.work.size) for term in self.terms)
        return Piece(tile, keys, terms)

    def _rows(self, tile: Tile) -> list[Array]:
        """For each bank, the rows that the tile's own positions are compared with."""
        found: list[Array] = []
        for number, chosen in enumerate(self.chosen, start=len(self.references)):
            term = self.terms[self.work.references.index(number)]
            found.append(_array(tile.core.own(chosen.rows, self.network.stride(term.layer), self.work.size)))
        return found

    def _look(self, image: Image, turn: int, errors: bool, worker: Worker, number: int) -> list[Any]:
        asked, crop = self._equip(worker, number), self._crop(worker, number, image)
        return [*asked, worker.actor.look.remote(turn, number, crop, self.scales if errors else None)]

    def _pull(self, image: Image, slopes: Any, worker: Worker, number: int) -> list[Any]:
        asked = self._equip(worker, number)
        crop = None if number in worker.seen else self._crop(worker, number, image)
        return [*asked, worker.actor.gradient.remote(number, crop, slopes, self.scales)]

    def _crop(self, worker: Worker, number: int, image: Image) -> Array:
        crop = _array(self.tiles[number].crop.of(image))
        self.sent_bytes += crop.nbytes
        worker.seen.add(number)
        return crop

    def _assign(self) -> None:
        before, self.owners = self.owners, assigned(len(self.tiles), self.crew.workers, self.owners)
        for number, worker in before.items():
            if worker is not self.owners[number] and worker in self.crew.workers and worker.work == self.work.name:
                worker.kept.discard(number)
                worker.seen.discard(number)
                worker.actor.drop.remote(number)


def cluster_tiler(
    crew: Crew,
    traffic: Traffic,
    network: Network,
    core: Size,
    between_tiles: Callable[[], None],
    size: Size,
    keys: Sequence[Key],
    terms: Sequence[tuple[MapTerm, Aim]],
) -> ClusterTiler:
    """A tiler whose tiles the crew computes, in the precision of this process's network; its `traffic` is counted.

    The references of the map terms are sent in crops: each worker reads those of its own tiles. Of chosen features the
    bank is sent once to each worker, and with each tile the numbers of its rows.
    """
    aims = {id(aim): aim for _, aim in terms}.values()
    references = [aim for aim in aims if not isinstance(aim, Chosen)]
    chosen = [aim for aim in aims if isinstance(aim, Chosen)]
    numbers = {id(aim): number for number, aim in enumerate([*references, *chosen])}
    work = Work(
        name=uuid4().hex,
        precision=precision_of(network),
        size=size,
        references=tuple(numbers[id(aim)] for _, aim in terms),
        banks=tuple(aim.bank.cpu() for aim in chosen),
    )
    compared = tuple(term for term, _ in terms)
    layers = {layer for layer, _ in keys} | {term.layer for term in compared}
    tiles = cut(size, core, network, layers) if layers else ()
    return ClusterTiler(
        crew, traffic, network, core, work, tuple(keys), compared, tiles, references, chosen, between_tiles
    )


def _array(crop: Tensor) -> Array:
    array: Array = crop.detach().contiguous().cpu().numpy()
    return array


def _added(sums: Sequence[float], more: Sequence[float]) -> list[float]:
    return [total + one for total, one in zip(sums, more, strict=True)]
