"""Values by name as bars on a logarithmic axis, drawn with Pillow alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from impasto.images.opening import whatever_the_host_has

PAPER, INK, GRID = "#ffffff", "#1b1b1b", "#cccccc"
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c")
ROW, BAR = 34, 11  # height of a name's row, and of each bar in it
LEFT, RIGHT, TOP, BOTTOM = 100, 70, 34, 26
WIDTH = 560


def bars(values: Mapping[str, Mapping[str, float]]) -> PillowImage.Image:
    """A row for each name, with a bar for each of its values; the values' own names are the legend.

    Bars begin at a power of ten below all values. A value without a logarithm (0, not finite) has no bar.
    """
    series = list(dict.fromkeys(name for row in values.values() for name in row))
    numbers = [value for row in values.values() for value in row.values() if 0 < value < math.inf] or [1.0]
    low, high = math.floor(math.log10(min(numbers))), math.ceil(math.log10(max(numbers)) + 1e-9)
    axis = _Axis(min(low, high - 1), high)
    figure = PillowImage.new("RGB", (WIDTH, TOP + ROW * len(values) + BOTTOM), PAPER)
    whatever_the_host_has(lambda: _draw(figure, values, series, axis))
    return figure


@dataclass(frozen=True)
class _Axis:
    """A logarithmic axis between two powers of ten."""

    low: int
    high: int

    def x(self, value: float) -> float:
        return LEFT + (math.log10(value) - self.low) / (self.high - self.low) * (WIDTH - LEFT - RIGHT)


def _draw(
    figure: PillowImage.Image, values: Mapping[str, Mapping[str, float]], series: Sequence[str], axis: _Axis
) -> None:
    draw, font = ImageDraw.Draw(figure), ImageFont.load_default(14)
    for power in range(axis.low, axis.high + 1):
        at = axis.x(10.0**power)
        draw.line((at, TOP, at, figure.height - BOTTOM), GRID)
        draw.text((at, figure.height - BOTTOM + 4), f"{10.0**power:g}", INK, font, anchor="ma")

    for number, name in enumerate(series):
        left = LEFT + number * 150
        draw.rectangle((left, 12, left + 12, 24), COLOURS[number % len(COLOURS)])
        draw.text((left + 18, 18), name, INK, font, anchor="lm")

    for row, (name, found) in enumerate(values.items()):
        top = TOP + row * ROW + 5
        draw.text((LEFT - 8, top + BAR), name, INK, font, anchor="rm")
        _draw_row(draw, top, [found.get(each, 0.0) for each in series], axis)


def _draw_row(draw: ImageDraw.ImageDraw, top: int, values: Sequence[float], axis: _Axis) -> None:
    """A bar for each value that has a logarithm, one below the other."""
    for number, value in enumerate(values):
        if not 0 < value < math.inf:
            continue
        above, right = top + number * BAR, axis.x(value)
        draw.rectangle((LEFT, above, max(LEFT + 1, right), above + BAR - 2), COLOURS[number % len(COLOURS)])
        draw.text((right + 4, above + BAR // 2), f"{value:.2g}", INK, ImageFont.load_default(10), anchor="lm")
