"""Masks painted on a picture with brushes of a few colours: a mask for each colour, white where that colour is."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image as PillowImage
from PIL import ImageChops, ImageFilter

from impasto.desk.places import kept_upload

BRUSHES: Mapping[str, str] = {"red": "#d0342c", "green": "#2f9e44", "blue": "#2b6cd4", "yellow": "#e8b90b"}
LEAST = 1 / 1000  # of the picture: less is a slip of the hand


def painted(layers: Sequence[PillowImage.Image], softness: float) -> dict[str, PillowImage.Image]:
    """The masks of the colours that were painted, from the layers painted over a picture, the lowest first.

    A pixel belongs to the brush whose colour is nearest, as far as it is opaque. Edges are blurred over `softness`, a
    fraction of the long side.
    """
    if not layers:
        return {}
    flat = PillowImage.new("RGBA", layers[0].size)
    for layer in layers:
        flat.alpha_composite(layer.convert("RGBA"))
    found = {}
    for name, inside in _nearest(flat.convert("RGB")).items():
        mask = ImageChops.multiply(inside, flat.getchannel("A"))
        if sum(mask.histogram()[128:]) >= LEAST * mask.width * mask.height:
            found[name] = mask.filter(ImageFilter.GaussianBlur(softness * max(mask.size)))
    return found


def saved(mask: PillowImage.Image, name: str, runs: Path) -> Path:
    """The mask as a PNG file among the uploads, where settings and the command line can name it. Raises OutputError."""
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return kept_upload(buffer.getvalue(), f"{name}.png", runs)


def _nearest(picture: PillowImage.Image) -> dict[str, PillowImage.Image]:
    """For each brush, white where the picture's colour is nearest to the brush's."""
    palette = PillowImage.new("P", (1, 1))
    colours = [value for colour in BRUSHES.values() for value in bytes.fromhex(colour[1:])]
    palette.putpalette((colours + colours[-3:] * 256)[: 3 * 256])
    numbers = picture.quantize(palette=palette, dither=PillowImage.Dither.NONE)
    last = len(BRUSHES) - 1
    return {
        name: numbers.point([255 * (min(index, last) == number) for index in range(256)], "L")
        for number, name in enumerate(BRUSHES)
    }
