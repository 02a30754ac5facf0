"""Runs from a spec to a folder, with the real network: the files of a run, and those of a run that fails."""

import errno
import hashlib
import io
import re
import shutil
import signal
import threading
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from PIL import ImageCms

import impasto.runs.paint
import impasto.runs.prepare
import impasto.runs.recorders
from command import Ended, call, pixels, read_json, read_lines, save_pictures
from conftest import CLASSIC, random_image
from impasto.cli.listeners import json_lines
from impasto.errors import DivergedError, ImpastoError, OutOfMemoryError
from impasto.folders.results import Curves
from impasto.images.colours import from_pillow
from impasto.images.files import embedded_settings, load_image, load_picture, save_image
from impasto.images.image import cover, quantise
from impasto.networks.catalogue import NETWORKS
from impasto.networks.network import Network
from impasto.objectives.criterion import WholeCriterion
from impasto.runs.recorders import MetricsFile
from impasto.runs.start import run
from impasto.synthesis.composition import Composition
from impasto.synthesis.inits import noise
from impasto.synthesis.loop import Iterate, State, synthesise
from impasto.tasks.parts import network_of
from impasto.tasks.settings import InvertSettings, ReconstructSettings, Settings, TransferSettings
from impasto.tasks.spec import RunSpec, compose

PART_FILES = {"result.png", "summary.json", "losses.png", "progress.gif", "progress.webp", "frames"}
PAGE = "report.html"


@dataclass(frozen=True)
class Task:
    """A small run: its pictures and options, its parts, what each part's content is measured at, steps of a part."""

    pictures: tuple[str, ...]
    options: tuple[object, ...]
    parts: dict[str, list[str]]
    steps: int
    size: tuple[int, int]


TASKS = {
    "invert": Task(("photo.png",), ("--layer", "conv3_1", "--size", 64), {"": ["conv3_1", "relu3_1"]}, 4, (48, 64)),
    "reconstruct": Task(
        ("photo.png",),
        ("--layers", "conv1_1,relu3_1", "--size", 64),
        {"conv1_1": ["conv1_1", "relu1_1"], "relu3_1": ["relu3_1"]},
        4,
        (48, 64),
    ),
    "amalgamate": Task(
        ("photo.png", "painting.png"),
        ("--layers", "conv2_1,block4_conv1", "--size", 64),
        {"conv2_1": ["conv2_1", "relu2_1"], "block4_conv1": ["block4_conv1"]},
        4,
        (48, 64),
    ),
    "texture": Task(
        ("painting.png",), ("--layers", "relu1_1,relu2_1=2", "--size", 64, "--smallest", 32), {"": []}, 12, (64, 64)
    ),
    "transfer": Task(
        ("photo.png", "painting.png"),
        ("--size", 96, "--smallest", 48, "--growth", 2, "--step-ratio", 0.5),
        {"": ["relu4_2"]},
        12,
        (72, 96),
    ),
}


@dataclass(frozen=True)
class Run:
    """A task that is done."""

    name: str
    desk: Path
    task: Task
    ended: Ended

    @property
    def folder(self) -> Path:
        return self.desk / "run"

    @property
    def places(self) -> dict[str, Path]:
        return {part: self.folder / part for part in self.task.parts}


SLOW = {"amalgamate", "texture", "transfer"}  # which test_golden.py has too, of a few steps
RUNS = {name: pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in TASKS}


@pytest.fixture(scope="module", params=RUNS.values())
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Each task, run once."""
    name, task = request.param, TASKS[request.param]
    desk = tmp_path_factory.mktemp(name)
    save_pictures(desk)
    words = [name, *(desk / picture for picture in task.pictures), *task.options]
    ended = call(*words, "--steps", 4, "--frames", 3, "--seed", 5, "--out", desk / "run")
    assert ended.code == 0, ended.err
    return Run(name, desk, task, ended)


several_parts = pytest.mark.parametrize("done", [RUNS["reconstruct"], RUNS["amalgamate"]], indirect=True)
as_large_as_the_photo = pytest.mark.parametrize(
    "done", [RUNS["invert"], RUNS["reconstruct"], RUNS["amalgamate"]], indirect=True
)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with two pictures."""
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invert(steps: int = 3, **values: object) -> RunSpec:
    settings = InvertSettings(**{"layer": "conv2_1", "size": 32, "steps": steps, "frames": 2, **values})
    return RunSpec(task="invert", pictures=(Path("photo.png"),), settings=settings)


