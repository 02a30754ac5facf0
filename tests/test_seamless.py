"""Textures that tile and textures of any shape: what the criterion reads, that edges meet, and what is refused."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from command import call, pixels, save_pictures
from conftest import random_image
from impasto.errors import SpecError
from impasto.folders.specfiles import parse_spec, spec_toml
from impasto.images.image import Size, resize, resize_around
from impasto.networks.network import Network
from impasto.objectives.objective import content, neighbours, prior, seamless, style
from impasto.objectives.priors import total_variation
from impasto.objectives.representations import autocorrelation
from impasto.tasks.recipes import texture
from impasto.tasks.settings import TextureSettings
from impasto.tasks.spec import RunSpec
from impasto.tasks.values import Sides
from impasto.tiles.budget import Limits, MemoryPlan
from impasto.tiles.criterion import bind_tiled
from test_tiles import narrow, require_equal

PAINTING = random_image(50, 60, 2)


# Seamless ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "around"), [((24, 32), 8), ((8, 40), 16)])
def test_it_is_read_as_if_repeated(tiny: Network, size: Size, around: int) -> None:
    image, (height, width) = random_image(*size, 1), size
    objective = style(PAINTING, ["relu1_1", "relu2_1"]) + prior("smoothness", 0.5, total_variation, reach_px=1)
    down, across = min(around, height), min(around, width)
    repeated = image.repeat(1, 1, 3, 3)[
        :, :, height - down : 2 * height + down, width - across : 2 * width + across
    ].requires_grad_()
    losses = seamless(objective, around).bind(tiny, size).losses(image)
    targets = objective.bind(tiny, size)  # strokes keep their size: targets are those of the canvas itself
    assert losses == pytest.approx(targets.losses(repeated.detach()), rel=1e-12)


def test_its_gradient_is_that_of_differences(tiny: Network) -> None:
    image, along = random_image(16, 20, 1), random_image(16, 20, 3) - 0.5
    criterion = seamless(style(PAINTING, ["relu1_2", "relu2_1"]), 8).bind(tiny, (16, 20))
    _, gradient = criterion.losses_and_gradient(image)
    step = 1e-6

    def loss(picture: Tensor) -> float:
        return sum(criterion.losses(picture).values())

    difference = (loss(image + step * along) - loss(image - step * along)) / (2 * step)
    assert float((gradient * along).sum()) == pytest.approx(difference, rel=1e-5)


def test_a_shifted_picture_is_as_good(tiny: Network) -> None:
    """With no edges there is no place that counts more than others, if the surroundings are a whole picture."""
    image, size = random_image(16, 24, 1), (16, 24)
    criterion = seamless(style(PAINTING, ["relu1_1"]), 24).bind(tiny, size)
    inner = criterion.losses(image)["style/relu1_1"]
    shifted = criterion.losses(image.roll((4, 10), (2, 3)))["style/relu1_1"]
    plain = style(PAINTING, ["relu1_1"]).bind(tiny, size)
    moved = plain.losses(image.roll((4, 10), (2, 3)))["style/relu1_1"] - plain.losses(image)["style/relu1_1"]
    assert abs(shifted - inner) < 0.5 * abs(moved)


@pytest.mark.slow
def test_tiles_are_the_whole() -> None:
    size, network = (61, 80), narrow(padding="replicate")
    objective = seamless(style(PAINTING, ["relu1_1", "relu3_1"]) + prior("tv", 0.1, total_variation, reach_px=1))
    tiled = bind_tiled(objective, network, size, (32, 48))
    require_equal(tiled, objective.bind(network, size), random_image(*size, 2), 1e-9)
    plan = MemoryPlan(network, objective, Limits(1e12), 10)
    assert plan.needed(size, None, 10) > MemoryPlan(network, style(PAINTING, ["relu3_1"]), Limits(1e12), 10).needed(
        size, None, 10
    )


@pytest.mark.slow
def test_edges_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the option the sides differ far more across the seam than neighbours do, with it they hardly do."""
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path)

    def seam(*options: str) -> float:
        words = ("--size", "96x64", "--smallest", 96, "--steps", 25, "--layers", "relu1_1,relu2_1", "--frames", 0)
        assert call("texture", "painting.png", *words, "--force", "-o", "out", *options).code == 0
        picture = pixels(tmp_path / "out" / "result.png").astype(float)
        assert picture.shape == (64, 96, 3)
        across, inside = (
            abs(a - b).mean() for a, b in ((picture[:, 0], picture[:, -1]), (picture[:, 1:], picture[:, :-1]))
        )
        return float(across / inside)

    assert seam("--seamless") < 1.25
    assert seam() > 1.5


