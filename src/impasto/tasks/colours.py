"""Whose colours a painted photo has: what is done to the pictures before painting, and to the result after."""

from collections.abc import Callable
from typing import NamedTuple

from impasto.errors import ImageError
from impasto.finishing.chroma import PutBack
from impasto.finishing.matching import grey, is_grey, lightness_matched, matched
from impasto.images.files import load_image
from impasto.images.image import Image
from impasto.synthesis.composition import Finish
from impasto.tasks.values import Colours


class Recoloured(NamedTuple):
    """The photo as it is painted from, what is done to each painting before, and to each picture that is painted."""

    photo: Image
    painting: Callable[[Image], Image]
    finish: Finish | None = None


def recoloured(photo: Image, colours: Colours) -> Recoloured:
    """The photo and what is done for a choice of colours. Raises ImageError for a palette without colours."""
    if colours.palette is not None:
        palette = _palette(colours)
        return Recoloured(photo, lambda painting: matched(painting, palette))
    match str(colours):
        case "photo":
            return Recoloured(photo, lambda painting: matched(painting, photo))
        case "luminance":
            return Recoloured(grey(photo), lambda painting: lightness_matched(painting, photo), PutBack(photo))
        case "photo-late":
            return Recoloured(photo, _as_it_is, PutBack(photo))
        case _:
            return Recoloured(photo, _as_it_is)


def _as_it_is(painting: Image) -> Image:
    return painting


def _palette(colours: Colours) -> Image:
    try:
        palette = load_image(str(colours.palette))
    except ImageError as error:
        raise ImageError(f"the palette cannot be used: {error}") from None
    if is_grey(palette):
        raise ImageError(f"the palette {colours.palette} has no colours, only greys; give a picture with colours")
    return palette
