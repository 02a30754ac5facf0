"""The objective at one size in tiles: the losses and the gradient of the whole picture, in the memory of one tile.

Two passes. The first adds up the statistics of all tiles; then each loss of statistics and its slope are known. The
second pushes these slopes, and the errors of activations, back through each tile and adds up what comes out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from impasto.errors import SpecError
from impasto.images.image import Image, Size, size_of
from impasto.networks.network import Network
from impasto.objectives.criterion import BoundTerm, Losses, read_out
from impasto.objectives.distances import SquaredError, aim
from impasto.objectives.objective import Match, Objective, Prior
from impasto.objectives.representations import activations
from impasto.tiles.passes import Statistics
from impasto.tiles.tiler import Aim, MakeTiler, Tiler, go_on, local_tiler
from impasto.tiles.windows import Tile

STRIP_PIXELS = 1 << 20  # of the picture, for priors


@dataclass(frozen=True, eq=False)
class TiledCriterion:
    """A criterion that reads the picture tile by tile; the tiler computes the tiles, all else is done here."""

    tiler: Tiler
    names: tuple[str, ...]  # of the losses, in the objective's order
    statistics: tuple[BoundTerm, ...]
    aims: tuple[str, ...]  # the names that the losses of the tiler's aims have
    priors: tuple[Prior, ...]

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The tiles as they are now."""
        return self.tiler.tiles

    def losses(self, image: Image) -> Losses:
        """Each weighted term by name."""
        image = image.detach()
        statistics, errors = self.tiler.statistics(image, errors=True)
        values = _by_name(self.aims, errors)
        for part in self.statistics:
            _add(values, part.name, part.weight * part.loss(statistics[part.layer, part.represent]))
        for prior in self.priors:
            _add(values, prior.name, _in_strips(prior, image, None))
        return self._in_order(values)

    def losses_and_gradient(self, image: Image) -> tuple[Losses, Image]:
        """Each weighted term by name, and the gradient of their sum, of the image's shape and type."""
        image = image.detach()
        statistics, _ = self.tiler.statistics(image, errors=False)
        slopes: Statistics = {}
        reached: list[tuple[str, Tensor]] = []
        for key, found in statistics.items():
            with torch.enable_grad():
                variable = found.detach().requires_grad_()
                parts = [part for part in self.statistics if (part.layer, part.represent) == key]
                weighed = [part.weight * part.loss(variable) for part in parts]
                (slopes[key],) = torch.autograd.grad(torch.stack(weighed).sum(), variable)
            reached += [(part.name, value.detach()) for part, value in zip(parts, weighed, strict=True)]
        errors, gradient = self.tiler.gradient(image, slopes)
        values = _by_name(self.aims, errors)
        for name, value in reached:
            _add(values, name, value)
        for prior in self.priors:
            _add(values, prior.name, _in_strips(prior, image, gradient))
        return self._in_order(values), gradient

    def _in_order(self, values: Mapping[str, Tensor]) -> Losses:
        return read_out(self.names, [values[name] for name in self.names])


def bind_tiled(
    objective: Objective,
    network: Network,
    size: Size,
    core: Size,
    between_tiles: Callable[[], None] = go_on,
    make: MakeTiler | None = None,
) -> TiledCriterion:
    """The objective at one size, read in tiles that own at most `core` (height, width) in pixels.

    References are read in tiles too; `between_tiles` is called before each tile, also of these. `make` says who
    computes them, by default this process.
    Raises ImageError where a picture is too small for a layer; SpecError where the objective is empty, or compares
    activations by a distance that cannot be taken in parts.
    """
    make = make or partial(local_tiler, network, core, between_tiles)
    statistics: list[BoundTerm] = []
    aims: list[tuple[str, Aim, Image]] = []
    for term in objective.terms:
        if not isinstance(term, Match):
            continue
        reference = term.frame(term.reference, size).to(network.device)
        network.require_size(size_of(reference), term.layers)
        if term.represent is activations:
            distance = _in_parts(term)
            for layer, weight in term.layers.items():
                aims.append((f"{term.name}/{layer}", Aim(network.canonical(layer), weight, distance), reference))
            continue
        keys = {layer: (network.canonical(layer), term.represent) for layer in term.layers}
        found = make(size_of(reference), tuple(dict.fromkeys(keys.values())), ()).statistics(reference, errors=False)[0]
        for layer, weight in term.layers.items():
            loss = aim(term.distance, found[keys[layer]])
            statistics.append(BoundTerm(f"{term.name}/{layer}", keys[layer][0], weight, term.represent, loss))
    names = tuple(objective.weights())
    if not names:
        raise SpecError("the objective has no term; give at least one a weight above 0")
    network.require_size(size, [part.layer for part in statistics] + [one.layer for _, one, _ in aims])
    priors = tuple(term for term in objective.terms if isinstance(term, Prior))
    wanted = tuple(dict.fromkeys((part.layer, part.represent) for part in statistics))
    tiler = make(size, wanted, [(one, reference) for _, one, reference in aims])
    return TiledCriterion(tiler, names, tuple(statistics), tuple(name for name, _, _ in aims), priors)


def _in_parts(term: Match) -> SquaredError:
    if not isinstance(term.distance, SquaredError):
        raise SpecError(
            f"{term.name}: this distance of activations cannot be taken in tiles; use mean_squared_error or "
            "normalised_squared_error, or a size that fits in memory as a whole"
        )
    return term.distance


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


def _by_name(names: Sequence[str], found: Sequence[Tensor]) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    for name, value in zip(names, found, strict=True):
        _add(values, name, value)
    return values
