"""Representations: each gradient against autograd of the formula, each kind whole and in tiles."""

import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from functools import partial

import pytest
import torch
from torch import Tensor

import impasto
from conftest import random_image
from impasto.errors import ImageError, LayerError, OutOfMemoryError, SpecError
from impasto.images.image import Size
from impasto.networks.network import Network
from impasto.networks.steps import Convolution
from impasto.objectives.distances import Distance, mean_squared_error, normalised_squared_error
from impasto.objectives.objective import Objective, content, prior, style
from impasto.objectives.priors import total_variation
from impasto.objectives.representations import (
    MeanOverPositions,
    Pointwise,
    Representation,
    WholeMap,
    activations,
    channel_moments,
    gram_matrix,
    mean_and_gram,
)
from impasto.objectives.terms import Match
from impasto.tiles.budget import Limits, MemoryPlan
from impasto.tiles.criterion import bind_tiled
from impasto.tiles.reading import read_once

SIZE, CORE = (26, 38), (8, 12)


def squares(maps: Tensor) -> Tensor:
    return maps.square()


def clamped(maps: Tensor) -> Tensor:
    return maps.clamp(max=0.5)


def first_channels(maps: Tensor) -> Tensor:
    return maps[:, :2] - maps[:, 2:3]


def third_moment(maps: Tensor) -> Tensor:
    return maps.pow(3).mean((2, 3))


def spectrum(maps: Tensor) -> Tensor:
    return torch.fft.rfft2(maps).abs()


FORMULAS: dict[Representation, Callable[[Tensor], Tensor]] = {
    activations: lambda maps: 1 * maps,
    gram_matrix: lambda maps: torch.einsum("bihw,bjhw->ij", maps, maps) / maps[0, 0].numel(),
    mean_and_gram: lambda maps: torch.cat(
        [maps.mean((2, 3)), torch.einsum("bihw,bjhw->ij", maps, maps) / maps[0, 0].numel()]
    ),
    channel_moments: lambda maps: torch.stack([maps.mean((0, 2, 3)), maps.square().mean((0, 2, 3))]),
    Pointwise(squares): squares,
    MeanOverPositions(third_moment): third_moment,
    WholeMap(spectrum): spectrum,
}
POINTWISE = [Pointwise(squares), Pointwise(clamped), Pointwise(first_channels)]


