"""A recipe for each task: init, objective, schedule and optimiser, composed for `synthesise`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from impasto.errors import ImageError, SpecError
from impasto.images.files import load_image
from impasto.images.image import Image, Picture, Size, as_picture, resize, resize_around, size_of, size_with_long_side
from impasto.networks.catalogue import NETWORKS, outline
from impasto.networks.layers import IMAGE
from impasto.objectives.distances import Distance, mean_squared_error, normalised_squared_error
from impasto.objectives.objective import Objective, content, prior, seamless, style, towards, weighted
from impasto.objectives.priors import alpha_norm, out_of_range, total_variation
from impasto.objectives.representations import (
    Representation,
    autocorrelation,
    channel_moments,
    gram_matrix,
    mean_and_gram,
)
from impasto.objectives.sliced import sliced, sliced_wasserstein
from impasto.objectives.wasserstein import wasserstein_distance
from impasto.synthesis.composition import Composition
from impasto.synthesis.dither import Dither
from impasto.synthesis.inits import Init, covering, from_image, noise
from impasto.synthesis.lbfgs import lbfgs
from impasto.synthesis.leap import Leap
from impasto.synthesis.optimisers import MakeOptimiser, adam
from impasto.synthesis.parameterisations import Fourier, Parameterisation, Pixels
from impasto.synthesis.schedules import Schedule, octaves, single
from impasto.tasks.divisions import counting
from impasto.tasks.seeing import CaricatureSettings, DreamSettings, MaximiseSettings
from impasto.tasks.settings import (
    AmalgamateSettings,
    InvertSettings,
    ReconstructSettings,
    Settings,
    TextureSettings,
    TransferSettings,
)
from impasto.units.compositions import OnTopOf, read_direction, views
from impasto.units.natural import Faint, Natural, Phases
from impasto.units.responses import Channel, Direction, Everything, Exaggeration, Unit
from impasto.units.spectrum import photographic

DISTANCES = {"normalised": normalised_squared_error, "squared": mean_squared_error}
PATTERN_WEIGHT = 1.0  # of the autocorrelation; bricks and weaves in docs/decisions/0046-patterns-by-autocorrelation.md
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
        + smoothness(settings.smoothness, settings.smoothness_exponent)
        + prior("contrast", settings.contrast, alpha_norm, reach_px=0)
    )
    composition = compose_with(objective, settings, {"content": photo}, canvas_of(photo, settings))
    return refinements.added(composition, settings.layer, photo, settings)


def reconstruct(photo: Image, layer: str, settings: ReconstructSettings | None = None) -> Composition:
    """The content that one layer keeps of a picture: a picture with the same activations, from white noise, no priors.

    Source: Gatys, Ecker & Bethge 2015 (arXiv:1508.06576), equation 1.
    """
    settings = settings or ReconstructSettings()
    refinements = _refinements(layer, settings)
    settings = refinements.fitted(settings)
    objective = _content_at(layer, photo, settings)
    composition = compose_with(objective, settings, {"content": photo}, canvas_of(photo, settings))
    return refinements.added(composition, layer, photo, settings)


def amalgamate(photo: Image, painting: Image, layer: str, settings: AmalgamateSettings | None = None) -> Composition:
    """The content of the photo imprinted on the painting: the painting is the first picture, and no term keeps it.

    Only what the layer does not see of the painting survives. The painting covers the canvas, cropped if necessary.
    Source: the report "Deep representations, a way to conceive Neural Style Transfer", part 1, section 2.
    Departs: a little total variation against grain.
    """
    settings = settings or AmalgamateSettings()
    pictures = {"content": photo, "style": painting}
    objective = _content_at(layer, photo, settings) + smoothness(settings.smoothness)
    return compose_with(objective, settings, pictures, canvas_of(photo, settings))


def texture(
    painting: Image | Picture, layers: Mapping[str, float] | Iterable[str], settings: TextureSettings | None = None
) -> Composition:
    """A picture with the painting's statistics and none of its arrangement, from white noise.

    Transparent parts of a painting do not count, except in patterns, for which places must lie side by side.
    Source: Gatys, Ecker & Bethge 2015 (arXiv:1505.07376). Departs: coarse to fine, and other statistics by default.
    """
    settings, given, layers = settings or TextureSettings(), as_picture(painting), weighted(layers)
    represent, distance = statistics_of(settings)
    of = partial(style, given.image, scale=settings.style_scale)
    if settings.statistics == "pattern":
        objective = of(normalised(layers), represent=represent, distance=distance)
        objective += of({IMAGE: PATTERN_WEIGHT}, represent=autocorrelation, name="pattern")
    else:
        objective = of(normalised(layers), represent=represent, distance=distance, reference_where=counting(given))
    objective += smoothness(settings.smoothness)
    if settings.seamless:
        objective = seamless(objective)
    canvas = settings.print.size if settings.print else (settings.size.height, settings.size.width)
    sizes = octaves(canvas, settings.steps, smallest_px=settings.smallest)
    composition = compose_with(objective, settings, {"style": given.image}, canvas, sizes)
    return replace(composition, enlarged=resize_around) if settings.seamless else composition


def maximise(unit: Unit, settings: MaximiseSettings | None = None) -> Composition:
    """A picture to which one unit answers as strongly as can be, from faint noise.

    Source: Olah, Mordvintsev & Schubert 2017 (distill.pub/2017/feature-visualization); phases, and parts seen closer,
    from Fel et al. 2023 (arXiv:2306.06805).
    """
    settings = settings or MaximiseSettings()
    canvas = settings.print.size if settings.print else (settings.size, settings.size)
    objective = towards([unit.layer], unit.response)
    composition = compose_with(objective, settings, {}, canvas)
    return _seen(composition, settings, settings.closest)


def caricature(photo: Image, settings: CaricatureSettings | None = None) -> Composition:
    """What one layer sees in the photo, exaggerated: the same features in the same places, but stronger, from noise.

    Source: Lucid's recipe for caricatures (Olah et al. 2018); see `Exaggeration`.
    """
    settings = settings or CaricatureSettings()
    objective = content(photo, [settings.layer], distance=Exaggeration(settings.power), name="exaggeration")
    canvas = canvas_of(photo, settings)
    return _seen(compose_with(objective, settings, {"content": photo}, canvas), settings)


def dream(photo: Image, settings: DreamSettings | None = None) -> Composition:
    """The photo, changed such that one layer sees more of all that it sees in it, from small sizes to the full one.

    Source: Mordvintsev, Olah & Tyka 2015 (DeepDream): octaves, shifts, and the photo's detail put back at each size.
    Departs: natural parameters and Adam in place of normalised gradients.
    """
    settings = settings or DreamSettings()
    objective, canvas = towards([settings.layer], Everything()), canvas_of(photo, settings)
    composition = _seen(compose_with(objective, settings, {"content": photo}, canvas), settings)
    sizes = octaves(canvas, settings.steps, smallest_px=settings.smallest, factor=1.5, ratio=1.0)
    return replace(composition, schedule=sizes, enlarged=OnTopOf(photo) if settings.init == "content" else resize)


def unit_named(name: str, settings: MaximiseSettings) -> Unit:
    """The unit of a name such as "channel-12". Raises the errors of the direction's file."""
    if settings.direction is not None:
        return Unit(settings.where, Direction(read_direction(settings.direction), str(settings.direction)))
    kind, _, number = name.partition("-")
    return Unit(settings.where, Channel(int(number), middle=kind == "neuron"))


