"""Small runs with the real network for tests of pages; conftest.py has them as fixtures."""

from contextlib import chdir
from pathlib import Path

from command import call, save_pictures

STEPS = ("--steps", 4, "--frames", 5, "--quiet")
TRANSFER = ("--size", 96, "--smallest", 48, "--growth", 2, "--step-ratio", 0.5, *STEPS)


def make_runs(desk: Path) -> None:
    """Pictures and runs in a folder: one (two stages), other (another weight), layers (two parts)."""
    save_pictures(desk)
    with chdir(desk):
        for words in (
            ("transfer", "photo.png", "painting.png", *TRANSFER, "--out", "one"),
            ("transfer", "photo.png", "painting.png", *TRANSFER, "--style-weight", 3, "--out", "other"),
            ("reconstruct", "photo.png", "--layers", "conv1_1,conv3_1", "--size", 64, *STEPS, "--out", "layers"),
        ):
            ended = call(*words)
            assert ended.code == 0, ended.err
