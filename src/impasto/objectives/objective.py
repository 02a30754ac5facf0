"""What a picture should be like: terms added with `+`, without a size until they are bound to a network and a size."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from impasto.errors import SpecError
from impasto.images.image import Image, Size, require_image, resize, size_with_area
from impasto.networks.network import Network
from impasto.objectives.criterion import BoundTerm, Criterion, Readings, WholeCriterion, WrappedCriterion
from impasto.objectives.distances import Distance, normalised_squared_error
from impasto.objectives.neighbours import Neighbours, Style
from impasto.objectives.representations import (
    Function,
    MeanOverPairs,
    MeanOverPositions,
    Representation,
    activations,
    gram_matrix,
    represented,
)
from impasto.objectives.terms import Match, Prior, Response, Towards
from impasto.objectives.weightmaps import WeightMap


@dataclass(frozen=True, eq=False)
class Objective:
    """A sum of terms, minimised. `a + b` has the terms of both.

    If `around_px` is above 0, the picture is read as if repeated beyond its edges, by so many pixels: the result has no
    seam if it is laid side by side (see `seamless`).
    """

    terms: tuple[Match | Prior | Neighbours | Towards, ...]
    around_px: int = 0

    def __add__(self, other: "Objective") -> "Objective":
        return Objective(self.terms + other.terms, max(self.around_px, other.around_px))

    def matches(self, *kinds: type[Representation]) -> list[Match]:
        """The terms that compare with a reference: all, or those whose representation is of one of the kinds."""
        matches = [term for term in self.terms if isinstance(term, Match)]
        return [match for match in matches if isinstance(match.represent, kinds or Representation)]

    @property
    def neighbours(self) -> list[Neighbours]:
        """The terms whose targets are matched anew in each stage."""
        return [term for term in self.terms if isinstance(term, Neighbours)]

    @property
    def towards(self) -> list[Towards]:
        """The terms of responses that should be large."""
        return [term for term in self.terms if isinstance(term, Towards)]

    def through(self, look: Callable[[Image], Image], size: Size) -> "Objective":
        """The objective for a picture that is seen through `look`: references compared in place are seen so too."""
        return replace(self, terms=tuple(_through(term, look, size) for term in self.terms))

    def seeing(self, image: Image) -> "Objective":
        """The objective for a stage that begins with this picture: some terms choose their targets by it."""
        terms = (term.seeing(image) if isinstance(term, Neighbours) else term for term in self.terms)
        return replace(self, terms=tuple(terms))

    def read_size(self, size: Size) -> Size:
        """The size at which a picture of that size is read: larger if it is repeated beyond its edges."""
        height, width = size
        return height + 2 * min(height, self.around_px), width + 2 * min(width, self.around_px)

    def reference_px(self, size: Size) -> int:
        """Pixels of the largest picture that the terms read for a canvas of that size; large strokes enlarge it."""
        sizes = [match.framed_size(size) for match in self.matches()]
        sizes += [framed for term in self.neighbours for framed in term.framed_sizes(size)]
        return max((height * width for height, width in sizes), default=0)

    def layers(self, *kinds: type[Representation]) -> list[str]:
        """The layers that the terms read: all terms, or those whose representation is of one of the kinds."""
        terms: list[Match | Neighbours | Towards] = [*self.matches(*kinds)]
        others: list[Neighbours | Towards] = [*self.neighbours, *self.towards]
        terms += [term for term in others if isinstance(term.represent, kinds or Representation)]
        return [layer for term in terms for layer in term.layers]

    def weights(self) -> dict[str, float]:
        """The weight of each summand, by the name of its loss."""
        weights: dict[str, float] = {}
        for term in self.terms:
            for name, weight in term.weights().items():
                weights[name] = weights.get(name, 0.0) + weight
        return weights

    def require(self, network: Network, size: Size) -> None:
        """Raise the errors that `bind` would raise at that size; nothing is computed."""
        for term in self.terms:
            term.require(network, size)
        if not self.weights():
            raise SpecError("the objective has no term; give at least one a weight above 0")
        anywhere = MeanOverPositions, MeanOverPairs
        placed = [match.name for match in self.matches() if not isinstance(match.represent, anywhere)]
        placed += [term.name for term in self.neighbours]
        if self.around_px and placed:
            raise SpecError(f"{placed[0]} is compared place by place, which a seamless picture cannot be; leave it out")
        network.require_size(size, [network.canonical(layer) for layer in self.layers()])

    def bind(self, network: Network, size: Size) -> Criterion:
        """The objective at one size. Raises ImageError if a picture is too small for a layer, SpecError if empty."""
        self.require(network, size)
        reading: list[Match | Neighbours] = [*self.matches(), *self.neighbours]
        readings = Readings.of(network, [wish for term in reading for wish in term.wishes(network, size)])

        def bound(term: Match | Prior | Neighbours | Towards) -> list[BoundTerm]:
            if isinstance(term, (Match, Neighbours)):
                return term.bind(network, size, readings)
            return term.bind(network, size)

        whole = WholeCriterion(network, tuple(each for term in self.terms for each in bound(term)))
        return WrappedCriterion(whole, self.around_px) if self.around_px else whole


def content(
    reference: Image,
    layers: Mapping[str, float] | Iterable[str],
    *,
    represent: Representation = activations,
    distance: Distance = normalised_squared_error,
    name: str = "content",
    where: WeightMap | None = None,
) -> Objective:
    """The picture's activations at `layers` should equal those of the reference, resized to the canvas.

    `represent` may be another representation of both, such as `sampled` for `self_similarity`. `where` weights
    positions: differences count more where its weights are larger, and are compared with the target's energy weighted
    alike. Raises ImageError if the reference is no image.
    """
    require_image(reference)
    return Objective((Match(name, reference, weighted(layers), represent, _as_canvas, distance, where),))


def style(
    reference: Image,
    layers: Mapping[str, float] | Iterable[str],
    *,
    scale: float = 1.0,
    represent: Function = gram_matrix,
    distance: Distance = normalised_squared_error,
    name: str = "style",
    where: WeightMap | None = None,
    reference_where: WeightMap | None = None,
) -> Objective:
    """The picture's statistics at `layers` should equal the reference's.

    The reference keeps its proportions and is resized to as many pixels as the canvas has, times scale²: `scale` sets
    the size of strokes. `represent` may be a function of your own: wrap it as `MeanOverPositions(function)` or
    `Pointwise(function)` if it is of that kind; a plain function counts as a `WholeMap`.
    `where` weights the positions of the picture, `reference_where` those of the reference: only a region of the picture
    is painted, with the statistics of a region of the reference.
    Source: Gatys, Ecker & Bethge 2015 (arXiv:1508.06576), equations 3 to 5. Departs: errors are divided by the target's
    energy, so that layers, pictures and sizes are comparable.
    """
    require_image(reference)
    framing, represent = partial(_with_area_of, scale=scale), represented(represent)
    match = Match(name, reference, weighted(layers), represent, framing, distance, where, reference_where)
    return Objective((match,))


def neighbours(
    photo: Image,
    paintings: Sequence[Image],
    layers: Mapping[str, float] | Iterable[str],
    *,
    fractions: Sequence[float] | None = None,
    scale: float = 1.0,
    name: str = "neighbours",
    where: WeightMap | None = None,
    reference_where: WeightMap | Sequence[WeightMap | None] | None = None,
    along: float = 0.0,
) -> Objective:
    """At each position the picture's feature should be the paintings' feature that is most like the photo's there.

    See `Neighbours`. Paintings are resized as for `style`. `fractions` say how much of the picture each painting should
    take up, in proportion; equal by default. `where` weights the positions of the picture, which are matched where
    their weight is not 0; of each painting only the region `reference_where` is used, one for all or one for each.
    `along` says how much strokes that run like the photo's lines are preferred, as a part of the cosine. Raises
    SpecError if there is no painting, or not one fraction for each.
    """
    fractions = [1.0] * len(paintings) if fractions is None else list(fractions)
    if not paintings or len(fractions) != len(paintings):
        raise SpecError(f"{len(fractions)} fractions are given for {len(paintings)} paintings; give one for each")
    if not all(0 <= each < math.inf for each in fractions) or not any(fractions):
        raise SpecError(f"fractions are {fractions}; they must be numbers of at least 0, one of them above 0")
    fractions = [each / sum(fractions) for each in fractions]
    if not 0 <= along < math.inf:
        raise SpecError(f"along is {along}; it must be a number of at least 0")
    for image in (photo, *paintings):
        require_image(image)
    of_each = reference_where if isinstance(reference_where, Sequence) else [reference_where] * len(paintings)
    styles = tuple(Style(*each) for each in zip(paintings, fractions, of_each, strict=True))
    framing = partial(_with_area_of, scale=scale)
    term = Neighbours(name, photo, styles, weighted(layers), framing, where, along)
    return Objective((term,))


def towards(layers: Mapping[str, float] | Iterable[str], response: Response, *, name: str = "response") -> Objective:
    """The response, such as a channel's mean activation, should be as large as possible at `layers`."""
    return Objective((Towards(name, weighted(layers), response),))


