"""The loop: its iterates, falling losses for any combination of pieces, and how it ends."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from conftest import example, make_tiny, random_image
from impasto.errors import DivergedError, ImageError, LayerError
from impasto.images.image import Size, size_of
from impasto.networks.network import Network
from impasto.objectives.objective import Objective, content, prior, style
from impasto.objectives.priors import out_of_range, total_variation
from impasto.synthesis.composition import Composition
from impasto.synthesis.inits import from_image, noise
from impasto.synthesis.lbfgs import lbfgs
from impasto.synthesis.loop import synthesise
from impasto.synthesis.optimisers import MakeOptimiser, adam
from impasto.synthesis.parameterisations import Fourier, Parameterisation, Pixels
from impasto.synthesis.schedules import Stage, octaves, single

SIZE = (24, 32)
STYLES = ("relu1_1", "conv1_2", "conv2_1")
PHOTO, PAINTING = random_image(*SIZE, 1, torch.float32), random_image(20, 30, 2, torch.float32)
OBJECTIVES = {
    "content": content(PHOTO, ["conv2_1"]),
    "style": style(PAINTING, STYLES),
    "both": content(PHOTO, {"conv2_1": 0.1}) + style(PAINTING, STYLES) + prior("smoothness", 0.01, total_variation),
}
OPTIMISERS = {"adam": adam(), "lbfgs": lbfgs(), "plain": lbfgs(line_search=False)}
PARAMETERISATIONS = {"pixels": Pixels(), "fourier": Fourier()}

each_optimiser = pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS)
each_parameterisation = pytest.mark.parametrize("parameterisation", PARAMETERISATIONS.values(), ids=PARAMETERISATIONS)
each_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


def composition(objective: Objective = OBJECTIVES["both"], steps: int = 5, **changes: object) -> Composition:
    return replace(Composition(noise(3, 0.1), objective, single(SIZE, steps)), **changes)


def loss_of(objective: Objective, network: Network, image: Tensor) -> float:
    return sum(objective.bind(network, size_of(image)).losses(image).values())


# Descent -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@each_objective
@each_parameterisation
@each_optimiser
def test_everything_goes_down(
    tiny32: Network, objective: Objective, parameterisation: Parameterisation, optimiser: MakeOptimiser
) -> None:
    if isinstance(parameterisation, Fourier):
        objective = objective + prior("range", 10.0, out_of_range)
    composed = composition(objective, 25, parameterisation=parameterisation, optimiser=optimiser)
    *_, last = synthesise(composed, tiny32)
    start = loss_of(objective, tiny32, composed.init(SIZE))
    assert loss_of(objective, tiny32, last.image) < 0.5 * start
    assert loss_of(objective, tiny32, last.image.clamp(0, 1)) < 0.5 * start  # as it is saved


@pytest.mark.parametrize("init", ["noise", "content"])
@each_parameterisation
@each_optimiser
@pytest.mark.slow
def test_the_real_network_moves_the_picture(
    normalised: Network, init: str, parameterisation: Parameterisation, optimiser: MakeOptimiser
) -> None:
    size = (32, 32)
    photo, painting = example("red-panda", size), example("night-cafe", size)
    objective = content(photo, {"conv3_1": 0.02}) + style(painting, ["conv1_1", "conv2_1", "conv3_1"])
    objective += prior("range", 10.0, out_of_range)
    start = noise(0, 0.1)(size) if init == "noise" else photo
    composed = Composition(from_image(start), objective, single(size, 4), parameterisation, optimiser)
    iterates = list(synthesise(composed, normalised))
    assert (iterates[0].image - start).abs().mean() > 1 / 255
    assert loss_of(objective, normalised, iterates[-1].image.clamp(0, 1)) < 0.95 * loss_of(objective, normalised, start)


@pytest.mark.slow
def test_what_is_asked_for_is_found(tiny: Network) -> None:
    """A shallow layer keeps the picture: its inversion is the picture itself."""
    photo = 0.2 + 0.6 * random_image(12, 16, 4)
    init = from_image(torch.full_like(photo, 0.5))
    composed = Composition(init, content(photo, ["conv1_1"]), single((12, 16), 150), optimiser=lbfgs())
    *_, last = synthesise(composed, tiny)
    assert (last.image - photo).abs().max() < 1e-3


@each_optimiser
def test_pixels_stay_in_range(tiny32: Network, optimiser: MakeOptimiser) -> None:
    push = prior("push", -1.0, lambda image: (image - 0.5).square().mean())  # away from grey, without end
    for iterate in synthesise(composition(OBJECTIVES["style"] + push, 8, optimiser=optimiser), tiny32):
        assert iterate.image.min() >= 0
        assert iterate.image.max() <= 1


# What is yielded -----------------------------------------------------------------------------------------------------


@each_parameterisation
@each_optimiser
def test_same_seed_same_pictures(tiny32: Network, parameterisation: Parameterisation, optimiser: MakeOptimiser) -> None:
    composed = composition(parameterisation=parameterisation, optimiser=optimiser)
    first, second = (list(synthesise(composed, tiny32)) for _ in range(2))
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.image, other.image)
        assert one.losses == other.losses


def test_another_seed_another_picture(tiny32: Network) -> None:
    *_, first = synthesise(composition(), tiny32)
    *_, second = synthesise(composition(init=noise(4, 0.1)), tiny32)
    assert not torch.equal(first.image, second.image)


@each_parameterisation
@each_optimiser
def test_losses_are_those_before_the_step(
    tiny32: Network, parameterisation: Parameterisation, optimiser: MakeOptimiser
) -> None:
    composed = composition(parameterisation=parameterisation, optimiser=optimiser)
    criterion = composed.objective.bind(tiny32, SIZE)
    image = composed.init(SIZE)
    for iterate in synthesise(composed, tiny32):
        assert iterate.losses == pytest.approx(criterion.losses(image), rel=1e-4)
        assert iterate.loss == sum(iterate.losses.values())
        assert not iterate.image.requires_grad
        assert iterate.image.is_contiguous()
        image = iterate.image


@each_optimiser
def test_stages_follow_the_schedule(tiny32: Network, optimiser: MakeOptimiser) -> None:
    schedule = (Stage((8, 8), 3), Stage((12, 10), 1), Stage((9, 21), 2))
    iterates = list(synthesise(composition(schedule=schedule, optimiser=optimiser), tiny32))
    assert [size_of(each.image) for each in iterates] == [(8, 8)] * 3 + [(12, 10)] + [(9, 21)] * 2
    assert [each.stage for each in iterates] == [1, 1, 1, 2, 3, 3]
    assert [each.step for each in iterates] == [1, 2, 3, 4, 5, 6]
    assert {(each.stages, each.steps) for each in iterates} == {(3, 6)}
    counts = [each.evaluations for each in iterates]
    assert all(later > sooner for sooner, later in pairwise(counts))


@pytest.mark.parametrize("optimiser", [OPTIMISERS["adam"], OPTIMISERS["plain"]], ids=["adam", "plain"])
def test_one_evaluation_a_step(tiny32: Network, optimiser: MakeOptimiser) -> None:
    iterates = list(synthesise(composition(schedule=octaves((64, 64), 3, smallest_px=16), optimiser=optimiser), tiny32))
    assert [each.evaluations for each in iterates] == [each.step for each in iterates]


def test_a_stage_starts_from_the_picture_before(tiny32: Network) -> None:
    """Resized, and nothing else: seen where the next stage has nothing to do but to keep it."""
    schedule = (Stage((8, 8), 6), Stage((16, 16), 1))
    iterates = list(synthesise(composition(schedule=schedule), tiny32))
    resized = torch.nn.functional.interpolate(iterates[-2].image, size=(16, 16), mode="bicubic", antialias=True)
    criterion = composition().objective.bind(tiny32, (16, 16))
    assert iterates[-1].losses == pytest.approx(criterion.losses(resized.clamp(0, 1)), rel=1e-5)


@pytest.mark.parametrize("steps", [(0,), (0, 2), (2, 0)])
def test_stages_without_steps(tiny32: Network, steps: tuple[int, ...]) -> None:
    schedule = tuple(Stage((8 + 4 * k, 8), each) for k, each in enumerate(steps))
    iterates = list(synthesise(composition(schedule=schedule), tiny32))
    assert [each.step for each in iterates] == list(range(1, sum(steps) + 1))


# Gradient modes, early ends ------------------------------------------------------------------------------------------


@each_optimiser
def test_the_gradient_mode_is_the_callers(tiny32: Network, optimiser: MakeOptimiser) -> None:
    with torch.no_grad():
        quiet = []
        for iterate in synthesise(composition(optimiser=optimiser), tiny32):
            assert not torch.is_grad_enabled()
            quiet.append(iterate)
    for iterate, other in zip(synthesise(composition(optimiser=optimiser), tiny32), quiet, strict=True):
        assert torch.is_grad_enabled()
        assert torch.equal(iterate.image, other.image)


def test_closing_early() -> None:
    calls = 0

    def counted(image: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return image.square().mean()

    iterates = synthesise(composition(prior("counted", 1.0, counted), 100), make_tiny("float32"))
    assert [next(iterates).step for _ in range(3)] == [1, 2, 3]
    iterates.close()
    with pytest.raises(StopIteration):
        next(iterates)
    assert calls == 3
    assert torch.is_grad_enabled()


def test_nothing_is_done_before_the_first_picture_is_asked_for(tiny32: Network) -> None:
    def init(size: Size) -> Tensor:
        raise AssertionError("too early")

    iterates = synthesise(composition(init=init), tiny32)
    with pytest.raises(AssertionError, match="too early"):
        next(iterates)


@pytest.mark.parametrize("name", ["lbfgs", "plain"])
def test_it_ends_where_nothing_can_be_better(tiny32: Network, name: str) -> None:
    schedule = (Stage(SIZE, 50), Stage(SIZE, 50))
    composed = composition(OBJECTIVES["content"], init=from_image(PHOTO), schedule=schedule, optimiser=OPTIMISERS[name])
    iterates = list(synthesise(composed, tiny32))
    assert [(each.stage, each.step, each.evaluations) for each in iterates] == [(1, 1, 1), (2, 2, 2)]
    assert torch.equal(iterates[-1].image, PHOTO)


# Divergence ----------------------------------------------------------------------------------------------------------


def explosive(value: float, evaluations: int) -> Objective:
    """Falls quietly for so many evaluations, then takes that value."""
    count = 0

    def penalty(image: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return image.square().mean() + (value if count > evaluations else 0.0)

    return prior("explosive", 1.0, penalty)


@pytest.mark.parametrize("name", ["adam", "plain"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite(tiny32: Network, name: str, value: float) -> None:
    objective = OBJECTIVES["content"] + explosive(value, 3)
    with pytest.raises(DivergedError) as caught:
        list(synthesise(composition(objective, 10, optimiser=OPTIMISERS[name]), tiny32))
    words = str(caught.value)
    assert words.startswith(f"explosive became {value} at step 4 of 10 at 32 × 24 px; ")
    assert "content" not in words
    assert caught.value.exit_code == 4


@each_parameterisation
@pytest.mark.parametrize("name", ["adam", "plain"])
def test_divergence_brings_the_last_good_picture(
    tiny32: Network, name: str, parameterisation: Parameterisation
) -> None:
    objective = OBJECTIVES["content"] + explosive(math.nan, 3)
    seen: list[Tensor] = []

    def consume() -> None:
        composed = composition(objective, 10, optimiser=OPTIMISERS[name], parameterisation=parameterisation)
        for iterate in synthesise(composed, tiny32):
            seen.append(iterate.image)

    with pytest.raises(DivergedError) as caught:
        consume()
    # The fourth evaluation, of the third picture, fails: the second is the last whose losses were finite.
    assert len(seen) == 3
    assert caught.value.image is not None
    assert torch.equal(caught.value.image, seen[1])


@each_optimiser
def test_divergence_at_once(tiny32: Network, optimiser: MakeOptimiser) -> None:
    composed = composition(OBJECTIVES["content"] + explosive(math.inf, 0), optimiser=optimiser)
    with pytest.raises(DivergedError, match="explosive became inf at step 1 of 5") as caught:
        next(synthesise(composed, tiny32))
    assert caught.value.image is not None
    assert torch.allclose(caught.value.image, composed.init(SIZE), atol=1e-6)


@each_optimiser
def test_a_gradient_that_is_not_finite(tiny32: Network, optimiser: MakeOptimiser) -> None:
    sharp = prior("sharp", 1.0, lambda image: (image - image.detach()).abs().sqrt().mean())  # 0, and its slope nan
    composed = composition(OBJECTIVES["content"] + sharp, optimiser=optimiser)
    with pytest.raises(DivergedError, match="the gradient is not finite at step 1 of 5") as caught:
        next(synthesise(composed, tiny32))
    assert caught.value.image is not None
    assert torch.isfinite(caught.value.image).all()


def test_the_line_search_walks_around_what_is_not_finite(tiny32: Network) -> None:
    """Terms that explode for large steps only: no picture is lost, none diverges."""
    mean = 0.5

    def fence(image: Tensor) -> Tensor:
        return image.square().mean() + (math.nan if (image.mean() - mean).abs() > 0.02 else 0.0)

    composed = composition(prior("fence", 1.0, fence), 10, optimiser=lbfgs())
    for iterate in synthesise(composed, tiny32):
        assert math.isfinite(iterate.loss)
        assert (iterate.image.mean() - mean).abs() <= 0.02


# Mistakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "size", "error", "words"),
    [
        ("pool2", (3, 9), ImageError, "9 × 3 pixels is too small for pool2"),
        ("conv9_1", SIZE, LayerError, "has no layer 'conv9_1'"),
    ],
)
def test_mistakes(tiny32: Network, layer: str, size: Size, error: type[Exception], words: str) -> None:
    composed = composition(content(PHOTO, [layer]), schedule=single(size, 5))
    with pytest.raises(error, match=words):
        next(synthesise(composed, tiny32))
