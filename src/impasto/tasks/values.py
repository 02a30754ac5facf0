"""Layers, weights and amounts of memory as users write them, parsed once when settings are made.

Each value is the text itself, for run.toml, pages and help, together with its parsed content.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from pydantic_core import CoreSchema, core_schema

from impasto.amounts import parse_memory
from impasto.errors import SpecError, nearest

Model = TypeVar("Model", bound=BaseModel)

COLOURS = ("style", "photo", "luminance", "photo-late")
INCH = {"cm": 2.54, "mm": 25.4, "in": 1.0}
LEAST_DPI, MOST_DPI = 10, 2400
MOST_PX = 65536  # of a side
SMALL_PX = 256  # long side of the candidates of a sheet
MOST_WEIGHT = 1e12  # squares of gradients must stay far below what float32 can hold, 3e38
MOST_SCALE = 10.0  # of strokes: a picture enlarged further has only smooth areas, and takes much memory to read
ParameterisationName = Literal["pixels", "fourier", "natural", "phases"]
PreprocessName = Literal["imagenet", "caffe", "half", "clip", "none"]
PLAIN = {  # pydantic's words, and ours
    "Input should be": "it must be",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
}
Weight = Annotated[float, Field(ge=0, le=MOST_WEIGHT, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Scale = Annotated[float, Field(gt=0, le=MOST_SCALE, allow_inf_nan=False)]
DEPTHS = {  # of the layers of VGG-16 that defaults and presets name: the number of the layer of 31, from 0 to 1
    "conv1_1": "@0",
    "relu1_1": "@0.033",
    "conv2_1": "@0.17",
    "relu2_1": "@0.2",
    "conv3_1": "@0.33",
    "relu3_1": "@0.37",
    "conv4_1": "@0.57",
    "relu4_1": "@0.6",
    "relu4_2": "@0.67",
    "conv5_1": "@0.8",
    "relu5_1": "@0.83",
}


def _as_number(given: Any) -> Any:
    """A number for a text of digits, as command lines and sweeps give it."""
    return int(given) if isinstance(given, str) and given.isdecimal() else given


Depth = Annotated[Literal[8, 16], BeforeValidator(_as_number)]


class Checked(str):
    """A text that its constructor checks. A setting of this type accepts a text and checks it."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Validate as a text, then construct this type."""
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class Layers(Checked):
    """Layers, each with an optional weight, by default 1: "relu1_1,relu2_1=0.5". Raises SpecError."""

    def __init__(self, text: str) -> None:
        """Parse the text."""
        self.weights: Mapping[str, float] = parse_layers(text)
        if not any(self.weights.values()):
            raise SpecError(f"the weights of {', '.join(self.weights)} are all 0; give at least one above 0")

    @property
    def names(self) -> list[str]:
        """The layers in order."""
        return list(self.weights)

    def by_depth(self) -> "Layers":
        """The same with relative depths in place of VGG-16's names: "@0.57" is as deep in any network as conv4_1."""
        return type(self)(re.sub(r"[\w.:#@]+", lambda found: DEPTHS.get(found[0], found[0]), self))


class LayerNames(Layers):
    """Layers without weights, each taken on its own: "conv1_1,conv2_1". Raises SpecError."""

    def __init__(self, text: str) -> None:
        """Parse the text."""
        if "=" in text:
            raise SpecError(f"{text!r} gives layers weights, but here each layer is taken on its own")
        super().__init__(text)


class LayerName(LayerNames):
    """One layer: "conv4_1". Raises SpecError."""

    def __init__(self, text: str) -> None:
        """Parse the text."""
        super().__init__(text)
        if len(self.weights) > 1:
            raise SpecError(f"{text!r} names {len(self.weights)} layers, but this setting takes one")


class StyleWeights(Checked):
    """A weight for each of several styles, "2,1"; an empty text for equal weights. Raises SpecError."""

    def __init__(self, text: str) -> None:
        """Parse the text."""
        entries = text.split(",") if text else []
        self.numbers = tuple(parse_weight(entry.strip(), "a style's weight") for entry in entries)
        if entries and not any(self.numbers):
            raise SpecError("the styles' weights are all 0; give at least one above 0")

    def of(self, count: int) -> list[float]:
        """The weights of `count` styles, with sum 1. Raises SpecError if another number of weights was given."""
        if not count:
            raise SpecError("there is no style; give at least one")
        if not self.numbers:
            return [1 / count] * count
        if len(self.numbers) != count:
            raise SpecError(f"{len(self.numbers)} style weights are given for {count} style{'s' if count > 1 else ''}")
        return [weight / sum(self.numbers) for weight in self.numbers]


class Colours(Checked):
    """Whose colours a painted photo has: one of COLOURS, or "palette=FILE" for a picture's. Raises SpecError.

    `palette` is that picture's file, else None.
    """

    def __init__(self, text: str) -> None:
        """Parse the text."""
        word, _, file = text.partition("=")
        if text not in COLOURS and (word != "palette" or not file):
            raise SpecError(f"colours is {text!r}; choose from {', '.join(COLOURS)}, palette=FILE")
        self.palette = Path(file) if file else None


