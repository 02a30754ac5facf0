"""Grey pictures of 16 and 32 bits and of floats: the numbers that mean white and black."""

from typing import Any

import numpy as np
from PIL import Image as PillowImage

BITS_PER_SAMPLE, WHITE_IS_ZERO, SAMPLE_FORMAT = 258, 262, 339  # TIFF's tags; source: TIFF 6.0, section 8 and page 80
UNSIGNED = 1  # a value of SAMPLE_FORMAT, and its default
Grey = np.ndarray[Any, np.dtype[np.float32]]


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
