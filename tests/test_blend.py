"""Blends: between photo and result, between two runs, and every mistake in one sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from command import call, save_pictures
from conftest import example
from impasto.errors import ImageError, OutputError, RunFolderError, SpecError
from impasto.finishing.blending import blended
from impasto.finishing.oklab import to_oklab
from impasto.images.files import embedded_settings, load_image, load_picture, save_image
from impasto.images.image import Picture, psnr
from impasto.sequels.blending import blend

SMALL = ["--size", "48", "--steps", "3", "--frames", "0", "--quiet", "--precision", "float32"]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_halfway_is_halfway_in_oklab() -> None:
    one, other = example("red-panda", (300, 20)), example("night-cafe", (300, 20))
    lab = to_oklab(blended(Picture(0.3 + 0.4 * one), Picture(0.3 + 0.4 * other), 0.25).image)
    expected = 0.75 * to_oklab(0.3 + 0.4 * one) + 0.25 * to_oklab(0.3 + 0.4 * other)
    assert (lab - expected).abs().max() < 2e-3


def test_the_ends_are_the_pictures_themselves() -> None:
    alpha = torch.linspace(0, 1, 20).expand(1, 1, 30, 20)
    one, other = Picture(example("red-panda", (30, 20)), alpha), Picture(example("night-cafe", (30, 20)))
    for strength, end in ((0.0, one), (1.0, other)):
        found = blended(one, other, strength)
        assert torch.equal(found.image, end.image)
        assert found.alpha is end.alpha


def test_colours_count_as_much_as_they_can_be_seen() -> None:
    """White that cannot be seen, half transparent red and opaque blue, with the same three the other way round."""
    rows = [(1.0, 1, 1), (0.8, 0.2, 0.2), (0.2, 0.2, 0.8)]
    one, other = (torch.tensor(each).T.reshape(1, 3, 1, 3) for each in (rows, rows[::-1]))
    opacity, opacities = torch.tensor([0, 0.5, 1]).expand(1, 1, 1, 3), torch.tensor([1, 0.5, 0]).expand(1, 1, 1, 3)
    found = blended(Picture(one, opacity), Picture(other, opacities), 0.25)
    assert found.alpha is not None
    assert found.alpha.flatten().tolist() == pytest.approx([0.25, 0.5, 0.75])
    assert found.image[0, :, 0].T.tolist() == pytest.approx(np.array([rows[2], rows[1], rows[2]]), abs=1e-3)
    found = blended(Picture(one, opacity), Picture(other), 0.25)
    assert found.alpha is not None
    assert found.alpha.flatten().tolist() == pytest.approx([0.25, 0.625, 1])
    share = torch.tensor([1, 0.4, 0.25])
    expected = (1 - share) * to_oklab(one) + share * to_oklab(other)
    assert (to_oklab(found.image) - expected)[..., [0, 1]].abs().max() < 1e-3


def test_an_equal_transparency_changes_no_colour() -> None:
    one, other = example("red-panda", (30, 20)), example("night-cafe", (30, 20))
    alpha = torch.linspace(0, 1, 20).expand(1, 1, 30, 20)
    found, opaque = blended(Picture(one, alpha), Picture(other, alpha), 0.3), blended(Picture(one), Picture(other), 0.3)
    assert opaque.alpha is None
    assert found.alpha is not None
    assert (found.image - opaque.image).abs().max() < 1e-5
    assert (found.alpha - alpha).abs().max() < 1e-6


def test_proportions_must_agree() -> None:
    assert blended(Picture(torch.rand(1, 3, 301, 400)), Picture(torch.rand(1, 3, 75, 100)), 0.5).size == (75, 100)
    with pytest.raises(ImageError, match=r"20 × 30 and 30 × 20 px cannot be blended; their proportions must agree"):
        blended(Picture(torch.rand(1, 3, 30, 20)), Picture(torch.rand(1, 3, 20, 30)), 0.5)


def test_two_picture_files(desk: Path) -> None:
    found = blend(desk / "photo.png", 0.5, desk / "half.tif", other=desk / "photo.png")
    assert psnr(load_image(found), load_image(desk / "photo.png")) > 50
    with pytest.raises(RunFolderError, match="is a file; name the folder of a run"):
        blend(desk / "photo.png", 0.5, desk / "b.png")
    with pytest.raises(OutputError, match="exists already"):
        blend(desk / "photo.png", 0.5, desk / "half.tif", other=desk / "photo.png")


def test_blends_with_runs_of_similar_names_have_names_of_their_own(desk: Path) -> None:
    for name in ("run", "v1.5", "v1.6"):
        (desk / name).mkdir()
        save_image(load_image("photo.png"), desk / name / "result.png")
    found = [blend(desk / "run", 0.5, other=desk / name).name for name in ("v1.5", "v1.6", "photo.png")]
    assert found == ["blend-50-v1.5.png", "blend-50-v1.6.png", "blend-50-photo.png"]


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
    assert (found.alpha - result.alpha).abs().max() < 1.5 / 255
    small = torch.nn.functional.interpolate(photo.image, found.size, mode="bicubic", antialias=True).clamp(0, 1)
    expected = 0.3 * to_oklab(small) + 0.7 * to_oklab(result.image)
    assert (to_oklab(found.image) - expected).abs().mean() < 0.005
    assert embedded_settings("run/blend-70.png") == Path("run/run.toml").read_text("utf-8")
    assert call("blend", "run", "--strength", "0.7").code == 1
    words = ["--out", "deep.png", "--depth", "16", "--profile", "adobe-rgb"]
    assert call("blend", "run", "--strength", "0.5", "--with", "run/blend-70.png", *words).code == 0
    with PillowImage.open("deep.png") as file:
        assert b"Adobe RGB" in file.info["icc_profile"].replace(b"\0", b"")
    (desk / "far away").mkdir()
    moved = Path("photo.png").rename("far away/moved.png")
    said = "cannot be blended with its photo: photo.png no longer exists; name the photo with --with FILE"
    assert said in call("blend", "run", "--strength", "0.7", "--force").err
    assert call("blend", "run", "--strength", "0.7", "--with", str(moved)).out == "run/blend-70-moved.png\n"
    assert torch.equal(load_image("run/blend-70-moved.png"), found.image)
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
