"""The operations that networks are made of: each with its way forward and its way back for gradients.

Weights take no gradients. So on the way back a convolution needs none of its maps, a rectifier only its output, a max
pooling its input and output. A gradient is written over the gradient that it is computed from, or over a map that is
no longer needed: fresh memory costs time, because the system fills it with zeros first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

FeatureMap = Float[Tensor, "1 _channels _height _width"]
Kept = Literal["input", "output"]

# Autograd's own step back through a rectifier, in the variant that takes an output tensor.
_threshold_backward = torch.ops.aten.threshold_backward.grad_input


class Past(NamedTuple):
    """The way forward as a step's way back knows it: the shapes of all inputs, and the maps that the step keeps."""

    shapes: tuple[torch.Size, ...]
    inputs: tuple[FeatureMap, ...]  # empty unless the step keeps them
    output: FeatureMap | None
    spare: tuple[bool, ...]  # for each input kept: whether the way back may write over its map


@runtime_checkable
class Step(Protocol):
    """One operation. Each position of its output stands for a square of `stride` × `stride` positions of its inputs."""

    @property
    def keeps(self) -> frozenset[Kept]:
        """The maps that the way back needs."""

    @property
    def unfolded(self) -> int:
        """How many values the step copies for each position of its output if it unfolds its input; else 0."""

    @property
    def in_place(self) -> bool:
        """Whether the output takes the memory of an input that is spare."""

    def forward(self, inputs: Sequence[FeatureMap], spare: Sequence[bool]) -> FeatureMap:
        """The output; the step may write over those inputs that are `spare`."""

    def back(self, gradient: FeatureMap, past: Past) -> Sequence[FeatureMap]:
        """The gradient for each input, from the gradient for the output, which the step may write over.

        No two of the gradients share memory.
        """


