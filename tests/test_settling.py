"""Colours put on the 256 levels of a file bit by bit: the layer sees less of it than of plain rounding."""

import pytest
import torch

from conftest import example, random_image
from impasto.images import quantise
from impasto.inits import from_image, noise
from impasto.networks import Network
from impasto.objectives import content
from impasto.optimisers import adam, lbfgs
from impasto.parameterisations import hold_at_levels
from impasto.presets import preset
from impasto.recipes import invert, reconstruct
from impasto.schedules import settling, single
from impasto.specs import InvertSettings, ReconstructSettings
from impasto.synthesis import Composition, synthesise

SIZE = (32, 48)


def test_more_and_more_are_held() -> None:
    stages = settling(SIZE, 70)
    shares = [stage.held for stage in stages]
    assert [stage.steps for stage in stages] == [10] * 7
    assert {stage.size for stage in stages} == {SIZE}
    assert shares == sorted(set(shares))
    assert 0 < shares[0] < 0.3
    assert 0.9 < shares[-1] < 1
    assert settling(SIZE, 0) == ()
    assert [stage.steps for stage in settling(SIZE, 1)] == [1] * 7


def test_those_nearest_to_a_level_are_held_there() -> None:
    image = random_image(*SIZE, dtype=torch.float32)
    way = hold_at_levels(image, 0.25)
    values, gaps = image.flatten(), (image - quantise(image)).abs().flatten()
    assert int(way.held.sum()) == round(0.25 * len(values))
    assert gaps[way.held].max() <= gaps[~way.held].min()
    moved = way.project(values + 0.7)
    assert torch.equal(moved[way.held], quantise(image).flatten()[way.held])
    assert torch.equal(moved[~way.held], (values + 0.7).clamp(0, 1)[~way.held])
    again = hold_at_levels(way.project(values).reshape(image.shape), 0.5)
    assert bool(again.held[way.held].all())  # what is held stays held


@pytest.mark.parametrize(("optimiser", "share"), [(lbfgs(), 0.5), (adam(0.002, final=0.1), 0.8)])
def test_the_saved_picture_is_nearer(normalised: Network, optimiser: object, share: float) -> None:
    """The saved picture's error, with settling and without, at the same number of evaluations."""
    assert callable(optimiser)
    photo = example("red-panda", SIZE)
    objective = content(photo, ["conv1_1"])
    criterion = objective.bind(normalised, SIZE)

    def end(settle: int) -> float:
        schedule = single(SIZE, 200 - settle) + settling(SIZE, settle)
        start = from_image((photo + noise(0, 0.02)(SIZE) - 0.5).clamp(0, 1))
        composition = Composition(start, objective, schedule, optimiser=optimiser, evaluations=200)
        *_, last = synthesise(composition, normalised)
        assert last.evaluations <= 200
        return sum(criterion.losses(quantise(last.image)).values())

    assert end(84) < share * end(0)


@pytest.mark.parametrize("most", [1, 5, 40, 100])
def test_room_is_left_for_it(tiny32: Network, most: int) -> None:
    """Under a bound on evaluations, the first stage leaves what the settling takes, or half of what there is."""
    photo = random_image(16, 16, dtype=torch.float32)
    schedule = single((16, 16), 1000) + settling((16, 16), 28)
    composition = Composition(noise(0), content(photo, ["conv1_1"]), schedule, optimiser=adam(0.02), evaluations=most)
    seen = list(synthesise(composition, tiny32))
    assert len(seen) == most
    assert seen[-1].evaluations == most
    first = [iterate for iterate in seen if iterate.stage == 1]
    assert len(first) == most - min(28, most // 2)
    assert [iterate.step for iterate in seen] == list(range(1, most + 1))


def test_only_layers_that_see_it() -> None:
    photo = random_image(16, 16, dtype=torch.float32)
    asked = ReconstructSettings(settle=14)
    for layer, stages in {"conv1_1": 8, "relu2_2": 8, "block2_conv1": 8, "conv3_1": 1, "relu5_1": 1}.items():
        assert len(reconstruct(photo, layer, asked).schedule) == stages
    assert len(invert(photo, InvertSettings(layer="conv1_2", settle=14)).schedule) == 8
    assert len(reconstruct(photo, "conv1_1").schedule) == 1
    accurate = preset("reconstruct", "accurate")
    assert isinstance(accurate, ReconstructSettings)
    assert accurate.settle == 70
