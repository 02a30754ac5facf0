"""Pictures about results: contact sheets with captions, and loss curves."""

import io
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from impasto.files import write_bytes

PAPER, INK, MUTED = "#ffffff", "#1b1b1b", "#6b6b6b"


def contact_sheet(
    pictures: Sequence[tuple[str, PillowImage.Image]], *, columns: int, height_px: int = 320, title: str = ""
) -> PillowImage.Image:
    """Pictures of one height in rows of `columns`, each with its caption (lines after the first are muted) below.

    Pictures more than three times as wide as high are made less high.
    """
    gap, line = 16, 20
    lines = max(caption.count("\n") for caption, _ in pictures) + 1
    font, large = ImageFont.load_default(15), ImageFont.load_default(22)
    scaled = [(caption, _within(picture.convert("RGB"), 3 * height_px, height_px)) for caption, picture in pictures]
    height_px = max(picture.height for _, picture in scaled)
    words_px = max(font.getlength(words) for caption, _ in scaled for words in caption.split("\n"))
    width = max([picture.width for _, picture in scaled] + [ceil(words_px)])
    rows = -(-len(scaled) // columns)
    top = 52 if title else gap
    cell = height_px + lines * line + gap
    sheet = PillowImage.new("RGB", (min(columns, len(scaled)) * (width + gap) + gap, top + rows * cell + gap), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, 14), title, INK, large)
    for index, (caption, picture) in enumerate(scaled):
        left, upper = gap + index % columns * (width + gap), top + index // columns * cell
        sheet.paste(picture, (left, upper))
        for number, words in enumerate(caption.split("\n")):
            draw.text((left, upper + height_px + 4 + number * line), words, MUTED if number else INK, font)
    return sheet


def _within(picture: PillowImage.Image, width: int, height: int) -> PillowImage.Image:
    factor = min(width / picture.width, height / picture.height)
    return picture.resize((max(1, round(picture.width * factor)), max(1, round(picture.height * factor))))


def save_curves(curves: Mapping[str, Sequence[float]], path: Path, *, title: str = "") -> None:
    """Losses over steps as a PNG with a logarithmic axis, one line for each name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # late: half a second
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, values in curves.items():
        steps = [step for step, value in enumerate(values, start=1) if value > 0]
        width = 2.4 if name == "total" else 1.3
        axes.plot(steps, [value for value in values if value > 0], label=name, linewidth=width)
    axes.set(yscale="log", xlabel="step", ylabel="weighted loss", title=title)
    axes.grid(visible=True, which="both", alpha=0.2)
    if any(value > 0 for values in curves.values() for value in values):
        axes.legend(frameon=False, fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())
