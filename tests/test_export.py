"""Files for print: exact sizes, transparency, proofs, and what a run writes; every mistake gets one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from colour import ADOBE, ADOBE_GAMMA, grey_profile, rgb_profile
from command import call, save_pictures
from impasto.errors import ImageError, OutputError, RunFolderError, SpecError
from impasto.events import Event
from impasto.finishing import proof as proofs
from impasto.finishing.oklab import to_oklab
from impasto.finishing.proof import PAPER, SOLIDS, ink_table, printed, proof
from impasto.formats.profiles import ADOBE_RGB, DISPLAY_P3
from impasto.images.files import embedded_settings, load_image, load_picture, save_image
from impasto.images.forms import FileForm
from impasto.images.image import psnr
from impasto.sequels.blending import blend
from impasto.sequels.exporting import export
from impasto.tasks.presets import preset
from impasto.tasks.settings import TextureSettings, TransferSettings
from impasto.tasks.values import PrintSize

SMALL = ["--steps", "2", "--frames", "2", "--quiet", "--out", "run", "--precision", "float32"]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "size", "dpi"),
    [
        ("60x40cm@300", (4724, 7087), 300),
        ("600 x 400mm".replace(" ", ""), (4724, 7087), 300),
        ("24x16in@150", (2400, 3600), 150),
        ("60×40cm@300", (4724, 7087), 300),
        ("21x29.7cm@300", (3508, 2480), 300),  # A4
    ],
)
def test_sizes_on_paper(text: str, size: tuple[int, int], dpi: int) -> None:
    assert PrintSize(text).size == size
    assert PrintSize(text).dpi == dpi


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("large", "print is 'large'; write width x height in cm, mm or in, and dots per inch: 60x40cm@300"),
        ("60x40", "write width x height in cm"),
        ("60x40km@300", "write width x height in cm"),
        ("-6x4cm", "write width x height in cm"),
        ("60x40cm@0", "a print has 10 to 2400 dots per inch"),
        ("60x40cm@9999", "a print has 10 to 2400 dots per inch"),
        ("0x40cm", "which is 0 × 4724 px; each side has 1 to 65536 px"),
        ("900x40cm", "which is 106299 × 4724 px; each side has 1 to 65536 px"),
    ],
)
def test_nonsense_on_paper_gets_a_sentence(text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        PrintSize(text)


def test_a_print_decides_the_size() -> None:
    assert TransferSettings(print="60x40cm@300").size == TransferSettings(print="60x40cm@300", size=7087).size == 7087
    assert preset("transfer", "fast", print="60x40cm@300").size == 7087
    assert TextureSettings.model_validate({"print": "2x4cm@100"}).size == 157
    assert TextureSettings.model_validate({"print": "2x1.5cm@100", "size": "79x59"}).size == 79
    assert TransferSettings(depth="16").depth == 16
    with pytest.raises(SpecError, match="size is 64, but print 60x40cm@300 is 7087 × 4724 px; give either size or"):
        preset("transfer", "fast", print="60x40cm@300", size=64)


def test_a_print_that_is_asked_for_replaces_a_usual_size(desk: Path) -> None:
    """Of a preset, a spec, or a series."""
    words = ["--steps", "1", "--frames", "0", "--quiet", "--neighbours", "0"]
    asked = ["transfer", "photo.png", "painting.png", "--preset", "fast", "--print", "2x1cm@100", *words, "--out", "a"]
    assert call(*asked).code == 0
    assert load_image("a/result.png").shape[2:] == (39, 79)
    call("transfer", "photo.png", "painting.png", "--size", "48", *words, "--save-spec", "my.toml")
    assert call("run", "my.toml", "--print", "2x1cm@50", "--out", "b", "--quiet").code == 0
    assert load_image("b/result.png").shape[2:] == (20, 39)
    assert call("sweep", "my.toml", "--vary", "print=1x1cm@80,1x1cm@90", "--out", "c", "--quiet").code == 0
    assert sorted(load_image(each).shape[3] for each in Path("c").glob("*/result.png")) == [31, 35]
    ended = call("sweep", "my.toml", "--vary", "size=40", "--vary", "print=1x1cm@80", "--out", "d", "--quiet")
    assert "size is 40, but print 1x1cm@80 is 31 × 31 px; give either size or print" in ended.err


def test_a_file_for_print_has_its_size_its_profile_and_its_depth(desk: Path) -> None:
    heard = list[Event]()
    source = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 8), (40, 80), mode="bilinear")
    save_image(source, desk / "a.png", alpha=torch.linspace(0.1, 1, 80).expand(1, 1, 40, 80), settings="mine")
    form = FileForm(16, "adobe-rgb")
    out = export(desk / "a.png", desk / "b.tif", form=form, size=PrintSize("3x3cm@100"), listener=heard.append)
    with PillowImage.open(out) as file:
        assert file.size == (118, 118)
        assert file.info["dpi"] == pytest.approx((100, 100))
        assert file.info["icc_profile"] == ADOBE_RGB.icc()
    found = load_picture(out)
    assert found.alpha is not None
    assert float(found.alpha[0, 0, 59].mean()) == pytest.approx(0.55, abs=0.02)
    middle = source[:, :, :, 20:60]
    assert psnr(torch.nn.functional.interpolate(found.image, (40, 40), mode="area"), middle) > 20
    assert [event.words for event in heard] == ["40 × 40 px are enlarged 3.0 times for 3x3cm@100"]  # of no run
    assert embedded_settings(export(desk / "a.png", desk / "c.png")) == "mine"


@pytest.mark.parametrize("size", ["1x1in@160", "1x1in@31"])
def test_edges_of_cut_out_pictures_have_no_halo(desk: Path, size: str) -> None:
    """As in Pillow, which multiplies colours by their transparency while it resizes, on paper of either colour."""
    stored = np.zeros((64, 64, 4), np.uint8)
    stored[..., 1] = 255  # a green that cannot be seen
    stored[8:24], stored[40:56] = 255, (0, 0, 0, 255)  # no corners, which Pillow clips between rows and columns
    PillowImage.fromarray(stored).save("logo.png")
    export(desk / "logo.png", desk / "a.png", size=PrintSize(size))
    with PillowImage.open("a.png") as file:
        found = np.asarray(file).astype(float)
    side = len(found)
    theirs = PillowImage.fromarray(stored).resize((side, side), PillowImage.Resampling.BICUBIC)
    expected = np.asarray(theirs).astype(float)
    for paper in (0, 255):
        on_paper = [paper + (each[..., :3] - paper) * each[..., 3:] / 255 for each in (found, expected)]
        assert abs(on_paper[0] - on_paper[1]).max() < 2.5


def test_an_export_of_eight_bits_alone_changes_nothing(desk: Path) -> None:
    found = export(desk / "photo.png", desk / "b.png")
    assert torch.equal(load_image(found), load_image(desk / "photo.png"))


def test_mistakes_leave_everything_as_it_was(desk: Path) -> None:
    (desk / "there.png").write_bytes(b"mine")
    (desk / "empty").mkdir()
    with pytest.raises(OutputError, match="exists already; name another file with --out"):
        export(desk / "photo.png", desk / "there.png")
    with pytest.raises(RunFolderError, match=r"has no result.png; name the folder of a run, or a picture"):
        export(desk / "empty", desk / "b.png")
    with pytest.raises(ImageError, match="there is no file"):
        export(desk / "none.png", desk / "b.png")
    assert (desk / "there.png").read_bytes() == b"mine"
    assert not (desk / "b.png").exists()
    assert export(desk / "photo.png", desk / "there.png", force=True).stat().st_size > 100


# Runs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_for_print(desk: Path) -> None:
    """The photo is cropped to the print's proportions, its transparency too; the result is measured as it is saved."""
    photo = load_image(desk / "photo.png")
    alpha = torch.zeros_like(photo[:, :1])
    alpha[..., alpha.shape[-1] // 2 :] = 1
    save_image(photo, desk / "half.png", alpha=alpha)
    words = ["--print", "2x2cm@50", "--depth", "16", "--profile", "display-p3"]
    ended = call("transfer", "half.png", "painting.png", *words, *SMALL)
    assert (ended.code, ended.err) == (0, "")
    with PillowImage.open("run/result.png") as file:
        assert file.size == (39, 39)
        assert file.info["dpi"] == pytest.approx((50, 50), abs=0.1)
        assert file.info["icc_profile"] == DISPLAY_P3.icc()
    found = load_picture("run/result.png")
    assert len(np.unique((found.image[0] * 65535).round())) > 1000
    assert found.alpha is not None
    assert found.alpha[0, 0, :, :18].max() < 0.5 < found.alpha[0, 0, :, 21:].min()
    summary = json.loads(Path("run/summary.json").read_text("utf-8"))
    size = min(photo.shape[-2:])
    top, left = (photo.shape[-2] - size) // 2, (photo.shape[-1] - size) // 2
    square = photo[:, :, top : top + size, left : left + size]
    square = torch.nn.functional.interpolate(square, (39, 39), mode="bicubic", antialias=True).clamp(0, 1)
    opaque = alpha[:, :, top : top + size, left : left + size]
    opaque = torch.nn.functional.interpolate(opaque, (39, 39), mode="nearest") > 0
    error = (found.image - square)[..., 21:].square().mean()
    assert bool(opaque[..., 21:].all())
    assert 10 * float(torch.log10(1 / error)) == pytest.approx(summary["metrics"]["psnr"], abs=3)
    assert "img-comparison-slider" in Path("run/report.html").read_text("utf-8")


@pytest.mark.slow
def test_what_a_print_lacks_can_be_painted_as_advised(desk: Path) -> None:
    """Of a whole photo that is cropped, of a print, and of a texture, which cannot be enlarged."""
    words = ["--steps", "1", "--frames", "0", "--quiet", "--neighbours", "0", "--precision", "float32"]
    asked = ["export", "--print", "2x2cm@127", "-o", "a.png", "--force"]
    assert call("transfer", "photo.png", "painting.png", "--size", "48", *words, "--out", "my run").code == 0
    assert "36 × 36 px are enlarged 2.8 times for 2x2cm@127; " in (said := call(*asked, "my run").err)
    assert "impasto enlarge 'my run' --size 134 paints all of the print's pixels" in said
    large = ["enlarge", "my run", "--size", "134", "--steps", "1", "--quiet", "--out", "large"]
    assert call(*large).code == 0
    assert min(load_image("large/result.png").shape[2:]) >= 100
    assert call("transfer", "photo.png", "painting.png", "--print", "2x2cm@50", *words, "--out", "printed").code == 0
    assert "impasto enlarge printed --print 2x2cm@127 paints all" in call(*asked, "printed").err
    assert call("texture", "painting.png", "--size", "40", "--smallest", "40", *words[:5], "--out", "flat").code == 0
    assert "40 × 40 px are enlarged 2.5 times for 2x2cm@127\n" in call(*asked, "flat").err


@pytest.mark.slow
def test_a_texture_for_print_has_its_shape(desk: Path) -> None:
    assert call("texture", "painting.png", "--print", "2x1cm@90", "--smallest", "64", *SMALL).code == 0
    with PillowImage.open("run/result.png") as file:
        assert file.size == (71, 35)


@pytest.mark.slow
def test_the_command_and_a_run_of_several_layers(desk: Path) -> None:
    assert call("reconstruct", "photo.png", "--layers", "conv1_1,conv2_1", "--size", "32", *SMALL).code == 0
    several = call("export", "run", "-o", "a.png")
    assert several.code == 1
    assert "run has several pictures; name one of them, run/conv1_1 for instance" in several.err
    assert call("export", "run/conv1_1", "-o", "a.jpg", "--print", "1x1cm@100", "--proof", "CMYK").out == "a.jpg\n"
    with PillowImage.open("a.jpg") as file:
        assert file.size == (39, 39)
        assert file.info["dpi"] == (100, 100)
    assert call("export", "run/conv1_1", "-o", "b.jpg", "--depth", "16").code == 2
    assert call("export", "run/conv1_1", "-o", "b.jpg", "--print", "huge").code == 2


@pytest.mark.parametrize(
    ("ending", "depth"), [(".png", 8), (".jpg", 8), (".webp", 8), (".tif", 8), (".png", 16), (".tif", 16)]
)
def test_a_file_of_as_many_pixels_names_the_same_resolution(desk: Path, ending: str, depth: int) -> None:
    photo = load_image("photo.png")
    save_image(photo, desk / "named.png", form=FileForm(dpi=230.0))
    export(desk / "named.png", desk / f"a{ending}", form=FileForm(depth))
    blend(desk / "named.png", 0.5, desk / f"b{ending}", other=desk / "photo.png", form=FileForm(depth))
    export(desk / "named.png", desk / f"c{ending}", form=FileForm(depth), size=PrintSize("1x1cm@99"))
    export(desk / "photo.png", desk / f"d{ending}", form=FileForm(depth))
    assert [_dpi(desk / f"{name}{ending}") for name in "abcd"] == [230, 230, 99, None]


@pytest.mark.parametrize(("unit", "number", "dpi"), [(2, 240, 240), (3, 100, 254), (1, 240, None), (2, 1, None)])
def test_a_webp_names_its_resolution_in_exif(desk: Path, unit: int, number: int, dpi: int | None) -> None:
    exif = PillowImage.Exif()
    exif[0x011A], exif[0x0128] = float(number), unit
    PillowImage.new("RGB", (4, 3)).save("named.webp", exif=exif)
    assert _dpi(export(desk / "named.webp", desk / "a.tif")) == dpi


def _dpi(path: Path) -> int | None:
    """What other programs are told; a WebP names its resolution in EXIF."""
    with PillowImage.open(path) as file:
        found = file.info.get("dpi", (None,))[0]
        if path.suffix == ".webp":
            found, unit = (file.getexif().get(tag) for tag in (0x011A, 0x0128))
            assert unit == (None if found is None else 2)
        return None if found is None or found == 1 else round(float(found))


# The look of a print -------------------------------------------------------------------------------------------------


def colours(*rows: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(rows).T.reshape(1, 3, 1, -1).float()


def test_solid_inks_are_the_published_ones() -> None:
    """Light of solid inks, taken to CIELAB by LittleCMS's own conversion."""
    inks = torch.tensor([(*solid, 0) for solid in SOLIDS]).T.reshape(1, 4, 1, -1).float()
    light = printed(inks)[0, :, 0].T.double().numpy()
    to_xyz = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
    white = np.array([0.9642, 1, 0.8249])
    paper_y = ((PAPER[0] + 16) / 116) ** 3
    lightness = 116 * np.cbrt((light @ to_xyz.T / white)[:, 1] * paper_y) - 16
    expected = np.array([lab[0] for lab in SOLIDS.values()])
    assert abs(lightness - expected).max() < 4  # inks that a screen cannot show are clipped
    assert np.median(abs(lightness - expected)) < 1.5


def test_a_proof_keeps_greys_and_tames_what_inks_lack() -> None:
    found = proof(colours((1, 1, 1), (0.5, 0.5, 0.5), (0, 0, 0), (0, 1, 1), (0, 0, 1), (0.6, 0.4, 0.3)))[0, :, 0].T
    assert (found[0] == 1).all()  # paper without ink
    assert (found[1] - 0.5).abs().max() < 0.02
    assert 0.03 < found[2].max() < 0.2  # ink is not as black as a screen
    assert found[3, 0] > 0.3  # cyan of a screen is out of reach
    assert found[4, 2] < 0.8
    assert (found[5] - torch.tensor([0.6, 0.4, 0.3])).abs().max() < 0.02  # a skin is not


@pytest.mark.slow
def test_more_steps_choose_the_same_inks(monkeypatch: pytest.MonkeyPatch) -> None:
    table = to_oklab(ink_table().flatten(3))
    monkeypatch.setattr(proofs, "STEPS", 4 * proofs.STEPS)
    change = (to_oklab(ink_table.__wrapped__().flatten(3)) - table).norm(dim=1)
    assert change.max() < 0.01
    assert change.quantile(0.99) < 0.002


def test_a_proof_of_a_proof_is_the_same() -> None:
    once = proof(torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0)))
    assert (proof(once) - once).abs().mean() < 0.02


