"""What pages are made of, as frozen data (figures, sliders, scrubbers, curves, grids, tables), and one HTML file of it.

Each block has a macro of the same name in data/report/blocks.html. Everything is inside the page: nothing is fetched.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image as PillowImage

from impasto.errors import ImageError
from impasto.images import load_picture, open_picture, to_pillow, write_bytes
from impasto.records import Frame, Line
from impasto.weights import bundled

QUALITY = 82
LARGE_PX, MEDIUM_PX, SMALL_PX = 1024, 448, 192  # a picture that stands alone, one of several, one of a grid
MOST_POINTS = 1000  # of a curve: more are not seen
Series = Mapping[str, Sequence[Line]]


@dataclass(frozen=True)
class Figure:
    """A picture inside the page: `uri` is the whole file, `alt` says in words what is seen."""

    uri: str
    alt: str
    width: int
    height: int
    caption: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Slider:
    """Two pictures of the same proportions, one over the other, with a line between them to move."""

    before: Figure
    after: Figure


@dataclass(frozen=True)
class Film:
    """Pictures on the way of one synthesis, with what is said under each."""

    title: str
    alt: str
    width: int
    height: int
    frames: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Scrubber:
    """Films side by side that one range input moves through together."""

    films: tuple[Film, ...]


@dataclass(frozen=True)
class Curves:
    """Values over steps on a logarithmic axis: `data` is what report.js draws."""

    title: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of a grid: pictures under one title."""

    title: str
    detail: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Cell:
    """A table's entry; `share` in [0, 1] draws a bar of that length."""

    text: str
    share: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows under their heads; the first column names the rows."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of words alone."""
    return Table(tuple(head), tuple(tuple(Cell(text) for text in row) for row in rows))


def render(template: str, **content: Any) -> str:
    """A whole page from a template of data/report; what is not marked as HTML is escaped."""
    return _templates().get_template(template).render(**content)


@cache
def _templates() -> Environment:
    folder = bundled("report")
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Files of our own, not of the user's: they are the only ones that are not escaped.
    environment.globals["own"] = lambda name: Markup((folder / name).read_text("utf-8"))
    return environment


def save_page(page: str, path: Path) -> Path:
    """Write a page whole or not at all. Raises OutputError."""
    write_bytes(path, page.encode("utf-8", errors="replace"))
    return path


# Pictures ------------------------------------------------------------------------------------------------------------


def figure(path: Path, alt: str, *, most_px: int, caption: str = "", detail: str = "") -> Figure:
    """A result or frame for the page, at most `most_px` on its long side. Raises ImageError where it is damaged."""
    uri, size = _embedded_file(path, _modified(path), most_px)
    return Figure(uri, alt, *size, caption, detail)


def embed(picture: PillowImage.Image, alt: str, *, most_px: int, caption: str = "", detail: str = "") -> Figure:
    """A picture for the page, at most `most_px` on its long side."""
    small = picture.copy()
    small.thumbnail((most_px, most_px), PillowImage.Resampling.LANCZOS)
    uri, size = _embedded(small)
    return Figure(uri, alt, *size, caption, detail)


def open_input(path: Path) -> PillowImage.Image:
    """A user's picture as the run has read it, upright and in sRGB, and no larger than a page can use."""
    picture = to_pillow(load_picture(path, least_px=LARGE_PX).image)
    picture.thumbnail((LARGE_PX, LARGE_PX), PillowImage.Resampling.LANCZOS, reducing_gap=3.0)
    return picture


def film(title: str, alt: str, frames: Sequence[Frame], labels: Sequence[str], *, most_px: int) -> Film:
    """Frames of one synthesis, all shown at the size of the last. Raises ImageError where one is damaged."""
    embedded = [_embedded_file(frame.path, _modified(frame.path), most_px) for frame in frames]
    return Film(title, alt, *embedded[-1][1], tuple(uri for uri, _ in embedded), tuple(labels))


