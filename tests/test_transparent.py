"""Pictures with transparent parts: paintings and palettes count where they can be seen, results keep their edges."""

from pathlib import Path

import pytest
import torch
from PIL import Image as PillowImage

from command import StopAfter, call, save_pictures
from conftest import CLASSIC_WORDS, example
from impasto.errors import ImageError, InterruptedRunError
from impasto.events import Event, Notice
from impasto.finishing.matching import matched, moments
from impasto.images.colours import from_pillow
from impasto.images.files import load_image, load_picture, save_image
from impasto.images.image import Picture, psnr, resize
from impasto.objectives.neighbours import Neighbours
from impasto.runs.start import resume, run
from impasto.tasks.painting import recoloured, transfer
from impasto.tasks.settings import TransferSettings
from impasto.tasks.spec import RunSpec
from impasto.tasks.values import Colours

SMALL = ["--size", "48", "--steps", "2", "--smallest", "48", "--frames", "0", "--quiet", "--precision", "float32"]
SMALL += CLASSIC_WORDS


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def on_a_canvas(image: torch.Tensor, file: str, margins: tuple[int, int, int, int] = (50, 31, 20, 64)) -> None:
    """Save the picture cut out on an empty layer with margins: left, right, top, bottom."""
    pad = torch.nn.functional.pad
    save_image(pad(image, margins), Path(file), alpha=pad(torch.ones_like(image[:, :1]), margins))


def test_what_can_be_seen() -> None:
    alpha = torch.zeros(1, 1, 9, 8)
    assert Picture(torch.rand(1, 3, 9, 8)).visible("a.png").size == (9, 8)
    with pytest.raises(ImageError, match=r"a\.png cannot be used, because all of it is transparent"):
        Picture(torch.rand(1, 3, 9, 8), alpha).visible("a.png")
    alpha[:, :, 2:5, 3:7] = 0.4  # a picture that is half transparent everywhere is a picture too
    alpha[:, :, 6] = 0.02  # the rest of a brush that nobody sees
    picture = Picture(torch.rand(1, 3, 9, 8), alpha)
    assert torch.equal(picture.visible("a.png").image, picture.image[:, :, 2:5, 3:7])


@pytest.mark.parametrize(
    ("task", "more"), [("transfer", ["--region", "mask.png=painting.png"]), ("transfer", []), ("texture", [])]
)
@pytest.mark.slow
def test_margins_of_a_painting_do_not_count(task: str, more: list[str], desk: Path) -> None:
    save_image(torch.ones(1, 3, 8, 8) * (torch.arange(8) < 4), desk / "mask.png")
    on_a_canvas(load_image("painting.png"), "cutout.png")
    first = ["photo.png"] if task == "transfer" else []
    words = SMALL if task == "transfer" else SMALL[: -len(CLASSIC_WORDS)]
    pictures = []
    for name in ("painting.png", "cutout.png"):
        with_cutout = [each.replace("painting.png", name) for each in more]
        ended = call(task, *first, name, *with_cutout, *words, "--out", name.removesuffix(".png"))
        assert (ended.code, ended.err) == (0, "")
        pictures.append(load_image(Path(name.removesuffix(".png")) / "result.png"))
    assert torch.equal(*pictures)


def test_paintings_of_which_nothing_can_be_used(desk: Path) -> None:
    on_a_canvas(load_image("painting.png")[:, :, :3, :3], "tiny.png")
    save_image(torch.zeros(1, 3, 90, 90), desk / "empty.png", alpha=torch.zeros(1, 1, 90, 90))
    ended = call("transfer", "photo.png", "empty.png", *SMALL)
    words = "empty.png cannot be used, because all of it is transparent"
    assert (ended.code, ended.err) == (1, f"impasto: {words}\n")
    ended = call("transfer", "photo.png", "painting.png", "--colours", "palette=empty.png", *SMALL)
    assert ended.code == 1
    assert ended.err.startswith("impasto: the palette cannot be used: empty.png cannot be used, because all")
    ended = call("transfer", "photo.png", "tiny.png", *SMALL)
    assert ended.code == 1
    assert ended.err.startswith("impasto: tiny.png: a picture of 3 × 3 pixels is too small for")
    assert not (desk / "runs").exists()


