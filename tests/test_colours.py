"""Colours before and after painting: Oklab, matching, chroma put back, and what a run does with them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

import impasto.finishing.bands
import impasto.finishing.chroma
import impasto.runs.paint
from command import call, save_pictures
from conftest import CLASSIC_WORDS, example
from impasto.errors import ImageError, SpecError
from impasto.finishing.chroma import PutBack
from impasto.finishing.matching import grey, is_grey, lightness_matched, matched, moments
from impasto.finishing.oklab import from_oklab, to_oklab
from impasto.images.files import load_image, save_image
from impasto.images.image import Image, psnr, resize
from impasto.synthesis.composition import Composition
from impasto.synthesis.loop import Iterate, synthesise
from impasto.tasks.painting import transfer
from impasto.tasks.settings import TransferSettings
from impasto.tasks.values import Colours

PHOTO, PAINTING = example("red-panda", (48, 64)), example("night-cafe", (60, 64))


def colour(*values: float) -> Image:
    return torch.tensor(values).reshape(1, 3, 1, 1)


def chroma_of(image: Image) -> torch.Tensor:
    return to_oklab(image)[:, 1:]


# Oklab ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (1, 0, 0)),
        ((1, 0, 0), (0.62796, 0.22486, 0.12585)),
        ((0, 1, 0), (0.86644, -0.23389, 0.17950)),
        ((0, 0, 1), (0.45201, -0.03246, -0.31153)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_oklab_has_the_published_values(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    """Source: CSS Color Module Level 4, sample colours of Oklab."""
    found = to_oklab(colour(*map(float, rgb))).flatten()
    assert found.tolist() == pytest.approx(lab, abs=2e-4)


@given(st.integers(0, 2**32 - 1))
def test_oklab_there_and_back(seed: int) -> None:
    image = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    assert (from_oklab(to_oklab(image)) - image).abs().max() < 1e-4


def test_colours_beyond_the_screen_keep_lightness_and_hue() -> None:
    lab = to_oklab(colour(0.0, 0.0, 1.0))
    lab = torch.cat([lab[:, :1] + 0.1, 2 * lab[:, 1:]], 1)
    found = to_oklab(from_oklab(lab))
    assert float(found[0, 0]) == pytest.approx(float(lab[0, 0]), abs=0.01)
    angles = [float(torch.atan2(each[0, 2, 0, 0], each[0, 1, 0, 0])) for each in (found, lab)]
    assert angles[0] == pytest.approx(angles[1], abs=0.02)
    assert from_oklab(torch.tensor([1.5, 0.1, 0.1]).reshape(1, 3, 1, 1)).min() > 0.99


# Matching ------------------------------------------------------------------------------------------------------------


def test_matched_pictures_have_the_same_moments() -> None:
    soft, wanted = 0.4 + 0.2 * PAINTING, 0.4 + 0.2 * PHOTO  # no colour leaves the screen's range
    mean, spread = moments(matched(soft, wanted))
    assert torch.allclose(mean, moments(wanted)[0], atol=1e-3)
    assert torch.allclose(spread, moments(wanted)[1], atol=2e-4)


def test_the_map_is_that_of_optimal_transport() -> None:
    """Against SciPy's matrix roots: A = S^-1/2 (S^1/2 R S^1/2)^1/2 S^-1/2, applied to centred colours."""
    soft, wanted = 0.4 + 0.2 * PAINTING, 0.4 + 0.2 * PHOTO
    (mean, spread), (wanted_mean, wanted_spread) = moments(soft), moments(wanted)
    root = np.real(sqrtm(spread.numpy()))
    inverse = np.linalg.inv(root)
    change = inverse @ np.real(sqrtm(root @ wanted_spread.numpy() @ root)) @ inverse
    lab = to_oklab(soft)[0].flatten(1).double().numpy()
    expected = change @ (lab - mean.numpy()[:, None]) + wanted_mean.numpy()[:, None]
    assert np.allclose(to_oklab(matched(soft, wanted))[0].flatten(1), expected, atol=2e-3)


def test_a_picture_matched_with_itself_stays() -> None:
    assert (matched(PHOTO, PHOTO) - PHOTO).abs().max() < 2e-3