def spread(frames: Sequence[Frame], most: int) -> tuple[Frame, ...]:
    """At most `most` of the frames (2 or more), evenly among them, first and last included."""
    if len(frames) <= most:
        return tuple(frames)
    return tuple(frames[round(index * (len(frames) - 1) / (most - 1))] for index in range(most))


@lru_cache(maxsize=1024)  # a study's page is made anew after each of its runs
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


# Curves --------------------------------------------------------------------------------------------------------------


def total_curves(title: str, runs: Series, *, y: str = "total loss") -> Curves:
    """The total loss of each run, all on the same axes."""
    return _curves(title, {name: [(line.step, line.total) for line in lines] for name, lines in runs.items()}, runs, y)


def term_curves(title: str, lines: Sequence[Line]) -> Curves:
    """The total and each weighted term of one run."""
    names = list(dict.fromkeys(name for line in lines for name in line.losses))
    values = {name: [(line.step, line.losses[name]) for line in lines if name in line.losses] for name in names}
    if len(names) > 1:
        values = {"total": [(line.step, line.total) for line in lines], **values}
    return _curves(title, values, {"": lines}, "weighted loss")


def one_term_curves(title: str, term: str, runs: Series) -> Curves:
    """One weighted term of each run that has it, all on the same axes."""
    having = {name: [line for line in lines if term in line.losses] for name, lines in runs.items()}
    having = {name: lines for name, lines in having.items() if lines}
    values = {name: [(line.step, line.losses[term]) for line in lines] for name, lines in having.items()}
    return _curves(title, values, having, "weighted loss")


def profile_curves(title: str, series: Mapping[str, Sequence[float]], *, x: str) -> Curves:
    """Values by rank, counted from 1, in a small chart; the first series is a line, the others are dots about it."""
    ranks = list(range(1, max(len(values) for values in series.values()) + 1))
    shown = [
        {"name": name, "values": [_logarithmic(value) for value in values], "dots": number > 0}
        for number, (name, values) in enumerate(series.items())
    ]
    return Curves(title, {"steps": ranks, "series": shown, "stages": [], "x": x, "y": "", "height_px": 200})


def _curves(title: str, values: Mapping[str, Sequence[tuple[int, float]]], runs: Series, y: str) -> Curves:
    stages = sorted({change for lines in runs.values() for change in stage_changes(lines)})
    kept = _thinned(sorted({step for pairs in values.values() for step, _ in pairs}))
    series = []
    for name, pairs in values.items():
        at = dict(pairs)
        series.append({"name": name, "values": [_logarithmic(at.get(step)) for step in kept]})
    marks = [{"step": step, "label": label} for step, label in stages]
    return Curves(title, {"steps": kept, "series": series, "stages": marks, "x": "step", "y": y})


def stage_changes(lines: Sequence[Line]) -> list[tuple[int, str]]:
    """The first step of each stage after the first, and the size from there on."""
    return [(line.step, size_words(line.size)) for before, line in pairwise(lines) if line.stage != before.stage]


def _thinned(steps: Sequence[int]) -> list[int]:
    """First and last stay; what is left out lies evenly between."""
    if len(steps) <= MOST_POINTS:
        return list(steps)
    return [steps[round(index * (len(steps) - 1) / (MOST_POINTS - 1))] for index in range(MOST_POINTS)]


def _logarithmic(value: float | None) -> float | None:
    """Four digits; what a logarithmic axis does not have is left out."""
    return float(f"{value:.4g}") if value is not None and value > 0 and math.isfinite(value) else None


# Words ---------------------------------------------------------------------------------------------------------------


def number(value: float | None) -> str:
    """Three significant digits, and a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    mantissa, e, exponent = f"{value:.3g}".partition("e")
    return f"{mantissa}·10{str(int(exponent)).translate(_RAISED)}" if e else mantissa


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def size_words(size: tuple[int, int]) -> str:
    """Width × height, as people say it, of (height, width)."""
    return f"{size[1]} × {size[0]} px"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours in words."""
    if round(seconds) < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
