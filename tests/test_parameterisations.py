"""Parameterisations: encoding and decoding, their gradients and their scale."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from conftest import random_image
from impasto.images.image import Size
from impasto.synthesis.parameterisations import Fourier, Parameterisation, Pixels

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))
ALL = [Pixels(), Fourier(), Fourier(0.0), Fourier(1.0)]
FOURIER = ALL[1:]


def white(like: Tensor, seed: int = 0) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype)


@pytest.mark.parametrize("parameterisation", ALL, ids=str)
@given(size=sizes, seed=st.integers(0, 1000))
def test_decoding_what_was_encoded(parameterisation: Parameterisation, size: Size, seed: int) -> None:
    image = random_image(*size, seed)
    parameters = parameterisation.encode(image)
    assert parameters.ndim == 1
    assert torch.allclose(parameterisation.decode(parameters, size), image, atol=1e-12)


@pytest.mark.parametrize("parameterisation", ALL, ids=str)
@pytest.mark.parametrize("size", [(5, 6), (6, 5), (4, 4), (1, 3)])
def test_gradients(parameterisation: Parameterisation, size: Size) -> None:
    parameters = parameterisation.encode(random_image(*size)).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: parameterisation.decode(values, size), (parameters,))


@pytest.mark.parametrize("parameterisation", ALL, ids=str)
def test_single_precision(parameterisation: Parameterisation) -> None:
    image = random_image(37, 50, dtype=torch.float32)
    parameters = parameterisation.encode(image)
    assert parameters.dtype == torch.float32
    assert (parameterisation.decode(parameters, (37, 50)) - image).abs().max() < 1e-5


@pytest.mark.parametrize("parameterisation", ALL, ids=str)
@given(seed=st.integers(0, 1000))
def test_projecting_twice_is_projecting_once(parameterisation: Parameterisation, seed: int) -> None:
    parameters = 3 * white(torch.zeros(50), seed)
    once = parameterisation.project(parameters)
    assert torch.equal(parameterisation.project(once), once)


def test_pixels_are_kept_in_range() -> None:
    parameters = torch.tensor([-2.0, 0.0, 0.3, 1.0, 1.5, 0.9])
    assert torch.equal(Pixels().project(parameters), torch.tensor([0.0, 0.0, 0.3, 1.0, 1.0, 0.9]))
    assert torch.equal(Fourier().project(parameters), parameters)


def test_pixels_are_in_the_order_of_the_picture() -> None:
    image = torch.arange(24.0).reshape(1, 3, 2, 4)
    assert Pixels().encode(image).tolist() == list(range(24))
    last = image.contiguous(memory_format=torch.channels_last)
    assert Pixels().encode(last).tolist() == list(range(24))


@pytest.mark.parametrize("parameterisation", FOURIER, ids=str)
@pytest.mark.parametrize("size", [(64, 64), (48, 91), (33, 32)])
def test_a_step_moves_the_picture_about_as_far_as_with_pixels(parameterisation: Fourier, size: Size) -> None:
    """White steps of length 1: half the spectrum is stored and stands for both halves, so √2 is due."""
    image = torch.full((1, 3, *size), 0.5, dtype=torch.float64)
    start = parameterisation.encode(image)
    moved = parameterisation.decode(start + 0.01 * white(start), size) - image
    assert moved.square().mean().sqrt().item() == pytest.approx(0.01 * 2**0.5, rel=0.1)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [(32, 32), (24, 45)])
def test_a_falling_spectrum_becomes_flat(exponent: float, size: Size) -> None:
    """A picture whose amplitudes fall as frequency^-exponent has coefficients of one length."""
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1
    phases = np.angle(np.fft.fft2(np.random.default_rng(0).normal(size=(3, height, width))))
    picture = np.fft.ifft2(frequency**-exponent * np.exp(1j * phases)).real + 0.5
    parameters = Fourier(exponent).encode(torch.from_numpy(picture[None]))
    lengths = parameters.reshape(3, height, width // 2 + 1, 2).norm(dim=-1).flatten(1)[:, 1:]  # but for the mean
    assert (lengths / lengths.mean()).numpy() == pytest.approx(1, abs=1e-6)


def test_low_frequencies_move_further_than_high_ones() -> None:
    size = (32, 32)
    low, high = torch.zeros(2, 3, 32, 17, 2, dtype=torch.float64)
    low[0, 0, 2, 0] = high[0, 0, 16, 0] = 1  # 2 against 16 cycles across the picture
    moved = [(Fourier(0.5).decode(each.flatten(), size) - 0.5).norm().item() for each in (low, high)]
    # Frequency 16 of 32 is its own mirror image: a single coefficient where the other has two.
    assert moved[0] / moved[1] == pytest.approx((16 / 2) ** 0.5 * 2**0.5)
