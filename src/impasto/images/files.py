"""Picture files to tensors and back; orientation, colours and transparency are settled here and nowhere else."""

import io
from pathlib import Path

import torch
from PIL import Image as PillowImage
from PIL import PngImagePlugin, UnidentifiedImageError

from impasto.errors import ImageError, OutOfMemoryError, OutputError
from impasto.files import PNG, write_bytes
from impasto.formats.primaries import by_codes
from impasto.images.colours import to_srgb
from impasto.images.depths import second_reading, widen_transparent_level
from impasto.images.forms import PLAIN, WRITABLE, FileForm, encoded, to_bytes
from impasto.images.image import Alpha, Image, Picture
from impasto.images.opening import open_picture, require_file, to_first_frame, upright, whatever_the_host_has

MAX_PIXELS = 1 << 28  # 268 megapixels: above the largest prints, below what a hostile file could claim


def load_picture(path: str | Path, *, least_px: int | None = None) -> Picture:
    """Read any format that Pillow knows; the first frame of an animation.

    The EXIF orientation is applied, colours by an ICC profile (CMYK ones too) or a PNG's numbers become sRGB, and grey
    and palette pictures become RGB. PNG and TIFF of 16 bits a colour keep their depth. White of a float TIFF is 1,
    255 or 65535, see `white_of_floats` in images/depths.py. Fully transparent pixels have no colour of their own: they
    take the mean of the others. HEIC needs the extra heif.

    If a small version will do, give its long side as `least_px`: a JPEG file is then decoded at a half, quarter or
    eighth of its size, but no smaller than that, which is several times faster.

    Raises ImageError: no such file, a folder, a pipe, not a picture, damaged, a float that is not finite, a HEIC
    without its package, or more than MAX_PIXELS pixels; OutOfMemoryError if the picture does not fit.
    """
    path = Path(path)
    try:
        require_file(path)
        rgb, alpha = whatever_the_host_has(lambda: _read(path, least_px))
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not a picture in a format that can be read") from None
    except Exception as error:  # on damaged files decoders raise OSError, SyntaxError, RuntimeError, struct.error …
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise OutOfMemoryError(f"there is not enough memory to read {path}; scale it down first") from None
        if isinstance(error, OSError) and error.errno:
            raise ImageError(f"{path} cannot be read: {error.strerror}") from None
        raise ImageError(f"{path} cannot be read as a picture: {error}") from None
    if alpha is not None:
        rgb = _colour_transparent_pixels(rgb, alpha)
    return Picture(rgb, alpha)


def _read(path: Path, least_px: int | None) -> tuple[Image, Alpha | None]:
    """The picture in a file. Raises ImageError if the picture is too large, and any error of Pillow's decoders."""
    with open_picture(path) as file:
        width, height = file.size
        if width * height > MAX_PIXELS:
            raise ImageError(
                f"{path} has {width} × {height} pixels; at most {MAX_PIXELS // 10**6} megapixels are read, "
                "so scale it down first"
            )
        to_first_frame(file)
        widen_transparent_level(file)
        second = None if file.info.get("default_image") else second_reading(file, lambda: open_picture(path))
        if least_px is not None:
            scale = least_px / max(width, height)
            file.draft(None, (round(width * scale), round(height * scale)))
        picture, tags = upright(file), dict(getattr(file, "tag_v2", {}))
        codes = by_codes(path) if file.format == "PNG" else None
        if second is None:
            return to_srgb(picture, tags, codes)
        with second:
            return to_srgb(picture, tags, codes, upright(second))


def load_image(path: str | Path) -> Image:
    """Read a picture file and forget its transparency; see `load_picture`."""
    return load_picture(path).image


def save_image(
    image: Image, path: str | Path, *, alpha: Alpha | None = None, settings: str | None = None, form: FileForm = PLAIN
) -> None:
    """Write a picture, whole or not at all; values outside [0, 1] are clipped.

    The ending decides the format: PNG, JPEG (quality 95, full colour resolution), WebP or TIFF. `form` has the bits a
    colour, the profile and the resolution; by default 8 bits tagged as sRGB. `settings` (any text, a run's TOML for
    instance) is kept in a PNG's text under the key "impasto". JPEG has no transparency: the picture is laid over white.

    Raises ImageError for another ending, SpecError for 16 bits in JPEG or WebP, OutputError if the file cannot be
    written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in WRITABLE:
        raise ImageError(f"{path.name}: pictures are written as {', '.join(WRITABLE)}, not as {ending!r}")
    try:
        content = encoded(image, alpha, ending, form, settings)
    except (OSError, ValueError) as error:  # formats have limits: a side of a WebP has at most 16383 pixels
        raise OutputError(f"{path} cannot be written: {error}") from None
    write_bytes(path, content)


def embedded_settings(path: str | Path) -> str | None:
    """The settings that `save_image` kept in a PNG, or None. Raises ImageError if the PNG is damaged."""
    return settings_in(Path(path).read_bytes())


def settings_in(content: bytes) -> str | None:
    """The same for the content of a file, which can be read once only if the file is a pipe."""
    if not content.startswith(PNG):
        return None
    try:
        text = PngImagePlugin.PngImageFile(io.BytesIO(content)).info.get("impasto")
    except Exception as error:  # on damaged files the decoder raises SyntaxError, ValueError, struct.error …
        raise ImageError(f"the PNG is damaged: {error}") from None
    return str(text) if text is not None else None


def to_pillow(image: Image) -> PillowImage.Image:
    """The image as an 8-bit picture, as it is saved."""
    return PillowImage.fromarray(to_bytes(image))


def _colour_transparent_pixels(image: Image, alpha: Alpha) -> Image:
    total = alpha.sum()
    mean = (image * alpha).sum((2, 3), keepdim=True) / total if total > 0 else image.new_ones(1, 3, 1, 1)
    return torch.where(alpha > 0, image, mean)