def test_paper_of_another_white_is_shown_as_white(tmp_path: Path) -> None:
    (tmp_path / "printer.icc").write_bytes(rgb_profile(ADOBE, ADOBE_GAMMA, np.array([0.94, 0.95, 0.62])))
    assert (proof(torch.ones(1, 3, 4, 4), tmp_path / "printer.icc") - 1).abs().max() < 0.01


def test_a_profile_of_a_printer_is_followed(tmp_path: Path) -> None:
    printer = rgb_profile(ADOBE, ADOBE_GAMMA, np.array([0.9642, 1, 0.8249]))  # which has all of sRGB's colours
    (tmp_path / "printer.icc").write_bytes(printer)
    image = torch.rand(1, 3, 8, 8)
    assert (proof(image, tmp_path / "printer.icc") - image).abs().max() < 0.02
    (tmp_path / "words.icc").write_bytes(b"words")
    (tmp_path / "link.icc").write_bytes(printer.replace(b"rTRC", b"xTRC"))
    (tmp_path / "screen.icc").write_bytes(ADOBE_RGB.icc())
    (tmp_path / "grey.icc").write_bytes(grey_profile(2.2).replace(b"mntr", b"prtr"))
    wrong = {"none.icc": "No such file", "words.icc": "it is not a colour profile"}
    wrong |= dict.fromkeys(["link.icc", "screen.icc", "grey.icc"], "it is not the profile of a printer")
    for name, words in wrong.items():
        with pytest.raises(ImageError, match=rf"{name} cannot be used for a proof: .*{words}"):
            proof(image, tmp_path / name)
