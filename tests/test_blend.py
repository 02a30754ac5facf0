"""Blends: between photo and result, between two runs, and every mistake in one sentence."""

from pathlib import Path

import pytest
import torch
from PIL import Image as PillowImage

from command import call, save_pictures
from conftest import example
from impasto.errors import ImageError, OutputError, RunFolderError, SpecError
from impasto.finishing.blending import blended
from impasto.finishing.oklab import to_oklab
from impasto.images.files import embedded_settings, load_image, load_picture, save_image
from impasto.images.image import psnr
from impasto.sequels.blending import blend

SMALL = ["--size", "48", "--steps", "3", "--frames", "0", "--quiet", "--precision", "float32"]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_halfway_is_halfway_in_oklab() -> None:
    one, other = example("red-panda", (300, 20)), example("night-cafe", (300, 20))
    lab = to_oklab(blended(0.3 + 0.4 * one, 0.3 + 0.4 * other, 0.25))
    expected = 0.75 * to_oklab(0.3 + 0.4 * one) + 0.25 * to_oklab(0.3 + 0.4 * other)
    assert (lab - expected).abs().max() < 2e-3


def test_the_ends_are_the_pictures_themselves() -> None:
    one, other = example("red-panda", (30, 20)), example("night-cafe", (30, 20))
    assert torch.equal(blended(one, other, 0.0), one)
    assert torch.equal(blended(one, other, 1.0), other)


def test_proportions_must_agree() -> None:
    assert blended(torch.rand(1, 3, 301, 400), torch.rand(1, 3, 75, 100), 0.5).shape[2:] == (75, 100)
    with pytest.raises(ImageError, match=r"20 × 30 and 30 × 20 px cannot be blended; their proportions must agree"):
        blended(torch.rand(1, 3, 30, 20), torch.rand(1, 3, 20, 30), 0.5)


def test_two_picture_files(desk: Path) -> None:
    found = blend(desk / "photo.png", 0.5, desk / "half.tif", other=desk / "photo.png")
    assert psnr(load_image(found), load_image(desk / "photo.png")) > 50
    with pytest.raises(RunFolderError, match="is a file; name the folder of a run"):
        blend(desk / "photo.png", 0.5, desk / "b.png")
    with pytest.raises(OutputError, match="exists already"):
        blend(desk / "photo.png", 0.5, desk / "half.tif", other=desk / "photo.png")


@pytest.mark.parametrize("strength", [-0.1, 1.7, float("nan")])
def test_strengths_out_of_range(strength: float, desk: Path) -> None:
    with pytest.raises(SpecError, match=r"strength is .*; choose from 0 \(the photo, or the other run\) to 1"):
        blend(desk / "photo.png", strength)


@pytest.mark.slow
def test_a_run_and_its_photo(desk: Path) -> None:
    save_image(load_image("photo.png"), desk / "photo.png", alpha=torch.linspace(0, 1, 64).expand(1, 1, 48, 64))
    assert call("transfer", "photo.png", "painting.png", *SMALL, "--out", "run").code == 0
    assert call("blend", "run", "--strength", "0.7").out == "run/blend-70.png\n"
    result, photo, found = (load_picture(name) for name in ("run/result.png", "photo.png", "run/blend-70.png"))
    assert found.size == result.size
    assert found.alpha is not None
    assert torch.equal(found.alpha, result.alpha)
    small = torch.nn.functional.interpolate(photo.image, found.size, mode="bicubic", antialias=True).clamp(0, 1)
    expected = 0.3 * to_oklab(small) + 0.7 * to_oklab(result.image)
    assert (to_oklab(found.image) - expected).abs().mean() < 0.005
    assert embedded_settings("run/blend-70.png") == Path("run/run.toml").read_text("utf-8")
    assert call("blend", "run", "--strength", "0.7").code == 1
    words = ["--out", "deep.png", "--depth", "16", "--profile", "adobe-rgb"]
    assert call("blend", "run", "--strength", "0.5", "--with", "run/blend-70.png", *words).code == 0
    with PillowImage.open("deep.png") as file:
        assert b"Adobe RGB" in file.info["icc_profile"].replace(b"\0", b"")
    save_image(1 - photo.image, "photo.png")
    ended = call("blend", "run", "--strength", "0.2")
    assert (ended.code, "photo.png has changed since the run" in ended.err) == (1, True)
    assert call("blend", "run", "--strength", "1.2").code == 2


@pytest.mark.slow
def test_runs_of_several_layers_and_without_a_photo(desk: Path) -> None:
    assert call("reconstruct", "photo.png", "--layers", "conv1_1,conv2_1", *SMALL, "--out", "layers").code == 0
    assert "name one of them, layers/conv1_1" in call("blend", "layers", "--strength", "0.5").err
    assert call("blend", "layers/conv1_1", "--strength", "0.5").out == "layers/conv1_1/blend-50.png\n"
    assert call("texture", "painting.png", *SMALL, "--smallest", "48", "--out", "flat").code == 0
    ended = call("blend", "flat", "--strength", "0.5")
    assert "flat has no photo to blend with; name another run with --with" in ended.err
    ended = call("blend", "flat", "--strength", "0.5", "--with", "layers/conv1_1")
    assert "48 × 36 and 48 × 48 px cannot be blended" in ended.err