# What is left --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_folder_holds_all_of_it_and_nothing_else(done: Run) -> None:
    top = {"run.toml", "metrics.jsonl", "result.png", "summary.json", "losses.png", PAGE}
    if len(done.places) > 1:
        assert {path.name for path in done.folder.iterdir()} == top | set(done.places)
        for place in done.places.values():
            assert {path.name for path in place.iterdir()} == PART_FILES
    else:
        assert {path.name for path in done.folder.iterdir()} == top | PART_FILES


@pytest.mark.slow
def test_the_folder_s_name_is_all_of_standard_output(done: Run) -> None:
    assert done.ended.out == f"{done.folder}\n"
    assert done.ended.err.count("\n") == done.task.steps * len(done.places)
    assert f"step {done.task.steps}/{done.task.steps}, loss " in done.ended.err


@pytest.mark.slow
def test_settings_that_repeat_the_run(done: Run) -> None:
    read = tomllib.loads((done.folder / "run.toml").read_text("utf-8"))
    provenance = read.pop("provenance")
    spec = RunSpec(**read)
    assert spec.task == done.name
    assert spec.pictures == tuple(done.desk / picture for picture in done.task.pictures)
    assert (spec.settings.seed, spec.settings.steps, spec.settings.frames) == (5, 4, 3)
    assert spec.settings.size == dict(zip(done.task.options[::2], done.task.options[1::2], strict=True))["--size"]
    assert provenance["weights_sha256"] == NETWORKS["vgg16"].sha256
    assert provenance["pictures_sha256"] == [hashlib.sha256(file.read_bytes()).hexdigest() for file in spec.pictures]
    assert provenance["torch"] == torch.__version__
    assert provenance["device"] == str(torch.empty(0).device) == "cpu"
    assert provenance.keys() >= {"impasto", "python", "machine", "precision", "threads", "made"}


@pytest.mark.slow
def test_one_line_a_step(done: Run) -> None:
    lines = read_lines(done.folder / "metrics.jsonl")
    by_part = {part: list(found) for part, found in groupby(lines, lambda line: line.get("part", ""))}
    assert list(by_part) == list(done.places)
    for found in by_part.values():
        assert [line["step"] for line in found] == list(range(1, done.task.steps + 1))
        for line in found:
            assert line["steps"] == done.task.steps
            assert line["evaluations"] >= line["step"]
            assert line["total"] == pytest.approx(sum(line["losses"].values()))
        for before, after in pairwise(found):
            assert before["seconds"] <= after["seconds"]
            assert before["evaluations"] < after["evaluations"]
            assert before["stage"] <= after["stage"]
        for _, stage in groupby(found, lambda line: line["stage"]):
            of_stage = list(stage)
            assert of_stage[-1]["total"] < of_stage[0]["total"]
        assert tuple(found[-1]["size"]) == done.task.size


def test_losses_by_name(done: Run) -> None:
    names = {tuple(line["losses"]) for line in read_lines(done.folder / "metrics.jsonl")}
    expected = {
        "invert": {("content/conv3_1", "smoothness", "contrast")},
        "reconstruct": {("content/conv1_1",), ("content/relu3_1",)},
        "amalgamate": {("content/conv2_1", "smoothness"), ("content/block4_conv1", "smoothness")},
        "texture": {("style/relu1_1", "style/relu2_1", "smoothness")},
        "transfer": {
            (
                *("content/relu4_2", "layout/relu3_1", "layout/relu4_1"),
                *(f"style/relu{block}_1" for block in range(1, 5)),
                *("neighbours/relu3_1", "neighbours/relu4_1", "smoothness"),
            )
        },
    }
    assert names == expected[done.name]


