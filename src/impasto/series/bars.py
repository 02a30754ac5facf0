"""Values by name as bars on a logarithmic axis, drawn with Pillow alone."""

import math
from collections.abc import Mapping, Sequence

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
    low = min(low, high - 1)
    height = TOP + ROW * len(values) + BOTTOM
    figure = PillowImage.new("RGB", (WIDTH, height), PAPER)
    whatever_the_host_has(lambda: _draw(figure, values, series, low, high))
    return figure


def _draw(
    figure: PillowImage.Image, values: Mapping[str, Mapping[str, float]], series: Sequence[str], low: int, high: int
) -> None:
    draw, font = ImageDraw.Draw(figure), ImageFont.load_default(14)

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    for power in range(low, high + 1):
        at = x(10.0**power)
        draw.line((at, TOP, at, figure.height - BOTTOM), GRID)
        draw.text((at, figure.height - BOTTOM + 4), f"{10.0**power:g}", INK, font, anchor="ma")
    for number, name in enumerate(series):
        left = LEFT + number * 150
        draw.rectangle((left, 12, left + 12, 24), COLOURS[number % len(COLOURS)])
        draw.text((left + 18, 18), name, INK, font, anchor="lm")
    for row, (name, found) in enumerate(values.items()):
        top = TOP + row * ROW + 5
        draw.text((LEFT - 8, top + BAR), name, INK, font, anchor="rm")
        for number, each in enumerate(series):
            value = found.get(each, 0.0)
            if not 0 < value < math.inf:
                continue
            above = top + number * BAR
            draw.rectangle((LEFT, above, max(LEFT + 1, x(value)), above + BAR - 2), COLOURS[number % len(COLOURS)])
            draw.text((x(value) + 4, above + BAR // 2), f"{value:.2g}", INK, ImageFont.load_default(10), anchor="lm")
