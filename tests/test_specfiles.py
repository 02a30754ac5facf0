"""Specs as files: read from TOML, from pictures and from folders, changed on the command line, shown, saved."""

import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from command import Ended, call, pixels, save_pictures
from impasto.errors import SpecError
from impasto.folders.specfiles import located, parse_spec, read_spec, relative_to, spec_toml
from impasto.images.files import embedded_settings
from impasto.tasks.presets import preset, presets
from impasto.tasks.settings import InvertSettings, TransferSettings
from impasto.tasks.spec import RunSpec

TINY = ("--size", 32, "--steps", 2, "--frames", 2)
INVERT = ("invert", "photo.png", "--layer", "conv1_1", *TINY)
BY_HAND = """
task = "invert"
pictures = ["photo.png"]

[settings]
layer = "conv1_1"
size = 32
steps = 2
frames = 0
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with two pictures and a spec."""
    save_pictures(tmp_path)
    (tmp_path / "spec.toml").write_text(BY_HAND, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def same_pixels(one: str, other: str) -> bool:
    return bool(np.array_equal(pixels(Path(one) / "result.png"), pixels(Path(other) / "result.png")))


# Runs from files -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_spec_by_hand(desk: Path) -> None:
    assert call("run", "spec.toml", "--quiet") == Ended(0, "runs/invert-photo\n", "")
    settings = tomllib.loads((desk / "runs/invert-photo/run.toml").read_text("utf-8"))["settings"]
    assert (settings["layer"], settings["size"], settings["frames"]) == ("conv1_1", 32, 0)
    assert settings["smoothness"] == InvertSettings().smoothness


@pytest.mark.slow
@pytest.mark.parametrize("what", ["first", "first/run.toml", "first/result.png", "elsewhere.png"])
def test_a_run_is_repeated(desk: Path, what: str) -> None:
    assert call(*INVERT, "--seed", 5, "-o", "first", "--quiet").code == 0
    if what == "elsewhere.png":
        shutil.copy("first/result.png", what)
    assert call("run", what, "-o", "second", "--quiet") == Ended(0, "second\n", "")
    assert same_pixels("first", "second")


@pytest.mark.slow
def test_what_is_said_after_the_spec_wins(desk: Path) -> None:
    assert call("run", "spec.toml", "--seed", 5, "--layer", "conv1_2", "-o", "one", "--quiet").code == 0
    assert call("invert", "photo.png", *TINY, "--layer", "conv1_2", "--seed", 5, "-o", "two", "--quiet").code == 0
    assert same_pixels("one", "two")
    assert call("run", "two/result.png", "painting.png", "--seed", 6, "-o", "three", "--quiet").code == 0
    assert call("invert", "painting.png", *TINY, "--layer", "conv1_2", "--seed", 6, "-o", "4", "--quiet").code == 0
    assert same_pixels("three", "4")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("spec.toml", "--sede", 3), "--sede"),
        (("spec.toml", "--style-weight", 3), "--style-weight"),
        (("spec.toml", "photo.png", "painting.png"), "this command takes fewer arguments"),
        (("spec.toml", "--steps", 0), "steps is "),
        (("nowhere.toml",), "impasto: there is no file nowhere.toml\n"),
        ((".",), "impasto: . is not the folder of a run\n"),
        (("photo.png",), "impasto: photo.png contains no settings of impasto\n"),
        (("photo.webp",), "impasto: photo.webp is neither a spec in TOML nor a result of impasto as PNG\n"),
    ],
)
def test_wrong_words(desk: Path, words: tuple[object, ...], sentence: str) -> None:
    (desk / "photo.webp").write_bytes(b"RIFF\xff\xfe")
    ended = call("run", *words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("impasto: ")
    assert ended.err.count("\n") == 1
    assert sentence in ended.err
    assert not (desk / "runs").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("steps = 2", "stepps = 2"), "there is no setting 'stepps'; did you mean 'steps'?"),
        (("[settings]", "[setings]"), "there is no key 'setings' at the top level; did you mean 'settings'?"),
        (('task = "invert"', 'task = "invert"\nsize = 3'), "there is no key 'size' at the top level; it belongs under"),
        (('task = "invert"', 'task = "inwert"'), "there is no task 'inwert'; did you mean 'invert'?"),
        (('task = "invert"', "task = 3"), "task must be a text"),
        (('task = "invert"', ""), "names no task; choose from invert, "),
        (('["photo.png"]', '"photo.png"'), "pictures must be a list of files"),
        (('["photo.png"]', "[]"), "invert takes 1 picture, not 0"),
        (('["photo.png"]', "[3]"), "pictures"),
        (("steps = 2", "steps = 0"), "steps is 0; "),
        (('task = "invert"', 'task = "invert"\npreset = "fats"'), "there is no preset 'fats'; did you mean 'fast'?"),
        (("size = 32", "size = "), "is not valid TOML: "),
    ],
)
def test_wrong_specs(desk: Path, change: tuple[str, str], sentence: str) -> None:
    (desk / "spec.toml").write_text(BY_HAND.replace(*change), "utf-8")
    for command in ("run", "show"):
        ended = call(command, "spec.toml")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("impasto: spec.toml")
        assert ended.err.count("\n") == 1
        assert sentence in ended.err


