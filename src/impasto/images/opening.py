"""Opening pictures as Pillow does, without its limit: which frame is the picture, and which way is up."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import ExifTags
from PIL import Image as PillowImage

from impasto.errors import ImageError

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
_HOST = threading.RLock()  # whoever changes what belongs to the whole process does so alone


def open_picture(path: str | Path) -> PillowImage.Image:
    """Open without Pillow's own limit, which warns at one size and raises at another: ours is checked instead."""
    with _no_limit():
        return PillowImage.open(path)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Neither Pillow's limit nor a warning that the host has made an error ends what is done here, in one thread."""
    with _no_limit(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _no_limit() -> Iterator[None]:
    """The host's limit comes back, however many threads read at once."""
    with _HOST:
        limit, PillowImage.MAX_IMAGE_PIXELS = PillowImage.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            PillowImage.MAX_IMAGE_PIXELS = limit


def require_file(path: Path) -> None:
    """Raise ImageError if there is no file, or one that cannot be read twice, as a run reads its pictures."""
    if not path.exists():
        raise ImageError(f"there is no file {path}")
    if path.is_dir():
        raise ImageError(f"{path} is a folder; a picture file is needed")
    if not path.is_file():
        raise ImageError(f"{path} is a pipe or a device, and a picture is read more than once; save the picture first")


def to_first_frame(file: PillowImage.Image) -> None:
    """Go to the first frame of an animation; files open there, but for an APNG with a picture for those who know none.

    Frames are sought only in this case: formats differ in how they count, a PSD's layers from 1.
    """
    if file.info.get("default_image") and getattr(file, "n_frames", 1) > 1:
        file.seek(1)


def upright(file: PillowImage.Image) -> PillowImage.Image:
    """The picture turned as its EXIF orientation says; the other entries, however odd, have no part in this."""
    file.load()
    try:
        orientation = file.getexif().get(ExifTags.Base.Orientation)
    except (Warning, MemoryError):
        raise
    except Exception:  # on damaged entries Pillow raises struct.error, SyntaxError, KeyError, ValueError …
        orientation = None
    method = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return file if method is None else file.transpose(method)
