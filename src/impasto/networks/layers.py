"""A network's layers as data: each layer's name, step and inputs, and the size of its map relative to the picture.

A layer is made from the layers that it reads, which determine its channels, stride and reach:

>>> weight = torch.ones(8, 3, 3, 3)
>>> first = convolution("first", PICTURE, weight, padding=1)
>>> pooled = pool("pooled", rectifier("rectified", first), MaxPool())
>>> pooled.channels, pooled.stride, pooled.reach_px
(8, 2, 1)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from torch import Tensor

from impasto.errors import NetworkError
from impasto.images.image import Size
from impasto.networks.steps import (
    Add,
    AveragePool,
    Concatenate,
    Convolution,
    FeatureMap,
    Kept,
    MaxPool,
    Past,
    Rectifier,
    Step,
)

UNKNOWN_PX = 1 << 40  # the reach of layers that may see all of any picture
IMAGE = "image"  # the picture itself is a layer too, so that priors are ordinary terms


@runtime_checkable
class Windowed(Step, Protocol):
    """A step whose positions see windows of a map with zeros, or nothing, around."""

    @property
    def stride(self) -> int:
        """Positions from one window to the next."""

    @property
    def padding(self) -> int:
        """Positions of the first window before the map."""


@dataclass(frozen=True)
class Opaque:
    """An operation of a module, which the module itself computes."""

    keeps = frozenset[Kept]()
    unfolded = 0
    in_place = False

    def forward(self, inputs: Sequence[FeatureMap], spare: Sequence[bool]) -> FeatureMap:
        """Nothing: there is no pass by hand through a module."""
        raise NotImplementedError

    def back(self, gradient: FeatureMap, past: Past) -> Sequence[FeatureMap]:
        """Nothing, likewise."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: its step, and the layers that the step reads, by name.

    A layer of stride s has a position for each square of s × s pixels of the picture. A position sees `before_px`
    pixels above and to the left of its square, and `after_px` below and to the right, at most; if negative, not all of
    the square. Along a side there are (side + `extra_px`) // s positions: zeros around maps may give one more than the
    picture has whole squares, kernels without zeros leave some out. `shifts` says that what a position sees also
    depends on the remainder of the picture's side divided by the stride.
    """

    name: str
    step: Step
    reads: tuple[str, ...]
    channels: int
    stride: int
    before_px: int
    after_px: int
    extra_px: int = 0
    shifts: bool = False

    @property
    def reach_px(self) -> int:
        """The farthest distance in pixels that a position sees beyond its square."""
        return max(self.before_px, self.after_px, 0)

    def positions(self, size: Size) -> Size:
        """The height and width of the layer's map of a picture of that size."""
        return (size[0] + self.extra_px) // self.stride, (size[1] + self.extra_px) // self.stride

    def bytes_per_pixel(self, item: int) -> float:
        """Memory of the layer's map per pixel of the picture; a number takes `item` bytes."""
        return self.channels * item / self.stride**2


PICTURE = Layer(IMAGE, Add(), (), 3, 1, 0, 0)  # nobody computes it


def convolution(
    name: str, read: Layer, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int
) -> Layer:
    """A convolution with weights (out, in, kernel, kernel) and bias (out), `padding` zeros on each side.

    Raises NetworkError unless the weights take the maps read, and the output has one position for each square of
    stride × stride positions: kernel - stride <= 2 · padding < kernel.
    """
    out, taken, kernel, across = weight.shape
    if taken != read.channels or across != kernel:
        raise NetworkError(
            f"{name} cannot read {read.name}: weights of {tuple(weight.shape)} take {taken} channels, not "
            f"{read.channels}, or are not square"
        )
    if not kernel - stride <= 2 * padding < kernel:
        raise NetworkError(
            f"{name} has a kernel of {kernel}, stride {stride} and padding {padding}; twice the padding must be at "
            f"least {kernel - stride} and below {kernel}"
        )
    made = windows(name, read, Convolution(weight, bias, stride, padding), kernel)
    return replace(made, channels=out, extra_px=read.extra_px)


def windows(name: str, read: Layer, step: Windowed, kernel: int, over: int = 0) -> Layer:
    """A layer whose positions see `kernel` × `kernel` positions; at the end `over` of them may lie behind zeros."""
    behind = kernel - step.padding - step.stride
    return replace(
        read,
        name=name,
        step=step,
        reads=(read.name,),
        stride=read.stride * step.stride,
        before_px=read.before_px + step.padding * read.stride,
        after_px=read.after_px + behind * read.stride,
        extra_px=read.extra_px + (step.padding - behind + over) * read.stride,
    )


def rectifier(name: str, read: Layer) -> Layer:
    """A rectified linear unit."""
    return replace(read, name=name, step=Rectifier(), reads=(read.name,))


def opaque(name: str, channels: int, stride: int) -> Layer:
    """A layer that a module computes; how far its positions see is unknown."""
    return Layer(name, Opaque(), (), channels, stride, UNKNOWN_PX, UNKNOWN_PX)


def pool(name: str, read: Layer, step: MaxPool | AveragePool) -> Layer:
    """A pooling. Its squares do not overlap, so its reach is that of the layer it reads."""
    return replace(read, name=name, step=step, reads=(read.name,), stride=read.stride * step.stride)


def add(name: str, *read: Layer) -> Layer:
    """The sum of two or more maps. Raises NetworkError unless all have the same channels and stride."""
    if len({(layer.channels, layer.stride) for layer in read}) != 1 or len(read) < 2:
        raise NetworkError(f"{name} cannot add {_described(read)}; give two or more maps of equal channels and stride")
    return _joined(name, Add(), read, read[0].channels)


def concatenate(name: str, *read: Layer) -> Layer:
    """The channels of two or more maps. Raises NetworkError unless all have the same stride."""
    if len({layer.stride for layer in read}) != 1 or len(read) < 2:
        raise NetworkError(f"{name} cannot join {_described(read)}; give two or more maps of equal stride")
    return _joined(name, Concatenate(), read, sum(layer.channels for layer in read))


def _joined(name: str, step: Step, read: tuple[Layer, ...], channels: int) -> Layer:
    alike = len({layer.extra_px for layer in read}) == 1  # else the maps fit in pictures of some sizes alone
    return Layer(
        name,
        step,
        tuple(layer.name for layer in read),
        channels,
        read[0].stride,
        max(layer.before_px for layer in read) if alike else UNKNOWN_PX,
        max(layer.after_px for layer in read),
        read[0].extra_px,
        any(layer.shifts for layer in read),
    )


def _described(read: tuple[Layer, ...]) -> str:
    return (
        " and ".join(f"{layer.name} ({layer.channels} channels, stride {layer.stride})" for layer in read) or "nothing"
    )
