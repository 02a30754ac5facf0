"""What the studio reads and serves: the folders of runs, and pictures that were uploaded, checked and copied there."""

import hashlib
import io
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image as PillowImage

from impasto.errors import ImageError, ImpastoError, OutputError, RunFolderError, SpecError
from impasto.files import write_bytes
from impasto.folders.named import files_of
from impasto.folders.names import FOLDER, SETTINGS_FILE, SHEET_FILE, plain_name
from impasto.folders.owners import OWNER
from impasto.folders.specfiles import located, read_spec
from impasto.images.depths import deep_grey, is_deep
from impasto.images.opening import open_picture, to_first_frame, upright

UPLOADS = "uploads"  # in the folder of runs, since run.toml names the pictures
FORMATS = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "WEBP": ".webp",
    "TIFF": ".tif",
    "BMP": ".bmp",
    "GIF": ".gif",
    "AVIF": ".avif",
    "HEIF": ".heic",  # with the extra heif
}
PICTURES = ["image", ".avif", ".heic", ".heif"]  # what a browser offers to upload; not every system calls these images
MOST_PIXELS = 100_000_000
SERVED = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".tif": "image/tiff",
    ".bmp": "image/bmp",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".mp4": "video/mp4",
    ".html": "text/html; charset=utf-8",
    ".toml": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "text/plain; charset=utf-8",
}


def picture_taken(file: Path, runs: Path) -> Path:
    """A copy of an uploaded picture in the uploads of a folder of runs, named by its content. Raises ImageError."""
    ending = picture_ending(file)
    stem = re.sub("[,=]+", "-", plain_name(file.stem, 80)) or "picture"  # both have a meaning in a region's text
    return kept_upload(file.read_bytes(), f"{stem}{ending}", runs)


def picture_ending(file: Path) -> str:
    """The ending that belongs to a picture's content.

    The content decides, not the name: SVG and HTML are no pictures here. Raises ImageError in one sentence.
    """
    name = file.name
    try:
        with open_picture(file) as opened:
            kind, (width, height) = opened.format or "", opened.size
    except ImageError as error:  # of a format whose package is missing
        raise ImageError(str(error).replace(str(file), name)) from None
    except Exception:  # decoders raise many kinds of errors on files that are none of theirs
        raise ImageError(f"{name} is not a picture that can be read; {', '.join(sorted(FORMATS))} files can") from None
    if kind not in FORMATS:
        raise ImageError(f"{name} is a {kind} file; {', '.join(sorted(FORMATS))} files can be used")
    if width * height > MOST_PIXELS:
        most = MOST_PIXELS // 10**6
        raise ImageError(f"{name} has {width} × {height} pixels; at most {most} megapixels are taken, so scale it down")
    return FORMATS[kind]


def kept_upload(content: bytes, name: str, runs: Path) -> Path:
    """A file in the uploads of a folder of runs, in a folder named by its content. Raises OutputError."""
    there = runs / UPLOADS / hashlib.sha256(content).hexdigest()[:12] / name
    if not there.is_file():
        try:
            there.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{there.parent} cannot be made: {error.strerror or error}") from None
        write_bytes(there, content)
    return there


def thumbnail(file: Path, side_px: int) -> PillowImage.Image:
    """A picture upright, as a run sees the picture, and no larger than a side. Raises ImageError if unreadable."""
    try:
        with open_picture(file) as opened:
            if opened.width * opened.height > 3 * MOST_PIXELS:
                raise ImageError(f"{file.name} is too large for a thumbnail")
            to_first_frame(opened)
            opened.draft("RGB", (side_px, side_px))
            picture, tags = upright(opened), dict(getattr(opened, "tag_v2", {}))
            if is_deep(picture):
                picture = PillowImage.fromarray((255 * deep_grey(picture, tags)).round().astype("uint8"))
            small = picture.convert("RGB")
    except ImageError:
        raise
    except Exception:
        raise ImageError(f"{file.name} is not a picture that can be read") from None
    small.thumbnail((side_px, side_px), PillowImage.Resampling.BICUBIC)
    return small


