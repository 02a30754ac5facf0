"""Pictures of 16 bits a colour, and grey ones of 16 and 32 bits and of floats: the numbers of white and black."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image as PillowImage

# TIFF's tags. Source: TIFF 6.0, section 8 and page 80.
BITS_PER_SAMPLE, WHITE_IS_ZERO, SAMPLES, PLANAR, SAMPLE_FORMAT = 258, 262, 277, 284, 339
UNSIGNED, IN_PLANES = 1, 2  # values of SAMPLE_FORMAT (the default) and of PLANAR
Grey = np.ndarray[Any, np.dtype[np.float32]]
Values = np.ndarray[Any, np.dtype[np.float32]]  # rows, width, colours
# Pillow reads 16 bits a colour as 8, the high byte of each value. Read as if its bytes stood in the other order, a file
# gives the low bytes. By Pillow's names of layouts (B: high byte first, L: low byte first, N: the machine's order).
OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
LAYOUTS = ("RGB;16", "RGBA;16", "RGBX;16")
FEW_LEVELS = {"L;2": 85, "L;4": 17}  # layouts of grey with 4 and 16 levels: the step between two levels in 8 bits
GREY_WITH_ALPHA = "LA;16B"  # in a PNG; its four bytes are read as four colours


def is_deep(picture: PillowImage.Image) -> bool:
    """Whether a picture is a grey that Pillow's own conversion to RGB would clip at 255."""
    return picture.mode.startswith("I;16") or picture.mode in ("I", "F")


def deep_grey(picture: PillowImage.Image, tags: dict[int, Any]) -> Grey:
    """Values of a deep grey in [0, 1], height × width; `tags` are a TIFF's, else empty.

    White is the largest number that a TIFF's bits can hold, else 65535. A TIFF of 32 bits without a value above 65535
    counts as one of 16. If a TIFF says that white is zero, values are inverted. For floats see `white_of_floats`.
    Raises ValueError if a value is not finite.
    """
    values = np.asarray(picture)
    if picture.mode == "F":
        white: float = white_of_floats(values)
    else:
        bits, unsigned = int(tags.get(BITS_PER_SAMPLE, (16,))[0]), tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED
        if picture.mode == "I" and bits == 32 and unsigned:
            values = values.view(np.uint32)  # Pillow's mode "I" is signed: light greys would be negative
        if bits == 32 and values.max(initial=0) <= 65535:
            bits, unsigned = 16, True
        white = 2.0 ** (bits if unsigned else bits - 1) - 1
    grey = (values / white).clip(0, 1).astype(np.float32)
    return 1 - grey if tags.get(WHITE_IS_ZERO) == 0 else grey


def widen_transparent_level(file: PillowImage.Image) -> None:
    """Give a grey PNG's transparent level in 8 bits, as Pillow's decoder gives the pixels of 2 and 4 bits.

    The file is not decoded yet.
    """
    key = file.info.get("transparency")
    if isinstance(key, int):
        file.info["transparency"] = key * FEW_LEVELS.get(_layout_of(file), 1)


def second_reading(file: PillowImage.Image, again: Callable[[], PillowImage.Image]) -> PillowImage.Image | None:
    """Another reading of a file of 16 bits a colour, which has what Pillow's own leaves out; None for other depths.

    Neither is decoded yet. `again` opens the same file once more. See `joined`. Raises ValueError for a TIFF whose
    16-bit colours lie in planes, which Pillow reads wrongly.
    """
    tags = getattr(file, "tag_v2", {})
    in_planes = tags.get(PLANAR) == IN_PLANES and tags.get(SAMPLES, 1) > 1
    if in_planes and max(tags.get(BITS_PER_SAMPLE, (1,))) > 8:
        raise ValueError("its 16-bit colours lie in planes; save it with interleaved colours")
    layout = _layout_of(file)
    other = "RGBA" if layout == GREY_WITH_ALPHA else f"{layout[:-1]}{OTHER_ORDER.get(layout[-1:])}"
    if layout != GREY_WITH_ALPHA and layout[:-1] not in LAYOUTS:
        return None
    second = again()
    second.tile = [tile._replace(args=_with_layout(tile.args, other)) for tile in second.tile]  # type: ignore[attr-defined]
    second.info["whole"] = layout == GREY_WITH_ALPHA
    return second


def joined(first: PillowImage.Image, second: PillowImage.Image, rows: slice) -> Values:
    """Rows of a picture of 16 bits in [0, 1] from its two readings; colours, then transparency, are the last axis."""
    box = (0, rows.start, first.width, min(rows.stop, first.height))
    high, low = np.asarray(first.crop(box)), np.asarray(second.crop(box))
    if second.info["whole"]:
        high, low = low[..., 0::2], low[..., 1::2]
    values: Values = (256 * high.astype(np.float32) + low) / 65535
    return values


def _layout_of(file: PillowImage.Image) -> str:
    """The one layout of all tiles of a file, else an empty text."""
    layouts = {_layout(tile.args) for tile in getattr(file, "tile", ())}
    return layouts.pop() if len(layouts) == 1 else ""


def _layout(args: Any) -> str:
    return str(args if isinstance(args, str) else args[0] if args else "")


def _with_layout(args: Any, layout: str) -> Any:
    return layout if isinstance(args, str) else (layout, *args[1:])


def white_of_floats(values: np.ndarray[Any, np.dtype[Any]]) -> float:
    """White of a float picture, one of 1, 255 and 65535, from the 99th percentile of its values.

    One value in a hundred may be lighter than white, as highlights and the halos of sharpening are. White is 1 for a
    percentile up to 16: four stops above white are rarer than pictures of 255 levels that are as dark. It is 1 too if
    half of the values above 0 are below 1: lights of an HDR scene are brighter still, but half of a picture of 255
    levels is not darker than the first level. Else white is 255 for a percentile up to 510, and 65535 above that.
    Raises ValueError if a value is not finite.
    """
    if lost := int(np.count_nonzero(~np.isfinite(values))):
        raise ValueError(f"{lost} of its {values.size} values are not finite; replace them first, by black for example")
    light = float(np.quantile(values, 0.99))
    if light <= 16 or float(np.median(values[values > 0])) < 1:
        return 1.0
    return 255.0 if light <= 2 * 255 else 65535.0
