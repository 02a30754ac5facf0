"""A run whose pictures were moved far away goes on, and its page is made, once they are named."""

import shutil
from pathlib import Path

import pytest
from PIL import Image as PillowImage
from PIL import ImageDraw

from command import StopAfter, call, pixels, save_pictures
from impasto.errors import InterruptedRunError
from impasto.folders.records import read_run
from impasto.runs.start import run
from impasto.tasks.settings import InvertSettings, TransferSettings
from impasto.tasks.spec import RunSpec

pytestmark = pytest.mark.slow  # each makes two runs


@pytest.fixture
def moved(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A whole run, the same one interrupted, and the folder to which its picture was moved, under another name."""
    here, there = tmp_path / "desk", tmp_path / "archive" / "2024"
    here.mkdir()
    there.mkdir(parents=True)
    save_pictures(here)
    settings = InvertSettings(layer="conv1_1", size=16, steps=4, frames=0, threads=1)
    spec = RunSpec(task="invert", pictures=(here / "photo.png",), settings=settings)
    whole, stop = run(spec, here / "whole"), StopAfter(2)
    with pytest.raises(InterruptedRunError):
        run(spec, here / "half", recorders=[stop], stop=stop)
    (here / "photo.png").rename(there / "IMG_1.PNG")
    (here / "painting.png").rename(there / "IMG_2.PNG")
    return whole, here / "half", there


def test_it_goes_on(moved: tuple[Path, Path, Path]) -> None:
    whole, half, there = moved
    ended = call("resume", half, "-q")
    assert ended.code == 1
    assert "if a file was moved, name the file or its folder with --pictures" in ended.err
    ended = call("resume", half, "-q", "--pictures", there / "IMG_2.PNG")
    assert (ended.code, f"no file in {there / 'IMG_2.PNG'} has its SHA-256" in ended.err) == (1, True)
    ended = call("resume", half, "-q", "--pictures", "nowhere", there.parent)
    assert (ended.code, ended.err) == (1, "impasto: there is no file or folder nowhere\n")
    ended = call("resume", half, "-q", "--pictures", there / "IMG_2.PNG", there.parent)
    assert (ended.code, ended.err) == (0, "")
    assert (pixels(half / "result.png") == pixels(whole / "result.png")).all()
    record = read_run(half)  # and its page finds the picture
    assert record.status == "done"
    assert record.spec.pictures == (there / "IMG_1.PNG",) == (record.pictures[0].path,)


def test_a_page(moved: tuple[Path, Path, Path]) -> None:
    whole, _, there = moved
    assert call("report", whole).code == 0
    assert "no longer exists" in (whole / "report.html").read_text("utf-8")
    assert call("report", whole, "--pictures", there).code == 0
    page = (whole / "report.html").read_text("utf-8")
    assert "no longer exists" not in page
    ended = call("report", whole, whole.with_name("half"), "-o", whole / "both.html", "--pictures", there, there)
    assert ended.code == 0
    assert "no longer exists" not in (whole / "both.html").read_text("utf-8")
    assert call("report", whole, "--pictures", "nowhere").err == "impasto: there is no file or folder nowhere\n"


def test_paths_stay_as_they_are_written_if_nothing_was_moved(moved: tuple[Path, Path, Path]) -> None:
    _, half, there = moved
    shutil.copy(there / "IMG_1.PNG", half.with_name("photo.png"))
    written = "# mine\n" + (half / "run.toml").read_text("utf-8")
    (half / "run.toml").write_text(written, "utf-8")
    assert call("resume", half, "-q", "--pictures", there).code == 0
    assert (half / "run.toml").read_text("utf-8") == written


def test_masks_and_paintings_of_regions(tmp_path: Path) -> None:
    """They go on under their new names, which run.toml then has, so the page shows them and the run is repeated."""
    here, there = tmp_path / "desk", tmp_path / "archive"
    here.mkdir()
    there.mkdir()
    save_pictures(here)
    for name, box in (("sky", (0, 0, 63, 23)), ("side", (0, 0, 31, 47))):
        mask = PillowImage.new("L", (64, 48))
        ImageDraw.Draw(mask).rectangle(box, fill=255)
        mask.save(here / f"{name}.png")
    region = f"{here / 'sky.png'}={here / 'painting.png'},strength=2,from={here / 'side.png'}"
    settings = TransferSettings(size=24, smallest=24, steps=4, frames=0, threads=1, region=(region,))
    spec = RunSpec(task="transfer", pictures=(here / "photo.png", here / "painting.png"), settings=settings)
    whole, stop = run(spec, here / "whole"), StopAfter(2)
    with pytest.raises(InterruptedRunError):
        run(spec, here / "half", recorders=[stop], stop=stop)
    for number, name in enumerate(("photo", "painting", "sky", "side")):
        (here / f"{name}.png").rename(there / f"IMG_{number}.png")
    ended = call("resume", here / "half", "-q", "--pictures", there)
    assert (ended.code, ended.err) == (0, "")
    assert (pixels(here / "half" / "result.png") == pixels(whole / "result.png")).all()
    now = read_run(here / "half").spec.settings.files
    assert now == (there / "IMG_2.png", there / "IMG_1.png", there / "IMG_3.png")
    assert call("run", here / "half" / "run.toml", "-o", here / "again", "-q").code == 0
