"""The recipe of `transfer`: a photo painted in the style of other pictures, everywhere or by regions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from impasto.errors import ImageError, SpecError
from impasto.finishing.chroma import PutBack
from impasto.finishing.matching import grey, is_grey, lightness_matched, matched
from impasto.images.files import load_image, load_picture
from impasto.images.image import Alpha, Image, Picture, Size, as_picture, cropped
from impasto.objectives.objective import Objective, content, neighbours, style
from impasto.objectives.similarity import sampled, self_similarity
from impasto.objectives.weightmaps import WeightMap
from impasto.synthesis.composition import Composition, Finish
from impasto.synthesis.keeping import Keeping, KeepingLast
from impasto.synthesis.schedules import Schedule, octaves, split
from impasto.tasks.divisions import Area, Division, counting, divide
from impasto.tasks.recipes import DISTANCES, canvas_of, compose_with, normalised, smoothness, statistics_of
from impasto.tasks.settings import TransferSettings
from impasto.tasks.values import Colours, StyleWeights

ALONG = 0.6  # of cosine, for strokes along the photo's lines; docs/decisions/0059-strokes-along-the-photos-lines.md
STROKES_LAYER = "relu3_1"  # where strokes are seen; measured in docs/decisions/0034-small-first-then-large.md


def transfer(
    photo: Image | Picture,
    paintings: Sequence[Image | Picture],
    settings: TransferSettings | None = None,
    division: Division | None = None,
) -> Composition:
    """A photo painted in the style of one or several pictures, everywhere or by regions.

    `division` is the picture divided by the settings' regions, whose files are otherwise read here. Parts of pictures
    that are transparent do not count: neither the photo's colours nor the paintings' statistics.
    Source: Gatys, Ecker & Bethge 2016 (CVPR), equation 7; statistics after style-transfer-pytorch; regions after Gatys
    et al. 2017 (arXiv:1611.07865), section 4.
    Departs: errors relative to the target's energy; starts from the photo, coarse to fine, inside the range of colours;
    the statistics of a region count by its area.
    """
    if isinstance(paintings, Tensor | Picture):
        raise SpecError("paintings are a list of pictures; put a single one into brackets: [painting]")
    settings, given = settings or TransferSettings(), as_picture(photo)
    division = division or divide(settings.region, given.image, settings.size)
    image, recolour, finish = recoloured(given.image, settings.colours, given.alpha)
    styles = [recolour(as_picture(each)) for each in paintings]
    objective = _kept(image, settings, division.detail) + _layout(image, settings)
    if not settings.region:
        objective += _styles(styles, settings) + _neighbours(image, styles, settings)
    for area in division.painted:
        own = None if area.painting is None else recolour(area.painting)
        objective += _painted(replace(area, painting=own), image, styles, settings)
    objective += smoothness(settings.smoothness)
    pictures = {"content": image, "style": styles[0].image}
    canvas = canvas_of(image, settings)
    objective += _likeness(settings, pictures, canvas)
    composition = compose_with(objective, settings, pictures, canvas, _sizes(canvas, settings))
    composition = replace(composition, finish=finish)
    if objective.neighbours:
        composition = replace(composition, schedule=split(composition.schedule, settings.rematches + 1))
    if division.kept is None:
        return composition
    keeping = Keeping(composition.parameterisation, image, division.kept)
    last = None if finish is None else KeepingLast(finish, given.image, division.kept)
    return replace(composition, parameterisation=keeping, finish=last)


def _layout(photo: Image, settings: TransferSettings) -> Objective:
    """The term that keeps which places of the photo are alike."""
    if not settings.layout:
        return Objective(())
    layers = {layer: settings.layout * w for layer, w in normalised(settings.layout_layers.weights).items()}
    return content(photo, layers, represent=sampled, distance=self_similarity, name="layout")


def _neighbours(
    photo: Image,
    paintings: Sequence[Picture],
    settings: TransferSettings,
    weight: float = 1.0,
    name: str = "neighbours",
    source: WeightMap | None = None,
    **more: Any,
) -> Objective:
    """The paintings' features, placed where the photo has similar ones; each painting takes up its weight's part."""
    weight *= settings.style_weight * settings.neighbours
    places = {"scale": settings.style_scale, "along": ALONG * (settings.strokes == "along"), **more}
    if places["along"] and not settings.neighbours:
        raise SpecError("strokes along the photo's lines need neighbours, whose weight is 0; try --neighbours 0.2")
    if not weight:
        return Objective(())
    layers = {layer: weight * w for layer, w in normalised(settings.neighbour_layers.weights).items()}
    fractions = settings.style_weights.of(len(paintings))
    used = [number for number, fraction in enumerate(fractions) if fraction]
    return neighbours(
        photo,
        [paintings[number].image for number in used],
        layers,
        fractions=[fractions[number] for number in used],
        reference_where=[counting(paintings[number], source, name) for number in used],
        name=name,
        **places,
    )


def _kept(photo: Image, settings: TransferSettings, detail: Tensor | None) -> Objective:
    """The term that keeps the photo, if it has a weight; `detail` weights positions, by 1 where nothing differs."""
    weight = settings.content_weight * (1.0 if detail is None else float(detail.mean()))
    if not weight:
        return Objective(())
    layers = {layer: weight * w for layer, w in normalised(settings.content_layers.weights).items()}
    where = None if detail is None else WeightMap(detail)
    return content(photo, layers, distance=DISTANCES[settings.distance], where=where)


def _styles(
    paintings: Sequence[Picture],
    settings: TransferSettings,
    weight: float = 1.0,
    name: str = "style",
    source: WeightMap | None = None,
    **more: Any,
) -> Objective:
    """The terms of all paintings whose weight is not 0."""
    represent, distance = statistics_of(settings)
    common = {"scale": settings.style_scale, "represent": represent, "distance": distance, **more}
    layers, fractions = normalised(settings.style_layers.weights), settings.style_weights.of(len(paintings))

    objective = Objective(())
    for number, (painting, fraction) in enumerate(zip(paintings, fractions, strict=True), start=1):
        if each := fraction * settings.style_weight * weight:
            weights = {layer: each * w for layer, w in layers.items()}
            numbered = name if len(paintings) == 1 else name.replace("style", f"style {number}", 1)
            where = counting(painting, source, numbered)
            objective += style(painting.image, weights, name=numbered, reference_where=where, **common)
    return objective


def _painted(area: Area, photo: Image, paintings: Sequence[Picture], settings: TransferSettings) -> Objective:
    """The terms of one area, whose weights are those of the whole picture times the area's mean share and strength.

    So a picture divided into areas of one style is painted nearly as if it were whole, and no area, however small, is
    painted more strongly than another. Neighbours are found for the area's positions among its own paintings.
    """
    if area.painting is not None:
        paintings, settings = [area.painting], settings.model_copy(update={"style_weights": StyleWeights("")})
    weight, named = float(area.share.mean()) * area.strength, f" in {area.name}" if area.name else ""
    scale = settings.style_scale if area.strokes is None else area.strokes
    places: dict[str, Any] = {"where": area.where, "source": area.source, "scale": scale}
    along = settings.strokes == "along" if area.along is None else area.along
    nearest = _neighbours(photo, paintings, settings, weight, f"neighbours{named}", **places, along=ALONG * along)
    return _styles(paintings, settings, weight, f"style{named}", **places) + nearest


def _sizes(canvas: Size, settings: TransferSettings) -> Schedule:
    smallest, factor, ratio = settings.smallest, settings.growth, settings.step_ratio
    return octaves(canvas, settings.steps, smallest_px=smallest, factor=factor, ratio=ratio)


def _likeness(settings: TransferSettings, pictures: dict[str, Image], canvas: Size) -> Objective:
    """The term that keeps a painting like its first picture: the activations of a layer that sees single strokes."""
    if not settings.likeness:
        return Objective(())
    if settings.init == "noise":
        raise SpecError("likeness is a weight for the first picture, but init is noise; give a picture as init")
    first = pictures[settings.init] if settings.init in pictures else load_image(settings.init)
    return content(cropped(first, canvas), {STROKES_LAYER: settings.likeness}, name="likeness")


class Recoloured(NamedTuple):
    """The photo as it is painted from, what is done to each painting before, and to each picture that is painted."""

    photo: Image
    painting: Callable[[Picture], Picture]
    finish: Finish | None = None


def recoloured(photo: Image, colours: Colours, visible: Alpha | None = None) -> Recoloured:
    """The photo and what is done for a choice of colours. Raises ImageError for a palette without colours.

    The photo's colours count where it is `visible`, and those of a painting where that can be seen.
    """
    if colours.palette is not None:
        palette = _palette(colours)
        return Recoloured(photo, _changed(matched, palette.image, palette.alpha))
    match str(colours):
        case "photo":
            return Recoloured(photo, _changed(matched, photo, visible))
        case "luminance":
            return Recoloured(grey(photo), _changed(lightness_matched, photo, visible), PutBack(photo))
        case "photo-late":
            return Recoloured(photo, _as_it_is, PutBack(photo))
        case _:
            return Recoloured(photo, _as_it_is)


def _changed(match: Callable[..., Image], reference: Image, visible: Alpha | None) -> Callable[[Picture], Picture]:
    """How a painting gets the colours of a reference."""

    def change(painting: Picture) -> Picture:
        return replace(painting, image=match(painting.image, reference, visible, painting.alpha))

    return change


def _as_it_is(painting: Picture) -> Picture:
    return painting


def _palette(colours: Colours) -> Picture:
    try:
        palette = load_picture(str(colours.palette)).visible(colours.palette)
    except ImageError as error:
        raise ImageError(f"the palette cannot be used: {error}") from None
    if is_grey(palette.image, palette.alpha):
        raise ImageError(f"the palette {colours.palette} has no colours, only greys; give a picture with colours")
    return palette
