"""A sheet of small candidates, and one of them painted large: the same picture, continued after a stop."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import impasto.runs.paint
from command import call, save_pictures
from conftest import CLASSIC, CLASSIC_WORDS, example
from impasto.errors import RunFolderError, SpecError
from impasto.finishing.likeness import ssim
from impasto.images.files import load_image, save_image
from impasto.images.gathering import pictures_below
from impasto.images.image import psnr, resize
from impasto.sequels.enlarging import enlarge
from impasto.sequels.larger import larger
from impasto.sequels.sources import folder_of
from impasto.series.explore import Choices, candidates
from impasto.synthesis.loop import Iterate, synthesise
from impasto.tasks.painting import transfer
from impasto.tasks.presets import preset
from impasto.tasks.settings import TransferSettings
from impasto.tasks.spec import Change, RunSpec
from impasto.tasks.table import TASKS, make_settings
from impasto.tasks.values import PrintSize

PICTURES = (Path("photo.png"), Path("painting.png"))
QUICK = ["--steps", "8", "--smallest", "48", "--quiet", "--precision", "float32", "--style-layers", "relu1_1,relu2_1"]
QUICK += ["--content-layers", "relu3_1", *CLASSIC_WORDS]  # likeness reads no deeper layer
SHEET = ["explore", "photo.png", "painting.png", "--size", "48", "--strengths", "1,3", "--strokes", "0.7,1.4", *QUICK]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _dies_after(step: int, monkeypatch: pytest.MonkeyPatch, runs: int = 1) -> None:
    """The `runs`th run from now on is interrupted after a step."""
    begun = list[int]()

    def dying(*arguments: object, **named: object) -> Iterator[Iterate]:
        begun.append(1)
        for iterate in synthesise(*arguments, **named):  # type: ignore[arg-type]
            yield iterate
            if len(begun) == runs and iterate.step == step:
                raise KeyboardInterrupt

    monkeypatch.setattr(impasto.runs.paint, "synthesise", dying)


# Likeness ------------------------------------------------------------------------------------------------------------


def test_likeness_of_equal_and_of_unrelated_pictures() -> None:
    photo = example("red-panda", (60, 80))
    noise = torch.rand(1, 3, 60, 80, generator=torch.Generator().manual_seed(0))
    assert ssim(photo, photo) == pytest.approx(1)
    assert abs(ssim(noise, photo)) < 0.1
    assert ssim(resize(photo, (240, 320)), photo) > 0.97  # compared at the reference's size
    slightly = [ssim((photo + amount * (noise - 0.5)).clamp(0, 1), photo) for amount in (0.05, 0.2, 0.5)]
    assert slightly == sorted(slightly, reverse=True)
    assert ssim(photo[:, :, :3, :4], photo[:, :, :3, :4]) == pytest.approx(1)


def test_likeness_follows_the_published_formula() -> None:
    """One window, in NumPy, from equation 13 of Wang et al. 2004 with a Gaussian of 1.5 px."""
    one, other = example("red-panda", (11, 11)), example("night-cafe", (11, 11))
    from impasto.finishing.oklab import to_oklab

    x, y = (to_oklab(each)[0, 0].double().numpy() for each in (one, other))
    bell = np.exp(-np.square(np.arange(-5, 6)) / (2 * 1.5**2))
    w = np.outer(bell, bell) / bell.sum() ** 2
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy, cxy = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum(), (w * (x - mx) * (y - my)).sum()
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mx * my + c1) * (2 * cxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(one, other) == pytest.approx(expected, abs=1e-6)


# Candidates ----------------------------------------------------------------------------------------------------------


def test_nine_candidates_by_default() -> None:
    cells = candidates(PICTURES, Choices())
    assert [cell.name for cell in cells] == [f"{number:02}" for number in range(1, 10)]
    assert cells[4].words == "strength 1, strokes 1"
    assert len({cell.spec.settings.model_dump_json() for cell in cells}) == 9
    assert [cell.spec.settings.size for cell in cells] == [256] * 9


def test_presets_are_kept_but_for_what_varies() -> None:
    choices = Choices(("gatys2016", "johnson"), (1.0, 2.0), (1.0,))
    cells = candidates(PICTURES, choices, TransferSettings(size=64, seed=5))
    own = preset("transfer", "johnson")
    assert isinstance(own, TransferSettings)
    last = cells[-1]
    assert last.words == "preset johnson, strength 2, strokes 1"
    assert last.spec.preset == "johnson"
    assert last.spec.settings == own.model_copy(
        update={"size": 64, "seed": 5, "frames": 0, "style_weight": 2 * own.style_weight}
    )


def test_candidates_that_cannot_be_raise_the_projects_error() -> None:
    with pytest.raises(SpecError, match=r"^style_weight is 10000000000000\.0; it must be at most 1000000000000"):
        candidates(PICTURES, Choices(strengths=(1.0, 1e13)))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--strengths", "1", "--strokes", "1"], "a sheet has 2 to 16 candidates, not 1"),
        (["--strengths", "1,2,3,4,5,6"], "a sheet has 2 to 16 candidates, not 18"),
        (["--strengths", "0,1"], "0 is neither a strength nor a size of strokes; both are numbers above 0"),
        (["--strengths", "inf,1"], "inf is neither"),
        (["--strokes", "1,1"], "1 is given twice"),
        (["--strokes", "1,20"], "strokes are 20; 10 is the most"),
        (["--strokes", "thick"], "strokes is 'thick'; write sizes with commas between them, or along"),
        (["--print", "60x40cm@300"], "candidates are small; give --print to impasto enlarge"),
        (["--strokes", "1,sideways"], "strokes is '1,sideways'; write sizes with commas between them, or along"),
        (["--presets", "default,monet", "--strengths", "1"], "there is no preset 'monet'"),
        (
            ["--presets", "default,classic", "--strokes", "1,along"],
            "the preset classic matches no neighbours, so its strokes cannot run along; leave one out",
        ),
    ],
)
def test_nonsense_gets_a_sentence(words: list[str], sentence: str, desk: Path) -> None:
    ended = call("explore", "photo.png", "painting.png", *words)
    assert ended.code == 2
    assert sentence in ended.err
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_sheet_is_continued_and_never_painted_twice(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        _dies_after(3, patch, runs=2)
        ended = call(*SHEET)
    assert ended.code == 130
    folder = Path("runs/explore-photo-painting")
    assert f"the same command continues in {folder}" in ended.err
    first = (folder / "01" / "result.png").stat().st_mtime_ns
    assert call(*SHEET).out == f"{folder}/sheet.png\n"
    assert (folder / "01" / "result.png").stat().st_mtime_ns == first
    assert sorted(path.name for path in folder.glob("0*")) == ["01", "02", "03", "04"]
    with PillowImage.open(folder / "sheet.png") as sheet:
        assert sheet.width > 800
        assert sheet.height > 640
    assert (folder / "comparison.html").is_file()
    absolute = [desk / word if str(word).endswith(".png") else word for word in SHEET]
    assert call(*absolute, "-o", folder).out == f"{folder}/sheet.png\n"
    assert (folder / "01" / "result.png").stat().st_mtime_ns == first
    other = call(*("1,2" if word == "1,3" else word for word in SHEET))
    assert (other.code, "holds a sheet of other files or with other settings" in other.err) == (1, True)
    assert [path.name for path in pictures_below(desk)[0] if "runs" in path.parts] == []
    ended = call("enlarge", f"{folder}#7", "--size", "96")
    assert ended.code == 1
    assert f"{folder} has no candidate #7; its candidates are #1, #2, #3, #4" in ended.err
    assert "name one of them" in call("enlarge", folder, "--size", "96").err
    assert "name one of them" in call("export", folder, "-o", "a.png").err
    assert call("export", f"{folder}#2", "-o", "two.png").out == "two.png\n"
    assert torch.equal(load_image("two.png"), load_image(folder / "02" / "result.png"))
    assert call("blend", f"{folder}#2", "--strength", "0", "--with", f"{folder}#3", "-o", "three.png").code == 0
    assert psnr(load_image("three.png"), load_image(folder / "03" / "result.png")) > 45
    assert call("blend", f"{folder}#2", "--strength", "0.5").out == f"{folder}/02/blend-50.png\n"
    assert "has no candidate #9" in call("blend", f"{folder}#9", "--strength", "0.5").err
    assert "there is no folder" in call("enlarge", "nowhere", "--size", "96").err
    assert "there is no folder nowhere#2" in call("enlarge", "nowhere#2", "--size", "96").err
    assert "there is no file nowhere#2.png" in call("export", "nowhere#2.png", "-o", "b.png").err
    assert "style_weight" in call("show", f"{folder}#1").out
    assert call("report", f"{folder}#1").out == f"{folder}/01/report.html\n"
    assert call("run", f"{folder}#1", "--save-spec", "one.toml").code == 0
    ended = call("enlarge", f"{folder}#4", "--size", "96", "--steps", "4")
    assert ended.code == 0
    assert "SSIM with the small picture" in ended.err
    assert ended.out == "runs/enlarge-explore-photo-painting-04-96\n"
    shutil.copytree("runs/enlarge-explore-photo-painting-04-96", folder / "04/large")
    assert call("export", f"{folder}#4", "-o", "four.png").code == 0  # whatever lies in the candidate's folder


# Enlargements --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_enlargement_is_the_same_picture(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a painting of the same photo in the same style that does not begin with the small one is not."""
    assert call("transfer", "photo.png", "painting.png", "--size", "64", *QUICK, "--out", "small").code == 0
    words = ["enlarge", "small", "--size", "96", "--checkpoint", "0.001"]
    whole = call(*words, "--out", "whole")
    assert whole.code == 0
    found = json.loads(Path("whole/likeness.json").read_text("utf-8"))
    assert found["ssim"] >= 0.8
    assert "the same picture" in whole.err
    assert f"SSIM with the small picture {found['ssim']:.3f}" in whole.err
    small, large = load_image("small/result.png"), load_image("whole/result.png")
    assert large.shape[2:] == (72, 96)
    assert found["ssim"] == pytest.approx(ssim(large, small), abs=1e-3)
    away = ["--size", "96", "--init", "noise", "--seed", "3", *QUICK, "--out", "other"]
    assert call("transfer", "photo.png", "painting.png", *away).code == 0
    assert ssim(load_image("other/result.png"), small) < found["ssim"] - 0.1
    with monkeypatch.context() as patch:
        _dies_after(2, patch)
        assert call(*words, "--out", "cut").code == 130
    assert call(*words, "--out", "cut").code == 0
    assert torch.equal(load_image("cut/result.png"), large)
    Path("cut/result.png").unlink()
    assert call(*words, "--out", "cut").code == 0  # is painted again
    assert torch.equal(load_image("cut/result.png"), large)
    made = Path("cut/result.png").stat().st_mtime_ns
    assert call(*words, "--out", "cut", "--quiet").err == ""
    assert Path("cut/result.png").stat().st_mtime_ns == made
    lines = [json.loads(line) for line in call(*words, "--out", "cut", "--json").out.splitlines()]
    assert (lines[-1]["event"], lines[-1]["same"]) == ("compared", True)
    with monkeypatch.context() as patch:
        _dies_after(2, patch)
        assert call(*words, "--out", "again").code == 130
    assert call("resume", "again").code == 0
    assert torch.equal(load_image("again/result.png"), large)
    _mistakes(words)


