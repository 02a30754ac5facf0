"""Sweeps: every combination once, finished runs kept, and mistakes reported before anything is written."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PillowImage

import impasto.runs.paint
from command import call, read_json, save_pictures
from impasto.errors import RunFolderError, SpecError
from impasto.events import silent
from impasto.folders.specfiles import spec_toml
from impasto.series.members import make_run
from impasto.series.sweep import make_cells, parse_variation
from impasto.synthesis.composition import Composition
from impasto.synthesis.loop import Iterate, synthesise
from impasto.tasks.settings import InvertSettings, ReconstructSettings
from impasto.tasks.spec import RunSpec

SPEC = """task = "invert"
pictures = ["photo.png"]

[settings]
layer = "conv1_1"
size = 32
steps = 4
frames = 3
precision = "float32"
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_pictures(tmp_path)
    (tmp_path / "spec.toml").write_text(SPEC, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def times(folder: Path) -> dict[str, int]:
    """When each run's picture was made."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/result.png")}


def test_values() -> None:
    assert parse_variation("style_weight=1,3,10", "transfer") == ("style_weight", ("1", "3", "10"))
    assert parse_variation("style-weight = 1 , 3", "transfer") == ("style_weight", ("1", "3"))
    assert parse_variation("layer=conv3_1,conv4_1", "invert") == ("layer", ("conv3_1", "conv4_1"))
    assert parse_variation("layer=conv3_1", "reconstruct") == ("layers", ("conv3_1",))
    both = ("style_layers", ("relu1_1,relu2_1", "relu3_1"))
    assert parse_variation("style_layers=relu1_1,relu2_1;relu3_1", "transfer") == both


def test_every_combination_once() -> None:
    spec = RunSpec(task="invert", pictures=(Path("a.png"),), settings=InvertSettings(size=64))
    cells = make_cells(spec, {"smoothness": ("0.5", "1"), "layer": ("conv3_1", "conv4_1", "conv5_1")})
    assert [cell.name for cell in cells][:2] == ["smoothness=0.5,layer=conv3_1", "smoothness=0.5,layer=conv4_1"]
    assert len({cell.name for cell in cells}) == 6
    for cell in cells:
        settings = cell.spec.settings
        assert isinstance(settings, InvertSettings)
        assert (str(settings.smoothness).removesuffix(".0"), settings.layer) == tuple(value for _, value in cell.values)
        assert settings.size == 64
        assert cell.spec.pictures == spec.pictures
    odd = make_cells(
        RunSpec(task="reconstruct", pictures=(Path("a.png"),), settings=ReconstructSettings()),
        {"init": ("../a b.png",)},
    )
    assert re.fullmatch(r"init=\.\.-a-b\.png-[0-9a-f]{8}", odd[0].name)
    with pytest.raises(SpecError, match="1001 runs"):
        make_cells(spec, {"seed": tuple(map(str, range(1001)))})


def test_cells_have_folders_of_their_own() -> None:
    spec = RunSpec(task="invert", pictures=(Path("a.png"),), settings=InvertSettings(size=64))
    values = ("x y.png", "x-y.png", "x/y.png", "x:y.png", "A.png", "a.png", f"{'ü' * 200}1.png", f"{'ü' * 200}2.png")
    names = [cell.name for cell in make_cells(spec, {"init": values, "seed": ("1", "2")})]
    assert len({name.casefold() for name in names}) == 2 * len(values)
    assert all(len(name.encode()) <= 200 for name in names)
    assert all(re.fullmatch(r"[\w.,=+-]+", name) for name in names)
    assert "init=x-y.png,seed=1" in names
    alone = make_cells(spec, {"init": ("x y.png",), "seed": ("1",)})
    assert alone[0].name == names[0]  # values that are added later change no name


def test_an_unknown_layer_is_said_before_pictures_are_opened(desk: Path) -> None:
    (desk / "photo.png").write_bytes(b"no picture")
    ended = call("sweep", "spec.toml", "--vary", "layer=conv1_1,conv9_9")
    assert ended.code == 2
    assert ended.err.startswith("impasto: vgg16-normalised has no layer 'conv9_9'"), ended.err


def test_another_run_is_never_deleted(tmp_path: Path) -> None:
    spec = RunSpec(task="invert", pictures=(Path("a.png"),), settings=InvertSettings(size=64))
    (tmp_path / "seed=1").mkdir()
    (tmp_path / "seed=1" / "run.toml").write_text(spec_toml(spec, {"provenance": {"pictures_sha256": ["0"]}}), "utf-8")
    with pytest.raises(RunFolderError, match="seed=1 holds a run of other files or with other settings"):
        make_run(spec, tmp_path / "seed=1", {Path("a.png"): "1"}, stop=None, listener=silent)
    assert (tmp_path / "seed=1" / "run.toml").exists()


@pytest.mark.slow
def test_finished_runs_are_left_alone(desk: Path) -> None:
    words = ("sweep", "spec.toml", "--vary", "layer=conv1_1,conv1_2", "-o", "out")
    ended = call(*words, "--vary", "seed=1,2")
    assert (ended.code, ended.out) == (0, "out\n")
    assert "run 4 of 4: layer conv1_2, seed 2" in ended.err
    names = {f"layer={layer},seed={seed}" for layer in ("conv1_1", "conv1_2") for seed in (1, 2)}
    first = times(desk / "out")
    assert set(first) == names
    page = (desk / "out" / "comparison.html").read_text("utf-8")
    assert all(name in page for name in names)
    with PillowImage.open(desk / "out" / "grid.png") as grid:
        size = grid.size
    again = call(*words, "--vary", "seed=1,2,3")
    assert again.code == 0
    assert again.err.count("run ") == 2
    second = times(desk / "out")
    assert len(second) == 6
    assert {name: second[name] for name in first} == first
    with PillowImage.open(desk / "out" / "grid.png") as grid:
        assert grid.width > size[0]
        assert grid.height == size[1]
    results = {(desk / "out" / name / "result.png").read_bytes() for name in second}
    assert len(results) == 6


@pytest.mark.slow
def test_an_interruption_goes_on(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = 0

    def stopping(composition: Composition, *more: Any) -> Iterator[Iterate]:
        nonlocal begun
        begun += 1
        for iterate in synthesise(composition, *more):
            if (begun, iterate.step) == (2, 2):
                os.kill(os.getpid(), signal.SIGTERM)
            yield iterate

    monkeypatch.setattr(impasto.runs.paint, "synthesise", stopping)
    words = ("sweep", "spec.toml", "--vary", "seed=1,2,3", "-o", "out")
    ended = call(*words)
    assert ended.code == 130
    assert ended.err.endswith("the same command continues in out\n")
    first = times(desk / "out")
    assert not (desk / "out" / "seed=3").exists()
    assert call(*words).code == 0
    assert begun == 4  # the second went on, the third was made
    assert read_json(desk / "out" / "seed=2" / "summary.json")["steps"] == 4
    assert times(desk / "out")["seed=1"] == first["seed=1"]


@pytest.mark.parametrize(
    ("vary", "sentence"),
    [
        ("stepps=3,4", "there is no setting 'stepps' to vary; did you mean 'steps'?"),
        ("seed", "'seed' has no values; write for instance seed=1,3,10"),
        ("seed=", "'seed=' has no values; write for instance seed=1,3,10"),
        ("seed=1,1", "'seed=1,1' has a value twice; give each value once"),
        ("steps=0,1", "steps is '0'; it must be at least 1"),
        ("layer=conv1_1,conv9_1", "vgg16-normalised has no layer 'conv9_1'; did you mean 'conv5_1'?"),
    ],
)
def test_what_cannot_vary(desk: Path, vary: str, sentence: str) -> None:
    ended = call("sweep", "spec.toml", "--vary", vary, "-o", "out")
    assert ended.code == 2
    assert ended.err == f"impasto: {sentence}\n"
    assert not (desk / "out").exists()


@pytest.mark.slow
def test_folders_that_are_taken(desk: Path) -> None:
    words = ("sweep", "spec.toml", "--vary", "seed=1", "-o", "out")
    (desk / "out").mkdir()
    (desk / "out" / "mine.txt").write_text("mine")
    assert call(*words, "--force").err.startswith("impasto: out is not the folder of a sweep")
    assert (desk / "out" / "mine.txt").exists()
    assert call(*words[:-1], "two").code == 0
    (desk / "spec.toml").write_text(SPEC.replace("steps = 4", "steps = 5"), "utf-8")
    other = call(*words[:-1], "two")
    assert other.code == 1
    assert "holds a sweep of other files or with other settings" in other.err
    assert call(*words[:-1], "two", "--force").code == 0
    assert read_json(desk / "two" / "seed=1" / "summary.json")["steps"] == 5
    assert call("sweep", "spec.toml", "--vary", "seed=1", "--vary", "seed=2").err == (
        "impasto: seed is varied twice; give all its values in one --vary\n"
    )
