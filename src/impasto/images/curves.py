"""Loss curves as a picture, drawn with Pillow alone: independent of other programs' settings, caches and fonts."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from impasto.files import write_bytes
from impasto.images.opening import whatever_the_host_has

WIDTH, HEIGHT = 880, 495
LEFT, TOP, BOTTOM = 84.0, 44.0, 54.0  # margins of the axes; the right margin follows from the names
FINE = 3  # lines are drawn this many times larger, then scaled down, for smooth edges
PAPER, INK, GRID, FAINT = "#ffffff", "#1b1b1b", "#cccccc", "#ececec"
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
ROW = 20  # height in the list of names
MOST_NAMES = int(HEIGHT - TOP - BOTTOM) // ROW
LEAST_DECADES = 1.0  # on the axis, so that at least one number is always marked
LEAST_POWER, MOST_POWER = -323, 308  # of ten, within a float's range
Point = tuple[int, float]  # step and value


@dataclass(frozen=True)
class Axes:
    """Where steps 1 … `steps` and the logarithms `low` … `high` of values lie between `LEFT` and `right`."""

    right: float
    steps: int
    low: float
    high: float

    def x(self, step: int) -> float:
        """Pixels from the left; a single step lies in the middle."""
        fraction = (step - 1) / (self.steps - 1) if self.steps > 1 else 0.5
        return LEFT + (0.02 + 0.96 * fraction) * (self.right - LEFT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        fraction = (math.log10(value) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - fraction * (HEIGHT - BOTTOM - TOP)


def save_curves(curves: Mapping[str, Sequence[float]], path: Path, *, title: str = "") -> None:
    """Losses over steps as a PNG with a logarithmic axis, one line for each name.

    Values without a logarithm (0, negative, not finite) are left out; `upright` says how losses below 0 are drawn.
    Raises OutputError if the file cannot be written.
    """
    points = {name: _drawable(values) for name, values in map(upright, curves, curves.values())}
    names, font = list(points)[:MOST_NAMES], ImageFont.load_default(14)
    axes = _axes(points, WIDTH - 60.0 - min(300, max(map(font.getlength, names), default=0.0)))
    figure = _lines(points, axes)
    whatever_the_host_has(lambda: _write_words(figure, axes, names, title))
    buffer = io.BytesIO()
    figure.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def upright(name: str, values: Sequence[float]) -> tuple[str, Sequence[float]]:
    """The name and the values as they are drawn: with the other sign, as is said, if most values are below 0."""
    below = sum(value < 0 for value in values)
    return (f"\N{MINUS SIGN}{name}", [-value for value in values]) if 2 * below > len(values) else (name, values)


def _write_words(figure: PillowImage.Image, axes: Axes, names: Sequence[str], title: str) -> None:
    """Numbers along the axes, a title, and a legend."""
    draw = ImageDraw.Draw(figure)
    font = ImageFont.load_default(14)
    _label_axes(draw, axes, font)
    heading = f"{title}: weighted loss" if title else "weighted loss"
    draw.text((LEFT, TOP - 10), heading, INK, ImageFont.load_default(18), anchor="ls")
    for number, name in enumerate(names):
        middle = TOP + ROW * number + ROW // 2
        draw.line((axes.right + 12, middle, axes.right + 32, middle), COLOURS[number % len(COLOURS)], 3)
        draw.text((axes.right + 40, middle), name, INK, font, anchor="lm")


def _label_axes(draw: ImageDraw.ImageDraw, axes: Axes, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> None:
    for step in _steps_marked(axes.steps):
        draw.text((axes.x(step), HEIGHT - BOTTOM + 6), str(step), INK, font, anchor="ma")
    for value in _values_marked(axes):
        draw.text((LEFT - 8, axes.y(value)), f"{value:g}", INK, font, anchor="rm")
    draw.text(((LEFT + axes.right) / 2, HEIGHT - 10), "step", INK, font, anchor="ms")


def _drawable(values: Sequence[float]) -> list[Point]:
    return [(step, value) for step, value in enumerate(values, start=1) if value > 0 and math.isfinite(value)]


def _axes(points: Mapping[str, Sequence[Point]], right: float) -> Axes:
    """Axes that hold all points, with some air above and below."""
    logarithms = [math.log10(value) for line in points.values() for _, value in line] or [0.0]
    steps = max((step for line in points.values() for step, _ in line), default=1)
    low, high = min(logarithms), max(logarithms)
    air = max(0.05 * (high - low), (LEAST_DECADES - (high - low)) / 2)
    return Axes(right, steps, low - air, high + air)


def _lines(points: Mapping[str, Sequence[Point]], axes: Axes) -> PillowImage.Image:
    """Grid, frame and curves, without words."""
    figure = PillowImage.new("RGB", (WIDTH * FINE, HEIGHT * FINE), PAPER)
    draw = ImageDraw.Draw(figure)

    def line(ends: Sequence[tuple[float, float]], colour: str, width_px: float) -> None:
        draw.line([(x * FINE, y * FINE) for x, y in ends], colour, round(width_px * FINE), joint="curve")

    for value in _between(axes):
        line([(LEFT, axes.y(value)), (axes.right, axes.y(value))], FAINT, 1.0)
    for value in _values_marked(axes):
        line([(LEFT, axes.y(value)), (axes.right, axes.y(value))], GRID, 1.0)
    for step in _steps_marked(axes.steps):
        line([(axes.x(step), TOP), (axes.x(step), HEIGHT - BOTTOM)], GRID, 1.0)
    for number, (name, pairs) in enumerate(points.items()):
        if not pairs:
            continue
        ends = [(axes.x(step), axes.y(value)) for step, value in pairs]
        if len(ends) == 1:  # a single step is a dash
            ends = [(ends[0][0] - 4, ends[0][1]), (ends[0][0] + 4, ends[0][1])]
        line(ends, COLOURS[number % len(COLOURS)], 2.6 if name == "total" else 1.6)
    draw.rectangle([LEFT * FINE, TOP * FINE, axes.right * FINE, (HEIGHT - BOTTOM) * FINE], outline=INK, width=FINE)
    return figure.resize((WIDTH, HEIGHT), PillowImage.Resampling.BOX)


def _steps_marked(steps: int) -> list[int]:
    """At most eleven round numbers between 1 and the last step."""
    powers = (factor * 10**power for power in range(len(str(steps)) + 1) for factor in (1, 2, 5))
    apart = next(each for each in powers if steps // each <= 10)
    return [step for step in range(0, steps + 1, apart) if step >= 1]


def _values_marked(axes: Axes) -> list[float]:
    """Powers of ten, some of them if there are many, and numbers between if there are few."""
    decades = range(max(LEAST_POWER, math.ceil(axes.low)), min(MOST_POWER, math.floor(axes.high)) + 1)
    if len(decades) >= 3:
        return [10.0**power for power in decades[:: math.ceil(len(decades) / 9)]]
    fewer = [value for value in _between(axes) if f"{value:e}"[0] in "125"]
    return fewer if len(fewer) >= 3 else _between(axes)


def _between(axes: Axes) -> list[float]:
    """One to nine times each power of ten on the axis; none if the axis is too long for them."""
    if axes.high - axes.low > 8:
        return []
    numbers = [(digit, power) for power in range(math.floor(axes.low), math.ceil(axes.high)) for digit in range(1, 10)]
    values = [float(f"{digit}e{power}") for digit, power in numbers if LEAST_POWER <= power <= MOST_POWER]
    return [value for value in values if value < math.inf and axes.low <= math.log10(value) <= axes.high]
