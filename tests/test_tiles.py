"""Tiles give the losses and the gradient of the whole picture, read no more than needed, and keep to the memory."""

import math
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import impasto.runs.paint
import impasto.tiles.budget
import impasto.tiles.criterion
import impasto.tiles.reading
import impasto.tiles.tiler
import impasto.tiles.tilings
import impasto.tiles.windows
from command import call, pixels, read_json, save_pictures
from conftest import CLASSIC_WORDS, random_image
from impasto.amounts import parse_memory
from impasto.errors import ImageError, SpecError
from impasto.images.image import Size
from impasto.machine import Precision
from impasto.networks.catalogue import open_network
from impasto.networks.network import Network, Padding, Pooling
from impasto.networks.vgg import vgg
from impasto.objectives.criterion import Criterion
from impasto.objectives.distances import Distance, mean_squared_error, normalised_squared_error
from impasto.objectives.objective import Objective, content, prior, style
from impasto.objectives.priors import alpha_norm, out_of_range, total_variation
from impasto.objectives.representations import (
    Representation,
    activations,
    channel_moments,
    gram_matrix,
    mean_and_gram,
)
from impasto.objectives.wasserstein import wasserstein_distance
from impasto.synthesis.loop import Iterate, synthesise
from impasto.tasks.settings import InvertSettings
from impasto.tiles.budget import Limits, MemoryPlan, reduced
from impasto.tiles.criterion import bind_tiled
from impasto.tiles.passes import Key
from impasto.tiles.reading import feature_error, read_once
from impasto.tiles.windows import cut, cutting
from impasto.weights.layout import vgg_layers

DEPTHS = (2, 2, 3, 3, 3)
LAYERS = tuple(layer for layer in vgg_layers(DEPTHS) if layer != "pool5")
RECTIFIED = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def narrow(
    precision: Precision = "float64",
    pooling: Pooling = "max",
    padding: Padding = "zero",
    change: Callable[[Tensor], Tensor] = torch.clone,
) -> Network:
    """VGG-16 with four filters a layer: as deep as the real one and quick in float64."""
    generator = torch.Generator().manual_seed(5)
    weights, channels = {}, 3
    for layer in vgg_layers(DEPTHS):
        if layer.startswith("conv"):
            weights[f"{layer}.weight"] = torch.randn(4, channels, 3, 3, generator=generator) * (2 / 9 / channels) ** 0.5
            weights[f"{layer}.bias"] = torch.rand(4, generator=generator)
            channels = 4
    weights = {key: change(value) for key, value in weights.items()}
    return vgg(
        "narrow", weights, convolutions=DEPTHS, pooling=pooling, padding=padding, precision=precision, device="cpu"
    )


def everything(size: Size, dtype: torch.dtype, *, distance: Distance = normalised_squared_error) -> Objective:
    height, width = size
    return (
        content(random_image(*size, 1, dtype), {"relu4_2": 0.7, "conv2_1": 0.3}, distance=distance)
        + style(random_image(height + 9, width + 21, 2, dtype), RECTIFIED, distance=distance, name="first")
        + style(random_image(70, 40, 3, dtype), ["conv1_2", "pool3"], represent=channel_moments, name="second")
        + prior("smoothness", 0.5, lambda image: total_variation(image, 1.5), reach_px=1)
        + prior("contrast", 0.1, alpha_norm, reach_px=0)
    )


def require_equal(tiled: Criterion, whole: Criterion, image: Tensor, within: float) -> None:
    losses, gradient = whole.losses_and_gradient(image)
    found, slope = tiled.losses_and_gradient(image)
    assert list(found) == list(losses)
    assert found == pytest.approx(losses, rel=within)
    assert tiled.losses(image) == pytest.approx(losses, rel=within)
    assert slope.shape == image.shape
    assert slope.dtype == image.dtype
    assert gradient.norm() > 0
    assert (slope - gradient).norm() <= within * gradient.norm()


def paired(layers: Sequence[str], functions: Sequence[object]) -> list[tuple[str, object]]:
    """Each layer with one of the functions, in turn, and three layers with all of them."""
    in_turn = zip(layers, cycle(functions))
    return list(dict.fromkeys([*in_turn, *product(["relu1_1", "pool2", "conv4_3"], functions)]))


