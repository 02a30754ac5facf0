"""Colours of a decoded picture: profiles and gamma to sRGB, grey and palettes to RGB, transparency."""

import io
from typing import Any, cast

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageCms

from impasto.images.depths import Grey, deep_grey, is_deep
from impasto.images.image import Alpha, Image
from impasto.images.primaries import Described, by_gamma, to_srgb_from

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
BAND = 256  # rows of a large picture that are converted at a time


def to_srgb(
    picture: PillowImage.Image, tags: dict[int, Any], codes: Described | None = None
) -> tuple[Image, Alpha | None]:
    """Colours in sRGB, and transparency if there is any; `tags` are a TIFF's, else empty.

    `codes` are what a PNG's cICP chunk says; they come before a profile, a profile before a PNG's sRGB chunk, and
    either before its gamma and primaries. Raises ValueError if a value is not finite.
    """
    info = picture.info
    if codes is not None:
        info.pop("icc_profile", None)
    if is_deep(picture):
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


def _of_deep_grey(picture: PillowImage.Image, grey: Grey) -> tuple[Image, Alpha | None]:
    """Without a profile the full depth is kept; converting from a profile leaves 256 levels, as in other pictures."""
    profile, key = picture.info.get("icc_profile"), picture.info.get("transparency")
    alpha = None
    if isinstance(key, int):
        alpha = torch.from_numpy((np.asarray(picture) != key).astype(np.float32))[None, None]
    if profile:
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
