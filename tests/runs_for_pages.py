"""Small runs with the real network for tests of pages, made once a session."""

import shutil
from contextlib import chdir
from pathlib import Path

import pytest

from command import call, save_pictures

STEPS = ("--steps", 4, "--frames", 5, "--quiet")
TRANSFER = ("--size", 96, "--smallest", 48, *STEPS)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and runs: one (two stages), other (another weight), layers (two parts)."""
    desk = tmp_path_factory.mktemp("runs")
    save_pictures(desk)
    with chdir(desk):
        for words in (
            ("transfer", "photo.png", "painting.png", *TRANSFER, "--out", "one"),
            ("transfer", "photo.png", "painting.png", *TRANSFER, "--style-weight", 3, "--out", "other"),
            ("reconstruct", "photo.png", "--layers", "conv1_1,conv3_1", "--size", 64, *STEPS, "--out", "layers"),
        ):
            ended = call(*words)
            assert ended.code == 0, ended.err
    return desk


@pytest.fixture
def desk(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in, and to damage."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path
