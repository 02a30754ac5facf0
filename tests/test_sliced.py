"""Sliced distributions: histograms and their distance against independent computations, in tiles, and as a palette."""

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import random_image
from impasto.networks.network import Network
from impasto.objectives.objective import style
from impasto.objectives.representations import mean_and_gram
from impasto.objectives.sliced import BINS, Histograms, sliced, sliced_wasserstein
from impasto.synthesis.composition import Composition
from impasto.synthesis.inits import from_image
from impasto.synthesis.lbfgs import lbfgs
from impasto.synthesis.loop import synthesise
from impasto.synthesis.schedules import single
from impasto.tasks.recipes import texture
from impasto.tasks.settings import TextureSettings
from impasto.tiles.criterion import bind_tiled
from test_tiles import narrow, require_equal


def features(height: int, width: int, seed: int, channels: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, channels, height, width, generator=generator, dtype=torch.float64).square()


# Histograms ----------------------------------------------------------------------------------------------------------


def test_histograms_are_those_of_loops() -> None:
    maps = 3 * features(4, 5, 1)  # some values are beyond the bins
    histograms = Histograms.of(mean_and_gram(features(6, 6, 2)))
    directions, first = histograms.directions.numpy(), histograms.first.numpy()
    expected = np.zeros((directions.shape[1], BINS + 1))
    for row in maps[0].flatten(1).T.numpy():
        for k, place in enumerate(row @ directions - first):
            beyond, place = place, min(max(place, 0.0), BINS - 1)
            expected[k, BINS] += (beyond - place) ** 2 / 20
            below = min(int(place), BINS - 2)
            expected[k, below] += (1 - (place - below)) / 20
            expected[k, below + 1] += (place - below) / 20
    assert histograms(maps).numpy() == pytest.approx(expected, abs=1e-12)
    assert expected[:, BINS].max() > 0
    assert histograms(maps)[:, :BINS].sum(1).numpy() == pytest.approx(1)


def test_bins_cover_the_reference() -> None:
    """Each direction's mean is at the middle bin, and its deviation is a tenth of the bins' range."""
    maps = features(30, 30, 3)
    found, centres = Histograms.of(mean_and_gram(maps))(maps)[:, :BINS], torch.arange(BINS, dtype=torch.float64)
    mean = found @ centres
    assert mean.numpy() == pytest.approx((BINS - 1) / 2, abs=0.1)
    deviation = ((found * (centres - mean[:, None]).square()).sum(1)).sqrt()
    assert deviation.numpy() == pytest.approx((BINS - 1) / 10, rel=0.02)