def test_bands_of_rows_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [matched(PAINTING, PHOTO), lightness_matched(PAINTING, PHOTO), PutBack(PHOTO)(PAINTING)]
    monkeypatch.setattr(impasto.finishing.bands, "ROWS", 7)
    monkeypatch.setattr(impasto.finishing.chroma, "ROWS", 7)
    bands = [matched(PAINTING, PHOTO), lightness_matched(PAINTING, PHOTO), PutBack(PHOTO)(PAINTING)]
    for one, other in zip(whole, bands, strict=True):
        assert (one - other).abs().max() < 1e-4


def test_noise_of_a_plain_picture_is_not_blown_up() -> None:
    plain = 0.5 + 0.002 * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert to_oklab(matched(plain, PHOTO))[:, 0].std() < 0.01


def test_lightness_alone() -> None:
    found = lightness_matched(PAINTING, PHOTO)
    assert chroma_of(found).abs().max() < 2e-3
    lightness, wanted = to_oklab(found)[:, 0], to_oklab(PHOTO)[:, 0]
    assert float(lightness.mean()) == pytest.approx(float(wanted.mean()), abs=0.03)
    assert float(lightness.std()) == pytest.approx(float(wanted.std()), rel=0.2)
    assert (to_oklab(grey(PHOTO))[:, 0] - wanted).abs().max() < 2e-3


def test_what_counts_as_grey() -> None:
    assert is_grey(grey(PHOTO))
    assert is_grey(torch.full((1, 3, 4, 4), 0.3))
    assert not is_grey(PHOTO)
    assert not is_grey(colour(0.2, 0.3, 0.9).expand(1, 3, 4, 4))  # one colour is a colour


# Put back ------------------------------------------------------------------------------------------------------------


def test_lightness_is_the_paintings_and_chroma_the_photos() -> None:
    painting = 0.3 + 0.4 * resize(PAINTING, (48, 64))
    found = PutBack(PHOTO)(painting)
    assert (to_oklab(found)[:, 0] - to_oklab(painting)[:, 0]).abs().max() < 5e-3
    wanted, old = chroma_of(PHOTO), chroma_of(resize(PAINTING, (48, 64)))
    blurred = [torch.nn.functional.avg_pool2d(each, 8) for each in (chroma_of(found), wanted, old)]
    assert (blurred[0] - blurred[1]).square().mean() < 0.1 * (blurred[2] - blurred[1]).square().mean()


def test_a_photo_gets_its_own_colours_back() -> None:
    assert psnr(PutBack(PHOTO)(PHOTO), PHOTO) > 30


def test_colours_end_at_the_edges_that_are_painted() -> None:
    """The painted edge is two pixels beside the photo's: the colour follows the paint."""
    photo, painting = torch.zeros(1, 3, 40, 400), torch.zeros(1, 3, 40, 400)
    photo[..., :200] = torch.tensor([0.8, 0.3, 0.2]).reshape(1, 3, 1, 1)
    photo[..., 200:] = torch.tensor([0.2, 0.3, 0.8]).reshape(1, 3, 1, 1)
    painting[..., :202], painting[..., 202:] = 0.3, 0.8
    change = chroma_of(PutBack(photo)(painting))[0, :, 20].diff().square().sum(0).sqrt()
    assert int(change.argmax()) == 201
    assert change[199] < 0.6 * change[201]


@pytest.mark.parametrize("size", [(37, 53), (300, 900), (1, 5)])
def test_any_size(size: tuple[int, int]) -> None:
    found = PutBack(PHOTO)(resize(PAINTING, size))
    assert found.shape[2:] == size
    assert bool(found.isfinite().all())


# Tasks and runs ------------------------------------------------------------------------------------------------------


def test_choices() -> None:
    assert Colours("palette=a=b.png").palette == Path("a=b.png")
    assert Colours("photo").palette is None
    for wrong in ("", "palette", "palette=", "photos", "style=a.png"):
        with pytest.raises(SpecError, match=r"choose from style, photo, luminance, photo-late, palette=FILE"):
            Colours(wrong)