def _mistakes(words: list[str]) -> None:
    """What may be wrong with a run that was enlarged already."""
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine", "utf-8")
    assert "full holds something else" in call(*words, "--out", "full").err
    ended = call("enlarge", "small", "--size", "60")
    assert (ended.code, "the picture has 64 × 48 px already, choose a larger size" in ended.err) == (2, True)
    kept = Path("small/result.png").read_bytes()
    save_image(load_image("small/result.png").flip(3), "small/result.png")
    for out in ("whole", "new"):
        ended = call(*words, "--out", out)
        sentence = "small cannot be enlarged: small/result.png has changed since that run"
        assert (ended.code, sentence in ended.err) == (1, True)
    Path("small/result.png").write_bytes(kept)
    assert call("run", "small/run.toml", "--steps", "6", "--quiet", "--out", "small", "--force").code == 0
    assert "whole holds something else; name another folder" in call(*words, "--out", "whole").err
    save_image(load_image("photo.png").flip(3), "photo.png")
    ended = call(*words, "--out", "new")
    assert (ended.code, "small cannot be enlarged: photo.png has changed since that run" in ended.err) == (1, True)
    assert not Path("new").exists()
    Path("small/result.png").unlink()
    sentence = "small is done, but its result.png is missing; start again with impasto run small/run.toml"
    for asked in (words, ["export", "small", "-o", "new.png"], ["blend", "small", "--strength", "0.5"]):
        ended = call(*asked)
        assert (ended.code, sentence in ended.err) == (1, True), ended.err
    ended = call("resume", "small")
    sentence = "small is done, but small/result.png is missing; start again with impasto run small/run.toml"
    assert (ended.code, sentence in ended.err) == (1, True), ended.err


