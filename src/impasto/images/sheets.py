"""Contact sheets: pictures side by side with captions."""

from collections.abc import Sequence
from math import ceil

from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

PAPER, INK, MUTED = "#ffffff", "#1b1b1b", "#6b6b6b"


def contact_sheet(
    pictures: Sequence[tuple[str, PillowImage.Image]], *, columns: int, height_px: int = 320, title: str = ""
) -> PillowImage.Image:
    """Pictures of one height in rows of `columns`, each with its caption (lines after the first are muted) below.

    A picture more than three times as wide as high gets less than `height_px`, so that it is no wider than that.
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