class Sides(int):
    """Width and height in pixels, "800x200", or one number for both. As a number, the longer side. Raises SpecError."""

    height: int
    width: int

    def __new__(cls, given: object) -> "Sides":
        """Parse a text, or take a number for both sides."""
        words = str(given).lower().replace("×", "x").split("x")
        try:
            sides = [int(word) for word in words]
        except ValueError:
            sides = []
        if len(sides) not in (1, 2) or not all(1 <= side <= MOST_PX for side in sides):
            raise SpecError(
                f"size is {str(given)!r}; it must be a number of pixels from 1 to {MOST_PX}, or a width and a height "
                "such as 800x200"
            )
        made = super().__new__(cls, max(sides))
        made.width, made.height = sides[0], sides[-1]
        return made

    def __str__(self) -> str:
        """The text: one number for a square."""
        return str(int(self)) if self.width == self.height else f"{self.width}x{self.height}"

    __repr__ = __str__

    @property
    def plain(self) -> int | str:
        """The number of a square, or the text, as files keep the value."""
        return int(self) if self.width == self.height else str(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Validate a number or a text; files keep it as it was given."""
        kept = core_schema.plain_serializer_function_ser_schema(lambda sides: sides.plain)
        return core_schema.no_info_plain_validator_function(cls, serialization=kept)


class Memory(Checked):
    """An amount of memory: "4GB", "500MB", "1.5GiB", or "auto", whose bytes are None. Raises SpecError."""

    def __init__(self, text: str) -> None:
        """Parse the text."""
        try:
            self.bytes = parse_memory(text)
        except ValueError as error:
            raise SpecError(str(error)) from None


class PrintSize(Checked):
    """The size of a print, "60x40cm@300": width and height in cm, mm or in, and dots per inch. Raises SpecError.

    `size` is (height, width) in pixels. Without dots per inch, 300 are meant.
    """

    def __init__(self, text: str) -> None:
        """Parse the text."""
        found = re.fullmatch(
            r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?) ?(cm|mm|in)(?:@(\d+))?", text.strip().lower().replace("×", "x")
        )
        if found is None:
            raise SpecError(f"print is {text!r}; write width x height in cm, mm or in, and dots per inch: 60x40cm@300")
        width, height, unit, dpi = found.groups(default="300")
        self.dpi = float(dpi)
        if not LEAST_DPI <= self.dpi <= MOST_DPI:
            raise SpecError(f"print is {text!r}; a print has {LEAST_DPI} to {MOST_DPI} dots per inch")
        rows, columns = (round(float(side) / INCH[unit] * self.dpi) for side in (height, width))
        self.size = rows, columns
        if not all(1 <= side <= MOST_PX for side in self.size):
            pixels = " × ".join(str(side) for side in reversed(self.size))
            raise SpecError(f"print is {text!r}, which is {pixels} px; each side has 1 to {MOST_PX} px")

    def long_side(self, asked: object = None) -> int:
        """The long side in pixels. Raises SpecError if another size is `asked` beside the print."""
        (height, width), side = self.size, max(self.size)
        if asked is not None and str(asked) not in (str(side), f"{width}x{height}"):
            raise SpecError(f"size is {asked}, but print {self} is {width} × {height} px; give either size or print")
        return side


def parse_layers(text: str) -> dict[str, float]:
    """Layers and weights from a text such as "relu1_1,relu2_1=0.5"; the default weight is 1. Raises SpecError."""
    weights: dict[str, float] = {}
    for entry in text.split(","):
        layer, equals, weight = (word.strip() for word in entry.partition("="))
        if not layer:
            raise SpecError(f"a layer name is missing in {text!r}; write conv1_1,conv2_1 for instance")
        if layer in weights:
            raise SpecError(f"layer {layer} is named twice in {text!r}")
        weights[layer] = parse_weight(weight if equals else "1", f"the weight of {layer}")
    return weights


def parse_weight(text: str, what: str) -> float:
    """A number from 0 to MOST_WEIGHT. Raises SpecError."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise SpecError(f"{what} is {text!r}; it must be a number from 0 upwards")
    if value > MOST_WEIGHT:
        raise SpecError(f"{what} is {text!r}; {MOST_WEIGHT:g} is the most, and only how weights compare counts")
    return value


def _is_no_size(given: object) -> object:
    """A way for strokes to run, as it was given. Raises SpecError for a number, which is a size."""
    try:
        float(str(given))
    except ValueError:
        return given
    raise SpecError(f"strokes is {str(given)!r}; it must be 'as-painted' or 'along'; --style-scale is their size")


Strokes = Annotated[Literal["as-painted", "along"], BeforeValidator(_is_no_size)]


def validated(kind: type[Model], **values: Any) -> Model:
    """Settings of a kind from values. Raises SpecError with one sentence."""
    try:
        return kind(**values)
    except ValidationError as error:
        raise SpecError(explain(error, kind)) from None


def explain(error: ValidationError, settings: type[BaseModel]) -> str:
    """The first error as a sentence: the value that was given and what is allowed."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    given = first["input"]
    if first["type"] == "extra_forbidden":
        return f"there is no setting {key!r}; {nearest(key, settings.model_fields)}"
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] == "path_type":
        return f"{key} is {given!r}; it must be the name of a file"
    allowed = first["msg"].partition(", unable to parse")[0]
    for pydantic, plain in PLAIN.items():
        allowed = allowed.replace(pydantic, plain)
    return f"{key} is {given!r}; {allowed[0].lower()}{allowed[1:]}"
