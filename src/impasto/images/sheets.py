"""Contact sheets: pictures side by side with captions."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from impasto.images.opening import undisturbed

PAPER, INK, MUTED = "#ffffff", "#1b1b1b", "#6b6b6b"
GAP = 16  # between pictures, and around them
LINE = 20  # height of a line of a caption
TITLE_PX = 52  # height of the title with the gap below
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@undisturbed()  # Pillow checks its limit for a line of text too
def contact_sheet(
    pictures: Sequence[tuple[str, PillowImage.Image]], *, columns: int, height_px: int = 320, title: str = ""
) -> PillowImage.Image:
    """Pictures of one height in rows of `columns`, each with its caption (lines after the first are muted) below.

    A picture more than three times as wide as high gets less than `height_px`, so that it is no wider than that.
    """
    scaled = [(caption, _within(picture.convert("RGB"), 3 * height_px, height_px)) for caption, picture in pictures]
    font = ImageFont.load_default(15)
    cells = _cells(scaled, font, columns, TITLE_PX if title else GAP)
    sheet = PillowImage.new("RGB", cells.sheet_size(len(scaled)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 14), title, INK, ImageFont.load_default(22))
    for index, (caption, picture) in enumerate(scaled):
        left, top = cells.corner(index)
        sheet.paste(picture, (left, top))
        for number, words in enumerate(caption.split("\n")):
            below = top + cells.height + 4 + number * LINE
            draw.text((left, below), words, MUTED if number else INK, font)
    return sheet


@dataclass(frozen=True)
class _Cells:
    """Where the pictures of a sheet lie: cells of one width, for pictures of at most `height` and their captions."""

    columns: int
    top: int  # of the first row
    width: int
    height: int
    lines: int

    def corner(self, index: int) -> tuple[int, int]:
        """Left and top of a picture."""
        row, column = divmod(index, self.columns)
        return GAP + column * (self.width + GAP), self.top + row * self._row_px

    def sheet_size(self, count: int) -> tuple[int, int]:
        """Width and height of a sheet of `count` pictures."""
        rows = -(-count // self.columns)
        return min(self.columns, count) * (self.width + GAP) + GAP, self.top + rows * self._row_px + GAP

    @property
    def _row_px(self) -> int:
        return self.height + self.lines * LINE + GAP


def _cells(scaled: Sequence[tuple[str, PillowImage.Image]], font: Font, columns: int, top: int) -> _Cells:
    """Cells as wide and as high as the largest picture or caption."""
    captions = [caption.split("\n") for caption, _ in scaled]
    words_px = max(font.getlength(words) for lines in captions for words in lines)
    return _Cells(
        columns,
        top,
        width=max([picture.width for _, picture in scaled] + [ceil(words_px)]),
        height=max(picture.height for _, picture in scaled),
        lines=max(map(len, captions)),
    )


def _within(picture: PillowImage.Image, width: int, height: int) -> PillowImage.Image:
    factor = min(width / picture.width, height / picture.height)
    return picture.resize((max(1, round(picture.width * factor)), max(1, round(picture.height * factor))))