def test_what_has_a_place_is_refused(tiny: Network) -> None:
    statistics = style(PAINTING, ["relu1_1"])
    for placed in (content(PAINTING, ["relu1_1"]), neighbours(PAINTING, [PAINTING], ["relu1_1"])):
        with pytest.raises(SpecError, match="which a seamless picture cannot be"):
            seamless(statistics + placed).bind(tiny, (16, 16))


@pytest.mark.parametrize("sizes", [((24, 36), (48, 54)), ((25, 40), (37, 57))])
def test_a_seamless_picture_is_enlarged_without_a_seam(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """As the middle of nine copies, side by side, is enlarged."""
    (height, width), (tall, wide) = sizes
    image = random_image(height, width, 3)
    nine = resize(image.repeat(1, 1, 3, 3), (3 * tall, 3 * wide))[..., tall : 2 * tall, wide : 2 * wide]
    torch.testing.assert_close(resize_around(image, (tall, wide)), nine)
    composed = texture(image, ["relu1_1"], TextureSettings(size="96x40", smallest=48, seamless=True))
    assert composed.enlarged is resize_around


def test_a_seamless_pattern(tiny: Network) -> None:
    """An autocorrelation has no place, so a picture is read with its surroundings for it too."""
    image = random_image(16, 16, 4)
    patterned = seamless(style(PAINTING, ["image"], represent=autocorrelation, name="pattern"), 8)
    shifted = torch.roll(image, (5, 3), (2, 3))
    found, moved = (patterned.bind(tiny, (16, 16)).losses(each)["pattern/image"] for each in (image, shifted))
    assert moved == pytest.approx(found, rel=0.05)


# Any shape -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "height", "width", "text"),
    [(256, 256, 256, "256"), ("800x200", 200, 800, "800x200"), ("30×40", 40, 30, "30x40"), ("64X64", 64, 64, "64")],
)
def test_sides(given: int | str, height: int, width: int, text: str) -> None:
    sides = Sides(given)
    assert (sides.height, sides.width, str(sides), int(sides)) == (height, width, text, max(height, width))
    assert Sides(sides) == sides
    assert Sides(sides).height == height


@pytest.mark.parametrize("given", ["0", "x", "3x", "3x4x5", "-3x4", "65537", "1.5", "", "3 by 4"])
def test_sides_that_are_none(given: str) -> None:
    with pytest.raises(SpecError, match="it must be a number of pixels from 1 to 65536"):
        Sides(given)


@pytest.mark.parametrize("size", [64, "80x48"])
def test_a_shape_is_kept_in_files(tmp_path: Path, size: int | str) -> None:
    picture = tmp_path / "painting.png"
    spec = RunSpec(task="texture", pictures=(picture,), settings=TextureSettings(size=size))
    again, _ = parse_spec(spec_toml(spec), "spec.toml")
    assert again.settings == spec.settings
    assert str(again.settings.size) == str(size)


def test_a_texture_has_the_shape_that_is_asked_for() -> None:
    painting = PAINTING.float()
    composed = texture(painting, {"relu1_1": 1.0}, TextureSettings(size="96x40", smallest=48, seamless=True))
    assert [stage.size for stage in composed.schedule] == [(40, 96)]
    assert composed.objective.around_px == 32
    wide = texture(painting, {"relu1_1": 1.0}, TextureSettings(size="256x128", smallest=64))
    assert [stage.size for stage in wide.schedule] == [(32, 64), (64, 128), (128, 256)]
    assert wide.objective.around_px == 0
