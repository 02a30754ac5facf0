"""What the system refuses is one sentence in every command: names that are too long, and folders without permission."""

import builtins
import errno
import io
import os
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