def test_the_way_back_is_autograds() -> None:
    maps, histograms = 3 * features(4, 5, 1), Histograms.of(mean_and_gram(features(6, 6, 2)))
    slope = torch.randn(histograms(maps).shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    variable = maps.clone().requires_grad_()
    (expected,) = torch.autograd.grad(histograms(variable), variable, slope)
    found = histograms.pull_back(maps, slope, None)
    assert (found - expected).norm() <= 1e-12 * expected.norm()
    assert torch.equal(histograms.pull_back(maps, slope, torch.ones_like(maps)), found + 1)


def test_plain_features_are_no_trouble() -> None:
    maps = torch.zeros(1, 4, 5, 5)
    histograms = Histograms.of(mean_and_gram(maps))
    target = histograms(maps)
    assert torch.isfinite(target).all()
    assert float(sliced_wasserstein(target, target)) == 0
    assert torch.isfinite(sliced_wasserstein(histograms(maps + 1), target))


def test_rounding_chooses_no_direction() -> None:
    """Fewer positions than channels: the directions in which the reference does not vary are not compared."""
    maps, others = features(4, 5, 1, channels=200), features(4, 5, 2, channels=200)
    moments = mean_and_gram(maps)
    losses = []
    for seed in range(3):
        noise = torch.randn(moments.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        histograms = Histograms.of(moments * (1 + 1e-7 * noise))
        losses.append(float(sliced_wasserstein(histograms(others), histograms(maps))))
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-3)
    assert losses[0] < 10


# The distance --------------------------------------------------------------------------------------------------------


def test_the_distance_is_that_of_sorted_values() -> None:
    """For equally many values at the bins' centres, Wasserstein-2 pairs them in order."""
    generator = np.random.default_rng(1)
    one, two = (np.sort(generator.integers(5, 50, (3, 40)), axis=1) for _ in range(2))

    def counted(values: np.ndarray) -> Tensor:
        return torch.tensor(np.array([np.bincount(row, minlength=BINS + 1) / 40 for row in values]))

    expected = np.mean([((a - b) ** 2).mean() / b.var() for a, b in zip(one, two, strict=True)])
    assert float(sliced_wasserstein(counted(one), counted(two))) == pytest.approx(expected, rel=1e-9)
    assert float(sliced_wasserstein(counted(one), counted(one))) == pytest.approx(0, abs=1e-12)


def test_the_distances_gradient_is_that_of_differences() -> None:
    maps, target = 2 * features(5, 5, 1), features(6, 6, 2)
    histograms = Histograms.of(mean_and_gram(target))
    distance = sliced_wasserstein.to(histograms(target))
    variable = maps.clone().requires_grad_()
    (slope,) = torch.autograd.grad(distance(histograms(variable)), variable)
    along = torch.randn(maps.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    step = 1e-7
    difference = (distance(histograms(maps + step * along)) - distance(histograms(maps - step * along))) / (2 * step)
    assert float((slope * along).sum()) == pytest.approx(float(difference), rel=1e-4)


def test_it_sees_what_means_and_covariances_do_not() -> None:
    """Two values or a bell, with the same mean and variance."""
    generator = torch.Generator().manual_seed(4)
    bell = torch.randn(1, 1, 100, 100, generator=generator, dtype=torch.float64)
    bell = (bell - bell.mean()) / bell.std(correction=0)
    coins = torch.cat([torch.ones(5000), -torch.ones(5000)]).double().reshape(1, 1, 100, 100)
    assert (mean_and_gram(bell) - mean_and_gram(coins)).abs().max() < 1e-9
    histograms = Histograms.of(mean_and_gram(bell))
    assert float(sliced_wasserstein(histograms(coins), histograms(bell))) > 0.2


# In objectives -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_tiles_are_the_whole() -> None:
    size, network = (71, 90), narrow(padding="replicate")
    layers = {"image": 0.5, "relu1_1": 1.0, "relu3_1": 2.0, "relu4_2": 0.3}
    objective = style(random_image(60, 60, 1), layers, represent=sliced, distance=sliced_wasserstein)
    tiled = bind_tiled(objective, network, size, (32, 32))
    assert len(tiled.tiles) > 4
    require_equal(tiled, objective.bind(network, size), random_image(*size, 2), 1e-9)


def test_a_palette_is_taken_over(tiny32: Network) -> None:
    """At the picture itself, the distribution of colours becomes the other picture's."""
    photo, painting = random_image(30, 40, 1, torch.float32), 0.3 * random_image(30, 40, 2, torch.float32) + 0.6
    objective = style(painting, ["image"], represent=sliced, distance=sliced_wasserstein)
    composed = Composition(from_image(photo), objective, single((30, 40), 40), optimiser=lbfgs())
    *_, last = synthesise(composed, tiny32)
    for channel in range(3):
        found, wanted = (each[0, channel].flatten().sort().values for each in (last.image, painting))
        assert float((found - wanted).abs().mean()) < 0.02


def test_a_palette_without_colour_takes_all_colour_away(tiny32: Network) -> None:
    photo, grey = (
        random_image(30, 40, 1, torch.float32),
        random_image(30, 40, 2, torch.float32)[:, :1].repeat(1, 3, 1, 1),
    )
    objective = style(grey, ["image"], represent=sliced, distance=sliced_wasserstein)
    composed = Composition(from_image(photo), objective, single((30, 40), 40), optimiser=lbfgs())
    *_, last = synthesise(composed, tiny32)
    before, after = (float((each - each.mean(1, keepdim=True)).abs().mean()) for each in (photo, last.image))
    assert after < 0.1 * before


def test_the_recipe_takes_it() -> None:
    composed = texture(random_image(40, 40, 1, torch.float32), {"relu1_1": 1.0}, TextureSettings(statistics="sliced"))
    (match,) = composed.objective.matches()
    assert match.represent is sliced
    assert match.distance is sliced_wasserstein
