"""Pictures with transparent parts: paintings and palettes count where they can be seen, results keep their edges."""

import io
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
from impasto.images.image import Image, Picture, psnr, resize
from impasto.jobs.messages import Preview
from impasto.jobs.previews import Previews
from impasto.networks.network import Network
from impasto.objectives.weightmaps import WeightMap
from impasto.runs.start import resume, run
from impasto.tasks.divisions import Area, Division
from impasto.tasks.painting import transfer
from impasto.tasks.recipes import texture
from impasto.tasks.settings import TextureSettings, TransferSettings
from impasto.tasks.spec import RunSpec

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
    alpha[:, :, 3, 3] = 1  # a patch with more paint
    assert torch.equal(picture.visible("a.png").image, picture.image[:, :, 2:5, 3:7])
    with pytest.raises(ImageError, match="all of it is transparent"):
        Picture(torch.rand(1, 3, 9, 8), torch.full((1, 1, 9, 8), 1 / 65535)).visible("a.png")


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


@pytest.mark.slow
def test_a_mask_of_a_painting_with_margins_is_of_the_whole_painting(desk: Path) -> None:
    """The margins are cropped, and the mask with them: from the beginning, and if regions are given during the run."""
    painting = load_image("painting.png")
    part = torch.zeros(1, 1, 60, 48)
    part[:, :, 20:, :30] = 1
    on_a_canvas(painting, "cut.png")
    margins = (50, 31, 20, 64)
    for name, mask in (("part.png", part), ("cut-part.png", torch.nn.functional.pad(part, margins))):
        save_image(mask.expand(1, 3, -1, -1), Path(name))
    upper = torch.zeros(1, 3, 48, 64)
    upper[:, :, :24] = 1
    save_image(upper, Path("sky.png"))
    results = []
    for name, cut in (("painting.png", "part.png"), ("cut.png", "cut-part.png")):
        words = ["transfer", "photo.png", name, *SMALL, "--style-layers", "relu1_1,relu2_1"]
        assert call(*words, "--region", f"sky.png,from={cut}", "-o", f"first-{name}").code == 0
        toml = Path(f"first-{name}/run.toml").read_text()
        region = f'region = [\n    "sky.png,from={cut}",\n]\n'
        assert region in toml
        change = f'[[changes]]\npart = ""\nstep = 1\n[changes.settings]\n{region}'
        Path("changed.toml").write_text(toml.replace(region, "region = []\n").partition("[provenance]")[0] + change)
        assert call("run", "changed.toml", "-o", f"changed-{name}").code == 0
        results += [load_image(f"first-{name}/result.png"), load_image(f"changed-{name}/result.png")]
    first, changed, first_cut, changed_cut = results
    assert torch.equal(first, first_cut)
    assert torch.equal(changed, changed_cut)
    assert not torch.equal(first, changed)


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
    assert ended.err.startswith(
        "impasto: tiny.png, cropped from 84 × 87 pixels: a picture of 3 × 3 pixels is too small for"
    )
    assert not (desk / "runs").exists()


@pytest.mark.slow
def test_a_resumed_run_with_holes_is_the_same(desk: Path) -> None:
    painting = load_image("painting.png")
    alpha = torch.ones_like(painting[:, :1])
    alpha[:, :, 10:30, 10:30] = 0
    save_image(painting, desk / "holes.png", alpha=torch.nn.functional.pad(alpha[:, :, :, 5:], (5, 0)))
    settings = TransferSettings(size=48, steps=4, smallest=48, frames=0, precision="float32", neighbours=0)
    spec = RunSpec(task="transfer", pictures=(Path("photo.png"), Path("holes.png")), settings=settings)
    told = list[Event]()
    whole = load_image(run(spec, Path("whole"), listener=told.append) / "result.png")
    assert [event.words for event in told if isinstance(event, Notice)] == []
    stop = StopAfter(2)
    with pytest.raises(InterruptedRunError):
        run(spec, Path("cut"), recorders=[stop], stop=stop)
    assert torch.equal(load_image(resume(Path("cut")) / "result.png"), whole)
    words = ["--statistics", "pattern", "--size", "48", "--steps", "1", "--smallest", "48", "--out", "pattern"]
    assert (
        "of holes.png is transparent inside the painting and counts as its mean"
        in call("texture", "holes.png", *words).err
    )


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