def test_a_palette_without_colours(tmp_path: Path) -> None:
    save_image(grey(PHOTO), tmp_path / "grey.png")
    with pytest.raises(ImageError, match=r"grey.png has no colours, only greys; give a picture with colours"):
        transfer(PHOTO, [PAINTING], TransferSettings(colours=Colours(f"palette={tmp_path / 'grey.png'}")))
    with pytest.raises(ImageError, match="the palette cannot be used: there is no file"):
        transfer(PHOTO, [PAINTING], TransferSettings(colours=Colours(f"palette={tmp_path / 'none.png'}")))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_pictures(tmp_path)
    save_image(PAINTING, tmp_path / "palette.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALL = ["--size", "48", "--steps", "6", "--smallest", "48", "--frames", "3", "--quiet", "--precision", "float32"]
SMALL += CLASSIC_WORDS
CHOICES = ["style", "photo", "luminance", "photo-late", "palette=palette.png"]


@pytest.mark.slow
def test_each_choice_gives_the_colours_that_it_says(desk: Path) -> None:
    means = dict[str, torch.Tensor]()
    for choice in CHOICES:
        folder = choice.partition("=")[0]
        ended = call("transfer", "photo.png", "painting.png", "--colours", choice, "--out", folder, *SMALL)
        assert (ended.code, ended.err) == (0, "")
        means[folder] = moments(load_image(Path(folder) / "result.png"))[0][1:]
    photo = moments(load_image("photo.png"))[0][1:]
    away = {name: float((mean - photo).norm()) for name, mean in means.items()}
    assert max(away["photo-late"], away["luminance"], away["photo"]) < away["style"]
    assert max(away["photo-late"], away["luminance"]) < 0.02
    palette = moments(PAINTING)[0][1:]
    assert float((means["palette"] - palette).norm()) < float((means["style"] - palette).norm())


def _dies_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(*arguments: object, **named: object) -> Iterator[Iterate]:
        for iterate in synthesise(*arguments, **named):  # type: ignore[arg-type]
            yield iterate
            if iterate.step == step:
                raise KeyboardInterrupt

    monkeypatch.setattr(impasto.runs.paint, "synthesise", dying)


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["photo-late", "palette=palette.png"])
def test_a_resumed_run_has_the_same_colours(choice: str, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["transfer", "photo.png", "painting.png", "--colours", choice, *SMALL, "--checkpoint", "0.001"]
    assert call(*words, "--out", "whole").code == 0
    with monkeypatch.context() as patch:
        _dies_after(3, patch)
        assert call(*words, "--out", "cut").code == 130
    assert call("resume", "cut").code == 0
    for name in ["result.png", "frames/000006.jpg"]:
        one, other = (load_image(Path(folder) / name) for folder in ("whole", "cut"))
        assert torch.equal(one, other), name


@pytest.mark.slow
def test_a_palette_that_has_changed_or_moved(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "transfer",
        "photo.png",
        "painting.png",
        "--colours",
        "palette=palette.png",
        *SMALL,
        "--checkpoint",
        "0.001",
    ]
    with monkeypatch.context() as patch:
        _dies_after(3, patch)
        assert call(*words, "--out", "cut").code == 130
    content = (desk / "palette.png").read_bytes()
    save_image(1 - PAINTING, desk / "palette.png")
    ended = call("resume", "cut")
    assert ended.code == 1
    assert "palette.png has changed since that run" in ended.err
    (desk / "palette.png").unlink()
    (desk / "cut" / "palette.png").write_bytes(content)
    assert call("resume", "cut").code == 0


def test_what_is_shown_is_not_what_is_optimised() -> None:
    """The descent is the same with and without a finish, and every iterate shows the finished picture."""
    settings = TransferSettings(
        size=32, steps=2, smallest=32, precision="float32", style_layers="relu1_1", content_layers="relu1_1"
    )
    plain = transfer(PHOTO, [PAINTING], settings)
    late = transfer(PHOTO, [PAINTING], settings.model_copy(update={"colours": Colours("photo-late")}))
    from impasto.networks.catalogue import open_network

    network = open_network("vgg16", device="cpu", precision="float32")
    for one, other in zip(synthesise(plain, network), synthesise(late, network), strict=True):
        assert one.losses == other.losses
        assert torch.equal(PutBack(PHOTO)(one.image), other.image)
    assert isinstance(late, Composition)
