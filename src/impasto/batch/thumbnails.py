"""Small files of pictures, for pages that show thousands: made by whoever finishes a run, read when they are seen."""

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

FOLDER = "thumbnails"
PICTURES = f"{FOLDER}/pictures"
RESULT_PX, INPUT_PX, QUALITY = 320, 96, 82


def save_thumbnails(out: Path, name: str, pictures: Sequence[Path]) -> None:
    """Those of a run's result, and of its pictures where they are not there yet. Raises OSError, OutputError."""
    (out / PICTURES).mkdir(parents=True, exist_ok=True)
    _save(out / name / RESULT, out / of_result(name), RESULT_PX)
    for picture in pictures:
        if not (out / of_picture(picture)).exists():
            _save(picture, out / of_picture(picture), INPUT_PX)


def of_result(name: str) -> str:
    """Where that of a run's result is, below the batch's folder."""
    return f"{FOLDER}/{name}.webp"


def of_picture(path: Path) -> str:
    """Where that of a picture is, by its path: a name of its own without reading the file."""
    return f"{PICTURES}/{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]}.webp"


def _save(source: Path, file: Path, most_px: int) -> None:
    try:
        picture = to_pillow(load_picture(source, least_px=most_px).image)
    except ImageError:  # gone or damaged since: the page does without
        return
    picture.thumbnail((most_px, most_px), PillowImage.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, method=2)
    write_bytes(file, buffer.getvalue())