def test_pictures_of_a_run_that_is_watched_are_on_white(faded: Path) -> None:
    sent = list[Preview]()
    settings = TransferSettings(size=64, steps=1, smallest=64, frames=0, precision="float32", neighbours=0)
    spec = RunSpec(task="transfer", pictures=(faded, faded.with_name("painting.png")), settings=settings)
    folder = run(spec, Path("watched"), recorders=[Previews(sent.append)])
    shown = [from_pillow(PillowImage.open(io.BytesIO(each.jpeg)).convert("RGB")) for each in sent]
    assert psnr(shown[0], on_paper(faded)) > 30
    assert psnr(shown[-1], on_paper(folder / "result.png")) > 30


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


def halves(picture: torch.Tensor, colour: torch.Tensor) -> Picture:
    """The left half of a picture; a colour is hidden under the empty right half."""
    alpha = (torch.arange(picture.shape[3]) < picture.shape[3] // 2).float().expand_as(picture[:, :1])
    return Picture(torch.where(alpha > 0, picture, colour[:, None, None]), alpha)


@pytest.mark.parametrize("choice", ["photo", "luminance"])
def test_a_photos_colours_count_where_it_can_be_seen(choice: str) -> None:
    """Whatever a program left under the empty part of a cut-out photo."""
    photo, painting = (example(name, (48, 48)) for name in ("red-panda", "night-cafe"))
    settings, styles = TransferSettings(colours=choice, size=48), []
    for colour in torch.eye(3)[[0, 2]]:
        (term,) = transfer(halves(photo, colour), [painting], settings).objective.neighbours
        styles.append(term.styles[0].image)
    torch.testing.assert_close(*styles)
    whole = transfer(halves(photo, colour).image, [painting], settings).objective.neighbours[0].styles[0].image
    assert not torch.allclose(styles[0], whole, atol=0.02)


@pytest.mark.parametrize("statistics", ["wasserstein", "sliced", "gram", "moments"])
@pytest.mark.parametrize("strokes", ["as-painted", "along"])
@pytest.mark.parametrize("colours", ["style", "photo"])
def test_holes_in_a_painting_do_not_count(statistics: str, strokes: str, colours: str, plain: Network) -> None:
    """A colour that is hidden there changes little, since positions at the edge of a hole count little."""
    photo, painting = (example(name, (96, 96)) for name in ("red-panda", "night-cafe"))
    settings = TransferSettings(
        size=96,
        statistics=statistics,
        strokes=strokes,
        colours=colours,
        style_layers="relu1_1,relu2_1",
        neighbour_layers="relu2_1",
        layout=0.0,
        content_weight=0.0,
    )
    first, second = (halves(painting, colour) for colour in 0.3 + 0.4 * torch.eye(3)[[0, 2]])

    def losses(given: Picture | Image) -> torch.Tensor:
        found = transfer(photo, [given], settings).objective.bind(plain, (96, 96)).losses(photo)
        return torch.tensor([value for name, value in found.items() if name != "smoothness"])

    red, blue, whole = losses(first), losses(second), losses(second.image)
    assert (red - blue).abs().max() < 0.1 * red.abs().max()
    assert (red - blue).abs().max() < 0.15 * (whole - blue).abs().max()


def test_holes_in_a_painting_of_a_texture_or_a_region_do_not_count(plain: Network) -> None:
    painting = halves(example("night-cafe", (64, 64)), torch.ones(3))
    (match,) = texture(painting, {"relu1_1": 1.0}, TextureSettings()).objective.matches()
    assert match.reference_where is not None
    assert torch.equal(match.reference_where.weights, painting.alpha)
    share = torch.ones(1, 1, 64, 64)
    share[..., :32] = 0
    source = WeightMap((torch.arange(64) < 32).float().reshape(1, 1, 64, 1).expand(1, 1, 64, 64))
    division = Division((Area("right", share, painting, source),), 1 - share)
    settings = TransferSettings(size=64, region="right.png=hole.png")
    terms = transfer(painting.image, [painting.image], settings, division).objective
    maps = [each.reference_where for each in terms.matches() if "right" in each.name]
    maps += [term.styles[0].where for term in terms.neighbours if "right" in term.name]
    assert len(maps) == 2
    for each in maps:
        assert each is not None
        assert painting.alpha is not None
        assert torch.equal(each.weights, painting.alpha * source.weights)


@pytest.mark.parametrize("words", [["transfer", "empty.png", "photo.png"], ["invert", "empty.png"]])
def test_a_photo_of_which_nothing_can_be_seen(words: list[str], desk: Path) -> None:
    save_image(torch.rand(1, 3, 20, 20), desk / "empty.png", alpha=torch.zeros(1, 1, 20, 20))
    ended = call(*words, "--size", "32", "--out", "run")
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == "impasto: empty.png cannot be used, because all of it is transparent"
    assert not (desk / "run").exists()
