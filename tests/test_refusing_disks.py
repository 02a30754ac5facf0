"""What the system refuses is one sentence in every command: names that are too long, and folders without permission."""

import builtins
import errno
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command import Ended, call, save_pictures

LONG = "n" * 300
RUN = (
    "invert",
    "photo.png",
    "--layer",
    "conv1_1",
    "--size",
    "32",
    "--steps",
    "1",
    "--frames",
    "0",
    "--precision",
    "float32",
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "show": ("show", "NAME"),
    "resume": ("resume", "NAME"),
    "report": ("report", "NAME"),
    "run": ("run", "NAME"),
    "sweep": ("sweep", "NAME", "--vary", "seed=1,2"),
    "batch": ("batch", "NAME", "--recipe", "invert"),
    "batch --styles": ("batch", "photo.png", "--styles", "NAME"),
    "batch --out": ("batch", "photo.png", "--recipe", "invert", "-o", "NAME"),
    "list": ("batch", "NAME.csv"),
    "study": ("study", "photo.png", "NAME"),
    "study --out": ("study", "photo.png", "painting.png", "-o", "NAME"),
    "normalise": ("normalise", "NAME", "-o", "means.safetensors"),
    "normalise --out": ("normalise", "pictures", "-o", "NAME"),
    "photo": ("invert", "NAME"),
    "--out": (*RUN, "-o", "NAME"),
    "--weights": (*RUN, "--weights", "NAME"),
    "--means": (*RUN, "--means", "NAME"),
    "--init": ("transfer", "photo.png", "painting.png", "--init", "NAME"),
    "--save-spec": (*RUN, "--save-spec", "NAME"),
}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_pictures(tmp_path)
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_one_sentence(ended: Ended) -> bool:
    *before, last = ended.err.splitlines()
    return ended.code in (1, 2) and ended.out == "" and last.startswith("impasto: ") and not before


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("name", [LONG, f"{LONG}/inside"], ids=["long", "in a long one"])
def test_names_of_300_letters(desk: Path, words: tuple[str, ...], name: str) -> None:
    ended = call(*(word.replace("NAME", name) for word in words))
    assert is_one_sentence(ended), ended
    assert "nnn" in ended.err


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_locked_folder(desk: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system refuses it to all but root, who may be the one that runs the tests."""
    (desk / "locked").mkdir()

    def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(path: Any, *others: Any, **named: Any) -> Any:
            if isinstance(path, (str, bytes, os.PathLike)) and "locked/" in os.fsdecode(path):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(path))
            return call(path, *others, **named)

        return checked

    for module, names in {
        os: ("stat", "lstat", "open", "mkdir", "scandir", "listdir"),
        io: ("open",),
        builtins: ("open",),
    }.items():
        for name in names:
            monkeypatch.setattr(module, name, refusing(getattr(module, name)))
    ended = call(*(word.replace("NAME", "locked/inside") for word in words))
    monkeypatch.undo()
    assert is_one_sentence(ended), ended
    assert "locked" in ended.err


# As a user who is not root, for whom permissions hold ----------------------------------------------------------------


def as_a_user(desk: Path, *words: str) -> Ended:
    """`impasto WORDS` as nobody if the tests run as root, else as who runs them."""
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("runs as root, and there is no setpriv")
        prefix = (setpriv, "--reuid=65534", "--regid=65534", "--clear-groups")
        for folder in (desk, *desk.parents):
            if folder.owner() == "root" and folder.is_relative_to(desk.parents[1]):
                folder.chmod(0o777)
    run = [*prefix, sys.executable, "-m", "impasto", *words]
    home = {"HOME": str(desk), "PYTHONDONTWRITEBYTECODE": "1"}
    others = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # root's files
    ended = subprocess.run(
        run, cwd=desk, env={**others, **home}, capture_output=True, text=True, timeout=300, check=False
    )
    if "Permission denied" in ended.stderr and "impasto: " not in ended.stderr:
        pytest.skip("another user may not read this Python")
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.slow
def test_normalise_skips_a_file_that_may_not_be_read(desk: Path) -> None:
    for name in ("photo", "painting"):
        shutil.copy(desk / f"{name}.png", desk / "pictures")
    (desk / "pictures" / "painting.png").chmod(0)
    ended = as_a_user(desk, "normalise", "pictures", "-o", "means.safetensors")
    assert (ended.code, ended.out) == (0, "means.safetensors\n"), ended
    assert "skipped pictures/painting.png: not a picture that can be read\n" in ended.err
    assert "pictures averaged: 1, files skipped: 1\n" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_runs_are_locked(desk: Path, mode: int) -> None:
    """The folder of all results, named by nobody; what is in it stays."""
    (desk / "runs").mkdir()
    (desk / "runs").chmod(mode)
    try:
        for words in (RUN, ("batch", "photo.png", "--recipe", "invert", "--layer", "conv1_1", "--size", "32")):
            ended = as_a_user(desk, *words)
            assert is_one_sentence(ended), ended
            assert "impasto: runs/" in ended.err
            assert "Permission denied" in ended.err
    finally:
        (desk / "runs").chmod(0o755)
    assert not any((desk / "runs").iterdir())
