"""A recipe for each task: init, objective, schedule and optimiser, composed for `synthesise`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from impasto.errors import ImageError, SpecError
from impasto.images.files import load_image
from impasto.images.image import Image, Size, size_of, size_with_long_side
from impasto.networks.catalogue import outline
from impasto.objectives.distances import Distance, mean_squared_error, normalised_squared_error
from impasto.objectives.objective import Objective, content, prior, style
from impasto.objectives.priors import alpha_norm, out_of_range, total_variation
from impasto.objectives.representations import Representation, channel_moments, gram_matrix, mean_and_gram
from impasto.objectives.wasserstein import wasserstein_distance
from impasto.synthesis.composition import Composition
from impasto.synthesis.dither import Dither
from impasto.synthesis.inits import Init, covering, from_image, noise
from impasto.synthesis.lbfgs import lbfgs
from impasto.synthesis.leap import Leap
from impasto.synthesis.optimisers import MakeOptimiser, adam
from impasto.synthesis.parameterisations import Fourier, Pixels
from impasto.synthesis.schedules import octaves, single
from impasto.tasks.settings import (
    AmalgamateSettings,
    InvertSettings,
    ReconstructSettings,
    Settings,
    TextureSettings,
    TransferSettings,
)

DISTANCES = {"normalised": normalised_squared_error, "squared": mean_squared_error}
RANGE_WEIGHT = 10.0  # keeps an unbounded parameterisation's picture in [0, 1] with no visible effect


def invert(photo: Image, settings: InvertSettings | None = None) -> Composition:
    """A natural-looking picture with the same activations as the photo at one layer, from white noise.

    Source: Mahendran & Vedaldi 2015 (arXiv:1412.0035), equation 5. Departs: L-BFGS bounded to the range of colours.
    """
    settings = settings or InvertSettings()
    refinements = _refinements(settings.layer, settings)
    settings = refinements.fitted(settings)
    objective = (
        _content_at(settings.layer, photo, settings)
        + _smoothness(settings.smoothness, settings.smoothness_exponent)
        + prior("contrast", settings.contrast, alpha_norm, reach_px=0)
    )
    composition = _compose(objective, settings, {"content": photo}, _canvas(photo, settings))
    return refinements.added(composition, settings.layer, photo, settings)


def reconstruct(photo: Image, layer: str, settings: ReconstructSettings | None = None) -> Composition:
    """The content that one layer keeps of a picture: a picture with the same activations, from white noise, no priors.

    Source: Gatys, Ecker & Bethge 2015 (arXiv:1508.06576), equation 1.
    """
    settings = settings or ReconstructSettings()
    refinements = _refinements(layer, settings)
    settings = refinements.fitted(settings)
    objective = _content_at(layer, photo, settings)
    composition = _compose(objective, settings, {"content": photo}, _canvas(photo, settings))
    return refinements.added(composition, layer, photo, settings)


def amalgamate(photo: Image, painting: Image, layer: str, settings: AmalgamateSettings | None = None) -> Composition:
    """The content of the photo imprinted on the painting: the painting is the first picture, and no term keeps it.

    Only what the layer does not see of the painting survives. The painting covers the canvas, cropped if necessary.
    Source: the report "Deep representations, a way to conceive Neural Style Transfer", part 1, section 2.
    Departs: a little total variation against grain.
    """
    settings = settings or AmalgamateSettings()
    pictures = {"content": photo, "style": painting}
    objective = _content_at(layer, photo, settings) + _smoothness(settings.smoothness)
    return _compose(objective, settings, pictures, _canvas(photo, settings))


def texture(painting: Image, layers: Mapping[str, float], settings: TextureSettings | None = None) -> Composition:
    """A square picture with the painting's statistics and none of its arrangement, from white noise.

    Source: Gatys, Ecker & Bethge 2015 (arXiv:1505.07376). Departs: coarse to fine, and other statistics by default.
    """
    settings = settings or TextureSettings()
    represent, distance = _statistics(settings)
    weights = normalised(layers)
    objective = style(painting, weights, scale=settings.style_scale, represent=represent, distance=distance)
    objective += _smoothness(settings.smoothness)
    return _compose(objective, settings, {"style": painting}, (settings.size, settings.size), settings.smallest)


def transfer(photo: Image, paintings: Sequence[Image], settings: TransferSettings | None = None) -> Composition:
    """A photo painted in the style of one or several pictures.

    Source: Gatys, Ecker & Bethge 2016 (CVPR), equation 7; statistics after style-transfer-pytorch.
    Departs: errors relative to the target's energy; starts from the photo, coarse to fine, inside the range of colours.
    """
    settings = settings or TransferSettings()
    kept = {layer: settings.content_weight * w for layer, w in normalised(settings.content_layers.weights).items()}
    objective = Objective(())
    if settings.content_weight:
        objective = content(photo, kept, distance=DISTANCES[settings.distance])
    objective += _styles(paintings, settings) + _smoothness(settings.smoothness)
    pictures = {"content": photo, "style": paintings[0]}
    return _compose(objective, settings, pictures, _canvas(photo, settings), settings.smallest)


def _styles(paintings: Sequence[Image], settings: TransferSettings) -> Objective:
    """The terms of all paintings whose weight is not 0."""
    objective = Objective(())
    represent, distance = _statistics(settings)
    layers, scale = normalised(settings.style_layers.weights), settings.style_scale
    fractions = settings.style_weights.of(len(paintings))
    for number, (painting, fraction) in enumerate(zip(paintings, fractions, strict=True), start=1):
        if weight := fraction * settings.style_weight:
            weights = {layer: weight * w for layer, w in layers.items()}
            name = "style" if len(paintings) == 1 else f"style {number}"
            objective += style(painting, weights, scale=scale, represent=represent, distance=distance, name=name)
    return objective


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights divided by their sum. Raises SpecError if all are 0."""
    total = sum(weights.values())
    if not total > 0:
        raise SpecError(f"the weights of {', '.join(weights)} are all 0")
    return {layer: weight / total for layer, weight in weights.items()}


