"""The command line: its arguments, its output, and its exit codes, in this process and as a program."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as PillowImage

from command import call, pixels, read_json, read_lines, save_pictures
from conftest import random_image
from impasto.cli.batches import LiveBatch, batch_view
from impasto.cli.groups import FIRST, GROUPS
from impasto.cli.listeners import Progression, is_live
from impasto.events import PartBegun, PartEnded, Step
from impasto.images.files import embedded_settings, save_image
from impasto.networks.vgg import VGG16, VGG19
from impasto.tasks.table import TASKS

TINY = ("--size", 32, "--steps", 2, "--frames", 2)
INVERT = ("invert", "photo.png", "--layer", "conv1_1", *TINY)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with two pictures."""
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_of(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "run.toml").read_text("utf-8"))["settings"]


# Words and paths -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_folders_are_numbered_and_quiet_runs_say_nothing_else(desk: Path) -> None:
    (desk / "runs" / "invert-photo-3").mkdir(parents=True)
    ended = [call(*INVERT, "--quiet") for _ in range(3)]
    assert [each.out for each in ended] == ["runs/invert-photo\n", "runs/invert-photo-2\n", "runs/invert-photo-4\n"]
    for each in ended:
        assert (each.code, each.err) == (0, "")
        assert (desk / each.out.strip() / "result.png").is_file()
    two = call("amalgamate", "photo.png", "painting.png", "--layers", "conv1_1", *TINY)
    assert two.out == "runs/amalgamate-photo-painting\n"