def prior(name: str, weight: float, penalty: Callable[[Image], Tensor], *, reach_px: int | None = None) -> Objective:
    """A penalty on the image: a function of `impasto.objectives.priors` or your own. Raises SpecError.

    A weight of 0 gives an empty objective. `reach_px` saves memory if pictures are large (see `Prior`): 1 for the total
    variation, 0 for the other two priors.
    """
    if not math.isfinite(weight):
        raise SpecError(f"the weight of {name} is {weight}; it must be a finite number")
    return Objective((Prior(name, weight, penalty, reach_px),) if weight else ())


def seamless(objective: Objective, around_px: int = 32) -> Objective:
    """The objective for a picture whose left side continues its right side, and its top its bottom.

    The picture is read with `around_px` pixels of the opposite side added on each side, so that the network sees the
    edges as it sees the middle. Priors see them too; references are read as they are. All terms must be statistics.
    """
    return replace(objective, around_px=around_px)


def weighted(layers: Mapping[str, float] | Iterable[str]) -> dict[str, float]:
    """Layers with their weights; equal weights that sum to 1 if none are given. Raises SpecError."""
    if isinstance(layers, Mapping):
        weights = dict(layers)
    else:
        names = list(dict.fromkeys([layers] if isinstance(layers, str) else layers))
        weights = {name: 1 / len(names) for name in names}
    if not weights:
        raise SpecError("at least one layer is needed")
    for layer, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise SpecError(f"the weight of {layer} is {weight}; it must be a number from 0 upwards")
    return weights


def _through(
    term: Match | Prior | Neighbours | Towards, look: Callable[[Image], Image], size: Size
) -> Match | Prior | Neighbours | Towards:
    if not isinstance(term, Match) or isinstance(term.represent, MeanOverPositions):
        return term
    return replace(term, reference=look(resize(term.reference, size)))


def _as_canvas(reference: Size, canvas: Size) -> Size:
    return canvas


def _with_area_of(reference: Size, canvas: Size, scale: float) -> Size:
    return size_with_area(reference, canvas[0] * canvas[1] * scale**2)
