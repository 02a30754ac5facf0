"""Curves of a page: losses over steps, and values by rank, thinned to the resolution of a screen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from impasto.folders.records import Line
from impasto.images.curves import upright
from impasto.pages.words import size_words

MOST_POINTS = 1000  # of a curve; a screen shows no more
Series = Mapping[str, Sequence[Line]]


@dataclass(frozen=True)
class Curves:
    """Curves on a logarithmic axis; report.js draws `data`."""

    title: str
    data: Mapping[str, Any]


def total_curves(title: str, runs: Series, *, y: str = "total loss") -> Curves:
    """The total loss of each run, on the same axes."""
    return _curves(title, {name: [(line.step, line.total) for line in lines] for name, lines in runs.items()}, runs, y)


def term_curves(title: str, lines: Sequence[Line]) -> Curves:
    """The total and each weighted term of one run."""
    names = list(dict.fromkeys(name for line in lines for name in line.losses))
    values = {name: [(line.step, line.losses[name]) for line in lines if name in line.losses] for name in names}
    if len(names) > 1:
        values = {"total": [(line.step, line.total) for line in lines], **values}
    return _curves(title, values, {"": lines}, "weighted loss")


def one_term_curves(title: str, term: str, runs: Series) -> Curves:
    """One weighted term of all runs that have it, on the same axes."""
    having = {name: [line for line in lines if term in line.losses] for name, lines in runs.items()}
    having = {name: lines for name, lines in having.items() if lines}
    values = {name: [(line.step, line.losses[term]) for line in lines] for name, lines in having.items()}
    return _curves(title, values, having, "weighted loss")


def profile_curves(title: str, series: Mapping[str, Sequence[float]], *, x: str) -> Curves:
    """Values by rank, counted from 1, in a small chart; the first series is a line, the others are dots around it."""
    ranks = list(range(1, max(len(values) for values in series.values()) + 1))
    drawn = [
        {"name": name, "values": [_logarithmic(value) for value in values], "dots": number > 0}
        for number, (name, values) in enumerate(series.items())
    ]
    return Curves(title, {"steps": ranks, "series": drawn, "stages": [], "x": x, "y": "", "height_px": 200})


def _curves(title: str, values: Mapping[str, Sequence[tuple[int, float]]], runs: Series, y: str) -> Curves:
    stages = sorted({change for lines in runs.values() for change in stage_changes(lines)})
    kept = _thinned(sorted({step for pairs in values.values() for step, _ in pairs}))
    series = []
    for given, pairs in values.items():
        name, numbers = upright(given, [value for _, value in pairs])
        at = dict(zip([step for step, _ in pairs], numbers, strict=True))
        series.append({"name": name, "values": [_logarithmic(at.get(step)) for step in kept]})
    marks = [{"step": step, "label": label} for step, label in stages]
    return Curves(title, {"steps": kept, "series": series, "stages": marks, "x": "step", "y": y})


def stage_changes(lines: Sequence[Line]) -> list[tuple[int, str]]:
    """The first step at each size after the first, and the size in words."""
    return [(line.step, size_words(line.size)) for before, line in pairwise(lines) if line.size != before.size]


def _thinned(steps: Sequence[int]) -> list[int]:
    """At most MOST_POINTS of the steps, evenly spaced, first and last included."""
    if len(steps) <= MOST_POINTS:
        return list(steps)
    return [steps[round(index * (len(steps) - 1) / (MOST_POINTS - 1))] for index in range(MOST_POINTS)]


def _logarithmic(value: float | None) -> float | None:
    """The value to four digits; None if a logarithmic axis has no place for it."""
    return float(f"{value:.4g}") if value is not None and value > 0 and math.isfinite(value) else None