@pytest.mark.slow
def test_folders_of_long_names(desk: Path) -> None:
    name = "絵" * 83  # 249 bytes: a picture may be called so, but not a folder that adds to it
    (desk / "photo.png").rename(f"{name}.png")
    ended = call("invert", f"{name}.png", "--layer", "conv1_1", *TINY)
    assert ended.out.startswith("runs/invert-絵絵")
    assert (desk / ended.out.strip() / "result.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("out", ["two words/größe 絵 🎨/", "./here/../there", "--out=a.b"])
def test_folders_of_any_name(desk: Path, out: str) -> None:
    words = [out] if out.startswith("--") else ["--out", out]
    ended = call(*INVERT, *words)
    folder = desk / out.removeprefix("--out=")
    assert Path(ended.out.removesuffix("\n")) == Path(out.removeprefix("--out="))
    assert (folder / "result.png").is_file()
    assert not (desk / "runs").exists()


@pytest.mark.slow
def test_pictures_of_any_name(desk: Path) -> None:
    (desk / "photo.png").rename("ein Bild – 絵 🎨.png")
    ended = call("invert", "ein Bild – 絵 🎨.png", "--layer", "conv1_1", *TINY)
    assert ended.out == "runs/invert-ein Bild – 絵 🎨\n"
    toml = (desk / ended.out.strip() / "run.toml").read_text("utf-8")
    assert tomllib.loads(toml)["pictures"] == ["ein Bild – 絵 🎨.png"]
    assert embedded_settings(desk / ended.out.strip() / "result.png") == toml


@pytest.mark.slow
def test_words_go_to_standard_error(desk: Path) -> None:
    ended = call("reconstruct", "photo.png", "--layers", "conv1_1,conv1_2", *TINY)
    assert ended.out == "runs/reconstruct-photo\n"
    assert [line.split(",")[0] for line in ended.err.splitlines()] == [
        f"reconstruct {layer}: step {step}/2" for layer in ("conv1_1", "conv1_2") for step in (1, 2)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["invert", "reconstruct"])
def test_json(desk: Path, task: str) -> None:
    layers = ["--layer", "conv1_1"] if task == "invert" else ["--layers", "conv1_1,conv1_2"]
    ended = call(task, "photo.png", *layers, *TINY, "--json", "--out", "run")
    assert (ended.code, ended.err) == (0, "")
    *steps, last = [json.loads(line) for line in ended.out.splitlines()]
    written = read_lines(desk / "run" / "metrics.jsonl")
    assert len(steps) == len(written) == (2 if task == "invert" else 4)
    for step, line in zip(steps, written, strict=True):
        assert step.pop("event") == "step"
        assert {**step, "seconds": 0} == {**line, "seconds": 0}
    summary = read_json(desk / "run" / "summary.json")
    assert (last["event"], last["folder"], last["result"]) == ("done", "run", "run/result.png")
    parts = summary["parts"] if task == "reconstruct" else {"": {k: v for k, v in summary.items() if k != "task"}}
    assert last["parts"] == parts


# Options -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_every_setting_is_an_option_with_a_description(task: str) -> None:
    ended = call(task, "--help")
    assert ended.code == 0
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", ended.out).split())
    for name in TASKS[task].settings.model_fields:
        option = "--" + name.replace("_", "-")
        assert re.search(rf"{option} (?:REGION\.\.\.)?[^.]*[A-Z][^.]*[a-z]", words), option
    for option in ("--out", "--force", "--quiet", "--json"):
        assert f"{option} " in words


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_options_stand_in_groups_and_what_matters_first(task: str) -> None:
    titles = re.findall(r"╭─ ([A-Z][a-z ]+?) ─", call(task, "--help").out)
    if TASKS[task].roles:
        assert titles.pop(0) == "Arguments"
    assert titles == [title for title in GROUPS if title in titles]  # and no "More"
    assert titles[0] == FIRST
    grouped = [name for names in GROUPS.values() for name in names]
    assert len(set(grouped)) == len(grouped)
    assert set(TASKS[task].settings.model_fields) <= {name.replace("-", "_") for name in grouped}


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("trasnfer", "there is no command 'trasnfer'; did you mean 'transfer'?"),
        ("normalize", "there is no command 'normalize'; did you mean 'normalise'?"),
        ("networks chek", "there is no command 'networks chek'; did you mean 'check'?"),
        ("Transfer", "there is no command 'Transfer'; did you mean 'transfer'?"),
        ("xyz", "there is no command 'xyz'; choose from invert, reconstruct, "),
    ],
)
def test_a_near_miss_of_a_command(word: str, sentence: str) -> None:
    ended = call(*word.split(), "a.png", "b.png")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"impasto: {sentence}")


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    ended = call("--install-completion", "--shell", shell)
    assert (ended.code, ended.err) == (0, "a new shell completes commands and options\n")
    assert Path(ended.out.strip()).is_file()
    texts = [path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert any("style-weight" in text and "impasto" in text for text in texts)


@pytest.mark.slow
def test_completion_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    for name in ("XDG_DATA_HOME", "BASH_COMPLETION_USER_DIR"):
        monkeypatch.delenv(name, raising=False)
    ended = call("--install-completion", "--shell", "bash")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("impasto: the completion cannot be written: ")


def test_options_become_settings(desk: Path) -> None:
    options = {
        "size": 40,
        "steps": 2,
        "seed": 9,
        "init": "painting.png",
        "optimiser": "adam",
        "learning_rate": 0.05,
        "parameterisation": "fourier",
        "network": "vgg16",
        "pooling": "average",
        "padding": "replicate",
        "precision": "float32",
        "device": "cpu",
        "threads": 1,
        "frames": 2,
        "layer": "BLOCK1_conv2",
        "smoothness": 0.25,
        "smoothness_exponent": 1.5,
        "contrast": 0.0,
    }
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    ended = call("invert", "photo.png", *words, "--out", "run")
    assert ended.code == 0, ended.err
    found = settings_of(desk / "run")
    assert {name: found[name] for name in options} == options
    assert list(read_json(desk / "run" / "summary.json")["losses"]) == ["content/BLOCK1_conv2", "smoothness", "range"]
    assert list(read_json(desk / "run" / "summary.json")["metrics"]["feature_error"]) == ["BLOCK1_conv2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameterisation", "optimiser"), [("pixels", "adam"), ("fourier", "lbfgs"), ("pixels", "lbfgs-plain")]
)
def test_every_way_down_with_the_real_network(desk: Path, parameterisation: str, optimiser: str) -> None:
    ways = ["--parameterisation", parameterisation, "--optimiser", optimiser, "--init", "noise"]
    assert call("transfer", "photo.png", "painting.png", "--size", 32, "--steps", 6, *ways, "--out", "run").code == 0
    totals = [line["total"] for line in read_lines(desk / "run" / "metrics.jsonl")]
    assert totals[-1] < 0.9 * totals[0]


