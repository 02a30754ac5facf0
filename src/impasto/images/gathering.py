"""Finding the pictures in a folder: by their endings, and by their content if the ending is no picture's."""

import os
from collections.abc import Iterator
from pathlib import Path

from impasto.errors import ImageError
from impasto.files import as_text, is_text
from impasto.images.opening import open_picture

ENDINGS = {".apng", ".avif", ".avifs", ".bmp", ".dds", ".dib", ".gif", ".icns", ".ico", ".j2c", ".j2k", ".jfif", ".jp2"}
ENDINGS |= {".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi"}
ENDINGS |= {".heic", ".heif", ".sgi", ".tga", ".tif", ".tiff", ".webp"}
NAMED_ONLY = ("BUFR", "GRIB", "HDF5", "MPEG", "WMF")  # formats that Pillow recognises but cannot read
MOST_NAMES = 5
RESULTS = {"run.toml", "sweep.toml", "sheet.toml", "study.toml", "batch.toml"}  # each is in a folder of results


def pictures_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Pictures in a folder and its subfolders, and the other files; hidden files and impasto's results are in neither.

    A file with a picture's ending counts as a picture without being opened: a damaged one is reported when it is read.
    A file whose name is not text counts as no picture, because no settings could name it.
    Raises ImageError for a folder that cannot be read: its pictures would be missing without a word.
    """
    files = sorted(_files(folder))
    named = [path for path in files if is_text(str(path.relative_to(folder)))]
    pictures = [path for path in named if path.suffix.lower() in ENDINGS or _is_picture(path)]
    taken = set(pictures)
    return pictures, [path for path in files if path not in taken]


def words_about(folder: Path, left_out: list[Path]) -> str:
    """A sentence about files that are not pictures, with the first of their names; empty if there are none."""
    if not left_out:
        return ""
    names = ", ".join(as_text(path.relative_to(folder)) for path in left_out[:MOST_NAMES])
    further = f" and {len(left_out) - MOST_NAMES} more" if len(left_out) > MOST_NAMES else ""
    no_text = (
        "" if all(is_text(str(path.relative_to(folder))) for path in left_out) else ", or with names that are not text"
    )
    return f"left out of {folder}, not readable as pictures{no_text}: {names}{further}"


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        if Path(parent) != folder and not RESULTS.isdisjoint(names):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (path for name in names if not name.startswith(".") and _is_file(path := Path(parent, name)))


def _refuse(error: OSError) -> None:
    raise ImageError(f"{error.filename} cannot be read: {error.strerror or error}") from None


def _is_file(path: Path) -> bool:
    return path.is_file() or (path.is_symlink() and path.suffix.lower() in ENDINGS)  # a broken link is kept to be named


def _is_picture(path: Path) -> bool:
    try:
        with open_picture(path) as file:
            return file.format not in NAMED_ONLY
    except Exception:  # decoders raise OSError, SyntaxError, struct.error … and warnings that are errors
        return False