def maps_of(size: Size = (5, 7)) -> Tensor:
    maps = torch.randn(1, 6, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return maps.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("represent", FORMULAS, ids=lambda each: each.function.__name__)
@pytest.mark.parametrize("inside", [slice(None), slice(1, 4)], ids=["whole", "window"])
def test_the_way_back_is_that_of_the_formula(represent: Representation, inside: slice) -> None:
    """Also for a window of a map, as tiles take it, and onto a gradient that is there already."""
    features = maps_of()[:, :, inside, inside]
    variable = features.clone().requires_grad_()
    truth = FORMULAS[represent](variable)
    assert (represent(features) - truth).abs().max() <= 1e-12
    slope = torch.randn(truth.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    (gradient,) = torch.autograd.grad(truth, variable, slope)
    assert (represent.pull_back(features, slope, None) - gradient).norm() <= 1e-12 * gradient.norm()
    around = torch.ones_like(maps_of())
    onto = around[:, :, inside, inside]
    represent.pull_back(features, slope, onto)
    assert (onto - 1 - gradient).norm() <= 1e-12 * (1 + gradient).norm()
    onto.fill_(1)
    assert bool((around == 1).all())  # nothing outside was touched


@pytest.mark.parametrize("represent", POINTWISE, ids=lambda each: each.function.__name__)
@pytest.mark.parametrize("distance", [mean_squared_error, normalised_squared_error], ids=["mean", "normalised"])
def test_pointwise_in_tiles_is_the_whole(tiny: Network, represent: Pointwise, distance: Distance) -> None:
    reference, image = random_image(*SIZE, 1), random_image(*SIZE, 2)
    term = Match("own", reference, {"conv1_2": 0.7, "relu2_1": 0.3, "image": 0.1}, represent, as_canvas, distance)
    objective = Objective((term,)) + content(reference, ["relu2_1"], name="plain")
    truth = objective.bind(tiny, SIZE).losses_and_gradient(image)
    tiled = bind_tiled(objective, tiny, SIZE, CORE)
    assert len(tiled.tiles) > 4
    losses, gradient = tiled.losses_and_gradient(image)
    assert losses == pytest.approx(truth[0], rel=1e-9)
    assert tiled.losses(image) == pytest.approx(truth[0], rel=1e-9)
    assert (gradient - truth[1]).norm() <= 1e-9 * truth[1].norm()
    features, target = (tiny(picture, ["conv1_2"])["conv1_2"] for picture in (image, reference))
    found = 0.7 * distance(represent.function(features), represent.function(target))
    assert losses["own/conv1_2"] == pytest.approx(float(found), rel=1e-9)


def as_canvas(reference: Size, canvas: Size) -> Size:
    return canvas


def test_a_mean_of_ones_own_in_tiles_is_the_whole(tiny: Network) -> None:
    objective = style(random_image(20, 31, 1), ["conv1_1", "relu2_1"], represent=MeanOverPositions(third_moment))
    image = random_image(*SIZE, 2)
    losses, truth = objective.bind(tiny, SIZE).losses_and_gradient(image)
    found, gradient = bind_tiled(objective, tiny, SIZE, CORE).losses_and_gradient(image)
    assert found == pytest.approx(losses, rel=1e-9)
    assert (gradient - truth).norm() <= 1e-9 * truth.norm()


@pytest.mark.parametrize("represent", [spectrum, WholeMap(spectrum)], ids=["function", "WholeMap"])
def test_the_whole_map(tiny: Network, represent: Callable[[Tensor], Tensor]) -> None:
    """A function that does not say its kind is taken as one; neither can be tiled."""
    reference, image = random_image(*SIZE, 1), random_image(*SIZE, 2)
    objective = style(reference, ["relu2_1"], represent=represent, distance=mean_squared_error, name="waves")
    losses, gradient = objective.bind(tiny, SIZE).losses_and_gradient(image)
    variable = image.clone().requires_grad_()
    maps, target = (tiny(picture, ["relu2_1"])["relu2_1"] for picture in (variable, reference))
    truth = (spectrum(maps) - spectrum(target)).square().mean()
    assert losses["waves/relu2_1"] == pytest.approx(truth.item(), rel=1e-9)
    (slope,) = torch.autograd.grad(truth, variable)
    assert (gradient - slope).norm() <= 1e-9 * slope.norm()

    sentence = r"^waves: this representation needs the whole feature map and cannot be taken in tiles; leave out --tile"
    with pytest.raises(SpecError, match=sentence):
        bind_tiled(objective, tiny, SIZE, CORE)
    with pytest.raises(SpecError, match=sentence):
        MemoryPlan(tiny, objective, Limits(1e12, tile_px=8), history_asked=10).require(SIZE)
    with pytest.raises(SpecError, match=sentence):
        MemoryPlan(tiny, objective, Limits(1e9), history_asked=10).require((8000, 8000))
    plan = MemoryPlan(tiny, objective, Limits(1e12), history_asked=10)
    plan.require(SIZE)
    assert plan.bind(SIZE).losses(image) == pytest.approx(losses, rel=1e-12)


def test_representations_are_values() -> None:
    """They serve as keys, also of statistics that another process made."""
    for represent in [*FORMULAS, *POINTWISE]:
        again = pickle.loads(pickle.dumps(represent))
        assert again == represent
        assert hash(again) == hash(represent)
        assert type(again) is type(represent)
    assert Pointwise(squares) == Pointwise(squares) != Pointwise(clamped)
    assert Pointwise(squares) != WholeMap(squares)
    assert len(set(FORMULAS)) == len(FORMULAS)
    with pytest.raises(FrozenInstanceError):
        gram_matrix.function = squares  # type: ignore[misc]
    assert impasto.gram_matrix is gram_matrix


def test_equal_representations_are_computed_once(tiny: Network) -> None:
    calls = []

    def counted(maps: Tensor) -> Tensor:
        calls.append(maps.shape)
        return maps.mean((2, 3))

    first, second = (
        style(random_image(*SIZE, n), ["relu2_1"], represent=MeanOverPositions(counted), name=str(n)) for n in (1, 2)
    )
    criterion = (first + second).bind(tiny, SIZE)
    calls.clear()
    criterion.losses_and_gradient(random_image(*SIZE, 3))
    assert len(calls) == 2  # once for its value, once for its gradient


def test_differences_of_any_pointwise_representation(tiny: Network) -> None:
    image, reference, key = random_image(*SIZE, 1), random_image(*SIZE, 2), ("relu2_1", Pointwise(squares))
    found, target = (tiny(picture, ["relu2_1"])["relu2_1"].square() for picture in (image, reference))
    for core in (None, CORE):
        _, differences = read_once(tiny, image, (), core, reference=reference, compared=[key])
        assert differences[key].error == pytest.approx(float((found - target).norm() / target.norm()), rel=1e-9)
        assert differences[key].numbers == target.numel()


# Sizes are checked without binding a target -------------------------------------------------------------------------


def test_what_is_required(tiny: Network) -> None:
    """What is too small, unknown or empty is said with the size to which the reference is brought."""
    small, wide = random_image(40, 40, 1), random_image(400, 2, 1)
    cases = [
        (content(small, ["pool2"]), (3, 40), ImageError, "a picture of 40 × 3 pixels is too small for pool2"),
        (style(wide, ["pool2"]), (40, 40), ImageError, "a picture of 3 × 566 pixels is too small for pool2"),
        (style(small, ["pool2"], scale=0.05), (40, 40), ImageError, "a picture of 2 × 2 pixels is too small"),
        (style(small, ["relu9_1"]), (40, 40), LayerError, "has no layer 'relu9_1'"),
        (Objective(()), (40, 40), SpecError, "the objective has no term"),
    ]
    for objective, size, error, sentence in cases:
        for raising in (objective.require, objective.bind, partial(bind_tiled, objective, core=CORE)):
            with pytest.raises(error, match=sentence):
                raising(tiny, size)
    content(small, ["pool2"]).require(tiny, (4, 4))


def test_requiring_computes_nothing(tiny: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Tensor:
        raise AssertionError("a layer was computed")

    monkeypatch.setattr(Convolution, "forward", fails)
    objective = style(random_image(40, 40), ["pool2"]) + prior("smoothness", 1.0, total_variation)
    objective.require(tiny, (40, 40))
    with pytest.raises(OutOfMemoryError, match=r"--size \d+ would fit"):
        MemoryPlan(tiny, objective, Limits(1e7), history_asked=10).require((20000, 20000))
