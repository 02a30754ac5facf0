"""Colours of a decoded picture: profiles and gamma to sRGB, grey and palettes to RGB, transparency."""

import io
from typing import Any, cast

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageCms
from torch import Tensor

from impasto.formats.primaries import Described, by_gamma, to_srgb_from
from impasto.formats.profiles import Curve, read_grey_profile, read_profile
from impasto.images.depths import Grey, Values, deep_grey, is_deep, joined
from impasto.images.image import Alpha, Image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
BAND = 256  # rows of a large picture that are converted at a time


def to_srgb(
    picture: PillowImage.Image,
    tags: dict[int, Any],
    codes: Described | None = None,
    second: PillowImage.Image | None = None,
) -> tuple[Image, Alpha | None]:
    """Colours in sRGB, and transparency if there is any; `tags` are a TIFF's, else empty.

    `codes` are what a PNG's cICP chunk says; they come before a profile, a profile before a PNG's sRGB chunk, and
    either before its gamma and primaries. `second` is the other reading of a picture of 16 bits a colour (see
    `second_reading`), whose depth is then kept. Raises ValueError if a value is not finite.
    """
    info = picture.info
    if codes is not None:
        info.pop("icc_profile", None)
        if second is not None:
            second.info.pop("icc_profile", None)
    if second is not None:
        image, alpha = _of_two_readings(picture, second)
    elif is_deep(picture):
        image, alpha = _of_deep_grey(picture, deep_grey(picture, tags))
    else:
        image, alpha = _of_bytes(picture)
    described = codes
    if codes is None and not {"icc_profile", "srgb"} & info.keys():
        described = by_gamma(info.get("gamma"), info.get("chromaticity"))
    return image if described is None else to_srgb_from(image, described), alpha


def from_pillow(picture: PillowImage.Image) -> Image:
    """An image of an 8-bit RGB picture."""
    array = np.asarray(picture.convert("RGB"))
    image = torch.empty(1, 3, *array.shape[:2], dtype=torch.float32, device="cpu")
    for top in range(0, array.shape[0], BAND):  # in bands, so that large pictures need no second copy in float
        band = array[top : top + BAND].astype(np.float32) / 255
        image[0, :, top : top + BAND] = torch.from_numpy(band).permute(2, 0, 1)
    return image


def _of_bytes(picture: PillowImage.Image) -> tuple[Image, Alpha | None]:
    profile, key = picture.info.get("icc_profile"), picture.info.get("transparency")
    alpha = None
    if isinstance(key, tuple) and max(key) > 255:  # a colour of 16 bits, while the picture was decoded to 8
        picture.info["transparency"] = tuple(value >> 8 for value in key)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or key is not None:
        rgba = picture.convert("RGBA")
        alpha = torch.from_numpy(np.asarray(rgba.getchannel("A"), dtype=np.float32) / 255)[None, None]
        picture = picture.convert("L") if picture.mode in ("L", "LA") else rgba.convert("RGB")  # as its profile expects
    elif picture.mode in ("P", "1", "HSV", "YCbCr"):
        picture = picture.convert("RGB")
    if profile and picture.mode in ("RGB", "L", "CMYK", "LAB"):
        picture = _apply_profile(picture, profile) or picture
    return from_pillow(picture), alpha


def _of_two_readings(picture: PillowImage.Image, second: PillowImage.Image) -> tuple[Image, Alpha | None]:
    """A profile of tables, which is applied to 8 bits, leaves 256 levels; all others keep the full depth."""
    profile, key, grey = picture.info.get("icc_profile"), picture.info.get("transparency"), second.info["whole"]
    change = _change(profile, grey) if profile else None
    if profile and change is None and not grey:
        return _of_bytes(picture)
    width, height = picture.size
    image = torch.empty(1, 3, height, width, dtype=torch.float32, device="cpu")
    alpha = torch.ones(1, 1, height, width, dtype=torch.float32, device="cpu")
    for top in range(0, height, BAND):
        rows = slice(top, top + BAND)
        values = joined(picture, second, rows)
        colours, alpha[0, 0, rows] = _apart(values, key)
        if change is not None:
            colours = change(colours).astype(np.float32)
        image[0, :, rows] = torch.from_numpy(colours).permute(2, 0, 1)
    return image, alpha if key is not None or values.shape[-1] in (2, 4) else None


def _change(profile: bytes, grey: bool) -> Curve | None:
    """From colours of a profile to sRGB, in float; None if the profile has tables, or is damaged."""
    if grey:
        return read_grey_profile(profile)
    found = read_profile(profile)
    return None if found is None else found.to_srgb


def _apart(values: Values, key: object) -> tuple[Values, Tensor]:
    """Colours as RGB, and transparency: the last of two or four values, or 0 where colours equal the key."""
    count = values.shape[-1]
    colours = values[..., :1].repeat(3, -1) if count == 2 else values[..., :3]
    if count in (2, 4):
        return colours, torch.from_numpy(values[..., -1].copy())
    if not isinstance(key, tuple):
        return colours, torch.ones(1)
    opaque = (np.rint(65535 * colours) != np.array(key)).any(-1)
    return colours, torch.from_numpy(opaque.astype(np.float32))


def _of_deep_grey(picture: PillowImage.Image, grey: Grey) -> tuple[Image, Alpha | None]:
    """A profile of tables leaves 256 levels; all others keep the full depth."""
    profile, key = picture.info.get("icc_profile"), picture.info.get("transparency")
    alpha = None
    if isinstance(key, int):
        alpha = torch.from_numpy((np.asarray(picture) != key).astype(np.float32))[None, None]
    if profile and (change := read_grey_profile(profile)) is not None:
        for top in range(0, len(grey), BAND):
            grey[top : top + BAND] = change(grey[top : top + BAND])
    elif profile:
        levels = PillowImage.fromarray((grey * 65535).round().astype(np.uint16))
        if (converted := _apply_profile(levels, profile)) is not None:
            return from_pillow(converted), alpha
    image = torch.from_numpy(grey)[None, None]
    return image.expand(1, 3, *grey.shape).contiguous(), alpha


def _apply_profile(picture: PillowImage.Image, profile: bytes) -> PillowImage.Image | None:
    """Convert from the embedded profile; None if the profile is broken or of another colour space."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return cast(PillowImage.Image, converted)