# Where files are -----------------------------------------------------------------------------------------------------


def test_pictures_beside_the_spec_come_first(desk: Path) -> None:
    (desk / "specs").mkdir()
    shutil.move("spec.toml", "specs/spec.toml")
    found = read_spec(desk / "specs" / "spec.toml")
    assert located(found)[0].pictures == (Path("photo.png"),)
    shutil.copy("painting.png", "specs/photo.png")
    assert located(found)[0].pictures == (desk / "specs" / "photo.png",)


@pytest.mark.slow
def test_the_picture_of_the_right_hash_is_preferred(desk: Path) -> None:
    assert call(*INVERT, "-o", "run", "--quiet").code == 0
    shutil.copy("painting.png", "run/photo.png")  # beside the spec, but another
    spec, changed = located(read_spec(Path("run")))
    assert (spec.pictures, changed) == ((Path("photo.png"),), [])


@pytest.mark.slow
def test_a_picture_that_has_changed_is_said_and_used(desk: Path) -> None:
    assert call(*INVERT, "-o", "run", "--quiet").code == 0
    shutil.copy("painting.png", "photo.png")
    ended = call("run", "run", "-o", "again", "--quiet")
    assert ended == Ended(0, "again\n", "impasto: photo.png has changed since that run; the result may differ\n")


def test_a_picture_that_is_missing(desk: Path) -> None:
    Path("photo.png").unlink()
    ended = call("run", "spec.toml")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == ("impasto: there is no file photo.png, neither beside spec.toml nor in the working directory\n")
    (desk / "spec.toml").write_text(BY_HAND + 'weights = "w.safetensors"\n', "utf-8")
    save_pictures(desk)
    assert "there is no file w.safetensors, neither" in call("run", "spec.toml").err