def _seen(
    composition: Composition,
    settings: MaximiseSettings | CaricatureSettings | DreamSettings,
    closest: float = 1.0,
) -> Composition:
    """The composition with the settings' views, and noise that resembles a photograph if the first picture is noise."""
    looks = views(settings.seed, shift_px=settings.shift, turn=settings.turn, zoom=settings.zoom, closest=closest)
    faint = Faint(photographic(), settings.seed, settings.noise)
    return replace(composition, views=looks, init=faint if settings.init == "noise" else composition.init)


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights divided by their sum. Raises SpecError if all are 0."""
    total = sum(weights.values())
    if not total > 0:
        raise SpecError(f"the weights of {', '.join(weights)} are all 0; give at least one above 0")
    return {layer: weight / total for layer, weight in weights.items()}


def _content_at(layer: str, photo: Image, settings: Settings) -> Objective:
    return content(photo, {layer: 1.0}, distance=DISTANCES[settings.distance])


def statistics_of(settings: TextureSettings | TransferSettings) -> tuple[Representation, Distance]:
    """The representation of the style that the settings name, and its distance."""
    if settings.statistics in ("wasserstein", "pattern"):
        return mean_and_gram, wasserstein_distance
    if settings.statistics == "sliced":
        return sliced, sliced_wasserstein
    return gram_matrix if settings.statistics == "gram" else channel_moments, DISTANCES[settings.distance]


def smoothness(weight: float, exponent: float = 2.0) -> Objective:
    """The prior for smooth pictures; no term if the weight is 0."""
    return prior("smoothness", weight, partial(total_variation, beta=exponent), reach_px=1)


def compose_with(
    objective: Objective, settings: Settings, pictures: dict[str, Image], size: Size, schedule: Schedule | None = None
) -> Composition:
    """The objective with the first picture, the schedule, the parameterisation and the optimiser of the settings.

    Without a schedule all steps are at one size.
    """
    if settings.parameterisation == "fourier":
        objective += prior("range", RANGE_WEIGHT, out_of_range, reach_px=0)
    return Composition(
        init=_init(settings, pictures),
        objective=objective,
        schedule=schedule or single(size, settings.steps),
        parameterisation=_parameterisation(settings),
        optimiser=make_optimiser(settings),
        evaluations=settings.evaluations,
    )


def _parameterisation(settings: Settings) -> Parameterisation:
    if settings.parameterisation == "fourier":
        return Fourier(settings.fourier_exponent)
    if settings.parameterisation == "pixels":
        return Pixels()
    return Natural(photographic()) if settings.parameterisation == "natural" else Phases(photographic())


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

    The picture itself is never refined, and neither are the layers of modules.
    """
    if settings.network not in NETWORKS:
        return _Refinements()
    network = outline(settings.network)
    if not network.has(layer):
        return _Refinements()
    leaps = settings.leap > 0 and settings.init == "noise" and network.is_middle(layer)
    return _Refinements(leaps, settings.dither > 0 and settings.depth == 8 and network.is_shallow(layer))


def _init(settings: Settings, pictures: dict[str, Image]) -> Init:
    if settings.init == "noise":
        return noise(settings.seed, settings.noise)
    if settings.init == "content" and "content" in pictures:
        return from_image(pictures["content"], settings.seed)
    if settings.init == "style" and "style" in pictures:
        return covering(pictures["style"], settings.seed)
    words = ", ".join(["noise", *pictures])
    if settings.init in ("content", "style"):
        raise SpecError(f"init {settings.init!r} is not for this task; use {words} or a file")
    try:
        return covering(load_image(settings.init), settings.seed)
    except ImageError as error:
        raise ImageError(f"init is neither {words} nor a picture: {error}") from None


def make_optimiser(settings: Settings) -> MakeOptimiser:
    """The optimiser that the settings ask for."""
    if settings.optimiser == "adam":
        return adam(settings.learning_rate, final=settings.learning_rate_final)
    return lbfgs(history=settings.history, line_search=settings.optimiser == "lbfgs")


def canvas_of(photo: Image, settings: Settings) -> Size:
    """The size of the result: that of the print, or the photo's proportions at the settings' size."""
    return settings.print.size if settings.print else size_with_long_side(size_of(photo), settings.size)
