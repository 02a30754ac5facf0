"""The objective at one size in tiles: the losses and the gradient of the whole picture, in the memory of one tile.

There are two passes. The first adds up the statistics of all tiles, which give each loss of statistics and its slope.
The second takes these slopes, and those of maps compared in place, back through each tile, and adds up the gradients.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from impasto.errors import SpecError
from impasto.images.image import Image, Size, size_of
from impasto.matching.places import Piece, Read
from impasto.networks.network import Network
from impasto.objectives.criterion import BoundTerm, Losses, WrappedCriterion, read_out, values_and_slope
from impasto.objectives.distances import SquaredError, cosine_error, distance_to
from impasto.objectives.neighbours import Neighbours
from impasto.objectives.objective import Objective
from impasto.objectives.representations import MeanOverPositions, Pointwise
from impasto.objectives.similarity import Sampled
from impasto.objectives.terms import Match, Prior
from impasto.tiles.passes import Key, MapTerm, Statistics, owned
from impasto.tiles.tiler import Aim, MakeTiler, Tiler, do_nothing, ignore_halving, local_tiler
from impasto.tiles.windows import Tile, cut

STRIP_PIXELS = 1 << 20  # of the picture, for priors
MATCHED_PX = 256  # side of the tiles in which this process matches neighbours for other machines


@dataclass(frozen=True, eq=False)
class TiledCriterion:
    """A criterion that reads the picture tile by tile; the tiler computes the tiles, the criterion does the rest."""

    tiler: Tiler
    names: tuple[str, ...]  # of the losses, in the objective's order
    statistics: tuple[BoundTerm, ...]
    errors: tuple[str, ...]  # names of the losses of the tiler's map terms
    priors: tuple[Prior, ...]

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The tiles as they are now."""
        return self.tiler.tiles

    def losses(self, image: Image) -> Losses:
        """Each weighted term by name."""
        image = image.detach()
        statistics, errors = self.tiler.statistics(image, errors=True)
        values = _by_name(self.errors, errors)
        for term in self.statistics:
            _add(values, term.name, term.weight * term.loss(statistics[term.layer, term.represent]))
        for prior in self.priors:
            _add(values, prior.name, _in_strips(prior, image, None))
        return self._in_order(values)

    def losses_and_gradient(self, image: Image) -> tuple[Losses, Image]:
        """Each weighted term by name, and the gradient of their sum, of the image's shape and type."""
        image = image.detach()
        statistics, _ = self.tiler.statistics(image, errors=False)
        slopes, reached = self._slopes(statistics)
        errors, gradient = self.tiler.gradient(image, slopes)
        values = _by_name(self.errors, errors)
        for name, value in reached:
            _add(values, name, value)
        for prior in self.priors:
            _add(values, prior.name, _in_strips(prior, image, gradient))
        return self._in_order(values), gradient

    def _slopes(self, statistics: Statistics) -> tuple[Statistics, list[tuple[str, Tensor]]]:
        """The gradient of the weighted losses with respect to each statistic, and these losses by name."""
        slopes: Statistics = {}
        values: list[tuple[str, Tensor]] = []
        for key, found in statistics.items():
            terms = [term for term in self.statistics if (term.layer, term.represent) == key]
            weighted, slopes[key] = values_and_slope(terms, found)
            values += [(term.name, value) for term, value in zip(terms, weighted, strict=True)]
        return slopes, values

    def _in_order(self, values: Mapping[str, Tensor]) -> Losses:
        return read_out(self.names, [values[name] for name in self.names])


def bind_tiled(
    objective: Objective,
    network: Network,
    size: Size,
    core: Size,
    between_tiles: Callable[[], None] = do_nothing,
    make: MakeTiler | None = None,
    halved: Callable[[Size], None] = ignore_halving,
) -> TiledCriterion | WrappedCriterion:
    """The objective at one size, read in tiles that own at most `core` (height, width) in pixels.

    References are read in tiles too. `between_tiles` is called before each tile, also of references. `make` makes the
    tiler, by default one in this process. `halved` is called with the new core if an accelerator's memory is short.
    Raises ImageError if a picture is too small for a layer; SpecError if the objective is empty, or has a term that
    cannot be taken tile by tile (see `require_tiles`).
    """
    small = core if make is None else (min(core[0], MATCHED_PX), min(core[1], MATCHED_PX))
    make = make or partial(local_tiler, network, core, between_tiles, halved=halved)
    require_tiles(objective)
    objective.require(network, size)
    errors = [each for match in objective.matches(Pointwise) for each in _map_terms(match, network, size)]
    pieces = partial(_pieces, network, small, between_tiles)
    errors += [each for term in objective.neighbours for each in _chosen_terms(term, network, size, pieces)]
    means = objective.matches(MeanOverPositions, Sampled)
    statistics = [bound for match in means for bound in _bind_statistics(match, network, size, make)]
    statistics += [bound for term in objective.towards for bound in term.bind(network, size)]
    keys = tuple(dict.fromkeys((bound.layer, bound.represent) for bound in statistics))
    tiled = TiledCriterion(
        tiler=make(objective.read_size(size), keys, [(term, reference) for _, term, reference in errors]),
        names=tuple(objective.weights()),
        statistics=tuple(statistics),
        errors=tuple(name for name, _, _ in errors),
        priors=tuple(term for term in objective.terms if isinstance(term, Prior)),
    )
    return WrappedCriterion(tiled, objective.around_px) if objective.around_px else tiled


