"""Operations that modules have and VGG has not, each with its way forward and back; see `impasto.networks.steps`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

# Autograd's own step back through a rectifier with a cap, in the variant that takes an output tensor.
_hardtanh_backward = torch.ops.aten.hardtanh_backward.grad_input


@dataclass(frozen=True, eq=False)
class Scale:
    """Each channel times a factor, plus an offset: a batch norm whose statistics are fixed."""

    factor: Tensor = field(repr=False)  # (1, channels, 1, 1)
    offset: Tensor = field(repr=False)

    keeps = frozenset[Literal["input", "output"]]()
    unfolded = 0
    in_place = True

    def forward(self, inputs: Sequence[Tensor], spare: Sequence[bool]) -> Tensor:
        """The output, over the input if that is spare."""
        if spare[0]:
            return inputs[0].mul_(self.factor).add_(self.offset)
        return torch.addcmul(self.offset, inputs[0], self.factor)

    def back(self, gradient: Tensor, past: Any) -> Sequence[Tensor]:
        """The gradient times the factors."""
        return (gradient.mul_(self.factor),)


@dataclass(frozen=True)
class Capped:
    """A rectifier whose values are at most `most`, as ReLU6."""

    most: float

    keeps = frozenset[Literal["input", "output"]]({"output"})
    unfolded = 0
    in_place = True

    def forward(self, inputs: Sequence[Tensor], spare: Sequence[bool]) -> Tensor:
        """The output, over the input if that is spare."""
        return functional.hardtanh(inputs[0], 0.0, self.most, inplace=spare[0])

    def back(self, gradient: Tensor, past: Any) -> Sequence[Tensor]:
        """The gradient where the output is above 0 and below `most`."""
        _hardtanh_backward(gradient, past.output, 0.0, self.most, grad_input=gradient)
        return (gradient,)


@dataclass(frozen=True)
class WideMaxPool:
    """The largest under a kernel of any size, as in the first layers of residual networks and SqueezeNet.

    With `ceil`, a last row or column of kernels may reach over the edge of the map.
    """

    kernel: int
    stride: int
    padding: int
    ceil: bool = False

    keeps = frozenset[Literal["input", "output"]]({"input"})
    unfolded = 0
    in_place = False

    def forward(self, inputs: Sequence[Tensor], spare: Sequence[bool]) -> Tensor:
        """A map smaller by the stride."""
        return functional.max_pool2d(inputs[0], self.kernel, self.stride, self.padding, ceil_mode=self.ceil)

    def back(self, gradient: Tensor, past: Any) -> Sequence[Tensor]:
        """Autograd's: the first of equal maxima takes the gradient of each kernel."""
        with torch.enable_grad():
            variable = past.inputs[0].detach().requires_grad_()
            (found,) = torch.autograd.grad(self.forward([variable], [False]), variable, gradient)
        return (found,)


@dataclass(frozen=True)
class PadSame:
    """Zeros for windows of a kernel and stride to give ⌈side / stride⌉ positions: the odd zero is the last.

    How many there are depends on the map's size. Source: TensorFlow's padding "SAME".
    """

    kernel: int
    stride: int

    keeps = frozenset[Literal["input", "output"]]()
    unfolded = 0
    in_place = False

    def forward(self, inputs: Sequence[Tensor], spare: Sequence[bool]) -> Tensor:
        """A larger map."""
        return Pad(*self.beside(inputs[0].shape)).forward(inputs, spare)

    def back(self, gradient: Tensor, past: Any) -> Sequence[Tensor]:
        """The gradient without that of the zeros."""
        return Pad(*self.beside(past.shapes[0])).back(gradient, past)

    def beside(self, shape: Sequence[int]) -> tuple[int, int, int, int]:
        """The zeros on the left and right, top and bottom of a map of that shape."""
        rows, columns = (max(self.kernel - 1 - (side - 1) % self.stride, 0) for side in shape[-2:])
        return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2


@dataclass(frozen=True)
class Pad:
    """Zeros around a map: so many columns on the left and right, and rows at the top and bottom."""

    left: int
    right: int
    top: int
    bottom: int

    keeps = frozenset[Literal["input", "output"]]()
    unfolded = 0
    in_place = False

    def beside(self, shape: Sequence[int]) -> tuple[int, int, int, int]:
        """The zeros on the left and right, top and bottom of any map."""
        return self.left, self.right, self.top, self.bottom

    def forward(self, inputs: Sequence[Tensor], spare: Sequence[bool]) -> Tensor:
        """A larger map."""
        return functional.pad(inputs[0], (self.left, self.right, self.top, self.bottom))

    def back(self, gradient: Tensor, past: Any) -> Sequence[Tensor]:
        """The gradient without that of the zeros."""
        height, width = past.shapes[0][2:]
        return (gradient[:, :, self.top : self.top + height, self.left : self.left + width],)
