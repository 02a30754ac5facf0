"""The command line, run in this process, and small pictures for it."""

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from conftest import example
from impasto.cli.app import main
from impasto.images.files import save_image
from impasto.images.image import Image
from impasto.runs.recorders import Recorder, Watched
from impasto.synthesis.loop import Iterate

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same numbers on every machine, also in programs that tests start


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, and what it wrote."""

    code: int
    out: str
    err: str


def call(*words: object) -> Ended:
    """`impasto WORDS`, as it would end the program."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    code = ended.value.code or 0
    assert isinstance(code, int)
    return Ended(code, out.getvalue(), err.getvalue())


class StopAfter(Recorder):
    """A recorder, and the stop of the same run: asked for after a step of its n-th part."""

    def __init__(self, step: int, part: int = 1) -> None:
        self._last, self._begun, self._asked = (part, step), 0, False

    def begin(self, part: Watched, first: Image) -> None:
        self._begun += 1

    def record(self, iterate: Iterate) -> None:
        self._asked = self._asked or (self._begun, iterate.step) == self._last

    def is_set(self) -> bool:
        return self._asked


def save_pictures(folder: Path) -> None:
    """photo.png, 64 × 48 pixels, and painting.png, 48 × 60."""
    save_image(example("neuschwanstein-castle", (48, 64)), folder / "photo.png")
    save_image(example("cafe-terrace-at-night", (60, 48)), folder / "painting.png")


def pixels(path: Path) -> np.ndarray:
    """Height × width × channels, 0 … 255."""
    with PillowImage.open(path) as file:
        return np.asarray(file).astype(np.float64)


def read_json(path: Path) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
