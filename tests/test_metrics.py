"""Measures of a result, against numbers computed by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import impasto.tiles.tilings
from conftest import CLASSIC, example, random_image
from impasto.images.image import Picture, psnr, quantise
from impasto.machine import peak_memory_mb
from impasto.networks.network import Network
from impasto.networks.steps import Convolution
from impasto.runs.fitting import plan_memory
from impasto.runs.measures import measure
from impasto.tasks.settings import ReconstructSettings, Settings, TextureSettings, TransferSettings
from impasto.tasks.spec import RunSpec, compose
from impasto.tasks.table import TASKS
from impasto.tiles.budget import Limits
from impasto.tiles.reading import feature_error


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


@pytest.mark.parametrize("memory", [1e12, 1e6], ids=["whole", "tiles"])
@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        (
            TransferSettings(
                content_layers="conv2_2=1,relu1_2=0.5", style_layers="relu1_1,relu2_1", size=64, **CLASSIC
            ),
            3,
        ),
        (
            TransferSettings(
                content_layers="relu2_2",
                style_layers="relu2_1",
                distance="squared",
                statistics="gram",
                size=64,
                **CLASSIC,
            ),
            3,
        ),
        (ReconstructSettings(layers="conv2_1", size=64), 2),
        (TextureSettings(layers="relu1_1,relu2_1", size=64), 2),
    ],
    ids=["transfer", "transfer by squares", "reconstruct", "texture"],
)
def test_a_result_is_measured_in_one_reading_of_each_picture(
    plain: Network, monkeypatch: pytest.MonkeyPatch, settings: Settings, passes: int, memory: float
) -> None:
    """Losses as the objective says, errors as `feature_error` does."""
    monkeypatch.setattr(impasto.tiles.tilings, "LEAST_PX", 16)
    task = next(name for name, row in TASKS.items() if isinstance(settings, row.settings))
    pictures = [Picture(example(name, (48, 64))) for name in ("neuschwanstein-castle", "cafe-terrace-at-night")]
    pictures = pictures if task == "transfer" else pictures[:1]
    spec = RunSpec(task=task, pictures=tuple(Path("x.png") for _ in pictures), settings=settings)
    (part,) = compose(spec, pictures)
    size, plan = (
        part.composition.schedule[-1].size,
        plan_memory(part.composition, plain, Limits(memory), settings),
    )
    image = random_image(*size, 3, torch.float32)
    truth = part.composition.objective.bind(plain, size).losses(quantise(image))
    read = list[str]()
    forward = Convolution.forward

    def counted(step: Convolution, *inputs: Any) -> torch.Tensor:
        read.append("picture" if step.weight.shape[1] == 3 else "map")
        return forward(step, *inputs)

    with monkeypatch.context() as patch:
        patch.setattr(Convolution, "forward", counted)
        found = measure(part, quantise(image), None if task == "texture" else pictures[0], plan)
    count = read.count("picture")
    if memory == 1e12:
        assert count == passes
    else:
        assert count >= 2 * passes
    assert found["losses"] == pytest.approx(truth, rel=1e-5)
    assert list(found["losses"]) == list(part.composition.objective.weights())
    if task != "texture":
        layers = found["metrics"]["feature_error"]
        assert layers == pytest.approx(feature_error(plain, quantise(image), pictures[0].image, layers), rel=1e-5)
        assert found["metrics"]["psnr"] == pytest.approx(psnr(quantise(image), pictures[0].image))


def test_peak_memory() -> None:
    before = peak_memory_mb(torch.device("cpu"))
    block = torch.ones(100_000_000 // 4)
    assert before > 50  # torch alone takes more
    assert peak_memory_mb(torch.device("cpu")) >= before
    assert block.sum() > 0
