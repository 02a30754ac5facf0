"""How the outputs of layers become maps (1, channels, height, width): grids, tokens and vectors.

Which axes are the picture's is found out, not guessed: two pictures of different sizes and proportions show which axes
of an output grow with the height and which with the width. The tokens of a transformer that grow with the picture's
area are patches; the constant rest are prefix tokens, such as the class token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from impasto.errors import NetworkError
from impasto.images.image import Size

MOST_PREFIX = 16  # class tokens and registers; transformers in use have at most 5
TOLERANCE = 0.12  # of a ratio of lengths: an axis as long as height × width is at least 25 % off

Shape = tuple[int, ...]


class Probe(NamedTuple):
    """A picture's size as the module takes it, and the shape of one output for that picture."""

    size: Size
    shape: Shape


@runtime_checkable
class Arrangement(Protocol):
    """From an output to its map, for a picture that the module takes at a size."""

    def __call__(self, output: Tensor, size: Size) -> Tensor:
        """The map: a view of the output, so that gradients find their way."""


@dataclass(frozen=True)
class Grid:
    """An output of four axes; `axes` are those of channels, rows and columns."""

    axes: tuple[int, int, int] = (1, 2, 3)

    def __call__(self, output: Tensor, size: Size) -> Tensor:
        """The output with its channels in front."""
        return output if self.axes == (1, 2, 3) else output.permute(0, *self.axes)


@dataclass(frozen=True)
class Vector:
    """One number for each channel, as classifiers and poolings over all positions give."""

    def __call__(self, output: Tensor, size: Size) -> Tensor:
        """A map of one position."""
        return output.reshape(1, -1, 1, 1)


@dataclass(frozen=True)
class Tokens:
    """The patches among the tokens of a transformer, after `prefix` other tokens.

    `axes` are those of batch, tokens and channels; a patch is stride[0] × stride[1] pixels.
    """

    axes: tuple[int, int, int]
    prefix: int
    stride: tuple[float, float]

    def __call__(self, output: Tensor, size: Size) -> Tensor:
        """The patches as the map that they cover the picture with."""
        tokens = output.permute(self.axes)[:, self.prefix :]
        grid = grid_of(tokens.shape[1], size, self.stride)
        if grid is None:
            raise NetworkError(
                f"{tokens.shape[1]} tokens do not cover a picture of {size[1]} × {size[0]} pixels with patches of "
                f"{self.stride[1]:g} × {self.stride[0]:g}; give the number of prefix tokens as tokens="
            )
        return tokens.transpose(1, 2).reshape(1, -1, *grid)


@dataclass(frozen=True)
class Prefix:
    """Some of the tokens before the patches: the map has one row, with a position for each."""

    axes: tuple[int, int, int]
    first: int
    last: int

    def __call__(self, output: Tensor, size: Size) -> Tensor:
        """A map of one row."""
        return output.permute(self.axes)[:, self.first : self.last].transpose(1, 2).unsqueeze(2)


def tensors_of(output: Any) -> dict[str, Tensor]:
    """The tensors of floating point in an output, by what is added to the layer's name: "", ".0", ".hidden_state"."""
    if isinstance(output, Tensor):
        found = {"": output}
    elif isinstance(output, Mapping):
        found = {f".{key}": value for key, value in output.items()}
    elif isinstance(output, Sequence) and not isinstance(output, str):
        found = {f".{number}": value for number, value in enumerate(output)}
    else:
        found = {}
    return {key: each for key, each in found.items() if isinstance(each, Tensor) and each.is_floating_point()}


