"""Each fast path gives the results of the plain one, within a stated tolerance."""

from itertools import pairwise

import pytest
import torch

from conftest import EXAMPLES, example
from impasto.images.files import load_image
from impasto.images.image import Image, resize
from impasto.networks.network import Network
from impasto.objectives.objective import content, style
from impasto.objectives.representations import gram_matrix, mean_and_gram
from impasto.objectives.wasserstein import FEW_CHANNELS, wasserstein_distance
from impasto.synthesis.composition import Composition
from impasto.synthesis.inits import from_image
from impasto.synthesis.lbfgs import lbfgs
from impasto.synthesis.loop import synthesise
from impasto.synthesis.schedules import octaves, single

LAYERS = ["relu1_1", "relu2_1", "relu3_1"]


def features(channels: int, height: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    maps = torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(1)).relu()
    return maps.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(64, 48), (7, 5), (3, 4), (1, 1)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-3)]
)
def test_gram_and_its_gradient(size: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
    """Against the definition in float64; bfloat16 sums are in sixteen parts, its gradient is rounded to bfloat16."""
    maps = features(24, *size, dtype).requires_grad_()
    slope = torch.randn(24, 24, generator=torch.Generator().manual_seed(2)).to(
        torch.float64 if dtype == torch.float64 else torch.float32
    )
    found = gram_matrix(maps)
    (gradient,) = torch.autograd.grad(found, maps, slope)
    exact = maps.detach().double().requires_grad_()
    rows = exact.flatten(2)[0]
    truth = rows @ rows.T / rows.shape[1]
    (true_gradient,) = torch.autograd.grad(truth, exact, slope.double())
    assert found.dtype == slope.dtype
    assert (found - truth).norm() <= tolerance * truth.norm()
    assert (gradient - true_gradient).norm() <= 4 * tolerance * true_gradient.norm()


@pytest.mark.parametrize("size", [(64, 48), (41, 67), (7, 5), (1, 1)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 1e-3), (torch.float32, 1e-6), (torch.float64, 1e-12)]
)
def test_means_and_their_gradients(size: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
    """Products with ones against a sum in float64."""
    maps = features(24, *size, dtype).requires_grad_()
    found = mean_and_gram(maps)[0]
    truth = maps.detach().double().mean((0, 2, 3))
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (found - truth).norm() <= tolerance * truth.norm()
    (gradient,) = torch.autograd.grad(found.sum(), maps)
    positions = size[0] * size[1]
    assert torch.allclose(gradient.double() * positions, torch.ones_like(gradient).double(), atol=8 * tolerance)


def test_gram_keeps_no_wide_copy() -> None:
    """What the graph holds on to is the feature map itself."""
    maps = features(16, 32, 32, torch.bfloat16).requires_grad_()
    kept = gram_matrix(maps).grad_fn.next_functions  # type: ignore[union-attr]
    saved = gram_matrix(maps).grad_fn.saved_tensors  # type: ignore[union-attr]
    assert kept
    assert [tensor.dtype for tensor in saved] == [torch.bfloat16]
    assert saved[0].data_ptr() == maps.data_ptr()


@pytest.mark.slow
def test_bfloat16_descends_like_float32(normalised: Network) -> None:
    """Forty evaluations in either precision end within a tenth of each other, judged in float32."""
    from impasto.networks.catalogue import open_network

    photo = resize(load_image(EXAMPLES / "red-panda.webp"), (32, 48))
    painting = resize(load_image(EXAMPLES / "night-cafe.webp"), (48, 48))
    objective = content(photo, {"relu3_1": 0.2}) + style(painting, LAYERS)

    def end(network: Network) -> float:
        composition = Composition(from_image(photo), objective, single((32, 48), 40), optimiser=lbfgs())
        image: Image = photo
        for iterate in synthesise(composition, network):
            image = iterate.image
        return sum(objective.bind(normalised, (32, 48)).losses(image).values())

    start = sum(objective.bind(normalised, (32, 48)).losses(photo).values())
    wide, narrow = end(normalised), end(open_network(precision="bfloat16", device="cpu"))
    assert wide < 0.2 * start
    assert narrow == pytest.approx(wide, rel=0.1)


@pytest.mark.parametrize("most", [1, 2, 7, 30])
def test_evaluations_are_capped(tiny32: Network, most: int) -> None:
    """Over all stages and line searches, never one more; and a bound that is not reached changes nothing."""
    photo = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    count = 0

    def counted(image: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += 1
        return (image - photo.mean()).square().mean()

    from impasto.objectives.objective import prior

    schedule = octaves((64, 64), 10, smallest_px=32)
    composition = Composition(
        from_image(photo), prior("p", 1.0, counted), schedule, optimiser=lbfgs(), evaluations=most
    )
    seen = [iterate.evaluations for iterate in synthesise(composition, tiny32)]
    assert count <= most
    assert all(before <= after for before, after in pairwise(seen))


@pytest.mark.parametrize("layer", ["relu2_1", "relu4_1"])
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_wasserstein_distance_in_float32(plain: Network, layer: str, share: float) -> None:
    """On real pictures, far and nearer, against float64: within 1e-5 of the target's energy, and 1 % of the slope.

    To rounding where channels are few: there it is in float64.
    """
    moments = [
        mean_and_gram(plain(example(name, (96, 128)), [layer])[layer]) for name in ("red-panda", "church-at-auvers")
    ]
    target = moments[1]
    found = target + share * (moments[0] - target)

    def loss_and_slope(given: torch.Tensor, aim: torch.Tensor) -> tuple[float, torch.Tensor]:
        variable = given.clone().requires_grad_()
        loss = wasserstein_distance(variable, aim)
        return loss.item(), torch.autograd.grad(loss, variable)[0].double()

    loss, slope = loss_and_slope(found, target)
    true_loss, true_slope = loss_and_slope(found.double(), target.double())
    assert loss == pytest.approx(true_loss, abs=1e-5)
    assert target.shape[1] > FEW_CHANNELS or loss == pytest.approx(true_loss, rel=1e-6)
    assert (slope - true_slope).norm() <= 0.01 * true_slope.norm()
