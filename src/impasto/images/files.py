"""Picture files to tensors and back; only here are orientation, colour profiles and transparency settled."""

import io
import struct
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from impasto.errors import ImageError, OutOfMemoryError, OutputError
from impasto.files import write_bytes
from impasto.images.image import Alpha, Image, Picture

MAX_PIXELS = 1 << 28  # 268 megapixels: above the largest prints, below what a hostile file could claim
WRITABLE = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
_BAND = 256  # rows of a large picture that are converted at a time
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def load_picture(path: str | Path, *, least_px: int | None = None) -> Picture:
    """Read any format that Pillow knows; the first frame of an animation.

    The EXIF orientation is applied, an embedded ICC profile (CMYK ones too) is converted to sRGB, grey, palette and
    16-bit pictures become RGB. Fully transparent pixels have no colour of their own: they take the mean of the others.

    Where a small version will do, `least_px` lets a JPEG file be decoded at a half, quarter or eighth of its size, its
    long side still at least that: several times faster.

    Raises ImageError: no such file, a directory, not a picture, damaged, or more than MAX_PIXELS pixels;
    OutOfMemoryError where it does not fit.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise ImageError(f"there is no file {path}")
        if path.is_dir():
            raise ImageError(f"{path} is a folder; a picture file is needed")
        with open_picture(path) as file:
            width, height = file.size
            if width * height > MAX_PIXELS:
                raise ImageError(
                    f"{path} has {width} × {height} pixels; at most {MAX_PIXELS // 10**6} megapixels are read, "
                    "so scale it down first"
                )
            file.seek(0)
            if least_px is not None:
                scale = least_px / max(width, height)
                file.draft(None, (round(width * scale), round(height * scale)))
            upright = ImageOps.exif_transpose(file)
            rgb, alpha = _to_srgb(upright)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not a picture in a format that can be read") from None
    except Exception as error:  # on damaged files decoders raise OSError, SyntaxError, RuntimeError, struct.error …
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise OutOfMemoryError(f"there is not enough memory to read {path}; scale it down first") from None
        raise ImageError(f"{path} cannot be read as a picture: {error}") from None
    if alpha is not None:
        rgb = _colour_transparent_pixels(rgb, alpha)
    return Picture(rgb, alpha)


def load_image(path: str | Path) -> Image:
    """Read a picture file and forget its transparency; see `load_picture`."""
    return load_picture(path).image


def save_image(image: Image, path: str | Path, *, alpha: Alpha | None = None, settings: str | None = None) -> None:
    """Write an 8-bit picture tagged as sRGB, whole or not at all; values outside [0, 1] are clipped.

    The ending decides the format: PNG, JPEG (quality 95, full colour resolution), WebP or TIFF. `settings` (any text,
    a run's TOML for instance) is kept in a PNG's text under the key "impasto". JPEG has no transparency: alpha is lost.

    Raises ImageError for another ending, OutputError where the file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in WRITABLE:
        raise ImageError(f"{path.name}: pictures are written as {', '.join(WRITABLE)}, not as {ending!r}")
    picture = to_pillow(image)
    if alpha is not None and ending not in (".jpg", ".jpeg"):
        picture.putalpha(PillowImage.fromarray(_to_bytes(alpha)[..., 0]))
    options: dict[str, Any] = {"icc_profile": _SRGB.tobytes()}
    if ending == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_text("Software", "impasto")
        if settings is not None:
            text.add_itxt("impasto", settings)
        options |= {"pnginfo": text}
    elif ending in (".jpg", ".jpeg"):
        options |= {"quality": 95, "subsampling": 0}
    elif ending == ".webp":
        options |= {"quality": 95, "method": 4}
    else:
        options |= {"compression": "tiff_adobe_deflate"}
    buffer = io.BytesIO()
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
    try:
        picture.save(buffer, format=formats.get(ending, ending[1:].upper()), **options)
    except (OSError, ValueError) as error:  # formats have their own limits: WebP takes no side above 16383 pixels
        raise OutputError(f"{path} cannot be written: {error}") from None
    write_bytes(path, buffer.getvalue())


def embedded_settings(path: str | Path) -> str | None:
    """The settings that `save_image` kept in a PNG, or None."""
    with open_picture(path) as file:
        text = file.info.get("impasto")
    return str(text) if text is not None else None


def to_pillow(image: Image) -> PillowImage.Image:
    """The 8-bit picture that is saved for this image."""
    return PillowImage.fromarray(_to_bytes(image))


def from_pillow(picture: PillowImage.Image) -> Image:
    """An image of an 8-bit RGB picture."""
    array = np.asarray(picture.convert("RGB"))
    image = torch.empty(1, 3, *array.shape[:2], dtype=torch.float32)
    for top in range(0, array.shape[0], _BAND):  # so that large pictures need no second copy in float
        band = array[top : top + _BAND].astype(np.float32) / 255
        image[0, :, top : top + _BAND] = torch.from_numpy(band).permute(2, 0, 1)
    return image


def open_picture(path: str | Path) -> PillowImage.Image:
    """Open without Pillow's own limit, which warns at one size and raises at another: ours is checked instead.

    The limit is the process's, so it is left alone: each format that Pillow knows is tried here, as `PIL.Image.open`
    does, common formats first. Raises UnidentifiedImageError if none fits.
    """
    name = str(path)
    with open(name, "rb") as file:  # noqa: PTH123
        start = file.read(16)
    tried = set[str]()
    for know_more_formats in (PillowImage.preinit, PillowImage.init):
        know_more_formats()
        for form in [each for each in PillowImage.ID if each not in tried]:
            tried.add(form)
            factory, accept = PillowImage.OPEN[form]
            try:
                accepted = accept is None or accept(start)
                if accepted and not isinstance(accepted, str):  # a sentence says which decoder is missing
                    return factory(name, "")  # type: ignore[arg-type]  # its base class opens and closes a file's name
            except (SyntaxError, IndexError, TypeError, struct.error):  # not of this format after all
                continue
    raise UnidentifiedImageError(f"cannot identify image file {name!r}")


def _to_srgb(picture: PillowImage.Image) -> tuple[Image, Alpha | None]:
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        return _deep_grey(picture), None
    profile = picture.info.get("icc_profile")
    alpha = None
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        alpha = torch.from_numpy(np.asarray(rgba.getchannel("A"), dtype=np.float32) / 255)[None, None]
        picture = picture.convert("L") if picture.mode in ("L", "LA") else rgba.convert("RGB")  # as its profile has it
    elif picture.mode in ("P", "1", "HSV", "YCbCr"):
        picture = picture.convert("RGB")
    if profile and picture.mode in ("RGB", "L", "CMYK", "LAB"):
        picture = _apply_profile(picture, profile)
    return from_pillow(picture), alpha


def _apply_profile(picture: PillowImage.Image, profile: bytes) -> PillowImage.Image:
    """Convert from the embedded profile; one that is broken or of another colour space is as good as none."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return cast(PillowImage.Image, converted)


def _deep_grey(picture: PillowImage.Image) -> Image:
    """Grey of 16 or 32 bits; Pillow's own conversion to RGB would clip it at 255."""
    array = np.asarray(picture)
    values: np.ndarray[Any, np.dtype[Any]] = array.astype(np.float32)
    if np.issubdtype(array.dtype, np.integer):
        values = values / 65535
    elif values.max(initial=0) > 1:
        values = values / 255
    grey = torch.from_numpy(np.nan_to_num(values).astype(np.float32)).clamp(0, 1)[None, None]
    return grey.expand(1, 3, *grey.shape[-2:]).contiguous()


def _colour_transparent_pixels(image: Image, alpha: Alpha) -> Image:
    total = alpha.sum()
    mean = (image * alpha).sum((2, 3), keepdim=True) / total if total > 0 else image.new_ones(1, 3, 1, 1)
    return torch.where(alpha > 0, image, mean)


def _to_bytes(image: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    pixels = image.detach()[0].permute(1, 2, 0)
    found = torch.empty(pixels.shape, dtype=torch.uint8)
    for top in range(0, len(pixels), _BAND):
        band = pixels[top : top + _BAND].to("cpu", torch.float32)
        found[top : top + _BAND] = band.clamp(0, 1).mul_(255).round_()
    return found.numpy()
