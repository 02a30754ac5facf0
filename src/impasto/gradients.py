"""The end of a way forward, from which autograd takes a known gradient back."""

from typing import Any

import torch
from torch import Tensor


def end(found: Tensor, slope: Tensor) -> Tensor:
    """A scalar, 0, whose gradient with respect to `found` is `slope`, which has the shape of `found`.

    `torch.autograd.grad(end(found, slope), variable)` gives what `torch.autograd.grad(found, variable, slope)` gives,
    bit for bit. PyTorch would import SymPy to compare the shapes: 0.4 s at the first step of each process.
    """
    with torch.enable_grad():  # also where a host has none
        return _End.apply(found, slope)  # type: ignore[no-any-return, no-untyped-call]


class _End(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, found: Tensor, slope: Tensor) -> Tensor:
        context.slope = slope
        return found.new_zeros(())

    @staticmethod
    def backward(context: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return context.slope, None
