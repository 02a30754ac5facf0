"""The tasks as compositions: their first pictures, objectives, sizes and optimisers."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conftest import CLASSIC, random_image
from impasto.errors import ImageError, SpecError
from impasto.images.files import save_image
from impasto.images.image import Picture, cover, resize, size_of
from impasto.networks.network import Network
from impasto.objectives.terms import Match, Prior
from impasto.synthesis.composition import Composition
from impasto.synthesis.lbfgs import LBFGS
from impasto.synthesis.loop import synthesise
from impasto.synthesis.optimisers import Adam
from impasto.synthesis.parameterisations import Fourier, Pixels
from impasto.synthesis.schedules import Stage
from impasto.tasks.painting import transfer
from impasto.tasks.parts import Part
from impasto.tasks.recipes import amalgamate, invert, normalised, reconstruct, texture
from impasto.tasks.settings import (
    AmalgamateSettings,
    InvertSettings,
    ReconstructSettings,
    TextureSettings,
    TransferSettings,
)
from impasto.tasks.spec import RunSpec, compose
from impasto.tasks.table import make_settings

PHOTO = random_image(24, 32, 1, torch.float32)
PAINTING = random_image(30, 20, 2, torch.float32)
SIZE = (24, 32)

Make = Callable[..., Composition]


def make_invert(**values: object) -> Composition:
    return invert(PHOTO, InvertSettings(**{"layer": "conv2_1", "size": 32, **values}))


def make_reconstruct(**values: object) -> Composition:
    return reconstruct(PHOTO, "relu2_1", ReconstructSettings(**{"size": 32, **values}))


def make_amalgamate(**values: object) -> Composition:
    return amalgamate(PHOTO, PAINTING, "conv2_1", AmalgamateSettings(**{"size": 32, **values}))


def make_texture(**values: object) -> Composition:
    return texture(PAINTING, {"relu1_1": 1.0, "relu2_1": 3.0}, TextureSettings(**{"size": 24, **values}))


def make_transfer(*more: Tensor, **values: object) -> Composition:
    given = {"size": 32, "content_layers": "conv2_1", "style_layers": "relu1_1,relu2_1=3", **CLASSIC, **values}
    return transfer(PHOTO, [PAINTING, *more], TransferSettings(**given))


TASKS: dict[str, Make] = {
    "invert": make_invert,
    "reconstruct": make_reconstruct,
    "amalgamate": make_amalgamate,
    "texture": make_texture,
    "transfer": make_transfer,
}
each_task = pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)


def losses(composition: Composition, network: Network, image: Tensor) -> dict[str, float]:
    return composition.objective.bind(network, size_of(image)).losses(image)


def matches(composition: Composition) -> dict[str, Match]:
    return {term.name: term for term in composition.objective.terms if isinstance(term, Match)}


def priors(composition: Composition) -> dict[str, float]:
    return {term.name: term.weight for term in composition.objective.terms if isinstance(term, Prior)}


# Where it starts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("invert", "noise"),
        ("reconstruct", "noise"),
        ("amalgamate", "style"),
        ("texture", "noise"),
        ("transfer", "content"),
    ],
)
def test_first_picture_by_default(name: str, start: str) -> None:
    composition = TASKS[name]()
    size = composition.schedule[0].size
    first = composition.init(size)
    assert size_of(first) == size
    if start == "noise":
        assert abs(first.mean() - 0.5) < 0.01
        assert 0.01 < first.std() < 0.03
    else:
        assert torch.equal(first, cover(PAINTING, size) if start == "style" else PHOTO)


@each_task
def test_a_picture_file_as_the_first_picture(make: Make, tmp_path: Path) -> None:
    path, picture = tmp_path / "first.png", random_image(40, 40, 5, torch.float32)
    save_image(picture, path)
    first = make(init=str(path)).init(SIZE)
    assert torch.allclose(first, cover(picture, SIZE), atol=0.01)
    with pytest.raises(ImageError, match=r"init is neither noise, .* nor a picture: there is no file .*none\.png"):
        make(init=str(tmp_path / "none.png"))


@pytest.mark.parametrize("name", ["invert", "reconstruct"])
def test_no_style_to_start_from(name: str) -> None:
    with pytest.raises(SpecError, match="init 'style' is not for this task; use noise, content or a file"):
        TASKS[name](init="style")


def test_no_content_to_start_from() -> None:
    with pytest.raises(SpecError, match="init 'content' is not for this task; use noise, style or a file"):
        make_texture(init="content")


@each_task
def test_seeds(make: Make) -> None:
    first, same, other = (make(init="noise", seed=seed).init(SIZE) for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


# What it aims at -----------------------------------------------------------------------------------------------------


def test_content_alone_is_asked_of_a_reconstruction(tiny32: Network) -> None:
    composition = make_reconstruct()
    assert losses(composition, tiny32, PHOTO) == {"content/relu2_1": 0}
    assert losses(composition, tiny32, PAINTING)["content/relu2_1"] > 0.01


def test_an_inversion_has_priors(tiny32: Network) -> None:
    composition = make_invert(smoothness=2.0, contrast=3.0)
    found = losses(composition, tiny32, PHOTO)
    assert found["content/conv2_1"] == 0
    assert priors(composition) == {"smoothness": 2, "contrast": 3}
    flat = losses(composition, tiny32, torch.full((1, 3, 24, 32), 0.5))
    assert flat["smoothness"] == pytest.approx(0, abs=1e-12)
    assert flat["contrast"] == 0
    assert losses(composition, tiny32, torch.zeros(1, 3, 24, 32))["contrast"] == pytest.approx(3)


def test_the_exponent_of_the_total_variation(tiny32: Network) -> None:
    """A step of height ½ costs ½^β for each pixel and channel along it."""
    step = torch.zeros(1, 3, 24, 32)
    step[..., 16:] = 0.5
    for beta in (1.0, 2.0):
        found = losses(make_invert(smoothness=1, smoothness_exponent=beta), tiny32, step)["smoothness"]
        assert found == pytest.approx(3 * 0.5**beta / 32, rel=1e-2)


def test_no_term_holds_on_to_the_style_of_an_amalgamation(tiny32: Network) -> None:
    composition = make_amalgamate(smoothness=0)
    assert list(matches(composition)) == ["content"]
    assert not priors(composition)
    assert losses(composition, tiny32, PHOTO) == {"content/conv2_1": 0}


def test_a_texture_does_not_know_where(tiny32: Network) -> None:
    composition = texture(PHOTO, {"relu1_1": 1.0}, TextureSettings(size=24, padding="zero"))
    square = resize(PHOTO, (24, 24))
    assert composition.schedule[-1].size == (24, 24)
    assert list(matches(make_texture())["style"].layers.items()) == [("relu1_1", 0.25), ("relu2_1", 0.75)]
    here = losses(texture(square, {"relu1_1": 1.0}, TextureSettings(size=24)), tiny32, square)
    assert here["style/relu1_1"] == pytest.approx(0, abs=1e-9)


def test_a_transfer_has_all_terms() -> None:
    composition = make_transfer(
        content_weight=0.5, style_weight=4.0, smoothness=7.0, content_layers="conv1_1,conv2_1=3"
    )
    assert matches(composition)["content"].layers == {"conv1_1": 0.125, "conv2_1": 0.375}
    assert matches(composition)["style"].layers == {"relu1_1": 1.0, "relu2_1": 3.0}
    assert priors(composition) == {"smoothness": 7}


@pytest.mark.parametrize(
    ("weights", "shares"),
    [("", [1 / 3, 1 / 3, 1 / 3]), ("2,1,1", [0.5, 0.25, 0.25]), (" 3 , 1e0, 0", [0.75, 0.25, None])],
)
def test_several_styles_share_the_weight(weights: str, shares: list[float | None]) -> None:
    more = [random_image(16, 16, seed, torch.float32) for seed in (7, 8)]
    composition = make_transfer(*more, style_weight=8.0, style_weights=weights)
    found = matches(composition)
    for number, (share, reference) in enumerate(zip(shares, [PAINTING, *more], strict=True), start=1):
        if share is None:
            assert f"style {number}" not in found
        else:
            assert found[f"style {number}"].reference is reference
            assert sum(found[f"style {number}"].layers.values()) == pytest.approx(8 * share)


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ("1,2", "2 style weights are given for 1 style"),
        ("0", "the styles' weights are all 0"),
        ("nan", "a style's weight is 'nan'; it must be a number from 0 upwards"),
        ("-1", "a style's weight is '-1'; it must"),
        ("much", "a style's weight is 'much'; it must"),
        (",", "a style's weight is ''; it must"),
    ],
)
def test_style_weights_that_make_no_sense(weights: str, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        make_transfer(style_weights=weights)


def test_content_or_style_alone() -> None:
    assert list(matches(make_transfer(content_weight=0))) == ["style"]
    assert list(matches(make_transfer(style_weight=0))) == ["content"]
    assert list(matches(make_transfer(style_weight=0, content_weight=0, layout=1))) == ["layout"]
    assert not make_transfer(style_weight=0, neighbours=1).objective.neighbours


def test_normalised() -> None:
    assert normalised({"a": 1.0, "b": 3.0, "c": 0.0}) == {"a": 0.25, "b": 0.75, "c": 0}
    with pytest.raises(SpecError, match="the weights of a, b are all 0"):
        normalised({"a": 0.0, "b": 0.0})


# The way down --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@each_task
@pytest.mark.parametrize("parameterisation", ["pixels", "fourier"])
@pytest.mark.parametrize("optimiser", ["adam", "lbfgs", "lbfgs-plain"])
def test_every_task_goes_down_every_way(tiny32: Network, make: Make, parameterisation: str, optimiser: str) -> None:
    composition = make(init="noise", steps=12, parameterisation=parameterisation, optimiser=optimiser)
    first = composition.init(composition.schedule[0].size)
    *_, last = synthesise(composition, tiny32)
    before, after = (sum(losses(composition, tiny32, image).values()) for image in (first, last.image))
    assert after < 0.9 * before


@each_task
def test_the_way_is_as_asked(make: Make) -> None:
    stage = Stage(SIZE, 5)
    pixels = make(parameterisation="pixels", optimiser="adam", learning_rate=0.3)
    assert isinstance(pixels.parameterisation, Pixels)
    way = pixels.optimiser(stage)
    assert isinstance(way, Adam)
    assert (way.learning_rate, way.steps) == (0.3, 5)
    assert "range" not in priors(pixels)
    fourier = make(parameterisation="fourier", optimiser="lbfgs")
    assert isinstance(fourier.parameterisation, Fourier)
    assert fourier.optimiser(stage) == LBFGS(line_search=True)
    assert priors(fourier)["range"] > 0
    assert make(optimiser="lbfgs-plain").optimiser(stage) == LBFGS(line_search=False)


@pytest.mark.parametrize("name", ["invert", "reconstruct", "amalgamate"])
def test_one_size_of_the_content_s_proportions(name: str) -> None:
    assert TASKS[name](size=64, steps=9).schedule == (Stage((48, 64), 9),)


def test_small_before_large() -> None:
    plain = partial(make_transfer, size=128, steps=9)
    assert plain(smallest=64).schedule == (Stage((49, 65), 14), Stage((69, 91), 11), Stage((96, 128), 9))
    assert plain(smallest=128).schedule == (Stage((96, 128), 9),)
    doubling = partial(plain, smallest=64, growth=2.0, step_ratio=0.5)
    assert doubling().schedule == (Stage((48, 64), 18), Stage((96, 128), 9))
    assert doubling(neighbours=1, rematches=1).schedule == (
        Stage((48, 64), 18),
        Stage((96, 128), 4),
        Stage((96, 128), 5),
    )
    assert make_texture(size=128, smallest=32, steps=2).schedule == (
        Stage((32, 32), 8),
        Stage((64, 64), 4),
        Stage((128, 128), 2),
    )


# Parts ---------------------------------------------------------------------------------------------------------------


def parts(task: str, **values: object) -> list[Part]:
    images = {"amalgamate": [PHOTO, PAINTING], "transfer": [PHOTO, PAINTING], "texture": [PAINTING]}.get(task, [PHOTO])
    files = tuple(Path(f"{number}.png") for number in range(len(images)))
    spec = RunSpec(task=task, pictures=files, settings=make_settings(task, **values))
    return compose(spec, [Picture(image) for image in images])


@pytest.mark.parametrize("task", ["reconstruct", "amalgamate"])
def test_one_part_a_layer(task: str) -> None:
    found = parts(task, layers="conv2_1, conv1_1")
    assert [(part.name, part.content_layers) for part in found] == [
        ("conv2_1", ("conv2_1",)),
        ("conv1_1", ("conv1_1",)),
    ]
    for part in found:
        assert list(matches(part.composition)["content"].layers) == [part.name]


def test_parts_of_one() -> None:
    assert [(part.name, part.content_layers) for part in parts("invert", layer="conv3_1")] == [("", ("conv3_1",))]
    assert [(part.name, part.content_layers) for part in parts("transfer")] == [("", ("relu4_2",))]
    assert [(part.name, part.content_layers) for part in parts("texture")] == [("", ())]


def test_one_layer_then_two_then_three() -> None:
    found = parts("texture", layers="relu1_1,relu2_1=3,pool2", cumulative=True)
    assert {part.name: dict(matches(part.composition)["style"].layers) for part in found} == {
        "relu1_1": {"relu1_1": 1.0},
        "to-relu2_1": {"relu1_1": 0.25, "relu2_1": 0.75},
        "to-pool2": {"relu1_1": 0.2, "relu2_1": 0.6, "pool2": 0.2},
    }