@pytest.mark.slow
def test_another_picture_above_is_not_taken(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's own is, by its hash."""
    (desk / "deep").mkdir()
    assert call(*INVERT, "-o", "deep/run", "--quiet").code == 0
    shutil.move("spec.toml", "deep/spec.toml")
    monkeypatch.chdir(desk / "deep")
    assert located(read_spec(Path("run")))[0].pictures == (desk / "photo.png",)
    shutil.copy(desk / "painting.png", desk / "photo.png")
    for spec in ("run", "spec.toml"):
        ended = call("run", spec, "-o", "again", "--quiet")
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith("impasto: there is no file photo.png, neither beside ")


@pytest.mark.slow
def test_a_first_picture_and_its_hash(desk: Path) -> None:
    assert call(*INVERT, "--init", "painting.png", "-o", "run", "--quiet").code == 0
    assert call("run", "run", "-o", "again", "--quiet") == Ended(0, "again\n", "")
    assert same_pixels("run", "again")
    shutil.copy("photo.png", "painting.png")
    assert "painting.png has changed since that run" in call("run", "run", "-o", "other", "--quiet").err
    (desk / "spec.toml").write_text(BY_HAND + 'init = "noize"\n', "utf-8")
    assert "init is neither noise, content nor a picture: there is no file noize" in call("run", "spec.toml").err


@pytest.mark.slow
def test_another_version(desk: Path) -> None:
    (desk / "spec.toml").write_text(f'{BY_HAND}\n[provenance]\nimpasto = "0.0.1"\n', "utf-8")
    ended = call("run", "spec.toml", "--quiet")
    assert ended.code == 0
    assert ended.err.startswith("impasto: that run was made with impasto 0.0.1, this is ")


@pytest.mark.slow
def test_another_build_of_the_same_pytorch_is_not_another_version(desk: Path) -> None:
    """A package may say 2.13.0 and PyTorch itself 2.13.0+cu130."""
    number = version("torch").partition("+")[0]
    (desk / "spec.toml").write_text(f'{BY_HAND}\n[provenance]\ntorch = "{number}+other"\n', "utf-8")
    assert call("run", "spec.toml", "--quiet").err == ""


# Saved and shown -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["invert", "reconstruct", "amalgamate", "texture", "transfer"])
def test_save_spec_saves_and_does_nothing_else(desk: Path, task: str) -> None:
    pictures = ["photo.png", *["painting.png"] * (task in ("amalgamate", "transfer"))]
    ended = call(task, *pictures, "--seed", 7, "--init", "photo.png", "--save-spec", "specs/mine.toml")
    assert ended == Ended(0, "specs/mine.toml\n", "")
    assert not (desk / "runs").exists()
    found = read_spec(desk / "specs" / "mine.toml")
    assert found.spec.settings.seed == 7
    assert found.spec.pictures == tuple(Path("..") / name for name in pictures)  # as they are called from there
    assert located(found)[0].pictures[0].samefile("photo.png")
    again = call(task, *pictures, "--save-spec", "specs/mine.toml")
    assert again.code == 1
    assert again.err == (
        "impasto: specs/mine.toml exists already; name another file with --save-spec, or replace it with --force\n"
    )
    assert call(task, *pictures, "--save-spec", "specs/mine.toml", "--force").code == 0


@pytest.mark.slow
def test_a_preset_is_recorded(desk: Path) -> None:
    words = ("transfer", "photo.png", "painting.png", "--preset", "fast", "--steps", 9)
    assert call(*words, "--save-spec", "fast.toml").code == 0
    saved = read_spec(Path("fast.toml")).spec
    assert (saved.preset, saved.settings.steps) == ("fast", 9)
    assert saved.settings == preset("transfer", "fast", steps=9)
    by_hand = 'task = "transfer"\npictures = ["photo.png", "painting.png"]\npreset = "fast"\n'
    spec, provenance = parse_spec(by_hand, "a text")
    assert (spec.settings, provenance) == (preset("transfer", "fast"), {})
    assert call(*INVERT, "-o", "run", "--quiet").code == 0
    assert tomllib.loads((desk / "run" / "run.toml").read_text("utf-8"))["preset"] == "default"


def test_a_preset_after_the_spec_wins_over_it(desk: Path) -> None:
    (desk / "t.toml").write_text(
        'task = "transfer"\npictures = ["photo.png", "painting.png"]\n[settings]\nsize = 999\nseed = 4\n', "utf-8"
    )
    assert call("run", "t.toml", "--preset", "fast", "--steps", 9, "--save-spec", "new.toml").code == 0
    new = read_spec(Path("new.toml")).spec
    assert new.preset == "fast"
    assert new.settings == preset("transfer", "fast", steps=9, seed=4)
    assert new.settings.size == presets()["fast"]["transfer"]["size"]


@pytest.mark.slow
def test_show(desk: Path) -> None:
    assert call(*INVERT, "-o", "run", "--quiet").code == 0
    toml = (desk / "run" / "run.toml").read_text("utf-8")
    for what in ("run", "run/run.toml", "run/result.png"):
        assert call("show", what, "--toml") == Ended(0, toml, "")
        ended = call("show", what)
        assert (ended.code, ended.err) == (0, "")
        rows = {line.split()[0]: line.split()[1:] for line in ended.out.splitlines() if line.split()}
        assert rows["task"] == ["invert"]
        assert rows["picture"] == ["photo.png"]
        assert rows["preset"] == ["default"]
        assert rows["size"] == ["32", "224"]
        assert rows["seed"] == ["0"]
        assert "weights_sha256" in rows
    assert embedded_settings("run/result.png") == toml


def test_show_needs_no_torch(desk: Path) -> None:
    code = """
import sys
from impasto.cli.app import main
try:
    main(["show", "spec.toml"])
finally:
    assert "torch" not in sys.modules
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_specs_as_toml_come_back() -> None:
    spec = RunSpec(
        task="transfer",
        pictures=(Path("a.png"), Path("/b.png")),
        settings=TransferSettings(init="c.png", weights=Path("w"), size=77),
        preset="fast",
    )
    found, _ = parse_spec(spec_toml(spec), "a text")
    assert found == spec
    moved = relative_to(Path("x/y"), spec)
    assert moved.pictures == (Path("../../a.png"), Path("/b.png"))
    assert (moved.settings.init, moved.settings.weights) == ("../../c.png", Path("../../w"))
    with pytest.raises(SpecError, match="a text: provenance must be a table"):
        parse_spec(spec_toml(spec, {"provenance": 3}), "a text")
