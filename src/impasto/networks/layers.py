"""A network's layers as data: each layer's name, step and inputs, and the size of its map relative to the picture.

A layer is made from the layers that it reads, which determine its channels, stride and reach:

>>> weight = torch.ones(8, 3, 3, 3)
>>> first = convolution("first", PICTURE, weight, padding=1)
>>> pooled = pool("pooled", rectifier("rectified", first), MaxPool())
>>> pooled.channels, pooled.stride, pooled.reach_px
(8, 2, 1)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from impasto.errors import NetworkError
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

    A layer of stride s has a position for each whole square of s × s pixels of the picture. `reach_px` is the farthest
    distance in pixels that a position sees beyond its square.
    """

    name: str
    step: Step
    reads: tuple[str, ...]
    channels: int
    stride: int
    reach_px: int

    def bytes_per_pixel(self, item: int) -> float:
        """Memory of the layer's map per pixel of the picture; a number takes `item` bytes."""
        return self.channels * item / self.stride**2


PICTURE = Layer(IMAGE, Add(), (), 3, 1, 0)  # nobody computes it


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
    beyond = max(padding, kernel - padding - stride) * read.stride
    step = Convolution(weight, bias, stride, padding)
    return Layer(name, step, (read.name,), out, read.stride * stride, read.reach_px + beyond)


def rectifier(name: str, read: Layer) -> Layer:
    """A rectified linear unit."""
    return Layer(name, Rectifier(), (read.name,), read.channels, read.stride, read.reach_px)


def opaque(name: str, channels: int, stride: int) -> Layer:
    """A layer that a module computes; how far its positions see is unknown."""
    return Layer(name, Opaque(), (), channels, stride, UNKNOWN_PX)


def pool(name: str, read: Layer, step: MaxPool | AveragePool) -> Layer:
    """A pooling. Its squares do not overlap, so its reach is that of the layer it reads."""
    return Layer(name, step, (read.name,), read.channels, read.stride * step.stride, read.reach_px)


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
    reach = max(layer.reach_px for layer in read)
    return Layer(name, step, tuple(layer.name for layer in read), channels, read[0].stride, reach)


def _described(read: tuple[Layer, ...]) -> str:
    return (
        " and ".join(f"{layer.name} ({layer.channels} channels, stride {layer.stride})" for layer in read) or "nothing"
    )