# The same numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "pooling", "padding"),
    [
        *product(["float64"], ["max", "average"], ["zero", "replicate"]),
        ("float32", "max", "replicate"),
    ],
)
@pytest.mark.parametrize(("size", "core"), [((97, 83), (16, 48)), ((64, 141), (64, 64)), ((50, 33), (1, 1))])
def test_tiles_are_the_whole(precision: Precision, pooling: Pooling, padding: Padding, size: Size, core: Size) -> None:
    network = narrow(precision, pooling, padding)
    objective = everything(size, network.precision)
    tiled = bind_tiled(objective, network, size, core)
    assert len(tiled.tiles) > 1
    within = 1e-9 if precision == "float64" else 1e-4
    require_equal(tiled, objective.bind(network, size), random_image(*size, 4, network.precision), within)


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "represent"), paired(LAYERS, [gram_matrix, channel_moments, mean_and_gram]))
def test_each_layers_statistics(layer: str, represent: Representation) -> None:
    size, network = (71, 90), narrow()
    distance = wasserstein_distance if represent is mean_and_gram else mean_squared_error
    objective = style(random_image(60, 60, 1), [layer], represent=represent, distance=distance)
    tiled = bind_tiled(objective, network, size, (32, 32))
    require_equal(tiled, objective.bind(network, size), random_image(*size, 2), 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "distance"), paired(LAYERS, [mean_squared_error, normalised_squared_error]))
def test_each_layers_activations(layer: str, distance: Distance) -> None:
    size, network = (71, 90), narrow()
    objective = content(random_image(80, 80, 1), [layer], distance=distance)
    tiled = bind_tiled(objective, network, size, (32, 32))
    require_equal(tiled, objective.bind(network, size), random_image(*size, 2), 1e-9)


def test_the_picture_itself_can_be_compared() -> None:
    size, network = (40, 50), narrow()
    objective = content(random_image(*size, 1), ["image"]) + style(random_image(30, 30, 2), ["image", "relu1_1"])
    require_equal(
        bind_tiled(objective, network, size, (9, 16)), objective.bind(network, size), random_image(40, 50, 3), 1e-9
    )


def test_against_autograd() -> None:
    """The gradient of tiles is that of the formula, with none of the code that tiles share with the whole."""
    size, network = (70, 83), narrow(padding="replicate")
    reference, painting, image = random_image(*size, 1), random_image(*size, 2), random_image(*size, 3).requires_grad_()
    objective = content(reference, {"relu4_2": 0.3}) + style(painting, {"relu1_1": 1.0, "relu5_1": 2.0})
    features, aim, manner = (network(x, ["relu4_2", "relu1_1", "relu5_1"]) for x in (image, reference, painting))

    def gram(maps: Tensor) -> Tensor:
        return torch.einsum("bihw,bjhw->ij", maps, maps) / (maps.shape[2] * maps.shape[3])

    total = 0.3 * (features["relu4_2"] - aim["relu4_2"]).square().sum() / aim["relu4_2"].square().sum()
    for layer, weight in {"relu1_1": 1.0, "relu5_1": 2.0}.items():
        target = gram(manner[layer])
        total = total + weight * (gram(features[layer]) - target).square().sum() / target.square().sum()
    (truth,) = torch.autograd.grad(total, image)
    losses, gradient = bind_tiled(objective, network, size, (16, 32)).losses_and_gradient(image)
    assert sum(losses.values()) == pytest.approx(total.item(), rel=1e-9)
    assert (gradient - truth).norm() <= 1e-9 * truth.norm()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_real_network(precision: Precision) -> None:
    dtype = torch.float64 if precision == "float64" else torch.float32
    network = open_network("vgg16", precision=precision, device="cpu")
    size = (37, 90)
    objective = everything(size, dtype)
    within = 1e-9 if precision == "float64" else 1e-4
    tiled = bind_tiled(objective, network, size, (32, 48))
    require_equal(tiled, objective.bind(network, size), random_image(*size, 4, dtype), within)


@pytest.mark.parametrize("strip", [1, 200, 10**6])
@pytest.mark.parametrize("layers", [[], ["relu1_1"]])
def test_priors_in_strips(monkeypatch: pytest.MonkeyPatch, strip: int, layers: list[str]) -> None:
    """Also one that is no mean over pixels, which is taken whole, and an objective of priors alone."""
    monkeypatch.setattr(impasto.tiles.criterion, "STRIP_PIXELS", strip)
    size, network = (23, 31), narrow()
    objective = content(random_image(*size, 1), layers) if layers else Objective(())
    objective += prior("smoothness", 0.5, lambda image: total_variation(image, 1.5), reach_px=1)
    objective += prior("range", 2.0, out_of_range, reach_px=0) + prior("own", 0.1, lambda image: image.std())
    image = 2 * random_image(*size, 2) - 0.5
    require_equal(bind_tiled(objective, network, size, (8, 8)), objective.bind(network, size), image, 1e-9)


