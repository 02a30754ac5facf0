"""Regions of a picture as users write them: a mask, the painting for it, and what differs there. No file is opened."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from impasto.errors import SpecError, nearest
from impasto.tasks.values import MOST_SCALE, Checked, parse_weight

PHOTO = "photo"  # in place of a painting: the region is left as the photo has it
OPTIONS = ("strength", "strokes", "detail", "from")
MOST = 30  # times as much as elsewhere: weights are rounded to a 32nd of the largest, and the rest must keep some
RUNNING = {"along": True, "as-painted": False}  # whether strokes run along the photo's lines, in place of their size
COLOUR = re.compile(r"(?P<file>.+\.\w+)#(?P<colour>\w+)")
COMMA, EQUALS = re.compile(r"(?<!\\),"), re.compile(r"(?<!\\)=")  # those of a file's name follow a backslash


class Mask(NamedTuple):
    """The file of a mask, and the colour that marks the region; without a colour, white does."""

    file: Path
    colour: str = ""

    @property
    def name(self) -> str:
        """The mask in a few words: the file's name without its ending, and the colour."""
        return f"{self.file.stem} {self.colour}".strip()

    def __str__(self) -> str:
        return f"{self.file}#{self.colour}" if self.colour else str(self.file)


class Region(Checked):
    r"""A region of the picture: "sky.png=wave.jpg,strength=0.7", see docs/regions.md. Raises SpecError.

    MASK, or MASK#COLOUR if one file has several regions; then =PAINTING, by default the run's own, or =photo to leave
    the region as it is; then what differs from the rest: `strength` of the style, size of the `strokes`, weight of the
    `detail`, each 1 if nothing differs, and `from`, the mask of the part of the painting to take the style from. In
    place of their size, `strokes` may be `along` the photo's lines or `as-painted`. A comma or an equals sign of a
    file's name follows a backslash: "a\=b.png".
    """

    def __init__(self, text: str) -> None:
        """Parse the text."""
        head, given = _split(text)
        mask, *rest = (word.strip() for word in EQUALS.split(head, maxsplit=1))
        style = rest[0] if rest else ""
        if not mask or (rest and not style):
            raise SpecError(f"the region {text!r} is not MASK=PAINTING; write sky.png=wave.jpg for instance")
        self.mask = _mask(mask)
        self.is_photo = style == PHOTO
        self.painting = Path(_read(style)) if style and not self.is_photo else None
        if self.is_photo and given:
            raise SpecError(f"the region {text!r} stays as the photo has it and takes no {next(iter(given))}")
        words = f"of the region {self.mask}"
        self.strength = _times(given.get("strength", "1"), f"the strength {words}")
        self.along = RUNNING.get(given.get("strokes", ""))
        self.strokes = _size(given["strokes"], words) if "strokes" in given and self.along is None else None
        self.detail = _times(given.get("detail", "1"), f"the detail {words}")
        self.source = _mask(given["from"]) if "from" in given else None
        self._given = given

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the region names, in order."""
        source = None if self.source is None else self.source.file
        return tuple(file for file in (self.mask.file, self.painting, source) if file is not None)

    @property
    def words(self) -> str:
        """How the region is painted, in words."""
        what = "left as it is" if self.is_photo else "" if self.painting is None else self.painting.name
        rest = (
            f"from {self.source.name}" if self.source and name == "from" else f"{name} {value}"
            for name, value in self._given.items()
        )
        return ", ".join(word for word in (what, *rest) if word) or "as the rest"

    def with_files(self, change: Callable[[Path], Path]) -> "Region":
        """The same region with a function applied to the path of each of its files."""
        mask = _written(self.mask._replace(file=change(self.mask.file)))
        style = PHOTO if self.is_photo else "" if self.painting is None else _written(change(self.painting))
        style = f"./{PHOTO}" if style == PHOTO and not self.is_photo else style
        given = dict(self._given)
        if self.source is not None:
            given["from"] = _written(self.source._replace(file=change(self.source.file)))
        head = f"{mask}={style}" if style else mask
        return Region(",".join([head, *(f"{name}={value}" for name, value in given.items())]))


def _split(text: str) -> tuple[str, dict[str, str]]:
    """The mask and painting, and the options after them. A piece without "=" belongs to the file name before it."""
    head, *pieces = COMMA.split(text)
    entries: list[str] = []
    for piece in pieces:
        if EQUALS.search(piece):
            entries.append(piece)
        elif entries:
            entries[-1] += f",{piece}"
        else:
            head += f",{piece}"
    given: dict[str, str] = {}
    for entry in entries:
        name, value = (word.strip() for word in EQUALS.split(entry, maxsplit=1))
        if name not in OPTIONS:
            hint = "; a comma in a file's name follows a backslash" if "." in name else ""
            raise SpecError(f"a region has no option {name!r}; {nearest(name, OPTIONS)}{hint}")
        if name in given or not value:
            raise SpecError(f"the region {text!r} gives {name} {'twice' if name in given else 'no value'}")
        given[name] = value
    return head.strip(), given


def _times(text: str, what: str) -> float:
    """How many times as much as elsewhere."""
    value = parse_weight(text, what)
    if value > MOST:
        raise SpecError(f"{what} is {text!r}; it can be at most {MOST} times that of the rest")
    return value


def _size(text: str, words: str) -> float:
    """The size of strokes."""
    try:
        size = float(text)
    except ValueError:
        size = float("nan")
    if not 0 < size <= MOST_SCALE:
        raise SpecError(
            f"the strokes {words} are {text!r}; give a size above 0 and up to {MOST_SCALE:g}, 1 for the painting's "
            f"own, or one of {', '.join(RUNNING)}"
        )
    return size


def _read(name: str) -> str:
    """A file's name as it is, without the backslashes before commas and equals signs."""
    return re.sub(r"\\([,=])", r"\1", name)


def _written(file: Path | Mask) -> str:
    """A file's name, or a mask, as a region's text has it."""
    return re.sub(r"([,=])", r"\\\1", str(file))


def _mask(text: str) -> Mask:
    text = _read(text)
    found = COLOUR.fullmatch(text)
    return Mask(Path(found["file"]), found["colour"].lower()) if found else Mask(Path(text))