def enlarged(picture: PillowImage.Image, side_px: int) -> PillowImage.Image:
    """A picture whose long side is at least that: a small one would be hard to see."""
    scale = side_px / max(picture.size)
    wide, high = (max(1, round(scale * side)) for side in picture.size)
    return picture.resize((wide, high), PillowImage.Resampling.BICUBIC) if scale > 1 else picture


def as_jpeg(picture: PillowImage.Image) -> bytes:
    """A small picture as a JPEG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=86)
    return buffer.getvalue()


def run_folder(runs: Path, name: str, file: str = SETTINGS_FILE) -> Path:
    """The folder of a run by its name; of a sheet, if `file` is SHEET_FILE. Raises RunFolderError if there is none."""
    folder = runs / name
    if Path(name).name != name or name.startswith(".") or not (folder / file).is_file():
        kind = "run" if file == SETTINGS_FILE else "sheet"
        raise RunFolderError(f"there is no {kind} {name!r} in {runs}")
    if folder.is_symlink() or folder.resolve().parent != runs.resolve():
        raise RunFolderError(f"{name!r} lies outside {runs}")
    return folder


def served(runs: Path, name: str, path: str) -> tuple[Path, str] | None:
    """A file of a run, or an upload, and its type; None if the file may not be served or does not exist."""
    place = (runs / name).resolve()
    if Path(name).name != name or name.startswith(".") or place.parent != runs.resolve():
        return None
    file = (place / path).resolve()
    hidden = any(part.startswith(".") for part in Path(path).parts)
    kind = SERVED.get(file.suffix.lower())
    if kind is None or hidden or not file.is_relative_to(place) or not file.is_file():
        return None
    known = name == UPLOADS or any((place / each).is_file() for each in (SETTINGS_FILE, SHEET_FILE))
    return (file, kind) if known else None


def inside(value: Path, runs: Path) -> Path:
    """The path of a file that a setting names, relative to the folder of runs. Raises SpecError if it lies outside."""
    if not (runs / value).resolve().is_relative_to(runs.resolve()):
        raise SpecError(f"{value} is refused: in the studio, a file that a setting names must be a file inside {runs}")
    return Path(os.path.normpath(runs / value))


@contextmanager
def zipped(folder: Path) -> Iterator[IO[bytes]]:
    """The folder of a run as a ZIP file, without checkpoints, with the uploads that its settings name.

    The uploads lie in a subfolder in which a run that is repeated from there finds them.
    """
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(folder.rglob("*")):
                inside = path.relative_to(folder)
                if path.is_file() and not path.is_symlink() and inside.parts[0] != FOLDER and path.name != OWNER:
                    archive.write(path, Path(folder.name) / inside)
            uploads = folder.parent / UPLOADS
            for path in _files_named(folder):
                if path.is_relative_to(uploads.resolve()):
                    archive.write(path, Path(folder.name) / UPLOADS / path.relative_to(uploads.resolve()))
        file.seek(0)
        yield file


def _files_named(folder: Path) -> list[Path]:
    """The files that the settings of a run name, none if one is missing."""
    try:
        spec, _ = located(read_spec(folder))
    except ImpastoError:
        return []
    return [path for path in dict.fromkeys(each.resolve() for each in files_of(spec)) if path.is_file()]


def delete_run(runs: Path, name: str) -> None:
    """Delete the folder of a run. Raises RunFolderError if there is none, OutputError if a run is being made there."""
    folder = run_folder(runs, name)
    from impasto.folders.owners import require_unowned

    require_unowned(folder)
    aside = folder.with_name(f".deleted-{os.getpid()}-{name}")
    try:
        folder.rename(aside)  # so that a folder is there or not, never half
        shutil.rmtree(aside)
    except OSError as error:
        raise OutputError(f"{folder} cannot be deleted: {error.strerror or error}") from None