def test_feature_errors_in_tiles() -> None:
    network, size = narrow(), (83, 97)
    image, reference, layers = random_image(*size, 1), random_image(*size, 2), ["conv1_1", "relu3_2", "block5_conv1"]
    whole = network(image, layers), network(reference, layers)
    truth = {layer: float((whole[0][layer] - whole[1][layer]).norm() / whole[1][layer].norm()) for layer in layers}
    assert feature_error(network, image, reference, layers) == pytest.approx(truth, rel=1e-9)
    assert feature_error(network, image, reference, layers, (32, 16)) == pytest.approx(truth, rel=1e-9)


# Enough, and no more -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
def test_the_reach_is_what_a_position_sees(layer: str) -> None:
    """With positive weights and average pooling all that a position sees has a gradient."""
    network = narrow(pooling="average", change=torch.abs)
    image = random_image(208, 16, 1).requires_grad_()
    maps = network(image, [layer])[layer]
    position, stride = maps.shape[2] // 2, network.stride(layer)
    (gradient,) = torch.autograd.grad(maps[0, :, position].sum(), image)
    seen = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    reach = network.reach_px(layer)
    assert int(seen.min()) == position * stride - reach
    assert int(seen.max()) == (position + 1) * stride - 1 + reach


@pytest.mark.slow
@pytest.mark.parametrize("layer", [layer for layer in LAYERS if not layer.startswith("relu")])
def test_the_margin_is_not_larger_than_needed(monkeypatch: pytest.MonkeyPatch, layer: str) -> None:
    """One step of the grid less, and the numbers are others; with the margin they are equal (see above).

    A ReLU sees what its convolution sees (see above).
    """
    network, size = narrow(), (16 * 11, 16 * 11)
    objective, image = style(random_image(64, 64, 1), [layer]), random_image(*size, 2)
    _, truth = objective.bind(network, size).losses_and_gradient(image)
    known = cutting(network, [layer])
    less = known._replace(margin=known.margin - known.grid)
    monkeypatch.setattr(impasto.tiles.windows, "cutting", lambda *_: less)
    _, found = bind_tiled(objective, network, size, (80, 80)).losses_and_gradient(image)
    assert (found - truth).norm() > 1e-6 * truth.norm()


