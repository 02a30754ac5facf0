"""Whose colours a painted photo has: what is done to the pictures before painting, and to the result after."""

from collections.abc import Sequence
from typing import NamedTuple

from impasto.errors import ImageError
from impasto.finishing.chroma import PutBack
from impasto.finishing.matching import grey, is_grey, lightness_matched, matched
from impasto.images.files import load_image
from impasto.images.image import Image
from impasto.synthesis.composition import Finish
from impasto.tasks.values import Colours


class Recoloured(NamedTuple):
    """Photo and paintings as they are painted from, and what is done to each picture that is painted."""

    photo: Image
    paintings: Sequence[Image]
    finish: Finish | None = None


def recoloured(photo: Image, paintings: Sequence[Image], colours: Colours) -> Recoloured:
    """The pictures for a choice of colours. Raises ImageError for a palette that cannot be read, or is grey."""
    if colours.palette is not None:
        palette = _palette(colours)
        return Recoloured(photo, [matched(painting, palette) for painting in paintings])
    match str(colours):
        case "photo":
            return Recoloured(photo, [matched(painting, photo) for painting in paintings])
        case "luminance":
            greys = [lightness_matched(painting, photo) for painting in paintings]
            return Recoloured(grey(photo), greys, PutBack(photo))
        case "photo-late":
            return Recoloured(photo, paintings, PutBack(photo))
        case _:
            return Recoloured(photo, paintings)


def _palette(colours: Colours) -> Image:
    try:
        palette = load_image(str(colours.palette))
    except ImageError as error:
        raise ImageError(f"the palette cannot be used: {error}") from None
    if is_grey(palette):
        raise ImageError(f"the palette {colours.palette} has no colours, only greys; give a picture with colours")
    return palette
