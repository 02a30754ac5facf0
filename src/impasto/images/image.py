"""A picture as a tensor, its size, and how pictures are resized, cropped, rounded and compared.

An `Image` is one picture in sRGB, float32, values in [0, 1]. Sizes are always (height, width) in pixels.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from impasto.errors import ImageError

FAINT = 0.1  # of the opacity of a full brush: less is what is left of a brush's edge
LEAST_ALPHA = 0.5 / 255  # what is less is nothing in a file of 8 bits
MOST = 4  # a value of an image, and of one before it is clipped; more are taken for levels of 8 bits
MARGIN_PX = 8  # pixels of the opposite side that an enlargement sees; its filter reaches no further
Size = tuple[int, int]
Image = Float[Tensor, "1 3 _height _width"]
Alpha = Float[Tensor, "1 1 _height _width"]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as read from a file: its colours, and its transparency in [0, 1] if the file has any.

    `before` is the size that a cropped picture had before, None for one that is whole; `corner` is the row and the
    column of its first pixel there.
    """

    image: Image
    alpha: Alpha | None = None
    before: Size | None = None
    corner: tuple[int, int] = (0, 0)

    @property
    def size(self) -> Size:
        """Height and width in pixels."""
        return size_of(self.image)

    @property
    def on_white(self) -> Image:
        """The picture as it is seen on white paper."""
        return on_white(self.image, self.alpha)

    @property
    def seen(self) -> Alpha | None:
        """How much of each pixel can be seen; None if it is the same everywhere."""
        return None if self.alpha is None or bool((self.alpha == self.alpha.max()).all()) else self.alpha

    def cropped(self, size: Size) -> "Picture":
        """The middle of the picture in the proportions of `size`."""
        return self._part(*middle(self.size, size))

    def resized(self, size: Size) -> "Picture":
        """The picture at exactly `size`; each colour counts as much as it can be seen, so no hidden colour bleeds in.

        Source: Porter & Duff 1984 (colours multiplied by their coverage).
        """
        if self.alpha is None or self.size == size:
            return Picture(resize(self.image, size), self.alpha)
        alpha, colours = _resampled(self.alpha, size), _resampled(self.image * self.alpha, size)
        seen = alpha >= LEAST_ALPHA
        image = torch.where(seen, colours / torch.where(seen, alpha, 1), resize(self.image, size))
        return Picture(image.clamp_(0, 1), alpha.clamp_(0, 1))

    def require_visible(self, name: object) -> None:
        """Raise ImageError, with the picture's name, if nothing can be seen."""
        if self.alpha is not None and float(self.alpha.max()) < LEAST_ALPHA:
            raise ImageError(f"{name} cannot be used, because all of it is transparent")

    def visible(self, name: object) -> "Picture":
        """The smallest rectangle with all that can be seen: pixels as opaque as FAINT, or half as the most opaque one.

        Raises ImageError, with the picture's name, if nothing can be seen.
        """
        if self.alpha is None or bool((self.alpha == 1).all()):
            return self
        self.require_visible(name)
        seen = (self.alpha >= (self.alpha.max() / 2).clamp(max=FAINT))[0, 0]
        return self._part(_extent(seen.any(1)), _extent(seen.any(0)))

    def over(self, maps: Tensor) -> Tensor:
        """Of maps (1, channels, height, width) of the size `before`, the part that lies over the picture."""
        (top, left), (height, width) = self.corner, self.size
        return maps[:, :, top : top + height, left : left + width]

    def _part(self, rows: slice, columns: slice) -> "Picture":
        image = self.image[:, :, rows, columns].contiguous()
        alpha = None if self.alpha is None else self.alpha[:, :, rows, columns].contiguous()
        corner = self.corner[0] + rows.start, self.corner[1] + columns.start
        return Picture(image, alpha, self.before or self.size, corner)


def as_picture(given: Image | Picture) -> Picture:
    """A picture as it is; an image is one that can be seen everywhere."""
    return given if isinstance(given, Picture) else Picture(given)


def require_image(given: Tensor) -> None:
    """Raise ImageError unless a tensor is one image in floats, finite, and not in 0 … 255 in place of 0 … 1."""
    if not isinstance(given, Tensor):
        raise ImageError(f"an image is a tensor, not a {type(given).__name__}; load_image reads one from a file")
    if given.ndim != 4 or given.shape[:2] != (1, 3) or not given.is_floating_point():
        raise ImageError(
            f"an image has floats of shape (1, 3, height, width), not {given.dtype} of {tuple(given.shape)}"
        )
    if not bool(given.isfinite().all()):
        raise ImageError("the image has values that are not finite")
    if float(given.max()) > MOST:
        raise ImageError(f"the image has values up to {float(given.max()):g}, and white is 1; divide by 255 perhaps")