@pytest.mark.slow
def test_only_finished_transfers_are_enlarged(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        call("invert", "photo.png", "--layer", "conv1_1", "--size", "32", "--steps", "2", "-q", "--out", "a").code == 0
    )
    ended = call("enlarge", "a", "--size", "64")
    assert (ended.code, "a is of the task invert; only a transfer can be enlarged" in ended.err) == (1, True)
    _dies_after(2, monkeypatch)
    assert call("transfer", "photo.png", "painting.png", "--size", "48", *QUICK, "--out", "b").code == 130
    assert "b is not done; continue with: impasto resume b" in call("enlarge", "b", "--size", "64").err


def test_the_spec_of_an_enlargement() -> None:
    spec = RunSpec(
        task="transfer",
        pictures=PICTURES,
        settings=TransferSettings(size=64, style_weight=4, style_scale=1.5, evaluations=9),
    )
    small = (48, 64)
    found = larger(spec, Path("small/result.png"), small, 500, {"depth": 16}).settings
    assert isinstance(found, TransferSettings)
    assert (found.size, found.smallest, found.init, found.depth) == (500, 96, "small/result.png", 16)
    assert (found.style_scale, found.likeness, found.evaluations, found.print) == (1.5, pytest.approx(0.8), None, None)
    plain = spec.model_copy(update={"settings": make_settings("transfer", style_weight=4, **CLASSIC)})
    plain = larger(plain, Path("small/result.png"), small, 500, {})
    assert getattr(plain.settings, "likeness", None) == pytest.approx(0.2)
    printed = larger(spec, Path("small/result.png"), small, PrintSize("3x2cm@100"), {"likeness": 1.0}).settings
    assert (printed.size, printed.print, getattr(printed, "likeness", None)) == (118, "3x2cm@100", 1.0)
    with pytest.raises(SpecError, match="choose a larger size"):
        larger(spec, Path("small/result.png"), small, 64, {})


