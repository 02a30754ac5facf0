"""How good a result is, against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import random_image
from impasto.metrics import feature_error, peak_memory_mb, psnr
from impasto.networks import Network


def test_psnr_by_hand() -> None:
    image = torch.full((1, 3, 4, 5), 0.5)
    assert psnr(image + 0.1, image) == pytest.approx(20)
    assert psnr(image + 0.01, image) == pytest.approx(40, abs=1e-3)
    assert psnr(torch.ones(1, 3, 4, 5), torch.zeros(1, 3, 4, 5)) == 0
    assert psnr(image, image) == math.inf
    spot = image.clone()
    spot[0, 1, 2, 3] = 0.0  # one value of sixty is off by a half
    assert psnr(spot, image) == pytest.approx(10 * math.log10(60 / 0.25))


@given(st.integers(0, 1000))
def test_psnr(seed: int) -> None:
    image, reference = random_image(6, 7, seed), random_image(6, 7, seed + 1)
    mean_square = np.mean((image.numpy() - reference.numpy()) ** 2)
    assert psnr(image, reference) == pytest.approx(-10 * np.log10(mean_square))
    assert psnr(image, reference) == psnr(reference, image)


def test_feature_error(tiny: Network) -> None:
    image, reference, layers = random_image(9, 11), random_image(9, 11, 1), ["conv1_1", "relu1_2", "pool2"]
    found = feature_error(tiny, image, reference, layers)
    assert list(found) == layers
    for layer in layers:
        a, b = (tiny(picture, [layer])[layer].numpy() for picture in (image, reference))
        assert found[layer] == pytest.approx(np.sqrt(((a - b) ** 2).sum() / (b**2).sum()))


def test_feature_error_of_the_picture_itself(tiny: Network) -> None:
    image = random_image(9, 11)
    assert feature_error(tiny, image, image, ["image", "conv2_1"]) == {"image": 0, "conv2_1": 0}
    assert feature_error(tiny, 0 * image, image, ["image"])["image"] == pytest.approx(1)
    assert feature_error(tiny, 0.75 * image, image, ["image"])["image"] == pytest.approx(0.25)


def test_an_empty_code_can_be_met(tiny: Network) -> None:
    black = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    assert feature_error(tiny, black, black, ["image"]) == {"image": 0}


def test_peak_memory() -> None:
    before = peak_memory_mb(torch.device("cpu"))
    block = torch.ones(100_000_000 // 4)
    assert before > 50  # torch alone takes more
    assert peak_memory_mb(torch.device("cpu")) >= before
    assert block.sum() > 0