def grid_of(count: int, size: Size, stride: tuple[float, float]) -> Size | None:
    """Rows and columns of `count` patches of that stride on a picture; None if the patches do not cover it."""
    for rows in {int(size[0] // stride[0]), -int(-size[0] // stride[0])}:
        for columns in {int(size[1] // stride[1]), -int(-size[1] // stride[1])}:
            if rows * columns == count > 0:
                return rows, columns
    return None


def arrange(
    probes: Sequence[Probe], grids: Sequence[tuple[float, float]], prefix: int | None = None
) -> Arrangement | str:
    """The arrangement of an output, from its shapes for one or two pictures; else why there is none, in words.

    `grids` are the strides of the layers before, the last first. `prefix` is the number of prefix tokens if known.
    """
    shape = probes[0].shape
    if len({len(probe.shape) for probe in probes}) > 1:
        return "the number of its axes changes with the picture's size"
    varying = [axis for axis in range(len(shape)) if len({probe.shape[axis] for probe in probes}) > 1]
    if len(shape) == 4:
        return _grid(probes, varying, grids)
    if len(shape) == 3:
        return _tokens(probes, varying, grids, prefix)
    if len(shape) == 2 and shape[0] == 1 and not varying:
        return Vector()
    return f"its output of shape {shape} is neither a map nor tokens"


def _grid(probes: Sequence[Probe], varying: list[int], grids: Sequence[tuple[float, float]]) -> Arrangement | str:
    shape = probes[0].shape
    last = 1 in varying and 3 not in varying
    if len(probes) == 1:  # channels come last if only then the rows and columns are those of a layer before
        fits = [grid_of(shape[axis] * shape[axis + 1], probes[0].size, stride) for stride in grids for axis in (1, 2)]
        last = (shape[1], shape[2]) in fits and (shape[2], shape[3]) not in fits
    axes = (3, 1, 2) if last else (1, 2, 3)
    grows = all(_follows(probes, axis, side) for side, axis in enumerate(axes[1:]) if axis in varying)
    if shape[0] != 1 or 0 in varying or axes[0] in varying or not grows:
        return f"its output of shape {shape} does not grow as a picture does"
    return Grid(axes)


def _follows(probes: Sequence[Probe], axis: int, side: int) -> bool:
    """Whether an axis is as much longer in the second output as that side of the picture is."""
    first, second = probes[0], probes[-1]
    ratio, found = second.size[side] / first.size[side], second.shape[axis] / max(1, first.shape[axis])
    return abs(found - ratio) <= TOLERANCE * ratio + 1.5 / max(1, first.shape[axis])


def _tokens(
    probes: Sequence[Probe], varying: list[int], grids: Sequence[tuple[float, float]], prefix: int | None
) -> Arrangement | str:
    """Batch, tokens, channels in any of the usual orders; the number of prefix tokens is the same at all sizes."""
    shape = probes[0].shape
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2)]
    orders = [axes for axes in orders if shape[axes[0]] == 1 and axes[0] not in varying and axes[2] not in varying]
    if shape[:2] == (1, 1) and not varying:
        return Vector()
    for axes in orders:
        counts = [probe.shape[axes[1]] for probe in probes]
        for stride in [*grids, *_square_patches(probes, counts)]:
            found = _prefix(probes, counts, stride)
            if found is not None and found in (prefix, found if prefix is None else None):
                return Tokens(axes, found, stride)
    if len(probes) == 1 and orders:
        return _lone(probes[0], orders[0], prefix)
    return f"its output of shape {shape} is neither a map nor tokens that cover the picture"


def _prefix(probes: Sequence[Probe], counts: Sequence[int], stride: tuple[float, float]) -> int | None:
    """How many tokens are left over by patches of that stride; None if patches do not explain the counts."""
    covered = [int(probe.size[0] // stride[0]) * int(probe.size[1] // stride[1]) for probe in probes]
    left = {count - patches for count, patches in zip(counts, covered, strict=True)}
    found = left.pop()
    return found if not left and 0 <= found <= MOST_PREFIX and min(covered) > 1 else None


def _square_patches(probes: Sequence[Probe], counts: Sequence[int]) -> list[tuple[float, float]]:
    """The stride of square patches that explains how the number of tokens grows with the picture's area."""
    areas = [probe.size[0] * probe.size[1] for probe in probes]
    more = counts[-1] - counts[0]
    side = round(((areas[-1] - areas[0]) / more) ** 0.5) if more > 0 else 0
    return [(float(side), float(side))] if side else []


def _lone(probe: Probe, axes: tuple[int, int, int], prefix: int | None) -> Arrangement | str:
    """Tokens of a module that takes one size alone: as many rows to columns as the picture has."""
    count, (height, width) = probe.shape[axes[1]], probe.size
    fitting: dict[int, tuple[float, float]] = {}
    for left in range(MOST_PREFIX + 1) if prefix is None else [prefix]:
        rows = round(max(0, (count - left) * height / width) ** 0.5)
        if rows > 1 and (count - left) % rows == 0 and (count - left) // rows * height == rows * width:
            fitting[left] = (height / rows, width * rows / (count - left))
    if len(fitting) == 1:
        ((left, stride),) = fitting.items()
        return Tokens(axes, left, stride)
    choice = " or ".join(f"tokens={left}" for left in fitting) or "tokens="
    return f"its {count} tokens may be patches in several ways; say how many tokens come before them with {choice}"