def test_an_enlargement_has_the_settings_of_the_end() -> None:
    """What was changed while the small picture was painted holds from the first step on."""
    change = Change(step=5, settings={"style_weight": 9.0, "region": "box.png=photo"})
    spec = RunSpec(task="transfer", pictures=PICTURES, settings=TransferSettings(size=64), changes=(change,))
    found = larger(spec, Path("small/result.png"), (48, 64), 500, {})
    assert isinstance(found.settings, TransferSettings)
    assert (found.changes, found.settings.style_weight) == ((), 9.0)
    assert [str(region) for region in found.settings.region] == ["box.png=photo"]
    assert found.settings.likeness == pytest.approx(0.05 * 9 + 0.75 * 9 * 0.2)


def test_a_print_is_enlarged_to_a_print_of_its_proportions() -> None:
    settings = make_settings("transfer", print=PrintSize("2x2cm@100"), size=79)
    spec = RunSpec(task="transfer", pictures=PICTURES, settings=settings)
    assert larger(spec, Path("small/result.png"), (79, 79), PrintSize("5x5cm@100"), {}).settings.print == "5x5cm@100"
    with pytest.raises(SpecError, match="small is a print, 2x2cm@100; give a larger --print in the same proportions"):
        larger(spec, Path("small/result.png"), (79, 79), 160, {})
    with pytest.raises(SpecError, match="and 5x4cm@100 has other proportions"):
        larger(spec, Path("small/result.png"), (79, 79), PrintSize("5x4cm@100"), {})


def test_likeness_needs_a_picture() -> None:
    photo = example("red-panda", (32, 32))
    with pytest.raises(SpecError, match="likeness is a weight for the first picture, but init is noise"):
        transfer(photo, [photo], TransferSettings(size=32, init="noise", likeness=0.1))
    names = transfer(photo, [photo], TransferSettings(size=32, likeness=0.1)).objective.weights()
    assert names["likeness/relu3_1"] == pytest.approx(0.1)
    assert "likeness" in TASKS["transfer"].formula(TransferSettings(likeness=0.1), ["photo", "painting"]).loss
    assert "likeness" not in TASKS["transfer"].formula(TransferSettings(), ["photo", "painting"]).loss


def test_a_folder_with_a_hash_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "run#3").mkdir()
    assert folder_of(tmp_path / "run#3") == tmp_path / "run#3"
    assert folder_of(tmp_path / "run#4") == tmp_path / "run#4"
    (tmp_path / "run").mkdir()
    with pytest.raises(RunFolderError, match="is not the folder of a sheet"):
        folder_of(tmp_path / "run#4")


def test_size_or_print(desk: Path) -> None:
    for words in ([], ["--size", "64", "--print", "2x2cm"]):
        ended = call("enlarge", "run", *words)
        assert (ended.code, "give either --size" in ended.err) == (2, True)
    with pytest.raises(RunFolderError):
        enlarge("run", 64)
