"""What the studio does without a page: masks from what was painted, files that settings name, files made when asked."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from impasto import load_image
from impasto.desk.desk import Desk, sentence
from impasto.desk.drawing import layers_shown, status
from impasto.desk.making import video
from impasto.desk.masks import BRUSHES, painted, saved
from impasto.desk.places import picture_ending, thumbnail
from impasto.errors import ImageError, RunFolderError, SpecError
from impasto.images.masks import load_mask
from impasto.jobs.orders import OneRun
from impasto.jobs.process import WorkerProcess
from impasto.jobs.queue import Job, Jobs
from impasto.tasks.presets import preset
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import make_settings

SIZE = (120, 80)


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """A queue whose worker is never started."""
    monkeypatch.setattr(WorkerProcess, "start", lambda process: None)
    queue = Jobs(tmp_path / "runs")
    yield queue
    queue.close()


def layer(name: str, box: tuple[int, int, int, int], opacity: int = 255) -> Image.Image:
    drawn = Image.new("RGBA", SIZE)
    ImageDraw.Draw(drawn).rectangle(box, fill=(*bytes.fromhex(BRUSHES[name][1:]), opacity))
    return drawn


def test_each_colour_is_a_mask() -> None:
    """What lies above hides what lies below; hard edges are exact."""
    masks = painted([layer("red", (10, 10, 59, 59)), layer("blue", (40, 10, 99, 59))], softness=0.0)
    assert set(masks) == {"red", "blue"}
    red, blue = (np.asarray(masks[name]) for name in ("red", "blue"))
    expected = np.zeros(SIZE[::-1], dtype=np.uint8)
    expected[10:60, 10:40] = 255
    assert (red == expected).all()
    expected[:] = 0
    expected[10:60, 40:100] = 255
    assert (blue == expected).all()


def test_soft_edges_keep_the_middle_and_the_area() -> None:
    hard = np.asarray(painted([layer("green", (30, 20, 89, 59))], 0.0)["green"]).astype(float)
    soft = np.asarray(painted([layer("green", (30, 20, 89, 59))], 0.03)["green"]).astype(float)
    assert soft[40, 60] == 255
    assert 0 < soft[40, 28] < 128 < soft[40, 32] < 255
    assert soft.sum() == pytest.approx(hard.sum(), rel=0.01)


def test_a_slip_of_the_hand_is_no_region() -> None:
    assert painted([layer("yellow", (0, 0, 1, 1))], 0.0) == {}
    assert painted([layer("yellow", (0, 0, 50, 50), opacity=0)], 0.0) == {}
    assert painted([], 0.0) == {}


def test_a_saved_mask_is_one_that_runs_read(tmp_path: Path) -> None:
    mask = painted([layer("red", (10, 10, 59, 59))], 0.01)["red"]
    file = saved(mask, "red", tmp_path)
    assert file == saved(mask, "red", tmp_path)
    read = load_mask(file)[0, 0].numpy()
    assert np.abs(read - np.asarray(mask) / 255).max() < 1 / 255


def test_names_of_layers_are_escaped() -> None:
    html = layers_shown([("<b>", [("<i>", 'x"y'), ("two", "z")]), ("other", [("one", "w")])])
    assert "<b>" not in html
    assert "<i>" not in html
    assert html.count(" hidden>") == 1
    assert 'max="1"' in html
    assert "being painted" in layers_shown([("run", [])])


def test_only_uploads_are_taken_and_ways_are_known(jobs: Jobs, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    desk = Desk(tmp_path / "runs", jobs, inbox)
    Image.new("RGB", (40, 40), "red").save(tmp_path / "outside.png")
    with pytest.raises(SpecError, match="was not uploaded"):
        desk.taken(tmp_path / "outside.png")
    with pytest.raises(SpecError, match="do not differ in 'luck'"):
        desk.explore([tmp_path / "a.png", tmp_path / "b.png"], "luck")
    with pytest.raises(SpecError, match="needs a photo and a painting"):
        desk.explore([], "strength and strokes")
    with pytest.raises(RunFolderError, match="no sheet 'none'"):
        desk.candidates("none")
    assert desk.sheets() == desk.layered() == []
    Image.new("RGB", (40, 40), "red").save(inbox / "a,b=c.png")
    assert desk.taken(inbox / "a,b=c.png").name == "a-b-c.png"  # commas and = have a meaning in regions


def test_a_run_begins_from_its_preset_also_with_a_module(jobs: Jobs, tmp_path: Path) -> None:
    """A module has no layers of VGG-16's names: the preset's become depths."""
    inbox, name = tmp_path / "inbox", "timm:resnet18"
    inbox.mkdir()
    Image.new("RGB", (40, 40), "red").save(inbox / "a.png")
    desk = Desk(tmp_path / "runs", jobs, inbox, (name,))
    job = desk.begin("transfer", [inbox / "a.png"] * 2, "gatys2016", {"network": name, "seed": 3})
    assert (job.spec.preset, job.spec.settings) == ("gatys2016", preset("transfer", "gatys2016", network=name, seed=3))
    assert str(job.spec.settings.content_layers) != str(preset("transfer", "gatys2016").content_layers)


@pytest.mark.slow
def test_a_video_needs_frames(tmp_path: Path) -> None:
    from impasto import RunSpec, read_run, run

    Image.effect_noise((48, 40), 60).convert("RGB").save(tmp_path / "photo.png")
    for name, frames in (("with", 3), ("without", 0)):
        settings = make_settings("invert", layer="conv1_1", size=32, steps=4, frames=frames, threads=1)
        run(RunSpec(task="invert", pictures=(tmp_path / "photo.png",), settings=settings), tmp_path / name)
    made = video(read_run(tmp_path / "with"))
    assert made.read_bytes()[4:8] == b"ftyp"
    assert video(read_run(tmp_path / "with")) == made
    with pytest.raises(RunFolderError, match="has kept no frames"):
        video(read_run(tmp_path / "without"))


ORIENTATION = 0x0112  # of EXIF 2.3


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_small_picture_is_what_a_run_sees(tmp_path: Path, turned: int) -> None:
    """Photos of telephones are upright, and masks are painted over what will be painted."""
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    corners = Image.new("RGB", (64, 32), "white")
    corners.paste("red", (0, 0, 32, 16))
    corners.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    small, seen = thumbnail(tmp_path / "photo.jpg", 640), load_image(tmp_path / "photo.jpg")
    assert np.abs(np.asarray(small) / 255 - seen[0].permute(1, 2, 0).numpy()).max() < 0.01


@pytest.mark.parametrize("ending", ["avif", "heic"])
def test_photos_of_telephones_are_taken(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """HEIC if its package is there; if not, a sentence says what to install."""
    (inbox := tmp_path / "inbox").mkdir()
    file, photo = inbox / f"photo.{ending}", Image.linear_gradient("L").convert("RGB")
    if ending == "heic":
        pytest.importorskip("pillow_heif").from_pillow(photo).save(file, quality=95)
    else:
        photo.save(file, quality=95)
    taken = Desk(tmp_path / "runs", jobs, inbox).taken(file)
    assert taken.name == file.name
    assert np.abs(np.asarray(thumbnail(taken, 256)).astype(float) - np.asarray(photo)).mean() < 3
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    if ending == "heic":
        with pytest.raises(ImageError, match=r"^photo.heic cannot be read: reading HEIC needs a package .*\[heif\]'"):
            picture_ending(file)


def test_greys_of_16_bits_are_not_white(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert np.asarray(thumbnail(tmp_path / name, 640))[..., 0] == pytest.approx(values / 257, abs=0.51)


def test_a_file_that_is_not_taken_is_refused_when_it_is_chosen(tmp_path: Path) -> None:
    """With the sentence of *Paint*: a preview is no promise."""
    Image.new("RGB", (40, 40)).save(tmp_path / "a.ppm")
    with pytest.raises(ImageError, match=r"a.ppm is a PPM file; AVIF, BMP, GIF, HEIF, JPEG, .* files can be used"):
        picture_ending(tmp_path / "a.ppm")
    Image.new("1", (10_001, 10_000)).save(tmp_path / "large.png")
    with pytest.raises(ImageError, match="at most 100 megapixels"):
        picture_ending(tmp_path / "large.png")


def test_sentences_leave_names_of_files_as_they_are() -> None:
    assert sentence(SpecError("size is -3")) == "Size is -3"
    assert sentence(ImageError("half.jpg is not a picture")) == "half.jpg is not a picture"


def test_a_job_speaks_of_pictures_by_their_names(tmp_path: Path) -> None:
    spec = RunSpec(task="invert", pictures=(tmp_path / "uploads/0123456789ab/a.png",), settings=make_settings("invert"))
    said = f"{spec.pictures[0]}: a picture of 1 × 1 pixels is too small"
    job = replace(Job(1, tmp_path / "one", OneRun(spec), spec.settings), state="failed", sentence=said)
    assert '<p class="sentence failed">a.png: a picture of 1 × 1 pixels is too small</p>' in status(job)
    assert "sentence" not in status(replace(job, state="paused"))


def test_the_gallery_has_another_state_if_a_run_comes_or_goes(jobs: Jobs, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    desk = Desk(runs, jobs, tmp_path)
    empty = desk.state()
    (runs / "one").mkdir()
    (runs / "one/run.toml").write_text("")
    begun = desk.state()
    assert (empty, set(begun)) == ({}, {"one"})
    assert desk.state() == begun
    (runs / "one/result.png").write_bytes(b"")
    assert desk.state() != begun
    shutil.rmtree(runs / "one")
    assert desk.state() == empty
