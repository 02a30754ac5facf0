"""Masks: which part of a picture is meant, from black and white, from transparency, or from one colour of several."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import ImageColor
from torch import Tensor

from impasto.errors import ImageError
from impasto.images.files import load_picture
from impasto.images.image import Picture

Mask = Float[Tensor, "1 1 _height _width"]
BRIGHTNESS = (0.299, 0.587, 0.114)  # of red, green and blue; source: ITU-R BT.601
LEAST_CONTRAST = 1 / 8  # between the darkest and the brightest part of a mask
NEAR = 48 / 255  # colours this near in each channel count as the same: files with losses blur colours
COMMON, FREQUENT = 0.005, 0.05  # of the pixels: colours that are rarer may come from soft edges, see `_colours`
EVEN = 2 / 255  # a colour is flat if half of its pixels differ by no more in each channel: those of soft edges do
FEW, FLAT = 16, 0.8  # so many colours are a map's if they have that part of its pixels
SAMPLED_PX = 1000  # of the long side are looked at for colours
PURE = {"green": "lime"}  # who says green of a map of regions means pure green, which CSS calls lime
STEPS = 15  # colours are counted in so many steps of each channel


def load_mask(path: Path, colour: str = "") -> Mask:
    """The region that a file marks: 1 inside, 0 outside, between them at soft edges.

    White is inside and black is outside. In a file with transparent parts, these are outside; if its opaque part is of
    one colour, or a photo, all of the opaque part is inside. With a `colour`, a name such as "red" or a number such as
    "ff0000", the pixels are inside that are nearer to it than to any other colour of the file.
    Raises ImageError as `load_picture`; if the mask is of one colour, has not the colour asked for, or has several
    colours and none is asked for.
    """
    picture = load_picture(path)
    mask = _marked(picture, path) if not colour else _of_colour(picture, path, colour)
    low, high = float(mask.min()), float(mask.max())
    if high - low < LEAST_CONTRAST:
        hidden = picture.alpha is not None and not bool((picture.alpha >= LEAST_CONTRAST).any())
        kind = "transparent" if hidden else "white" if low > 3 / 4 else "black" if high < 1 / 4 else "grey"
        raise ImageError(f"{path} marks no region: it is {kind} everywhere; make the region white and the rest black")
    return mask


def _marked(picture: Picture, path: Path) -> Mask:
    weights = torch.tensor(BRIGHTNESS).reshape(1, 3, 1, 1)
    bright = (picture.image * weights).sum(1, keepdim=True).clamp_(0, 1)
    alpha = torch.ones_like(bright) if picture.alpha is None else picture.alpha
    if not bool((alpha == 1).all()):
        opaque = bright[alpha > 1 / 2]
        if not opaque.numel() or float(opaque.max() - opaque.min()) < LEAST_CONTRAST:
            return alpha
        if _is_photo(_opaque(picture)):
            return alpha
    if colours := [each for each in _colours(picture) if float(each.max() - each.min()) > NEAR]:
        example = f"{path}#{_in_hex(colours[0])}"
        raise ImageError(
            f"{path} is in colour; name the colour that marks the region, {example} for instance, or make the region "
            "white and the rest black"
        )
    return bright * alpha


def _is_photo(pixels: Float[Tensor, "3 _pixels"]) -> bool:
    """Whether pixels are in colour, and in many colours, unlike those of a map of regions."""
    is_coloured = (pixels.amax(0) - pixels.amin(0) > NEAR).float().mean() > COMMON
    levels = (pixels * 255).round().to(torch.int64)
    _, counts = torch.unique((levels[0] * 256 + levels[1]) * 256 + levels[2], return_counts=True)
    return bool(is_coloured) and int(counts.sort(descending=True).values[:FEW].sum()) < FLAT * pixels.shape[1]


def _of_colour(picture: Picture, path: Path, colour: str) -> Mask:
    image, wanted = picture.image, _parsed(path, colour)
    if colour in PURE and not _has(picture, wanted):
        wanted = _parsed(path, PURE[colour])
    others = [each for each in _colours(picture) if (each - wanted).abs().max() > NEAR]
    distance = (image - wanted.reshape(1, 3, 1, 1)).square().sum(1, keepdim=True)
    mask = torch.ones_like(distance) if picture.alpha is None else picture.alpha
    for other in others:
        apart = (image - other.reshape(1, 3, 1, 1)).square().sum(1, keepdim=True)
        in_the_middle = other.tolist() < wanted.tolist()  # one of the two colours has the pixels as near to either
        mask = mask * (distance <= apart if in_the_middle else distance < apart)
    if not others and picture.seen is None:
        raise ImageError(f"{path} marks no region: it is {colour} everywhere; give the rest another colour")
    if not _has(picture, wanted):
        found = ", ".join(f"#{_in_hex(each)}" for each in _colours(picture))
        raise ImageError(f"{path} has no region of the colour {colour}; its colours are {found}")
    return mask


def _has(picture: Picture, colour: Tensor) -> bool:
    return bool(((_opaque(picture) - colour[:, None]).abs().amax(0) <= NEAR).any())


def _opaque(picture: Picture, apart: int = 1) -> Float[Tensor, "3 _pixels"]:
    """The pixels that are more opaque than transparent, one of so many in each direction."""
    pixels = picture.image[0, :, ::apart, ::apart].flatten(1)
    return pixels if picture.alpha is None else pixels[:, picture.alpha[0, 0, ::apart, ::apart].flatten() > 1 / 2]


def _parsed(path: Path, colour: str) -> Tensor:
    for text in (f"#{colour}", colour):
        try:
            return torch.tensor(ImageColor.getrgb(text)[:3], dtype=torch.float32) / 255
        except ValueError:
            continue
    raise ImageError(f"{path}#{colour} names no colour; write a colour such as red or ff0000 after the #")


def _colours(picture: Picture) -> list[Tensor]:
    """The file's colours, the most common first; those near to a more common one belong to it.

    Colours between two more common ones come from wide soft edges unless they are frequent, or flat.
    """
    pixels = _opaque(picture, max(1, max(picture.size) // SAMPLED_PX))
    red, green, blue = (pixels * STEPS).round().to(torch.int64)
    pixel_codes = (red * (STEPS + 1) + green) * (STEPS + 1) + blue
    codes, counts = torch.unique(pixel_codes, return_counts=True)
    found: list[Tensor] = []
    for number in counts.argsort(descending=True, stable=True).tolist():
        if counts[number] < COMMON * pixels.shape[1]:
            break
        alike = pixels[:, pixel_codes == codes[number]]
        colour = alike.median(dim=1).values
        is_flat = (alike - colour[:, None]).abs().amax(0).le(EVEN).float().mean() >= 1 / 2
        if counts[number] < FREQUENT * pixels.shape[1] and not is_flat and _is_between(colour, found):
            continue
        if all((colour - each).abs().max() > NEAR for each in found):
            found.append(colour)
    return found


def _is_between(colour: Tensor, others: Sequence[Tensor]) -> bool:
    """Whether a colour is near to a mixture of two others."""
    for one, other in combinations(others, 2):
        share = torch.dot(colour - one, other - one) / (other - one).square().sum()
        if (one + share.clamp(0, 1) * (other - one) - colour).abs().max() <= NEAR:
            return True
    return False


def _in_hex(colour: Tensor) -> str:
    return "".join(f"{round(float(each) * 255):02x}" for each in colour)
