"""Operations that modules have and VGG has not, each with its way forward and back; see `impasto.networks.steps`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional


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
class WideMaxPool:
    """The largest under a kernel wider than its stride, as in the first layers of residual networks."""

    kernel: int
    stride: int
    padding: int

    keeps = frozenset[Literal["input", "output"]]({"input"})
    unfolded = 0
    in_place = False

    def forward(self, inputs: Sequence[Tensor], spare: Sequence[bool]) -> Tensor:
        """A map smaller by the stride."""
        return functional.max_pool2d(inputs[0], self.kernel, self.stride, self.padding)

    def back(self, gradient: Tensor, past: Any) -> Sequence[Tensor]:
        """Autograd's: the first of equal maxima takes the gradient of each kernel."""
        with torch.enable_grad():
            variable = past.inputs[0].detach().requires_grad_()
            (found,) = torch.autograd.grad(self.forward([variable], [False]), variable, gradient)
        return (found,)
