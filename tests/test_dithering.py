"""Rounding to 8 bits with little change for a layer: against the layer's matrix, plain rounding, and by properties."""

from itertools import product

import pytest
import torch
from torch import Tensor

from conftest import example, random_image
from impasto.images.image import Image, quantise
from impasto.networks.catalogue import NETWORKS
from impasto.networks.network import Network
from impasto.objectives.objective import content
from impasto.synthesis.composition import Composition
from impasto.synthesis.dither import REACH, Dither, alikeness, diffuse, diffusion
from impasto.synthesis.inits import from_image, noise
from impasto.synthesis.lbfgs import lbfgs
from impasto.synthesis.loop import synthesise
from impasto.synthesis.optimisers import adam
from impasto.synthesis.schedules import single
from impasto.tasks.presets import preset
from impasto.tasks.recipes import invert, reconstruct
from impasto.tasks.settings import InvertSettings, ReconstructSettings

SIZE = (48, 64)


def of_a_convolution(weight: Tensor) -> Tensor:
    """JᵀJ of one 3 × 3 convolution, straight from its weights: by offset and pair of colours."""
    far = 2 * REACH
    alike = torch.zeros(2 * far + 1, 2 * far + 1, 3, 3, dtype=torch.float64)
    for down, across, more_down, more_across in product(range(3), repeat=4):
        pair = weight[:, :, down, across].T.double() @ weight[:, :, more_down, more_across].double()
        alike[far + more_down - down, far + more_across - across] += pair
    return alike


def test_probes_find_what_a_convolution_sees(plain: Network) -> None:
    """Up to the noise of random probes, and the border."""
    found = alikeness(plain, random_image(96, 128, dtype=torch.float32), "conv1_1", probes=8)
    truth = of_a_convolution(NETWORKS["vgg16"].load_weights()["conv1_1.weight"]) * 255**2
    assert (found - truth).norm() < 0.1 * truth.norm()
    assert (found - found.flip(0, 1).transpose(2, 3)).norm() < 1e-9 * found.norm()


def test_coefficients_are_the_best_there_are(plain: Network) -> None:
    """No other movement of the values still to come makes the layer see less of an error."""
    alike = of_a_convolution(NETWORKS["vgg16"].load_weights()["conv1_1.weight"])
    way = diffusion(alike)
    far = 2 * REACH
    energy = torch.stack(
        [torch.stack([alike[far + b[0] - a[0], far + b[1] - a[1]] for b in way.offsets]) for a in way.offsets]
    )

    def seen(error: Tensor) -> float:
        return float(torch.einsum("pc,pqcd,qd->", error, energy, error))

    for colour in range(3):
        best = way.coefficients[colour].double()
        best[0, colour] = 1
        assert not best[0, :colour].any()
        unmoved = torch.zeros_like(best)
        unmoved[0, colour] = 1
        assert seen(best) < 0.5 * seen(unmoved)
        generator = torch.Generator().manual_seed(colour)
        for _ in range(20):
            other = best + 0.05 * torch.randn(best.shape, generator=generator, dtype=best.dtype)
            other[0, : colour + 1] = best[0, : colour + 1]
            assert seen(best) < seen(other)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (20, 33)])
def test_levels_and_shapes(size: tuple[int, int]) -> None:
    """Nothing is diffused if all coefficients are 0: then it is plain rounding, pixel by pixel."""
    image = random_image(*size, dtype=torch.float32)
    far = 4 * REACH + 1
    apart = torch.zeros(far, far, 3, 3, dtype=torch.float64)
    apart[2 * REACH, 2 * REACH] = torch.eye(3)
    assert torch.equal(diffuse(image, diffusion(apart)), quantise(image))
    alike = torch.zeros_like(apart)
    alike[2 * REACH - 1 : 2 * REACH + 2, 2 * REACH - 1 : 2 * REACH + 2] = torch.eye(3)
    dithered = diffuse(image, diffusion(alike))
    assert dithered.shape == image.shape
    assert torch.equal(dithered, quantise(dithered))
    assert torch.equal(diffuse(dithered, diffusion(alike)), dithered)  # nothing is left to round


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "share"), [("conv1_1", 0.55), ("conv2_1", 0.55)])
def test_the_layer_sees_less_of_it_than_of_plain_rounding(normalised: Network, layer: str, share: float) -> None:
    photo = example("red-panda", (96, 128))
    criterion = content(photo, [layer]).bind(normalised, (96, 128))

    def error(image: Image) -> float:
        return sum(criterion.losses(image).values()) ** 0.5

    dithered = Dither(layer, probes=8)(normalised, photo)
    assert error(dithered) < share * error(quantise(photo))
    assert (dithered - photo).abs().mean() < 3 / 255
    assert torch.equal(dithered, Dither(layer, probes=8)(normalised, photo))


def test_it_is_the_last_step(normalised: Network) -> None:
    photo = example("red-panda", SIZE)
    objective = content(photo, ["conv1_1"])
    start = from_image((photo + noise(0, 0.02)(SIZE) - 0.5).clamp(0, 1))
    composition = Composition(start, objective, single(SIZE, 30), optimiser=lbfgs(), closing=Dither("conv1_1", 4))
    *before, end = synthesise(composition, normalised)
    criterion = objective.bind(normalised, SIZE)
    assert torch.equal(end.image, quantise(end.image))
    assert end.losses == criterion.losses(quantise(before[-1].image))  # of plain rounding
    assert sum(criterion.losses(end.image).values()) < 0.5 * end.loss
    assert end.step == before[-1].step + 1
    assert end.evaluations == before[-1].evaluations + 6


@pytest.mark.parametrize("most", [1, 11, 12, 40])
def test_room_is_left_for_it(tiny32: Network, most: int) -> None:
    """Under a bound on evaluations the steps leave what it takes; where that is more than half, there is none."""
    photo = random_image(16, 16, dtype=torch.float32)
    composition = Composition(
        noise(0),
        content(photo, ["conv1_1"]),
        single((16, 16), 1000),
        optimiser=adam(0.02),
        evaluations=most,
        closing=Dither("conv1_1", 4),
    )
    seen = list(synthesise(composition, tiny32))
    assert seen[-1].evaluations == most
    assert len(seen) == (most if most < 12 else most - 6 + 1)
    assert torch.equal(seen[-1].image, quantise(seen[-1].image)) == (most >= 12)


def test_only_layers_that_see_it() -> None:
    photo = random_image(16, 16, dtype=torch.float32)
    asked = ReconstructSettings(dither=4)
    for layer, dithered in {"conv1_1": 1, "relu2_2": 1, "block2_conv1": 1, "conv3_1": 0, "relu5_1": 0}.items():
        assert (reconstruct(photo, layer, asked).closing is not None) == dithered
    assert invert(photo, InvertSettings(layer="conv1_2", dither=4, seed=3)).closing == Dither("conv1_2", 4, 3)
    assert reconstruct(photo, "conv1_1").closing is None
    accurate = preset("reconstruct", "accurate")
    assert isinstance(accurate, ReconstructSettings)
    assert accurate.dither == 8