@pytest.mark.parametrize("size", [(97, 83), (16, 300), (31, 31), (1000, 70)])
@pytest.mark.parametrize("core", [(16, 16), (1, 200), (48, 64)])
@pytest.mark.parametrize("layers", [["relu5_1"], ["conv1_1"], ["relu1_2", "pool3"]])
def test_every_position_has_one_owner(size: Size, core: Size, layers: list[str]) -> None:
    network = narrow()
    tiles = cut(size, core, network, layers)
    for layer in layers:
        stride = network.stride(layer)
        owners = torch.zeros(size[0] // stride, size[1] // stride)
        for tile in tiles:
            own = tile.core.own(owners, stride, size).add_(1)
            assert own.numel() > 0
            crop = tile.crop.bottom - tile.crop.top, tile.crop.right - tile.crop.left
            assert tile.inside.own(torch.zeros(crop[0] // stride, crop[1] // stride), stride, crop).shape == own.shape
        assert bool((owners == 1).all())
    grid = cutting(network, layers).grid
    for tile in tiles:
        assert tile.crop.top % grid == tile.crop.left % grid == 0
        assert tile.core.bottom - tile.core.top < max(core[0], grid) + grid
        assert tile.core.right - tile.core.left < max(core[1], grid) + grid


# Bad input, and memory that ends -------------------------------------------------------------------------------------


def test_what_cannot_be_tiled() -> None:
    network, image = narrow(), random_image(40, 40)
    with pytest.raises(SpecError, match="cannot be taken in tiles"):
        bind_tiled(content(image, ["relu1_1"], distance=lambda a, b: (a - b).abs().max()), network, (40, 40), (16, 16))
    with pytest.raises(SpecError, match="no term"):
        bind_tiled(Objective(()), network, (40, 40), (16, 16))
    with pytest.raises(ImageError, match="too small"):
        bind_tiled(style(image, ["relu5_1"]), network, (15, 40), (16, 16))
    with pytest.raises(ImageError, match="too small"):
        bind_tiled(style(random_image(400, 4), ["relu5_1"]), network, (40, 40), (16, 16))


def test_tiles_are_halved_where_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Size] = []
    size, network = (97, 83), narrow()
    objective = style(random_image(64, 64, 1), RECTIFIED[:3]) + content(random_image(*size, 2), ["conv2_2"])
    whole, image = objective.bind(network, size), random_image(*size, 4)
    tiled = bind_tiled(objective, network, size, (97, 83), halved=told.append)
    of_a_tile = impasto.tiles.tiler.tile_gradient

    def short(network: Network, crop: Tensor, *more: object) -> object:
        if crop[0, 0].numel() > 75 * 75:
            raise torch.OutOfMemoryError
        return of_a_tile(network, crop, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(impasto.tiles.tiler, "tile_gradient", short)
    require_equal(tiled, whole, image, 1e-9)
    assert told == [(48, 41)]
    monkeypatch.setattr(
        impasto.tiles.tiler, "tile_gradient", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError())
    )
    with pytest.raises(torch.OutOfMemoryError):
        tiled.losses_and_gradient(image)


def test_a_reading_is_in_smaller_tiles_where_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Size] = []
    size, network = (97, 83), narrow()
    image, reference = random_image(*size, 1), random_image(*size, 2)
    keys: set[Key] = {("relu1_1", mean_and_gram)}
    compared: set[Key] = {("conv2_2", activations)}
    whole, missed = read_once(network, image, keys, reference=reference, compared=compared)
    of_a_tile = impasto.tiles.reading.owned

    def short(network: Network, crop: Tensor, *more: Any) -> object:
        if crop[0, 0].numel() > 75 * 75:
            raise torch.OutOfMemoryError
        return of_a_tile(network, crop, *more)

    monkeypatch.setattr(impasto.tiles.reading, "owned", short)
    found, still = read_once(network, image, keys, reference=reference, compared=compared, halved=told.append)
    assert told == [(48, 41)]
    for key in keys:
        assert torch.allclose(found[key], whole[key], rtol=1e-9)
    for key in compared:
        assert still[key].error == pytest.approx(missed[key].error, rel=1e-9)
        assert still[key].numbers == missed[key].numbers
    monkeypatch.setattr(impasto.tiles.reading, "owned", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(torch.OutOfMemoryError):
        read_once(network, image, keys)


# How a run fits ------------------------------------------------------------------------------------------------------


def plan_of(network: Network, memory: float, *, tile_px: int | None = None, history: int = 10) -> MemoryPlan:
    image = random_image(64, 64, dtype=torch.float32)
    objective = content(image, ["relu4_2"]) + style(image, RECTIFIED)
    return MemoryPlan(network, objective, Limits(memory, tile_px), history)


def test_tiles_shrink_with_memory(normalised: Network) -> None:
    size = (4096, 6144)
    roomy = plan_of(normalised, 1e12)
    assert roomy.core(size) is None
    assert roomy.history(size) == 10
    areas = []
    for memory in (40e9, 20e9, 12e9, 9e9, 6e9):
        plan = plan_of(normalised, memory)
        core, history = plan.core(size), plan.history(size)
        assert plan.needed(size, core, history) <= memory
        plan.require(size)
        assert 2 <= history <= 10
        areas.append((core or size)[0] * (core or size)[1])
    assert areas == sorted(areas, reverse=True)
    assert areas[-1] < areas[0]


def test_a_share_of_the_memory(normalised: Network) -> None:
    """A half and a quarter make smaller tiles; nothing is taken below what the smallest need, or more than there is."""
    size, plan = (4096, 6144), plan_of(normalised, 40e9)
    areas, least = [], plan_of(normalised, 0.0).needed_within(size)
    for share in (1.0, 0.5, 0.25, 0.01):
        (less,) = reduced([plan], [size], share)
        core = less.core(size)
        assert core is not None
        areas.append(core[0] * core[1])
        assert less.limits.memory == pytest.approx(max(share * 40e9, least))
        less.require(size)
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > areas[1]
    assert reduced([plan_of(normalised, 1e9)], [size], 0.5)[0].limits.memory == 1e9
    assert reduced([plan_of(normalised, math.inf)], [size], 0.5)[0].limits.memory == math.inf


def test_memory_that_nobody_knows() -> None:
    assert impasto.tiles.budget.limits(None, None, torch.device("mps")).memory == math.inf


def test_a_tile_that_is_asked_for(normalised: Network) -> None:
    assert plan_of(normalised, 1e12, tile_px=512).core((2048, 300)) == (512, 512)
    assert plan_of(normalised, 1e12, tile_px=512).core((512, 300)) is None
    assert isinstance(
        plan_of(normalised, 1e12, tile_px=32).bind((48, 48)),
        impasto.tiles.criterion.TiledCriterion,
    )


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path)


WORDS = (
    *("transfer", "photo.png", "painting.png", "--size", 140, "--smallest", 70, "--steps", 2, "--frames", 0),
    *("--style-layers", "relu1_1,relu2_1", "--content-layers", "relu2_2", *CLASSIC_WORDS),
)


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--memory", "4"), 2, "memory is '4'; write 4GB, 500MB or auto for instance"),
        (("--memory", "0GB"), 2, "memory is '0GB'"),
        (("--memory", "lots"), 2, "memory is 'lots'"),
        (("--tile", 0), 2, "tile"),
        (("--memory", "1MB"), 3, "needs about"),
    ],
)
def test_sentences(options: tuple[object, ...], code: int, sentence: str) -> None:
    ended = call(*WORDS, *options, "-o", "out")
    assert ended.code == code
    assert sentence in ended.err
    assert not Path("out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(("statistics", "most"), [("gram", 2), ("wasserstein", 8)])
def test_a_tiled_run_paints_the_same(statistics: str, most: int) -> None:
    """But for rounding, to which roots are more sensitive than Gram matrices: a few pixels' last bits."""
    words = (*WORDS, "--precision", "float32", "--statistics", statistics)
    assert call(*words, "-o", "whole").code == 0
    ended = call(*words, "--tile", 64, "-o", "tiled")
    assert ended.code == 0
    assert re.search(r"impasto: 140 × 105 px in \d+ tiles of up to 64 × 64 px\n", ended.err)
    whole, tiled = (pixels(Path(name) / "result.png").astype(int) for name in ("whole", "tiled"))
    assert abs(whole - tiled).max() <= most
    assert abs(whole - tiled).mean() <= 0.1
    assert read_json(Path("tiled/summary.json"))["tile_px"] == [64, 64]
    assert "tile_px" not in read_json(Path("whole/summary.json"))


@pytest.mark.slow
@pytest.mark.usefixtures("pictures")
def test_a_tiled_run_goes_on_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the memory that it began with, although more is free by then."""
    monkeypatch.setattr(impasto.tiles.budget, "free_memory", lambda device: 18e6)
    monkeypatch.setattr(impasto.tiles.tilings, "LEAST_PX", 32)
    assert call(*WORDS, "-o", "whole").code == 0

    def stopping(*given: object) -> Iterator[Iterate]:
        for iterate in synthesise(*given):  # type: ignore[arg-type]
            if iterate.step == 5:
                signal.raise_signal(signal.SIGTERM)
            yield iterate

    monkeypatch.setattr(impasto.runs.paint, "synthesise", stopping)
    assert call(*WORDS, "-o", "parts").code == 130
    monkeypatch.setattr(impasto.runs.paint, "synthesise", synthesise)
    monkeypatch.setattr(impasto.tiles.budget, "free_memory", lambda device: 1e10)
    assert call("resume", "parts").code == 0
    assert (pixels(Path("whole/result.png")) == pixels(Path("parts/result.png"))).all()
    summaries = [read_json(Path(name) / "summary.json") for name in ("whole", "parts")]
    assert summaries[0]["tile_px"] == summaries[1]["tile_px"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_budget_is_kept(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    program = """
import sys
from impasto.cli.app import main
try:
    main(sys.argv[1:])
finally:
    print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    words = ["invert", "photo.png", "--layer", "relu2_1", "--size", "800", "--steps", "1", "--frames", "0"]
    words += ["--threads", "1", "--memory", "1GB", "--quiet", "--out", "out"]
    command = [sys.executable, "-c", program, *words]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    peak = int(re.search(r"VmHWM:\s*(\d+)", ended.stdout)[1]) * 1024  # type: ignore[index]
    assert read_json(tmp_path / "out" / "summary.json")["tile_px"]
    assert peak <= 1e9


def test_settings_of_memory() -> None:
    assert InvertSettings().memory == "auto"
    for text, size in {"4GB": 4e9, "500 mb": 5e8, "1.5GiB": 1.5 * 2**30}.items():
        assert parse_memory(text) == size
        assert InvertSettings(memory=text).memory == text
