"""Which files of a folder are pictures: by their endings, and by their content if an ending does not tell."""

import os
from collections.abc import Iterator
from pathlib import Path

from impasto.files import as_text, is_text
from impasto.images.opening import open_picture

ENDINGS = {".apng", ".avif", ".avifs", ".bmp", ".dds", ".dib", ".gif", ".icns", ".ico", ".j2c", ".j2k", ".jfif", ".jp2"}
ENDINGS |= {".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi"}
ENDINGS |= {".sgi", ".tga", ".tif", ".tiff", ".webp"}
NAMED_ONLY = ("BUFR", "GRIB", "HDF5", "MPEG", "WMF")  # formats that Pillow tells apart and cannot read
MOST_NAMES = 5
RESULTS = {"run.toml", "sweep.toml", "study.toml", "batch.toml"}  # a folder that has one of these holds results


def pictures_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Pictures in a folder and those below it, and files that are none; hidden files and impasto's results are neither.

    A file with a picture's ending is taken for one unread: a damaged one is to be named, not passed over. A file whose
    name is no text is none: no settings could name it.
    """
    files = sorted(_files(folder))
    named = [path for path in files if is_text(str(path.relative_to(folder)))]
    pictures = [path for path in named if path.suffix.lower() in ENDINGS or _is_picture(path)]
    taken = set(pictures)
    return pictures, [path for path in files if path not in taken]


def words_about(folder: Path, left_out: list[Path]) -> str:
    """What to say of files that are no pictures: how many, and the names of the first."""
    if not left_out:
        return ""
    names = ", ".join(as_text(path.relative_to(folder)) for path in left_out[:MOST_NAMES])
    further = f" and {len(left_out) - MOST_NAMES} more" if len(left_out) > MOST_NAMES else ""
    no_text = "" if all(is_text(str(path.relative_to(folder))) for path in left_out) else ", or names that are no text"
    return f"left out of {folder}, for no pictures that can be read{no_text}: {names}{further}"


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if Path(place) != folder and not RESULTS.isdisjoint(names):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (path for name in names if not name.startswith(".") and _is_file(path := Path(place, name)))


def _is_file(path: Path) -> bool:
    return path.is_file() or (path.is_symlink() and path.suffix.lower() in ENDINGS)  # a broken link is to be named


def _is_picture(path: Path) -> bool:
    try:
        with open_picture(path) as file:
            return file.format not in NAMED_ONLY
    except Exception:  # decoders raise OSError, SyntaxError, struct.error … and warnings that are errors
        return False