@pytest.mark.slow
def test_holes_are_named_and_a_resumed_run_is_the_same(desk: Path) -> None:
    painting = load_image("painting.png")
    alpha = torch.ones_like(painting[:, :1])
    alpha[:, :, 10:30, 10:30] = 0
    save_image(painting, desk / "holes.png", alpha=torch.nn.functional.pad(alpha[:, :, :, 5:], (5, 0)))
    settings = TransferSettings(size=48, steps=4, smallest=48, frames=0, precision="float32", neighbours=0)
    spec = RunSpec(task="transfer", pictures=(Path("photo.png"), Path("holes.png")), settings=settings)
    told = list[Event]()
    whole = load_image(run(spec, Path("whole"), listener=told.append) / "result.png")
    notices = [event.words for event in told if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "of holes.png is transparent inside the painting and counts as its mean colour" in notices[0]
    stop = StopAfter(2)
    with pytest.raises(InterruptedRunError):
        run(spec, Path("cut"), recorders=[stop], stop=stop)
    assert torch.equal(load_image(resume(Path("cut")) / "result.png"), whole)


def test_a_palette_counts_where_it_can_be_seen(desk: Path) -> None:
    swatches = torch.zeros(1, 3, 40, 40)
    swatches[:, 0, :20], swatches[:, 1, :, :20], swatches[:, 2, 20:] = 1, 0.8, 0.4
    on_a_canvas(swatches, "palette.png", (300, 300, 300, 300))
    palette = load_picture("palette.png")
    for found, wanted in zip(moments(palette.image, palette.alpha), moments(swatches), strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)
    image = example("night-cafe", (40, 60))
    assert torch.allclose(matched(image, palette.image, palette.alpha), matched(image, swatches), atol=1e-5)


# Results -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def faded(desk: Path) -> Path:
    """faded.png: a picture that fades from opaque to nothing, where its hidden colour is black."""
    alpha = torch.linspace(1, 0, 64).expand(1, 1, 48, 64)
    save_image(example("red-panda", (48, 64)) * (alpha > 0), desk / "faded.png", alpha=alpha)
    return desk / "faded.png"


def on_paper(path: Path) -> torch.Tensor:
    """What Pillow shows of a picture on white."""
    with PillowImage.open(path) as file:
        white = PillowImage.new("RGBA", file.size, "white")
        return from_pillow(PillowImage.alpha_composite(white, file.convert("RGBA")).convert("RGB"))


def test_a_picture_on_white(faded: Path) -> None:
    picture = load_picture(faded)
    assert (picture.on_white - on_paper(faded)).abs().max() < 2 / 255
    assert bool((picture.on_white[:, :, :, -1] == 1).all())
    save_image(picture.image, Path("opaque.jpg"), alpha=picture.alpha)
    assert psnr(load_image("opaque.jpg"), on_paper(faded)) > 35
    opaque = Picture(picture.image)
    assert opaque.on_white is opaque.image


@pytest.mark.slow
def test_files_without_transparency_are_on_white(faded: Path) -> None:
    words = ["--size", "64", "--steps", "2", "--smallest", "64", "--frames", "2", "--quiet", "--threads", "1"]
    assert call("transfer", "faded.png", "painting.png", "--neighbours", "0", *words, "--out", "run").code == 0
    result = on_paper(Path("run/result.png"))
    assert call("export", "run", "-o", "result.jpg", "--quiet").code == 0
    assert psnr(load_image("result.jpg"), result) > 35
    assert psnr(load_image("run/frames/000002.jpg"), result) > 30
    assert psnr(load_image("run/progress.gif"), on_paper(faded)) > 15  # the first frame is the photo
    assert call("blend", "run", "--strength", "0.5", "-o", "half.png", "--quiet").code == 0
    assert call("blend", "run", "--strength", "0.5", "-o", "half.jpg", "--quiet").code == 0
    assert psnr(load_image("half.jpg"), on_paper(Path("half.png"))) > 35


@pytest.mark.slow
def test_sheets_are_on_white(faded: Path) -> None:
    words = ["--size", "64", "--steps", "1", "--smallest", "64", "--quiet", "--threads", "1", "--neighbours", "0"]
    choices = ["--strengths", "1,2", "--strokes", "1", "--out", "sheet"]
    assert call("explore", "faded.png", "painting.png", *choices, *words).code == 0
    sheet = load_image("sheet/sheet.png")
    cell = resize(on_paper(Path("sheet/01/result.png")), (320, round(320 * 64 / 48)))
    top, left = 52, 16
    part = sheet[:, :, top : top + cell.shape[2], left : left + cell.shape[3]]
    assert psnr(part, cell) > 30


@pytest.mark.parametrize("choice", ["photo", "luminance"])
def test_a_photos_colours_count_where_it_can_be_seen(choice: str) -> None:
    """Whatever a program left under the empty part of a cut-out photo."""
    photo, painting = (example(name, (48, 48)) for name in ("red-panda", "night-cafe"))
    alpha = torch.ones(1, 1, 48, 48)
    alpha[..., 24:] = 0
    fills = [
        torch.where(alpha > 0, photo, torch.tensor(fill).reshape(1, 3, 1, 1)) for fill in ((1.0, 0, 0), (0, 0, 1.0))
    ]
    red, blue = (recoloured(fill, Colours(choice), alpha).painting(painting) for fill in fills)
    torch.testing.assert_close(red, blue)
    assert not torch.allclose(red, recoloured(fills[0], Colours(choice)).painting(painting), atol=0.02)
    (term,) = (
        each
        for each in transfer(fills[0], [painting], TransferSettings(colours=choice), visible=alpha).objective.terms
        if each.name == "neighbours"
    )
    assert isinstance(term, Neighbours)
    assert torch.equal(term.styles[0][0], red)


@pytest.mark.parametrize("words", [["transfer", "empty.png", "photo.png"], ["invert", "empty.png"]])
def test_a_photo_of_which_nothing_can_be_seen(words: list[str], desk: Path) -> None:
    save_image(torch.rand(1, 3, 20, 20), desk / "empty.png", alpha=torch.zeros(1, 1, 20, 20))
    ended = call(*words, "--size", "32", "--out", "run")
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == "impasto: empty.png cannot be used, because all of it is transparent"
    assert not (desk / "run").exists()
