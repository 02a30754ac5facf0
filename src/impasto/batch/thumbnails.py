"""Small copies of pictures for pages that show thousands: each is made as its run ends, and loaded when in view."""

import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image as PillowImage

from impasto.errors import ImageError
from impasto.files import write_bytes
from impasto.folders.names import RESULT
from impasto.images.files import load_picture, to_pillow

THUMBNAILS = "thumbnails"
PICTURES = f"{THUMBNAILS}/pictures"
RESULT_PX, INPUT_PX, QUALITY = 320, 96, 82


def save_thumbnails(out: Path, name: str, pictures: Sequence[Path]) -> None:
    """Save thumbnails of a run's result, and of its pictures if they are missing. Raises OSError, OutputError."""
    (out / PICTURES).mkdir(parents=True, exist_ok=True)
    _save(out / name / RESULT, out / result_thumbnail(name), RESULT_PX)
    for picture in pictures:
        if not (out / picture_thumbnail(picture)).exists():
            _save(picture, out / picture_thumbnail(picture), INPUT_PX)


def result_thumbnail(name: str) -> str:
    """The path of a result's thumbnail, relative to the batch's folder."""
    return f"{THUMBNAILS}/{name}.webp"


def picture_thumbnail(path: Path) -> str:
    """The path of a picture's thumbnail, relative to the batch's folder: a hash of the picture's own path."""
    return f"{PICTURES}/{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]}.webp"


def _save(source: Path, file: Path, most_px: int) -> None:
    try:
        picture = to_pillow(load_picture(source, least_px=most_px).on_white)
    except ImageError:  # the picture is gone or damaged by now: the page does without its thumbnail
        return
    picture.thumbnail((most_px, most_px), PillowImage.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, method=2)
    write_bytes(file, buffer.getvalue())
