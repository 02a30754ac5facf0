"""What the system refuses is one sentence in every command: names that are too long, and folders without permission."""

import builtins
import errno
import io
import json
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

PROGRAM = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
from impasto.cli.app import main

for folder, *words in json.loads(sys.argv[1]):
    os.chdir(folder)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(words)
        except SystemExit as ended:
            code = ended.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
BATCH = ("batch", "photo.png", "--recipe", "invert", "--layer", "conv1_1", "--size", "32")


def as_a_user(desk: Path, *commands: tuple[str, ...]) -> list[Ended]:
    """How commands, each a folder and words, end in one program: nobody's if the tests run as root."""
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("runs as root, and there is no setpriv")
        prefix = (setpriv, "--reuid=65534", "--regid=65534", "--clear-groups")
        for folder in (desk, *desk.iterdir(), *desk.parents):
            if folder.owner() == "root" and folder.is_relative_to(desk.parents[1]):
                folder.chmod(0o777)
    home = {"HOME": str(desk), "PYTHONDONTWRITEBYTECODE": "1"}
    others = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # root's files
    ended = subprocess.run(
        [*prefix, sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=desk,
        env={**others, **home},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "Permission denied" in ended.stderr and not ended.stdout:
        pytest.skip("another user may not read this Python")
    assert ended.returncode == 0, ended.stderr
    return [Ended(*json.loads(line)) for line in ended.stdout.splitlines()]


@pytest.mark.slow
def test_places_of_somebody_else(tmp_path: Path) -> None:
    """Normalising skips a file that may not be read; the folder of all results, named by nobody, stays as it is."""
    for name in ("open", "read", "locked"):
        (tmp_path / name).mkdir()
        save_pictures(tmp_path / name)
    locked = {"read": 0o555, "locked": 0o000}
    commands: list[tuple[str, ...]] = [("open", "normalise", ".", "-o", "means.safetensors")]
    commands += [(f"../{name}", *words) for name in locked for words in (RUN, BATCH)]
    (tmp_path / "open" / "painting.png").chmod(0)
    for name in locked:
        (tmp_path / name / "runs").mkdir()
    try:
        for name, mode in locked.items():
            (tmp_path / name / "runs").chmod(mode)
        normalised, *refused = as_a_user(tmp_path, *commands)
    finally:
        for name in locked:
            (tmp_path / name / "runs").chmod(0o755)
    assert (normalised.code, normalised.out) == (0, "means.safetensors\n"), normalised
    assert "skipped painting.png: not a picture that can be read\n" in normalised.err
    assert "pictures averaged: 1, files skipped: 1\n" in normalised.err
    for ended in refused:
        assert is_one_sentence(ended), ended
        assert "impasto: runs/" in ended.err
        assert "Permission denied" in ended.err
    assert not [path for name in locked for path in (tmp_path / name / "runs").iterdir()]
