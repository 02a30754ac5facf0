"""A known gradient, taken further back."""

import pytest
import torch

from impasto.gradients import end


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_is_that_of_autograd(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    variable = torch.randn(3, 5, generator=generator, dtype=dtype).requires_grad_()
    found = (variable.sin() * variable)[1:]
    slope = torch.randn(2, 5, generator=generator, dtype=dtype)
    (expected,) = torch.autograd.grad(found, variable, slope, retain_graph=True)
    with torch.no_grad():  # as in `torch.autograd.grad`, this makes no difference
        last = end(found, slope)
    (gradient,) = torch.autograd.grad(last, variable)
    assert (last.shape, last.item()) == ((), 0)
    assert gradient.equal(expected)
    assert torch.autograd.grad(end(variable, slope.new_ones(3, 5)), variable)[0].equal(slope.new_ones(3, 5))


def test_several_ends_add_up() -> None:
    variable = torch.linspace(0, 1, 4, dtype=torch.float64).requires_grad_()
    ends, slopes = [variable**2, variable.exp()], [torch.arange(4.0).double(), torch.ones(4).double()]
    (expected,) = torch.autograd.grad(ends, variable, slopes, retain_graph=True)
    (gradient,) = torch.autograd.grad([end(*pair) for pair in zip(ends, slopes, strict=True)], variable)
    assert gradient.equal(expected)
