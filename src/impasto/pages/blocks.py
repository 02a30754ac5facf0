"""The blocks of pages as frozen data: figures, sliders, films, scrubbers, grids and tables.

Each block has a macro of the same name in data/report/blocks.html. All content is inside the page: nothing is fetched.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image as PillowImage

from impasto.errors import ImageError
from impasto.folders.records import Frame
from impasto.images.files import load_picture, to_pillow
from impasto.images.opening import open_picture

QUALITY = 82
LARGE_PX, MEDIUM_PX, SMALL_PX = 1024, 448, 192  # a single picture, one of several, one in a grid


@dataclass(frozen=True)
class Figure:
    """A picture inside the page: `uri` contains the whole file, `alt` describes the picture in words."""

    uri: str
    alt: str
    width: int
    height: int
    caption: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Slider:
    """Two pictures of the same proportions, one over the other, divided by a line that readers can move."""

    before: Figure
    after: Figure


@dataclass(frozen=True)
class Film:
    """The frames of one synthesis, each with a label."""

    title: str
    alt: str
    width: int
    height: int
    frames: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Scrubber:
    """Films side by side, moved together by one range input."""

    films: tuple[Film, ...]


@dataclass(frozen=True)
class Row:
    """A row of a grid: pictures under one title."""

    title: str
    detail: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Cell:
    """An entry of a table; `bar` in [0, 1] is the length of a bar drawn before the text."""

    text: str
    bar: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows under the heads of the columns; the first column names the rows."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table without bars."""
    return Table(tuple(head), tuple(tuple(Cell(text) for text in row) for row in rows))


def figure(path: Path, alt: str, *, most_px: int, caption: str = "", detail: str = "") -> Figure:
    """A result or frame as a figure, at most `most_px` on its long side. Raises ImageError if the file is damaged."""
    uri, size = _embedded_file(path, _modified(path), most_px)
    return Figure(uri, alt, *size, caption, detail)


def embed(picture: PillowImage.Image, alt: str, *, most_px: int, caption: str = "", detail: str = "") -> Figure:
    """A picture as a figure, at most `most_px` on its long side."""
    small = picture.copy()
    small.thumbnail((most_px, most_px), PillowImage.Resampling.LANCZOS)
    uri, size = _embedded(small)
    return Figure(uri, alt, *size, caption, detail)


def open_input(path: Path) -> PillowImage.Image:
    """A user's picture as a run reads it, upright, in sRGB and on white, but no larger than a page needs."""
    picture = to_pillow(load_picture(path, least_px=LARGE_PX).on_white)
    picture.thumbnail((LARGE_PX, LARGE_PX), PillowImage.Resampling.LANCZOS, reducing_gap=3.0)
    return picture


def film(title: str, alt: str, frames: Sequence[Frame], labels: Sequence[str], *, most_px: int) -> Film:
    """Frames of one synthesis as a film of the last frame's size. Raises ImageError if a frame is damaged."""
    embedded = [_embedded_file(frame.path, _modified(frame.path), most_px) for frame in frames]
    return Film(title, alt, *embedded[-1][1], tuple(uri for uri, _ in embedded), tuple(labels))


def spread(frames: Sequence[Frame], most: int) -> tuple[Frame, ...]:
    """At most `most` of the frames (2 or more), evenly spaced, first and last included."""
    if len(frames) <= most:
        return tuple(frames)
    return tuple(frames[round(index * (len(frames) - 1) / (most - 1))] for index in range(most))


@lru_cache(maxsize=1024)  # a study's page is made again after each of its runs
def _embedded_file(path: Path, modified: int, most_px: int) -> tuple[str, tuple[int, int]]:
    return _embedded(_small(path, most_px))


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise ImageError(f"{path} cannot be read as a picture: {error.strerror or error}") from None


def _small(path: Path, most_px: int) -> PillowImage.Image:
    try:
        with open_picture(path) as file:
            file.draft("RGB", (most_px, most_px))  # JPEG: decoded small at once
            picture = file.convert("RGBA" if "A" in file.getbands() else "RGB")
    except Exception as error:  # on damaged files decoders raise OSError, SyntaxError, struct.error …
        raise ImageError(f"{path} cannot be read as a picture: {error}") from None
    picture.thumbnail((most_px, most_px), PillowImage.Resampling.LANCZOS)
    return picture


def _embedded(picture: PillowImage.Image) -> tuple[str, tuple[int, int]]:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", picture.size