def _content_at(layer: str, photo: Image, settings: Settings) -> Objective:
    return content(photo, {layer: 1.0}, distance=DISTANCES[settings.distance])


def _statistics(settings: TextureSettings | TransferSettings) -> tuple[Representation, Distance]:
    if settings.statistics == "wasserstein":
        return mean_and_gram, wasserstein_distance
    return gram_matrix if settings.statistics == "gram" else channel_moments, DISTANCES[settings.distance]


def _smoothness(weight: float, exponent: float = 2.0) -> Objective:
    return prior("smoothness", weight, partial(total_variation, beta=exponent), reach_px=1)


def _compose(
    objective: Objective, settings: Settings, pictures: dict[str, Image], size: Size, smallest: int | None = None
) -> Composition:
    if settings.parameterisation == "fourier":
        objective += prior("range", RANGE_WEIGHT, out_of_range, reach_px=0)
    steps = settings.steps
    return Composition(
        init=_init(settings, pictures),
        objective=objective,
        schedule=octaves(size, steps, smallest_px=smallest) if smallest is not None else single(size, steps),
        parameterisation=Fourier(settings.fourier_exponent) if settings.parameterisation == "fourier" else Pixels(),
        optimiser=make_optimiser(settings),
        evaluations=settings.evaluations,
    )


LayerSettings = TypeVar("LayerSettings", InvertSettings, ReconstructSettings)


@dataclass(frozen=True)
class _Refinements:
    """What helps a layer and is asked for: a leap before the first step, a dither after the last."""

    leaps: bool = False
    dithers: bool = False

    def fitted(self, settings: LayerSettings) -> LayerSettings:
        """The settings, with pixels as parameters if the result is dithered, since pixels reach the lowest error."""
        return settings.model_copy(update={"parameterisation": "pixels"}) if self.dithers else settings

    def added(
        self, composition: Composition, layer: str, photo: Image, settings: InvertSettings | ReconstructSettings
    ) -> Composition:
        """The composition with the refinements as its opening and its closing."""
        leap = Leap(layer, photo, settings.leap, settings.seed) if self.leaps else None
        dither = Dither(layer, settings.dither, settings.seed) if self.dithers else None
        return replace(composition, opening=leap, closing=dither)


def _refinements(layer: str, settings: InvertSettings | ReconstructSettings) -> _Refinements:
    """The refinements of a layer: a dither if the layer sees the rounding to 8 bits, a leap if it is nearly linear.

    The picture itself is never refined.
    """
    network = outline(settings.network)
    if not network.has(layer):
        return _Refinements()
    leaps = settings.leap > 0 and settings.init == "noise" and network.is_middle(layer)
    return _Refinements(leaps, settings.dither > 0 and network.is_shallow(layer))


def _init(settings: Settings, pictures: dict[str, Image]) -> Init:
    if settings.init == "noise":
        return noise(settings.seed, settings.noise)
    if settings.init == "content" and "content" in pictures:
        return from_image(pictures["content"], settings.seed)
    if settings.init == "style" and "style" in pictures:
        return covering(pictures["style"], settings.seed)
    if settings.init in ("content", "style"):
        raise SpecError(f"init {settings.init!r} is not for this task; use noise, {', '.join(pictures)} or a file")
    try:
        return covering(load_image(settings.init), settings.seed)
    except ImageError as error:
        raise ImageError(f"init is neither noise, {', '.join(pictures)} nor a picture: {error}") from None


def make_optimiser(settings: Settings) -> MakeOptimiser:
    """The optimiser that the settings ask for."""
    if settings.optimiser == "adam":
        return adam(settings.learning_rate, final=settings.learning_rate_final)
    return lbfgs(history=settings.history, line_search=settings.optimiser == "lbfgs")


def _canvas(photo: Image, settings: Settings) -> Size:
    return size_with_long_side(size_of(photo), settings.size)
