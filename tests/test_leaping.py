"""The linear first step: against least squares solved another way, on real layers, and by properties."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from conftest import example, random_image
from impasto.images.image import Image, psnr
from impasto.images.noise import dead_leaves, noise_picture
from impasto.networks.network import Network
from impasto.objectives.objective import content
from impasto.synthesis import leap as leaping
from impasto.synthesis.composition import Composition
from impasto.synthesis.inits import noise
from impasto.synthesis.lbfgs import lbfgs
from impasto.synthesis.leap import RIDGES, Leap, inverses, maps_of
from impasto.synthesis.loop import State, synthesise
from impasto.synthesis.optimisers import adam
from impasto.synthesis.schedules import single
from impasto.tasks.presets import preset
from impasto.tasks.recipes import invert, reconstruct
from impasto.tasks.settings import InvertSettings, ReconstructSettings
from impasto.tiles.reading import feature_error

SIZE = (48, 64)


def least_squares(seen: Tensor, wanted: Tensor, ridge: float) -> Tensor:
    """Ridge regression about the means in float64, as least squares of more equations."""
    seen, wanted = (each.double() - each.double().mean(0) for each in (seen, wanted))
    root = (ridge * seen.square().mean() * len(seen)) ** 0.5
    more = root * torch.eye(seen.shape[1], dtype=seen.dtype)
    padded = torch.cat([wanted, torch.zeros(len(more), wanted.shape[1], dtype=wanted.dtype)])
    return torch.linalg.lstsq(torch.cat([seen, more]), padded).solution


def test_inverses_are_ridge_regressions(tiny32: Network) -> None:
    """The pictures and maps stacked, neighbours gathered one by one."""
    layer = "conv2_1"
    generator = torch.Generator().manual_seed(3)
    side = max(leaping.PICTURE_PX, tiny32.smallest_side([layer]))
    pictures = [noise_picture(side, generator, leaves=number == 1) for number in range(2)]
    seen, wanted = [], []
    for picture in pictures:
        maps = functional.pad(tiny32(picture, [layer])[layer], (1, 1, 1, 1))
        height, width = maps.shape[2] - 2, maps.shape[3] - 2
        around = [maps[0, :, y : y + height, x : x + width] for y in range(3) for x in range(3)]
        seen.append(torch.stack(around, dim=1).flatten(0, 1).flatten(1).T)
        squares = picture[0].unfold(1, 2, 2).unfold(2, 2, 2)  # colour, row, column, down, across
        wanted.append(squares.permute(1, 2, 0, 3, 4).reshape(height * width, 12))
    for ridge, way in zip(RIDGES, inverses(tiny32, layer, 2, seed=3), strict=True):
        truth = least_squares(torch.cat(seen), torch.cat(wanted), ridge)
        assert (way.flatten(1).T - truth).norm() < 2e-3 * truth.norm()


def test_maps_in_tiles_are_those_of_the_whole(normalised: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = random_image(150, 213, dtype=torch.float32)
    whole = normalised(photo, ["conv3_1"])["conv3_1"]
    monkeypatch.setattr(leaping, "TILE_PX", 48)
    assert torch.allclose(maps_of(normalised, photo, "conv3_1"), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "error", "decibels"), [("conv3_1", 0.75, 19), ("relu4_1", 1.0, 12)])
def test_it_leads_from_noise_to_the_goal(normalised: Network, layer: str, error: float, decibels: float) -> None:
    """Of a photograph, though only noise was used to fit it; sides that are no multiples leave a strip of noise."""
    photo, start = example("red-panda", (117, 150)), noise(0)((117, 150))
    leap = Leap(layer, photo, pictures=4)
    found = leap(normalised, start)
    assert found.shape == photo.shape
    assert 0 <= found.min() <= found.max() <= 1
    before, after = (feature_error(normalised, each, photo, [layer])[layer] for each in (start, found))
    assert after < min(before, error)
    assert psnr(found, photo) > max(decibels, psnr(start, photo))
    assert torch.equal(found, leap(normalised, start))


def test_a_picture_at_its_goal_stays(tiny32: Network) -> None:
    photo = random_image(16, 16, dtype=torch.float32)
    assert Leap("conv2_1", photo, 1)(tiny32, photo) is photo


@pytest.mark.slow
def test_the_same_steps_end_nearer(normalised: Network) -> None:
    """What it is for: the same number of evaluations, all counted."""
    photo = example("red-panda", (64, 64))

    def end(leap: Leap | None) -> Image:
        objective, steps = content(photo, ["conv3_1"]), single((64, 64), 1000)
        composition = Composition(noise(0), objective, steps, optimiser=lbfgs(), evaluations=60, opening=leap)
        *_, last = synthesise(composition, normalised)
        assert last.evaluations <= 60
        return last.image

    far, near = (
        feature_error(normalised, end(leap), photo, ["conv3_1"])["conv3_1"]
        for leap in (None, Leap("conv3_1", photo, 4))
    )
    assert near < 0.8 * far


@pytest.mark.parametrize("most", [1, 13, 14, 30])
def test_it_counts(tiny32: Network, most: int) -> None:
    """As evaluations and not as a step; where it would take more than half of them, there is none."""
    photo = random_image(16, 16, dtype=torch.float32)
    leap = Leap("conv2_1", photo, pictures=1)
    assert leap.evaluations == 7
    composition = Composition(
        noise(0),
        content(photo, ["conv2_1"]),
        single((16, 16), 1000),
        optimiser=adam(0.02),
        evaluations=most,
        opening=leap,
    )
    seen = list(synthesise(composition, tiny32))
    assert seen[-1].evaluations == most
    assert len(seen) == seen[-1].step == (most if most < 14 else most - 7)


def test_a_run_that_goes_on_does_not_leap_again(tiny32: Network) -> None:
    photo = random_image(16, 16, dtype=torch.float32)
    leap = Leap("conv2_1", photo, pictures=1)
    objective, steps = content(photo, ["conv2_1"]), single((16, 16), 5)
    composition = Composition(noise(0), objective, steps, optimiser=adam(0.02), opening=leap)
    states: list[State] = []
    whole = []
    for iterate in synthesise(composition, tiny32):
        whole.append(iterate)
        states.append(iterate.state())
    rest = list(synthesise(composition, tiny32, states[1]))
    assert [each.evaluations for each in rest] == [each.evaluations for each in whole[2:]]
    assert torch.equal(rest[-1].image, whole[-1].image)


def test_only_layers_that_gain_from_noise() -> None:
    photo = random_image(16, 16, dtype=torch.float32)
    asked = ReconstructSettings(leap=4, seed=2)
    for layer, leaps in {"conv1_1": 0, "relu2_2": 0, "block3_conv1": 1, "relu4_3": 1, "conv5_1": 0, "image": 0}.items():
        assert (reconstruct(photo, layer, asked).opening is not None) == leaps
    made = reconstruct(photo, "conv3_1", asked).opening
    assert isinstance(made, Leap)
    assert (made.layer, made.pictures, made.seed) == ("conv3_1", 4, 2)
    assert invert(photo, InvertSettings(layer="conv4_1", leap=4)).opening is not None
    assert reconstruct(photo, "conv4_1", ReconstructSettings(leap=4, init="content")).opening is None
    assert reconstruct(photo, "conv4_1").opening is None
    accurate = preset("reconstruct", "accurate")
    assert isinstance(accurate, ReconstructSettings)
    assert accurate.leap == 16


@pytest.mark.parametrize("leaves", [False, True])
def test_pictures_of_noise(leaves: bool) -> None:
    first, again, other = (noise_picture(64, torch.Generator().manual_seed(seed), leaves=leaves) for seed in (1, 1, 2))
    assert first.shape == (1, 3, 64, 64)
    assert 0 <= first.min() < 0.4
    assert 0.6 < first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.diff(dim=3).abs().mean() < 0.6 * (first - first.flip(3)).abs().mean()).item()  # neighbours are alike


def test_dead_leaves_cover_one_another() -> None:
    picture = dead_leaves(64, torch.Generator().manual_seed(0))
    assert len(picture[0].flatten(1).T.unique(dim=0)) > 50
    assert (picture.diff(dim=3) == 0).float().mean() > 0.5