@pytest.mark.slow
def test_a_layer_by_another_name(desk: Path) -> None:
    for name, layer in (("one", "relu2_1"), ("other", "Block2_Conv1")):
        assert call("invert", "photo.png", "--layer", layer, *TINY, "--out", name).code == 0
    assert (pixels(desk / "one" / "result.png") == pixels(desk / "other" / "result.png")).all()
    errors = [read_json(desk / name / "summary.json")["metrics"]["feature_error"] for name in ("one", "other")]
    assert list(errors[0].values()) == list(errors[1].values())


@pytest.mark.slow
def test_the_picture_itself_as_a_layer(desk: Path) -> None:
    assert call("invert", "photo.png", "--layer", "IMAGE", "--smoothness", 0, *TINY, "--out", "run").code == 0
    assert read_json(desk / "run" / "summary.json")["metrics"]["psnr"] > 15


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mode", "size"),
    [("a.jpg", "CMYK", (64, 48)), ("a.png", "I;16", (64, 48)), ("a.tif", "1", (63, 47))],
)
def test_odd_pictures(desk: Path, name: str, mode: str, size: tuple[int, int]) -> None:
    with PillowImage.open("photo.png") as file:
        picture = file.resize(size)
    deep = mode == "I;16"
    (PillowImage.new("I;16", size, 40000) if deep else picture.convert(mode)).save(name)
    ended = call("invert", name, "--layer", "conv1_1", *TINY, "--out", "run")
    assert ended.code == 0, ended.err
    assert pixels(desk / "run" / "result.png").shape == (24, 32, 3)


@pytest.mark.slow
def test_pictures_are_turned_upright(desk: Path) -> None:
    with PillowImage.open("photo.png") as file:
        exif = PillowImage.Exif()
        exif[0x112] = 6
        file.convert("RGB").transpose(PillowImage.Transpose.ROTATE_90).save("phone.jpg", exif=exif)
    assert call("invert", "phone.jpg", "--layer", "conv1_1", *TINY, "--out", "run").code == 0
    assert pixels(desk / "run" / "result.png").shape == (24, 32, 3)


@pytest.mark.slow
def test_force_replaces_a_run(desk: Path) -> None:
    assert call(*INVERT, "--out", "run").code == 0
    (desk / "run" / "left.txt").write_text("over")
    assert call(*INVERT, "--seed", 3, "--out", "run").code == 1
    assert call(*INVERT, "--seed", 3, "--out", "run", "--force").code == 0
    assert settings_of(desk / "run")["seed"] == 3
    assert not (desk / "run" / "left.txt").exists()
    assert len(read_lines(desk / "run" / "metrics.jsonl")) == 2


@pytest.mark.slow
def test_force_takes_an_empty_folder(desk: Path) -> None:
    (desk / "run").mkdir()
    assert call(*INVERT, "--out", "run", "--force").code == 0


