"""Opening pictures as Pillow does, without Pillow's limit on size: the frame to read, and the way it is turned."""

import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as PillowImage

from impasto.errors import ImageError, SpecError
from impasto.extras import import_extra

# What to do with the stored picture to see it upright. Source: EXIF 2.3, tag 0x0112.
UPRIGHT = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}
# First brands of HEIF files with HEVC pictures, as telephones write them. Source: ISO/IEC 23008-12, annex B.
HEIF = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc", b"hevx")
LIKELY_DPI = 10, 10_000  # of a picture on paper, least and most; a TIFF without a resolution is read as one of 1
INCHES, CENTIMETRES = 2, 3  # units of a resolution in EXIF. Source: EXIF 2.3, tag 0x0128
INCH = {INCHES: 1.0, CENTIMETRES: 2.54}  # an inch in each unit
SHORT = 3  # the type of a number of 16 bits in EXIF
Done = TypeVar("Done")
_HOST = threading.RLock()  # held while settings of the whole process are changed


def open_picture(path: str | Path) -> PillowImage.Image:
    """Open a picture without Pillow's limit on size, which warns at one size and raises at another.

    That limit belongs to the process and is left alone: each format that Pillow knows is tried here, as in
    `PIL.Image.open`, common formats first. HEIC is read by an optional package.
    Raises UnidentifiedImageError if no format fits, ImageError if the package for HEIC is missing.
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
                if accepted and not isinstance(accepted, str):  # a string names a missing decoder
                    return factory(name, "")  # type: ignore[arg-type]  # its base class opens and closes a file's name
            except (SyntaxError, IndexError, TypeError, struct.error):  # not of this format after all
                continue
    if start[4:8] == b"ftyp" and start[8:12] in HEIF:
        return _open_heif(name)
    raise UnidentifiedImageError(f"cannot identify image file {name!r}")


def _open_heif(name: str) -> PillowImage.Image:
    try:
        package = import_extra("pillow_heif", "reading HEIC", "heif")
    except SpecError as error:
        raise ImageError(f"{name} cannot be read: {error}") from None
    return cast(PillowImage.Image, package.HeifImageFile(name))


def whatever_the_host_has(work: Callable[[], Done]) -> Done:
    """What `work` returns. If a limit or a warning of the host ends the work, it is done once more without."""
    try:
        return work()
    except (Warning, PillowImage.DecompressionBombError):
        with _undisturbed():
            return work()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Turn off Pillow's limit on size, and warnings (which a host may have turned into errors), one thread at a time.

    Both settings belong to the process, and are restored at the end.
    """
    with _HOST, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, PillowImage.MAX_IMAGE_PIXELS = PillowImage.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            PillowImage.MAX_IMAGE_PIXELS = limit


def require_file(path: Path) -> None:
    """Raise ImageError unless there is a file that can be read more than once, as a run reads its pictures."""
    if not path.exists():
        raise ImageError(f"there is no file {path}")
    if path.is_dir():
        raise ImageError(f"{path} is a folder; a picture file is needed")
    if not path.is_file():
        raise ImageError(f"{path} is a pipe or a device, and a picture is read more than once; save the picture first")


def to_first_frame(file: PillowImage.Image) -> None:
    """Go to the first frame of an animation.

    Files open at their first frame, except an APNG with a still picture for programs that show no animations. Other
    formats are left as they are, because they count differently: a PSD's layers from 1.
    """
    if file.info.get("default_image") and getattr(file, "n_frames", 1) > 1:
        file.seek(1)


def upright(file: PillowImage.Image) -> PillowImage.Image:
    """The picture turned as its EXIF orientation says; other EXIF entries are ignored, even damaged ones."""
    file.load()
    try:
        orientation = file.getexif().get(ExifTags.Base.Orientation)
    except (Warning, MemoryError):
        raise
    except Exception:  # on damaged entries Pillow raises struct.error, SyntaxError, KeyError, ValueError …
        orientation = None
    if orientation is None:  # Pillow 12 leaves out all entries behind a damaged one
        orientation = _orientation(file.info.get("exif") or b"")
    method = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return file if method is None else file.transpose(method)


def dpi_of(path: str | Path) -> float | None:
    """The dots per inch that a picture's file names, to a tenth; None if it names none that a print could have."""
    with open_picture(path) as file:
        try:
            named = file.info["dpi"][0] if "dpi" in file.info else _dpi_in_exif(file.getexif())
            dpi = round(float(named), 1)  # a PNG counts dots per metre, in whole numbers
        except Exception:  # on damaged entries Pillow raises struct.error, SyntaxError, KeyError, ValueError …
            return None
    return dpi if LIKELY_DPI[0] <= dpi <= LIKELY_DPI[1] else None


def _dpi_in_exif(exif: PillowImage.Exif) -> float:
    """Where a WebP names its resolution. Raises KeyError if there is none, or none in inches or centimetres."""
    inch = INCH[exif.get(ExifTags.Base.ResolutionUnit, INCHES)]
    return float(exif[ExifTags.Base.XResolution]) * inch


def _orientation(exif: bytes) -> int | None:
    """The orientation among the entries of the first directory. Source: TIFF 6.0, section 2."""
    content = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    try:
        (start,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, start)
        for number in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", content, start + 2 + 12 * number)
            if (tag, kind) == (ExifTags.Base.Orientation, SHORT):
                return int(value)
    except struct.error:  # the bytes end before
        return None
    return None
