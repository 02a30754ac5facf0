"""The form of a picture's file: its format, bits a colour, colour profile and resolution."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, PngImagePlugin
from PIL import Image as PillowImage
from torch import Tensor

from impasto.errors import SpecError, nearest
from impasto.formats import sixteen
from impasto.formats.profiles import MADE, PROFILES, SRGB, Profile, from_srgb
from impasto.images.colours import BAND
from impasto.images.colours import SRGB as PILLOWS_SRGB
from impasto.images.image import Alpha, Image, on_white, size_of
from impasto.images.opening import INCHES

WRITABLE = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
DEEP = (".png", ".tif", ".tiff")  # endings of formats with 16 bits
OPAQUE = (".jpg", ".jpeg")  # endings of formats without transparency: pictures are laid over white
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
# Steps of a pattern in which neighbours differ as much as they can. Source: Jimenez 2014, "Next generation
# post-processing in Call of Duty", interleaved gradient noise.
STEP_X, STEP_Y, SPREAD = 0.06711056, 0.00583715, 52.9829189
SHIFT = (0.0, 47.0, 17.0)  # px, of the pattern of red, green and blue
EXACT = 1e-3  # of a level: a value this near to a level has that level


@dataclass(frozen=True)
class FileForm:
    """How a picture is written: 8 or 16 bits a colour, a profile of PROFILES, dots per inch.

    With `dither`, 8 bits are chosen so that smooth colours have no bands; in sRGB, values of pictures of 8 bits stay.
    Raises SpecError for another depth or profile.
    """

    depth: int = 8
    profile: str = "srgb"
    dpi: float | None = None
    dither: bool = False

    def __post_init__(self) -> None:
        if self.depth not in (8, 16):
            raise SpecError(f"depth is {self.depth}; pictures are written with 8 or 16 bits a colour")
        if self.profile not in PROFILES:
            raise SpecError(f"there is no profile {self.profile!r}; {nearest(self.profile, PROFILES)}")

    @property
    def colours(self) -> Profile:
        """The profile itself."""
        return PROFILES[self.profile]


PLAIN = FileForm()


def encoded(image: Image, alpha: Alpha | None, ending: str, form: FileForm, settings: str | None) -> bytes:
    """The content of a picture's file; the ending is one of WRITABLE.

    Raises SpecError for 16 bits in a format without them, OSError or ValueError where the format has limits.
    """
    if ending in OPAQUE:
        image, alpha = on_white(image, alpha), None
    if form.depth == 16:
        if ending not in DEEP:
            raise SpecError(f"a file ending in {ending} has 8 bits a colour; choose .png or .tif for 16")
        about = sixteen.About(form.colours.icc(), form.dpi, _texts(settings))
        write = sixteen.png if ending == ".png" else sixteen.tiff
        return write(_values(image, alpha, form), about)
    picture = PillowImage.fromarray(_bytes(image, form))
    if alpha is not None:
        picture.putalpha(PillowImage.fromarray(to_bytes(alpha)[..., 0]))
    buffer = io.BytesIO()
    profile = _srgb() if form.colours is SRGB else form.colours.icc()
    picture.save(buffer, icc_profile=profile, **_options(ending, settings), **_resolution(ending, form.dpi))
    return buffer.getvalue()


def _srgb() -> bytes:
    """Pillow's profile, which takes no linear algebra and so none of its memory, with another time."""
    profile = PILLOWS_SRGB.tobytes()
    return profile[:24] + MADE + profile[36:]


def to_bytes(image: Tensor) -> Bytes:
    """An image, or its transparency, rounded to 8 bits: height × width × channels."""
    return _rounded(image, lambda band, _: band.mul_(255).round_())


def _bytes(image: Image, form: FileForm) -> Bytes:
    if form.colours is SRGB and not form.dither:
        return to_bytes(image)

    def rounded(band: Tensor, top: int) -> Tensor:
        levels = _in_profile(band, form.colours) * 255
        return dithered(levels, top) if form.dither else levels.round()

    return _rounded(image, rounded)


def _rounded(image: Tensor, levels: Callable[[Tensor, int], Tensor]) -> Bytes:
    pixels = image.detach()[0].permute(1, 2, 0)
    found = torch.empty(pixels.shape, dtype=torch.uint8, device="cpu")
    for top in range(0, len(pixels), BAND):
        found[top : top + BAND] = levels(pixels[top : top + BAND].to("cpu", torch.float32).clamp(0, 1), top)
    return found.numpy()


def dithered(levels: Tensor, top: int) -> Tensor:
    """Levels (rows, width, 3) from 0 to 255 as whole numbers, whose mean over a few pixels is the levels' own.

    `top` is the number of rows above.
    """
    rows, width, _ = levels.shape
    y, x = torch.arange(top, top + rows, dtype=torch.float64)[:, None, None], torch.arange(width, dtype=torch.float64)
    pattern = (SPREAD * ((STEP_X * (x[:, None] + torch.tensor(SHIFT)) + STEP_Y * y) % 1)) % 1
    nearest_level = levels.round()
    raised = (levels.double() + pattern).floor().clamp(0, 255).to(levels)
    return torch.where((levels - nearest_level).abs() < EXACT, nearest_level, raised)


def _values(image: Image, alpha: Alpha | None, form: FileForm) -> sixteen.Values:
    """Height × width × colours, from 0 to 65535."""
    height, width = size_of(image)
    values = np.empty((height, width, 3 if alpha is None else 4), np.uint16)
    for top in range(0, height, BAND):
        rows = slice(top, top + BAND)
        band = image.detach()[0, :, rows].permute(1, 2, 0).to("cpu", torch.float32).clamp(0, 1)
        values[rows, :, :3] = (_in_profile(band, form.colours) * 65535).round().numpy()
        if alpha is not None:
            values[rows, :, 3] = (alpha[0, 0, rows].cpu().clamp(0, 1) * 65535).round().numpy()
    return values


def _in_profile(band: Tensor, profile: Profile) -> Tensor:
    if profile is SRGB:
        return band
    return torch.from_numpy(from_srgb(band.double().numpy(), profile)).float()


def _texts(settings: str | None) -> dict[str, str]:
    return {"Software": "impasto"} if settings is None else {"Software": "impasto", "impasto": settings}


def _resolution(ending: str, dpi: float | None) -> dict[str, Any]:
    """Pillow's option for dots per inch, which a WebP has among its EXIF entries."""
    if dpi is None:
        return {}
    if ending != ".webp":
        return {"dpi": (dpi, dpi)}
    exif = PillowImage.Exif()
    exif[ExifTags.Base.XResolution] = exif[ExifTags.Base.YResolution] = dpi
    exif[ExifTags.Base.ResolutionUnit] = INCHES
    return {"exif": exif}


def _options(ending: str, settings: str | None) -> dict[str, Any]:
    """Pillow's options for writing a file with that ending, one of WRITABLE."""
    match ending:
        case ".png":
            text = PngImagePlugin.PngInfo()
            text.add_text("Software", "impasto")
            if settings is not None:
                text.add_itxt("impasto", settings)
            return {"format": "PNG", "pnginfo": text}
        case ".jpg" | ".jpeg":
            return {"format": "JPEG", "quality": 95, "subsampling": 0}
        case ".webp":
            return {"format": "WEBP", "quality": 95, "method": 4}
        case _:
            return {"format": "TIFF", "compression": "tiff_adobe_deflate"}
