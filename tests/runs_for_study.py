"""Studies small enough for tests: the same runs with few layers, pixels and steps; see conftest.py."""

from contextlib import chdir
from pathlib import Path

from command import save_pictures
from impasto.study.plan import Extent, Study, StudySettings
from impasto.study.run import run_study

TINY = Extent(
    layers=("conv1_1", "conv2_1"),
    content_px=32,
    content_steps=3,
    prior_layers=("conv2_1",),
    amalgamate_steps=2,
    texture_px=32,
    texture_steps=2,
    matrix_layers=("relu1_1", "relu2_1"),
    matrix_weights=(0.1, 10.0),
    matrix_px=32,
    matrix_steps=2,
    final_px=48,
    final_steps=2,
    smallest_px=32,
    frames=3,
)
TINIEST = Extent(
    layers=("conv1_1",),
    content_px=32,
    content_steps=2,
    prior_layers=(),
    amalgamate_steps=2,
    texture_px=32,
    texture_steps=1,
    matrix_layers=(),
    matrix_weights=(),
    matrix_px=32,
    matrix_steps=1,
    final_px=32,
    final_steps=2,
    smallest_px=32,
    frames=2,
)
STUDY = Study(Path("photo.png"), Path("painting.png"), StudySettings(quick=True, threads=1), TINY)


def make_study(desk: Path) -> None:
    """Two pictures in a folder and their study; where the study is there already, there is nothing left to do."""
    desk.mkdir(exist_ok=True)
    if not (desk / "study").exists():
        save_pictures(desk)
    with chdir(desk):
        run_study(STUDY, Path("study"))