def require_tiles(objective: Objective) -> None:
    """Raise SpecError, with a remedy, if a term cannot be computed tile by tile.

    Such a term has a representation of the whole map, or compares maps in place by a distance that is not a sum.
    """
    for match in objective.matches():
        if not isinstance(match.represent, (Pointwise, MeanOverPositions, Sampled)):
            raise SpecError(
                f"{match.name}: this representation needs the whole feature map and cannot be taken in tiles; leave "
                "out --tile and choose a size that fits in memory as a whole, or wrap the function as a "
                "MeanOverPositions or a Pointwise if it is of that kind"
            )
    for match in objective.matches(Pointwise):
        _sum_of(match)
    for term in objective.towards:
        if not isinstance(term.represent, MeanOverPositions):
            raise SpecError(f"{term.name}: a response at one place cannot be taken in tiles; leave out --tile")


def _sum_of(match: Match) -> SquaredError:
    if not isinstance(match.distance, SquaredError):
        raise SpecError(
            f"{match.name}: this distance of activations cannot be taken in tiles; use mean_squared_error or "
            "normalised_squared_error, or a size that fits in memory as a whole"
        )
    return match.distance


def _pieces(
    network: Network, core: Size, between_tiles: Callable[[], None], image: Image, layers: Collection[str]
) -> Iterator[Piece]:
    """A picture's feature maps, tile by tile."""
    for tile in cut(size_of(image), core, network, layers):
        between_tiles()
        for layer, own in owned(network, tile.crop.of(image), tile.inside, layers):
            stride = network.stride(layer)
            yield Piece(layer, tile.core.top // stride, tile.core.left // stride, own)


def _map_terms(match: Match, network: Network, size: Size) -> Iterator[tuple[str, MapTerm, Aim]]:
    """Each layer's term by the name of its loss, and the reference as it is compared."""
    reference, distance = match.framed(size).to(network.device), _sum_of(match)
    for layer, represent in match.represents(network, size).items():
        term = MapTerm(network.canonical(layer), represent, match.layers[layer], distance)
        yield f"{match.name}/{layer}", term, reference


def _chosen_terms(term: Neighbours, network: Network, size: Size, pieces: Read) -> Iterator[tuple[str, MapTerm, Aim]]:
    """Each layer's term by the name of its loss, and the features that are chosen from the styles'."""
    for layer, choice in term.choose(network, size, pieces).items():
        bound = MapTerm(network.canonical(layer), choice.represent, term.layers[layer], cosine_error)
        yield f"{term.name}/{layer}", bound, choice.target


def _bind_statistics(match: Match, network: Network, size: Size, make: MakeTiler) -> Iterator[BoundTerm]:
    """Each layer's term with the statistics of the reference, which is read in tiles."""
    reference = match.framed(size).to(network.device)
    at = {layer: network.canonical(layer) for layer in match.layers}
    theirs = match.reference_represents(network, size)
    found = _statistics(make, reference, [(at[layer], theirs[layer]) for layer in at])
    fitted = match.fitted({layer: found[at[layer], theirs[layer]] for layer in at})
    if any(base is not match.represent for base in fitted.values()):
        theirs = match.reference_represents(network, size, fitted)
        found = _statistics(make, reference, [(at[layer], theirs[layer]) for layer in at])
    represents = match.represents(network, size, fitted)
    for layer, weight in match.layers.items():
        loss = distance_to(match.distance, found[at[layer], theirs[layer]])
        yield BoundTerm(f"{match.name}/{layer}", at[layer], weight, represents[layer], loss)


def _statistics(make: MakeTiler, reference: Image, keys: Sequence[Key]) -> Statistics:
    tiler = make(size_of(reference), tuple(dict.fromkeys(keys)), ())
    return tiler.statistics(reference, errors=False)[0]


def _in_strips(prior: Prior, image: Image, gradient: Image | None) -> Tensor:
    """The weighted penalty, strip by strip, its gradient added to `gradient` if there is one.

    A strip's penalty is that of its rows and the rows below that they read, less the penalty of the latter alone.
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
