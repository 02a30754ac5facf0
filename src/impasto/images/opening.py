"""Opening pictures as Pillow does, without its limit: which frame is the picture, and which way is up."""

import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from PIL import ExifTags, UnidentifiedImageError
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
Done = TypeVar("Done")
_HOST = threading.RLock()  # whoever changes what belongs to the whole process does so alone


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


def whatever_the_host_has(work: Callable[[], Done]) -> Done:
    """What `work` returns. If a limit or a warning of the host ends the work, it is done once more without."""
    try:
        return work()
    except (Warning, PillowImage.DecompressionBombError):
        with _undisturbed():
            return work()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Neither Pillow's limit nor a warning that the host has made an error ends what is done here, in one thread.

    Both belong to the process: they are as before when this ends.
    """
    with _HOST, warnings.catch_warnings():
        warnings.simplefilter("ignore")
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