@dataclass(frozen=True, eq=False)
class AnyConvolution:
    """A convolution with fixed weights (out, in, height, width) and bias (out), at all positions that PyTorch gives."""

    weight: Tensor = field(repr=False)
    bias: Tensor | None = field(default=None, repr=False)
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    keeps = frozenset[Kept]()
    in_place = False

    @property
    def unfolded(self) -> int:
        """The number of values under the kernels."""
        return self.weight[0].numel() * self.groups

    def forward(self, inputs: Sequence[FeatureMap], spare: Sequence[bool]) -> FeatureMap:
        """The output, in the weights' precision."""
        maps, weight, bias = inputs[0], self.weight, self.bias
        return functional.conv2d(maps, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def back(self, gradient: FeatureMap, past: Past) -> Sequence[FeatureMap]:
        """A transposed convolution; 0 where no kernel reaches."""
        weight, stride, padding, dilation = self.weight, self.stride, self.padding, self.dilation
        sides = zip(past.shapes[0][2:], gradient.shape[2:], weight.shape[2:], strict=True)
        more = [side - ((n - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1) for side, n, kernel in sides]
        return (functional.conv_transpose2d(gradient, weight, None, stride, padding, more, self.groups, dilation),)


@dataclass(frozen=True, eq=False)
class Convolution(AnyConvolution):
    """A convolution with one position for each square of `stride` × `stride`; an incomplete square is left out."""

    def forward(self, inputs: Sequence[FeatureMap], spare: Sequence[bool]) -> FeatureMap:
        """The output, in the weights' precision."""
        height, width = _whole(inputs[0].shape, self.stride)
        return super().forward([inputs[0][:, :, :height, :width]], spare)

    def back(self, gradient: FeatureMap, past: Past) -> Sequence[FeatureMap]:
        """A transposed convolution; 0 in the rows and columns left out."""
        shape = past.shapes[0]
        height, width = _whole(shape, self.stride)
        (found,) = super().back(gradient, past._replace(shapes=(torch.Size([*shape[:2], height, width]),)))
        beside = (0, shape[3] - width, 0, shape[2] - height)
        return (functional.pad(found, beside) if any(beside) else found,)


@dataclass(frozen=True)
class Rectifier:
    """A rectified linear unit: max(0, x)."""

    keeps = frozenset[Kept]({"output"})
    unfolded = 0
    in_place = True

    def forward(self, inputs: Sequence[FeatureMap], spare: Sequence[bool]) -> FeatureMap:
        """The output, over the input if that is spare."""
        return functional.relu(inputs[0], inplace=spare[0])

    def back(self, gradient: FeatureMap, past: Past) -> Sequence[FeatureMap]:
        """The gradient where the output is above 0."""
        _threshold_backward(gradient, past.output, 0, grad_input=gradient)
        return (gradient,)


@dataclass(frozen=True)
class MaxPool:
    """The largest of each 2 × 2 square; an odd last row or column is left out."""

    keeps = frozenset[Kept]({"input", "output"})
    unfolded = 0
    in_place = False
    stride = 2

    def forward(self, inputs: Sequence[FeatureMap], spare: Sequence[bool]) -> FeatureMap:
        """A map of half the height and width."""
        return _largest(inputs[0])

    def back(self, gradient: FeatureMap, past: Past) -> Sequence[FeatureMap]:
        """The first of equal maxima takes the whole gradient, as in `torch.nn.functional.max_pool2d`."""
        assert past.output is not None
        return (_to_the_largest(gradient, past.output, past.inputs[0], past.spare[0]),)

    def rectified(self) -> Step:
        """A rectifier and this pooling as one step."""
        return RectifiedMaxPool()


@dataclass(frozen=True)
class AveragePool:
    """The mean of each 2 × 2 square; an odd last row or column is left out."""

    keeps = frozenset[Kept]()
    unfolded = 0
    in_place = False
    stride = 2

    def forward(self, inputs: Sequence[FeatureMap], spare: Sequence[bool]) -> FeatureMap:
        """A map of half the height and width."""
        return functional.avg_pool2d(inputs[0], 2)

    def back(self, gradient: FeatureMap, past: Past) -> Sequence[FeatureMap]:
        """A quarter of the gradient to each position of a square."""
        into = gradient.new_empty(past.shapes[0]).contiguous(memory_format=torch.channels_last)
        gradient.div_(4)
        for quarter in _quarters(into):
            quarter.copy_(gradient)
        return (_clear_rim(into),)

    def rectified(self) -> Step:
        """A rectifier and this pooling as one step."""
        return RectifiedAveragePool()


@dataclass(frozen=True)
class RectifiedMaxPool:
    """A rectifier and a max pooling as one step, which computes no rectified map of full size.

    The rectified maximum is the maximum of the rectified values.
    """

    keeps = frozenset[Kept]({"input", "output"})
    unfolded = 0
    in_place = False
    stride = 2

    def forward(self, inputs: Sequence[FeatureMap], spare: Sequence[bool]) -> FeatureMap:
        """A map of half the height and width."""
        return functional.relu(_largest(inputs[0]), inplace=True)

    def back(self, gradient: FeatureMap, past: Past) -> Sequence[FeatureMap]:
        """The gradient to the first maximum of each square, if that is above 0."""
        assert past.output is not None
        _threshold_backward(gradient, past.output, 0, grad_input=gradient)
        return (_to_the_largest(gradient, past.output, past.inputs[0], past.spare[0]),)


@dataclass(frozen=True)
class RectifiedAveragePool:
    """A rectifier and an average pooling as one step."""

    keeps = frozenset[Kept]({"input"})
    unfolded = 0
    in_place = False
    stride = 2

    def forward(self, inputs: Sequence[FeatureMap], spare: Sequence[bool]) -> FeatureMap:
        """A map of half the height and width; the way back works with the input, rectified or not."""
        return functional.avg_pool2d(functional.relu(inputs[0], inplace=spare[0]), 2)

    def back(self, gradient: FeatureMap, past: Past) -> Sequence[FeatureMap]:
        """A quarter of the gradient to each position of a square whose value is above 0."""
        gradient.div_(4)
        passed, maps = torch.empty_like(gradient), past.inputs[0]
        into = maps if past.spare[0] else torch.empty_like(maps)
        for values, quarter in zip(_quarters(maps), _quarters(into), strict=True):
            _threshold_backward(gradient, passed.copy_(values), 0, grad_input=passed)
            quarter.copy_(passed)
        return (_clear_rim(into),)


@dataclass(frozen=True)
class Add:
    """The sum of maps of one shape: where a residual branch ends."""

    keeps = frozenset[Kept]()
    unfolded = 0
    in_place = True

    def forward(self, inputs: Sequence[FeatureMap], spare: Sequence[bool]) -> FeatureMap:
        """The sum, over the first input that is spare."""
        reused = spare.index(True) if True in spare else None
        total = inputs[0] + inputs[1] if reused is None else inputs[reused]
        others = inputs[2:] if reused is None else [maps for number, maps in enumerate(inputs) if number != reused]
        for maps in others:
            total = total.add_(maps)
        return total

    def back(self, gradient: FeatureMap, past: Past) -> Sequence[FeatureMap]:
        """The gradient for each input; all but the first are copies."""
        return (gradient, *(gradient.clone() for _ in past.shapes[1:]))


@dataclass(frozen=True)
class Concatenate:
    """Maps of one height and width, their channels one after the other."""

    keeps = frozenset[Kept]()
    unfolded = 0
    in_place = False

    def forward(self, inputs: Sequence[FeatureMap], spare: Sequence[bool]) -> FeatureMap:
        """A map of all channels."""
        return torch.cat(list(inputs), dim=1)

    def back(self, gradient: FeatureMap, past: Past) -> Sequence[FeatureMap]:
        """For each input, the gradient of its channels."""
        slices = torch.split(gradient, [shape[1] for shape in past.shapes], dim=1)
        return [each.clone(memory_format=torch.channels_last) for each in slices]


def _whole(shape: torch.Size, stride: int) -> tuple[int, int]:
    """The height and width that squares of `stride` × `stride` fill."""
    return shape[2] // stride * stride, shape[3] // stride * stride


def _largest(maps: Tensor) -> Tensor:
    if torch.is_grad_enabled() and maps.requires_grad:  # torch.maximum would share the gradient among equals
        return functional.max_pool2d(maps, 2)
    first, second, third, fourth = _quarters(maps)
    return torch.maximum(first, second).maximum(torch.maximum(third, fourth))


def _quarters(maps: Tensor) -> list[Tensor]:
    """Four views, each with one position of every 2 × 2 square; an odd last row or column is in none of them."""
    height, width = _whole(maps.shape, 2)
    return [maps[:, :, top:height:2, left:width:2] for top in (0, 1) for left in (0, 1)]


def _to_the_largest(gradient: Tensor, pooled: Tensor, maps: Tensor, spare: bool) -> Tensor:
    """Back through max pooling, over `maps` if they are spare; `pooled` is the largest of each square, or 0."""
    into = maps if spare else torch.empty_like(maps)
    nearly = -torch.finfo(maps.dtype).tiny
    passed = torch.empty_like(pooled)
    for values, quarter in zip(_quarters(maps), _quarters(into), strict=True):
        passed.copy_(values).sub_(pooled)  # 0 at the largest, negative elsewhere
        _threshold_backward(gradient, passed, nearly, grad_input=passed)
        gradient.sub_(passed)
        quarter.copy_(passed)
    return _clear_rim(into)


def _clear_rim(maps: Tensor) -> Tensor:
    height, width = _whole(maps.shape, 2)
    maps[:, :, height:].zero_()
    maps[:, :, :, width:].zero_()
    return maps