# Other commands ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help(words: list[str]) -> None:
    ended = call(*words)
    assert (ended.code, ended.err) == (0, "")
    for command in [*TASKS, "normalise", "networks"]:
        assert f" {command} " in ended.out


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of Unix")
@pytest.mark.parametrize(("term", "live"), [("xterm-256color", True), ("dumb", False), ("unknown", False)])
def test_a_terminal_that_cannot_redraw_has_plain_lines(monkeypatch: pytest.MonkeyPatch, term: str, live: bool) -> None:
    ours, its = os.openpty()
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", term)
    with os.fdopen(its, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert is_live() is live
        assert isinstance(batch_view(), LiveBatch) is live
        shown = Progression()
        shown(PartBegun("transfer", "", 2, 0))
        shown(Step("", 1, 2, 1, (8, 8), 1.0, 1, {"style": 0.5}))
        shown(PartEnded(""))
    words = os.read(ours, 10000).decode()
    os.close(ours)
    assert ("transfer: step 1/2, loss 0.5, 1.0 steps/s, 1 s left" in words) is not live


def test_networks() -> None:
    ended = call("networks")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("vgg16: ")
    assert "\nvgg16-normalised: " in ended.out
    assert "\nvgg19: " in ended.out
    for architecture in (VGG16, VGG19):
        begin = f"{architecture.title}, layers: "
        layers = next(line for line in ended.out.splitlines() if line.startswith(begin))
        assert tuple(layers.removeprefix(begin).split(", ")) == architecture.layers


@pytest.mark.slow
def test_normalise(desk: Path) -> None:
    (desk / "pictures" / "more").mkdir(parents=True)
    for number in range(2):
        save_image(random_image(30, 40, number, torch.float32), desk / "pictures" / f"{number}.png")
    (desk / "photo.png").rename("pictures/more/photo.png")
    (desk / "pictures" / "notes.txt").write_text("no picture")
    (desk / "pictures" / ".hidden.png").write_text("not looked at")
    ended = call("normalise", "pictures", "--out", "means.safetensors")
    assert (ended.code, ended.out) == (0, "means.safetensors\n")
    lines = ended.err.splitlines()
    assert lines[0] == "skipped pictures/notes.txt: not a picture that can be read"
    assert lines[-1] == "pictures averaged: 3, files skipped: 1"
    assert lines[-2].startswith("vgg16: 13 groups of scales; 4224 channels, ")
    assert re.search(r"\d+ of them dead; the function is the same to \d\.\de-1\d \(float64\)$", lines[-2])
    assert all(
        re.fullmatch(r"conv\d_\d: (\d+) dead filters keep their scale \([\d, ]+\)", line) for line in lines[1:-2]
    )
    assert 3 < len(lines) <= 3 + 13
    assert call("invert", "painting.png", *TINY, "--means", "means.safetensors").code == 0
    assert call("normalise", "pictures", "--out", "means.safetensors").code == 1
    ended = call("normalise", "pictures", "--out", "more.safetensors", "--network", "vgg16-normalised")
    assert (ended.code, ended.err) == (
        2,
        "impasto: vgg16-normalised is normalised already; name the network as trained, vgg16 for instance\n",
    )
    ended = call("normalise", "pictures", "--out", "means.safetensors", "--force", "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "means.safetensors\n", "")


# As a program --------------------------------------------------------------------------------------------------------


def program(*words: object) -> list[str]:
    return [sys.executable, "-m", "impasto", *map(str, words)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(desk: Path, number: signal.Signals) -> None:
    """Once the first step is written down, a signal ends the run: the picture, its measures and frames are there."""
    words = program(
        "invert", "photo.png", "--layer", "conv2_1", "--size", 32, "--steps", 10**6, "--frames", 3, "--threads", 1
    )
    ignored = signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background may have inherited otherwise
    try:
        running = subprocess.Popen([*words, "--out", "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, ignored)
    lines = desk / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 900
    while not (lines.exists() and lines.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(running.pid, number)
    out, err = running.communicate(timeout=900)
    summary = read_json(desk / "run" / "summary.json")
    assert (running.returncode, out) == (130, "")
    assert "stopping after this step at the latest; interrupt again to stop at once\n" in err
    stopped = f"impasto: stopped at step {summary['steps']} of 1000000; the picture so far is in run; "
    assert err.endswith(f"{stopped}continue with: impasto resume run\n")
    assert "Traceback" not in err
    assert summary["status"] == "interrupted"
    assert summary["steps"] == len(read_lines(lines)) > 0
    assert summary["metrics"]["feature_error"].keys() == {"conv2_1", "relu2_1"}
    toml = (desk / "run" / "run.toml").read_text("utf-8")
    assert embedded_settings(desk / "run" / "result.png") == toml
    assert pixels(desk / "run" / "result.png").shape == (24, 32, 3)
    frames = sorted(path.stem for path in (desk / "run" / "frames").iterdir())
    assert [frames[0], frames[-1]] == ["000000", f"{summary['steps']:06}"]
    with PillowImage.open(desk / "run" / "progress.gif") as animation:
        assert animation.n_frames == len(frames)
    assert not [path for path in (desk / "run").rglob("*") if path.name.startswith(".")]