def test_stages_grow(done: Run) -> None:
    lines = read_lines(done.folder / "metrics.jsonl")
    stages = [
        (stage, tuple(size)) for stage, size in dict.fromkeys((line["stage"], tuple(line["size"])) for line in lines)
    ]
    height, width = done.task.size
    if done.name in ("texture", "transfer"):
        assert stages == [(1, (height // 2, width // 2)), (2, (height, width))]
    else:
        assert stages == [(1, done.task.size)]


def test_summaries(done: Run) -> None:
    lines = read_lines(done.folder / "metrics.jsonl")
    for part, place in done.places.items():
        summary = read_json(place / "summary.json")
        last = [line for line in lines if line.get("part", "") == part][-1]
        assert (summary["task"], summary["status"], summary["steps"]) == (done.name, "done", done.task.steps)
        assert summary["evaluations"] == last["evaluations"]
        assert 0 < summary["seconds"] < 600
        assert summary["peak_memory_mb"] > 50
        assert summary["losses"].keys() == last["losses"].keys()
        assert list(summary["metrics"].get("feature_error", [])) == done.task.parts[part]
        assert ("psnr" in summary["metrics"]) == (done.name != "texture")


@several_parts
def test_the_summary_of_several_parts(done: Run) -> None:
    summary = read_json(done.folder / "summary.json")
    each = {part: read_json(place / "summary.json") for part, place in done.places.items()}
    assert {part: {"task": done.name, **found} for part, found in summary["parts"].items()} == each
    assert summary["evaluations"] == sum(found["evaluations"] for found in each.values())
    assert summary["seconds"] == pytest.approx(sum(found["seconds"] for found in each.values()), abs=0.02)
    assert summary["metrics"]["psnr"] == {part: found["metrics"]["psnr"] for part, found in each.items()}
    errors = [error for found in each.values() for error in found["metrics"]["feature_error"].items()]
    assert list(summary["metrics"]["feature_error"].items()) == errors


def test_results(done: Run) -> None:
    toml = (done.folder / "run.toml").read_text("utf-8")
    for path in {done.folder / "result.png", *(place / "result.png" for place in done.places.values())}:
        assert embedded_settings(path) == toml
        with PillowImage.open(path) as file:
            assert file.format == "PNG"
            assert file.mode == "RGB"
            profile = ImageCms.ImageCmsProfile(io.BytesIO(file.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
    for place in done.places.values():
        assert pixels(place / "result.png").shape == (*done.task.size, 3)


@several_parts
def test_the_figure_of_several_parts_shows_each(done: Run) -> None:
    """The pictures of the parts are found in it, enlarged to one height."""
    figure = pixels(done.folder / "result.png")
    height, width = 320, round(320 * done.task.size[1] / done.task.size[0])
    originals = [done.desk / picture for picture in done.task.pictures[:1]]
    for path in [*originals, *(place / "result.png" for place in done.places.values())]:
        with PillowImage.open(path) as file:
            wanted = np.asarray(file.convert("RGB").resize((width, height)), dtype=float)
        last = figure.shape[0] - height, figure.shape[1] - width
        upper = abs(figure[: last[0] + 1, : last[1] + 1] - wanted[0, 0]).max(2) <= 1
        lower = abs(figure[height - 1 :, width - 1 :] - wanted[-1, -1]).max(2) <= 1
        differences = [
            abs(figure[top : top + height, left : left + width] - wanted).max()
            for top, left in np.argwhere(upper & lower)[:200]
        ]
        assert min(differences) <= 1


def test_frames(done: Run) -> None:
    for place in done.places.values():
        frames = sorted((place / "frames").iterdir())
        assert len(frames) == 3
        assert [frames[0].name, frames[-1].name] == ["000000.jpg", f"{done.task.steps:06}.jpg"]
        result = pixels(place / "result.png")
        assert abs(pixels(frames[-1]) - result).mean() < 8
        first = pixels(frames[0])
        if done.name in ("invert", "reconstruct", "texture"):
            start = noise(5)(first.shape[:2])
        else:
            start = load_image(done.desk / ("painting.png" if done.name == "amalgamate" else "photo.png"))
        wanted = 255 * cover(start, first.shape[:2])[0].permute(1, 2, 0).numpy()
        assert abs(first - wanted).mean() < 8


def test_animations(done: Run) -> None:
    for place in done.places.values():
        frames = sorted((place / "frames").iterdir())
        for name in ("progress.gif", "progress.webp"):
            with PillowImage.open(place / name) as animation:
                assert animation.n_frames == 3
                assert animation.size == done.task.size[::-1]
                durations = []
                for index, path in enumerate(frames):
                    animation.seek(index)
                    animation.load()
                    durations.append(animation.info["duration"])
                    shown = from_pillow(animation)
                    wanted = cover(load_image(path), done.task.size)
                    blocks = torch.nn.functional.avg_pool2d((shown - wanted).abs(), 8)
                    assert blocks.mean() < 0.12
                    assert (shown.mean((2, 3)) - wanted.mean((2, 3))).abs().max() < 0.05
            assert durations[-1] > 5 * durations[0]
            assert durations[0] == durations[1]


def test_curves_open(done: Run) -> None:
    for folder in {done.folder, *done.places.values()}:
        assert np.ptp(pixels(folder / "losses.png")) > 200


# What is measured ----------------------------------------------------------------------------------------------------


@as_large_as_the_photo
def test_errors_are_those_of_the_saved_picture(done: Run, normalised: Network) -> None:
    """e = ‖Φ(x) − Φ₀‖ / ‖Φ₀‖ and the PSNR, taken again from result.png by hand."""
    photo = pixels(done.desk / "photo.png")
    for place in done.places.values():
        result = pixels(place / "result.png")
        metrics = read_json(place / "summary.json")["metrics"]
        assert metrics["psnr"] == pytest.approx(10 * np.log10(255**2 / ((result - photo) ** 2).mean()), rel=1e-4)
        for layer, error in metrics["feature_error"].items():
            found, target = (
                normalised(torch.from_numpy(picture / 255).float().permute(2, 0, 1)[None], [layer])[layer]
                .double()
                .numpy()
                for picture in (result, photo)
            )
            assert error == pytest.approx(np.sqrt(((found - target) ** 2).sum() / (target**2).sum()), rel=1e-3)


@as_large_as_the_photo
def test_losses_of_the_summary_are_those_of_the_saved_picture(done: Run) -> None:
    """A content's loss is the square of its error; priors are taken from the pixels."""
    for place in done.places.values():
        summary = read_json(place / "summary.json")
        layer, error = next(iter(summary["metrics"]["feature_error"].items()))
        assert summary["losses"][f"content/{layer}"] == pytest.approx(error**2, rel=1e-3)
        if "contrast" in summary["losses"]:
            norm = (abs(pixels(place / "result.png") / 127.5 - 1) ** 6).mean()
            assert summary["losses"]["contrast"] == pytest.approx(0.01 * norm, rel=1e-3)


@pytest.mark.slow
def test_a_perfect_result_has_no_finite_psnr(desk: Path) -> None:
    settings = ReconstructSettings(layers="image", init="content", size=64, steps=1, frames=0)
    folder = run(RunSpec(task="reconstruct", pictures=(Path("photo.png"),), settings=settings), desk / "run")
    assert read_json(folder / "summary.json")["metrics"] == {"feature_error": {"image": 0}, "psnr": None}


@pytest.mark.slow
def test_measured_is_what_is_saved(desk: Path) -> None:
    """A step of 0.001 is lost in a file of 8 bits: what is measured is the photo itself."""
    settings = TransferSettings(size=64, steps=1, frames=0, optimiser="adam", learning_rate=0.001)
    spec = RunSpec(task="transfer", pictures=(Path("photo.png"), Path("painting.png")), settings=settings)
    folder = run(spec)
    assert np.array_equal(pixels(folder / "result.png"), pixels(desk / "photo.png"))
    assert read_json(folder / "summary.json")["metrics"] == {"feature_error": {"relu4_2": 0}, "psnr": None}


# Choices -------------------------------------------------------------------------------------------------------------


def transfer(*styles: str, **values: object) -> RunSpec:
    settings = TransferSettings(**{"size": 32, "steps": 1, "frames": 2, "style_layers": "relu1_1", **values})
    return RunSpec(task="transfer", pictures=(Path("photo.png"), *map(Path, styles)), settings=settings)


@pytest.mark.slow
@pytest.mark.parametrize("init", ["content", "style", "other.png", "noise"])
def test_first_pictures(desk: Path, init: str) -> None:
    save_image(random_image(30, 30, 3, torch.float32), desk / "other.png")
    folder = run(transfer("painting.png", init=init, seed=4))
    first = torch.from_numpy(pixels(folder / "frames" / "000000.jpg") / 255).permute(2, 0, 1)[None].float()
    assert first.shape == (1, 3, 24, 32)
    file = {"content": "photo.png", "style": "painting.png", "other.png": "other.png"}.get(init)
    wanted = cover(load_image(file), (24, 32)) if file else noise(4)((24, 32))
    assert (first - wanted).abs().mean() < (0.1 if init == "other.png" else 0.03)


@pytest.mark.slow
def test_several_styles(desk: Path) -> None:
    for number, seed in enumerate((3, 4)):
        save_image(random_image(30, 30, seed, torch.float32), desk / f"{number}.png")
    folder = run(transfer("painting.png", "0.png", "1.png", style_weights="3,1,0", style_layers="relu1_1", **CLASSIC))
    assert folder == Path("runs/transfer-photo-painting-0")
    names = read_json(folder / "summary.json")["losses"]
    assert list(names) == ["content/relu4_2", "style 1/relu1_1", "style 2/relu1_1", "smoothness"]
    read = tomllib.loads((folder / "run.toml").read_text("utf-8"))
    assert read["pictures"] == ["photo.png", "painting.png", "0.png", "1.png"]


@pytest.mark.slow
def test_one_layer_then_two(desk: Path) -> None:
    ended = call("texture", "painting.png", "--cumulative", "--layers", "relu1_1,relu2_1", "--size", 32, "--steps", 1)
    folder = desk / ended.out.strip()
    assert ended.code == 0
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"relu1_1", "to-relu2_1"}
    assert list(read_json(folder / "to-relu2_1" / "summary.json")["losses"]) == [
        "style/relu1_1",
        "style/relu2_1",
        "smoothness",
    ]
    summary = read_json(folder / "summary.json")
    assert list(summary["parts"]) == ["relu1_1", "to-relu2_1"]
    assert summary["metrics"] == {"feature_error": {}, "psnr": {}}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["invert", "transfer", "amalgamate"])
def test_the_content_s_transparency_is_put_back(desk: Path, task: str) -> None:
    image, alpha = random_image(48, 64, 1, torch.float32), torch.zeros(1, 1, 48, 64)
    alpha[..., 16:48] = 1
    save_image(image, desk / "logo.png", alpha=alpha)
    layers = {"invert": ["--layer", "conv1_1"], "amalgamate": ["--layers", "conv1_1"]}.get(task, [])
    styles = [] if task == "invert" else ["painting.png"]
    ended = call(task, "logo.png", *styles, *layers, "--size", 64, "--steps", 1, "--frames", 0, "--out", "run")
    assert ended.code == 0
    found = pixels(desk / "run" / "result.png")
    assert found.shape == (48, 64, 4)
    assert np.array_equal(found[..., 3], 255 * alpha[0, 0].numpy())


@pytest.mark.slow
def test_a_style_s_transparency_is_its_own(desk: Path) -> None:
    save_image(random_image(48, 64, 1, torch.float32), desk / "logo.png", alpha=torch.full((1, 1, 48, 64), 0.5))
    folder = run(transfer("logo.png"))
    assert pixels(folder / "result.png").shape == (24, 32, 3)


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
def test_same_seed_same_picture(desk: Path, optimiser: str) -> None:
    """Bit for bit, whatever is watched on the way."""
    one = run(invert(4, seed=1, optimiser=optimiser), desk / "one")
    two = run(invert(4, seed=1, optimiser=optimiser, frames=0), desk / "two", listener=json_lines)
    other = run(invert(4, seed=2, optimiser=optimiser), desk / "other")
    assert np.array_equal(pixels(one / "result.png"), pixels(two / "result.png"))
    assert not np.array_equal(pixels(one / "result.png"), pixels(other / "result.png"))
    losses = [[line["losses"] for line in read_lines(folder / "metrics.jsonl")] for folder in (one, two, other)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.slow
def test_no_frames(desk: Path) -> None:
    folder = run(invert(frames=0))
    assert {path.name for path in folder.iterdir()} == {
        "run.toml",
        "metrics.jsonl",
        "result.png",
        "summary.json",
        "losses.png",
        PAGE,
    }


@pytest.mark.slow
def test_weights_and_means_of_one_s_own_are_recorded(desk: Path) -> None:
    means = desk / "means.safetensors"
    (desk / "measured").mkdir()
    shutil.copy("photo.png", "measured")
    assert call("normalise", "measured", "--out", means, "--quiet").code == 0
    folder = run(invert(network="vgg16", means=means, layer="conv1_1"))
    provenance = tomllib.loads((folder / "run.toml").read_text("utf-8"))["provenance"]
    assert provenance["means_sha256"] == hashlib.sha256(means.read_bytes()).hexdigest()
    other = run(invert(network="vgg16", layer="conv1_1"))
    assert "means_sha256" not in tomllib.loads((other / "run.toml").read_text("utf-8"))["provenance"]
    assert not np.array_equal(pixels(folder / "result.png"), pixels(other / "result.png"))


# What is left of a run that fails ------------------------------------------------------------------------------------

Synthesise = Callable[[Composition, Network, State | None], Iterator[Iterate]]


def breaking_at(step: int, action: Callable[[], object]) -> Synthesise:
    """The loop, with something happening before a step is told of."""

    def broken(composition: Composition, *more: Any) -> Iterator[Iterate]:
        for iterate in synthesise(composition, *more):
            if iterate.step == step:
                action()
            yield iterate

    return broken


def raising(error: Exception) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("usual_ctrl_c")
def test_a_signal_stops_after_the_step(desk: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(number)
    monkeypatch.setattr(impasto.runs.paint, "synthesise", breaking_at(3, lambda: signal.raise_signal(number)))
    ended = call("reconstruct", "photo.png", "--layers", "conv1_1,conv2_1", "--size", 32, "--steps", 9, "--out", "run")
    assert ended.code == 130
    assert not ended.out
    assert ended.err.endswith(
        "impasto: stopped at step 3 of 9; the picture so far is in run; continue with: impasto resume run\n"
    )
    assert signal.getsignal(number) is before
    assert not (desk / "run" / "conv2_1").exists()
    for place in (desk / "run", desk / "run" / "conv1_1"):
        assert read_json(place / "summary.json")["status"] == "interrupted"
        assert embedded_settings(place / "result.png") == (desk / "run" / "run.toml").read_text("utf-8")
    part = desk / "run" / "conv1_1"
    assert read_json(part / "summary.json")["steps"] == 3
    assert sorted(path.stem for path in (part / "frames").iterdir())[-1] == "000003"
    assert abs(pixels(part / "frames" / "000003.jpg") - pixels(part / "result.png")).mean() < 8
    assert len(read_lines(desk / "run" / "metrics.jsonl")) == 3
    assert "This run was interrupted" in (desk / "run" / PAGE).read_text("utf-8")


@pytest.fixture
def usual_ctrl_c() -> Iterator[None]:
    """What Python does of itself; programs in the background may have been told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once(desk: Path, monkeypatch: pytest.MonkeyPatch, usual_ctrl_c: None) -> None:

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(impasto.runs.paint, "synthesise", breaking_at(2, twice))
    ended = call("invert", "photo.png", "--size", 32, "--steps", 9, "--out", "run")
    assert ended.code == 130
    assert ended.err.endswith("impasto: stopped\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
@pytest.mark.usefixtures("usual_ctrl_c")
def test_a_signal_at_the_last_step_changes_nothing(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impasto.runs.paint, "synthesise", breaking_at(3, lambda: signal.raise_signal(signal.SIGINT)))
    assert call("invert", "photo.png", "--size", 32, "--steps", 3, "--out", "run").code == 0
    assert read_json(desk / "run" / "summary.json")["status"] == "done"


OUT_OF_MEMORY = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    MemoryError(),
]


@pytest.mark.slow
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cpu", "cuda", "python"])
def test_memory_runs_out_on_the_way(desk: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """At the third evaluation, deep inside a step: the picture after the second step is kept."""
    whole, count = WholeCriterion.losses_and_gradient, 0

    def short(self: WholeCriterion, image: torch.Tensor) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            raise error
        return whole(self, image)

    monkeypatch.setattr(WholeCriterion, "losses_and_gradient", short)
    ended = call("invert", "photo.png", "--size", 48, "--steps", 9, "--optimiser", "adam", "--out", "run", "--quiet")
    assert ended.code == 3
    assert ended.err == (
        "impasto: there is not enough memory for 48 px; try --size 32, "
        "or a smaller --memory, which makes smaller tiles; the picture so far is in run\n"
    )
    summary = read_json(desk / "run" / "summary.json")
    assert (summary["status"], summary["steps"]) == ("out of memory", 2)
    monkeypatch.undo()
    monkeypatch.chdir(desk)
    *_, second = zip(range(2), synthesise_like(desk / "run"), strict=False)
    assert torch.equal(load_image(desk / "run" / "result.png"), quantise(second[1].image))


def synthesise_like(folder: Path) -> Iterator[Iterate]:
    """The iterates of a run, from what it has written down."""
    read = tomllib.loads((folder / "run.toml").read_text("utf-8"))
    read.pop("provenance")
    spec = RunSpec(**read)
    network = network_of(spec.settings, spec.settings.precision)
    (part,) = compose(spec, [load_picture(path) for path in spec.pictures])
    return synthesise(part.composition, network)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "kept"),
    [
        (impasto.runs.prepare, "compose", ""),
        (Network, "__call__", "; the picture so far is in runs/invert-photo"),
    ],
    ids=["pictures", "targets"],
)
def test_memory_is_short_from_the_start(
    desk: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, kept: str
) -> None:
    """If pictures and network do not fit, nothing is written; if only the targets do not, the first picture is kept."""
    monkeypatch.setattr(owner, name, lambda *_: raising(OUT_OF_MEMORY[0])())
    ended = call("invert", "photo.png", "--size", 60)
    assert ended.code == 3
    assert (
        ended.err == "impasto: there is not enough memory for 60 px; try --size 40, "
        f"or a smaller --memory, which makes smaller tiles{kept}\n"
    )
    assert (desk / "runs").exists() == bool(kept)


@pytest.mark.slow
def test_other_errors_are_not_taken_for_memory(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impasto.runs.paint, "synthesise", breaking_at(2, raising(RuntimeError("a mistake of ours"))))
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        run(invert())


@pytest.mark.slow
def test_divergence_keeps_the_last_good_picture(desk: Path) -> None:
    """A step that leaves all bounds: the picture before it is kept."""
    options = ["--optimiser", "adam", "--learning-rate", "1e30", "--parameterisation", "fourier", "--seed", 3]
    ended = call("invert", "photo.png", "--size", 32, "--steps", 9, *options, "--out", "run", "--quiet")
    assert ended.code == 4
    assert ended.err.startswith("impasto: content/conv4_1, ")
    assert " at step 2 of 9 at 32 × 24 px; try a smaller learning rate or smaller weights; " in ended.err
    assert ended.err.endswith("the picture so far is in run\n")
    start = noise(3)((24, 32))
    assert (load_image(desk / "run" / "result.png") - start).abs().max() < 0.51 / 255 + 1e-4
    summary = read_json(desk / "run" / "summary.json")
    assert summary["status"] == "diverged"
    assert np.isfinite(list(summary["losses"].values())).all()
    page = (desk / "run" / PAGE).read_text("utf-8")
    assert "This run diverged" in page
    assert summary["reason"] in page
    assert [path.name for path in (desk / "run" / "frames").iterdir()] == ["000000.jpg"]
    assert abs(pixels(desk / "run" / "frames" / "000000.jpg") - pixels(desk / "run" / "result.png")).mean() < 8
    with PillowImage.open(desk / "run" / "progress.gif") as animation:
        assert animation.n_frames == 1


@pytest.mark.slow
def test_an_animation_as_video(desk: Path) -> None:
    spec = invert(3, frames=3)
    folder = run(spec, mp4=True)
    assert (folder / "progress.mp4").read_bytes()[4:8] == b"ftyp"
    ended = call("invert", "photo.png", "--frames", 0, "--mp4")
    assert (ended.code, ended.err) == (2, "impasto: --mp4 needs frames, but --frames is 0\n")


@pytest.mark.slow
def test_divergence_at_once(desk: Path) -> None:
    """Means far too small: the network gives nothing finite, and the first picture is kept."""
    from impasto.files import bundled
    from impasto.networks.means import Means, load_means, save_means

    means = load_means(bundled("vgg16-means.safetensors"), NETWORKS["vgg16"].load_weights())
    save_means(Means({layer: torch.full_like(m, 1e-38) for layer, m in means.by_layer.items()}), desk / "m.safetensors")
    ended = call("reconstruct", "photo.png", "--means", "m.safetensors", "--size", 32, "--steps", 9, "--out", "run")
    assert ended.code == 4
    assert ended.err == (
        "impasto: content/conv1_1 became nan at step 1 of 9 at 32 × 24 px; try a smaller learning rate or smaller "
        "weights; the picture so far is in run\n"
    )
    for place in (desk / "run", desk / "run" / "conv1_1"):
        summary = read_json(place / "summary.json")
        assert summary["status"] == "diverged"
        assert summary["metrics"]["feature_error"] == {"conv1_1": None, "relu1_1": None}
    assert read_json(desk / "run" / "conv1_1" / "summary.json")["losses"] == {"content/conv1_1": None}
    assert "No step was taken" in (desk / "run" / PAGE).read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 3])
def test_the_disk_is_full(desk: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """While lines are written; everything else is closed all the same, and the run goes on once there is space."""
    closed: list[str] = []

    def full(self: MetricsFile, iterate: Iterate) -> None:
        if iterate.step == step:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MetricsFile, "record", full)
        patch.setattr(Curves, "close", lambda self: closed.append("curves"))
        ended = call("invert", "photo.png", "--size", 32, "--steps", 3, "--out", "run", "--quiet")
    so_far = "the picture so far is in run; continue with: impasto resume run"
    said = f"impasto: run can no longer be written: No space left on device; {so_far}\n"
    assert (ended.code, ended.err, closed) == (1, said, ["curves"])
    assert pixels(Path("run/result.png")).shape == (24, 32, 3)
    assert call("resume", "run", "--quiet").code == 0
    assert read_json(desk / "run" / "summary.json")["status"] == "done"


@pytest.mark.slow
def test_the_disk_is_full_at_the_beginning(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a picture is written: it is there whole or not at all."""

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("impasto.files.os.fsync", full)
    ended = call("invert", "photo.png", "--size", 32, "--steps", 3, "--out", "run", "--quiet")
    assert ended.code == 1
    again = "there is nothing to resume, start again"
    assert ended.err == f"impasto: run/run.toml cannot be written: No space left on device; {again}\n"
    assert not list((desk / "run").iterdir())


@pytest.mark.slow
def test_the_disk_is_full_for_animations(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture comes before them."""

    def full(frames: object, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(impasto.runs.recorders, "save_animation", full)
    ended = call("invert", "photo.png", "--size", 32, "--steps", 3, "--out", "run", "--quiet")
    assert ended.code == 1
    assert ended.err.endswith("; the picture so far is in run; continue with: impasto resume run\n")
    assert pixels(Path("run/result.png")).shape == (24, 32, 3)


@pytest.mark.slow
def test_the_folder_vanishes(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish(self: Curves, iterate: Iterate) -> None:
        shutil.rmtree("run", ignore_errors=True)

    monkeypatch.setattr(Curves, "record", vanish)
    ended = call("invert", "photo.png", "--size", 32, "--steps", 3, "--out", "run", "--quiet")
    assert ended.code == 1
    assert re.fullmatch(
        "impasto: run.* cannot be written.*: No such file or directory; there is nothing to resume, start again\n",
        ended.err,
    )


@pytest.mark.slow
def test_all_recorders_are_closed_where_one_fails(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    def fail(self: Curves) -> None:
        closed.append("curves")
        raise OSError(errno.EIO, "Input/output error")

    def close(self: MetricsFile) -> None:
        closed.append("metrics")
        whole(self)

    whole = MetricsFile.close
    monkeypatch.setattr(Curves, "close", fail)
    monkeypatch.setattr(MetricsFile, "close", close)
    with pytest.raises(ImpastoError, match="run can no longer be written: Input/output error"):
        run(invert(), Path("run"))
    assert closed == ["curves", "metrics"]


@pytest.mark.slow
def test_errors_for_programs(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called from Python, a run that fails raises what happened, and its text names the folder."""
    monkeypatch.setattr(impasto.runs.paint, "synthesise", breaking_at(2, raising(MemoryError())))
    with pytest.raises(OutOfMemoryError, match=r"the picture so far is in runs/invert-photo$"):
        run(invert())
    error = DivergedError("it grew", torch.zeros(1, 3, 24, 32))
    monkeypatch.setattr(impasto.runs.paint, "synthesise", breaking_at(2, raising(error)))
    with pytest.raises(DivergedError, match=r"it grew; the picture so far is in runs/invert-photo-2$") as caught:
        run(invert())
    assert caught.value.image is not None
    assert not pixels(Path("runs/invert-photo-2/result.png")).any()


def test_a_run_needs_a_task_s_settings(desk: Path) -> None:
    with pytest.raises(ValueError, match="Settings are not the settings of invert"):
        RunSpec(task="invert", pictures=(Path("photo.png"),), settings=Settings())