def _extent(seen: Tensor) -> slice:
    """From the first place that is true to the last."""
    places = seen.nonzero()
    return slice(int(places[0]), int(places[-1]) + 1)


def size_of(image: Tensor) -> Size:
    """Height and width of an image or of a feature map."""
    height, width = image.shape[-2:]
    return int(height), int(width)


def quantise(image: Image, depth: int = 8) -> Image:
    """The image as it comes back from a file of 8 or 16 bits: clipped to [0, 1] and rounded to 1/255 or 1/65535."""
    levels = 2**depth - 1
    return image.clamp(0, 1).mul_(levels).round_().div_(levels)


def resize(image: Tensor, size: Size) -> Tensor:
    """Resample to exactly `size`, antialiased bicubic, clipped to [0, 1]; proportions may change."""
    if size_of(image) == size:
        return image
    return _resampled(image, size).clamp_(0, 1)


def resize_around(image: Image, size: Size) -> Image:
    """As `resize`, of an image whose sides continue on the opposite sides, as those of a seamless texture do."""
    (height, width), (tall, wide) = size_of(image), size
    down, across = _margin(height, tall), _margin(width, wide)
    above, beside = down * tall // height, across * wide // width
    rows = _resampled(wrapped(image, down, 0), (tall + 2 * above, width)).narrow(2, above, tall)
    return _resampled(wrapped(rows, 0, across), (tall, wide + 2 * beside)).narrow(3, beside, wide).clamp(0, 1)


def _margin(old: int, new: int) -> int:
    """At least MARGIN_PX pixels of a side, or all, that are a whole number of pixels of the new side."""
    part = old // math.gcd(old, new)
    return min(old, part * math.ceil(MARGIN_PX / part))


def wrapped(image: Image, down: int, across: int) -> Image:
    """The image with so many rows and columns of the opposite side on each side, at most the whole image."""
    height, width = size_of(image)
    down, across = min(down, height), min(across, width)
    return functional.pad(image, (across, across, down, down), mode="circular")


def _resampled(image: Tensor, size: Size) -> Tensor:
    return functional.interpolate(image, size=size, mode="bicubic", antialias=True, align_corners=False)


def on_white(image: Image, alpha: Alpha | None) -> Image:
    """An image laid over white, through transparency of any size; the image itself if there is none."""
    return image if alpha is None else 1 - (1 - image) * resize(alpha, size_of(image)).to(image)


def stretch(size: Size, other: Size) -> float:
    """How far the proportions of two sizes are apart, relatively: 0 if they are the same."""
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1)


def cover(image: Tensor, size: Size) -> Tensor:
    """Scale to cover `size`, keeping proportions, and crop the excess evenly on both sides."""
    return resize(cropped(image, size), size)


def cropped(image: Tensor, size: Size) -> Tensor:
    """The middle of a picture, as large as possible, in the proportions of `size`."""
    rows, columns = middle(size_of(image), size)
    return image[:, :, rows, columns]


def middle(whole: Size, size: Size) -> tuple[slice, slice]:
    """Rows and columns of the middle of a picture of the size `whole`, in the proportions of `size`."""
    (rows, columns), (height, width) = whole, size
    if rows * width > columns * height:  # too tall: keep the middle rows
        keep = max(1, round(columns * height / width))
        return slice((rows - keep) // 2, (rows - keep) // 2 + keep), slice(0, columns)
    keep = max(1, round(rows * width / height))
    return slice(0, rows), slice((columns - keep) // 2, (columns - keep) // 2 + keep)


def size_with_long_side(size: Size, long_side_px: int) -> Size:
    """The size of the same proportions whose longer side has `long_side_px` pixels."""
    factor = long_side_px / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def size_with_area(size: Size, area: float) -> Size:
    """The size of the same proportions with about `area` pixels in all."""
    factor = (area / (size[0] * size[1])) ** 0.5
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def psnr(image: Image, reference: Image) -> float:
    """Peak signal-to-noise ratio in dB, for images of equal size in [0, 1]; infinite if they are equal."""
    error = float((image.cpu() - reference.cpu()).square().mean())
    return 10 * math.log10(1 / error) if error > 0 else math.inf
