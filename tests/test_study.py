"""Studies: the plan, the folder, continuing after an interruption, and the page."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

import impasto.series.members
import impasto.study.plan
import impasto.study.run
from command import call, pixels, save_pictures
from impasto.cli.app import app
from impasto.errors import DivergedError, InterruptedRunError, OutputError
from impasto.events import Event, MemberBegun
from impasto.files import bundled
from impasto.images.files import load_image
from impasto.images.image import resize
from impasto.networks.catalogue import NETWORKS
from impasto.networks.means import load_means
from impasto.study.plan import FULL, QUICK, Extent, Study, StudySettings, plan_study
from impasto.study.profile import Profile
from impasto.study.run import default_folder, run_study
from impasto.tasks.spec import RunSpec
from outline import Outline, decoded
from runs_for_study import STUDY, TINIEST, TINY

NAMES = [member.name for member in STUDY.members]


def stamps(folder: Path) -> dict[str, int]:
    """When the metrics of each part were last written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in sorted(folder.glob("*/metrics.jsonl"))}


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text("utf-8")


# The plan ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quick", "extent", "count"), [(True, QUICK, 28), (False, FULL, 37)])
def test_the_plan(quick: bool, extent: object, count: int) -> None:
    study = plan_study(Path("a.jpg"), Path("b.jpg"), StudySettings(quick=quick, seed=5, threads=2))
    assert study.extent is extent
    assert len(study.members) == count
    assert len({member.name for member in study.members}) == count
    for member in study.members:
        assert (member.spec.settings.seed, member.spec.settings.threads) == (5, 2)
        assert all(letter.isalnum() or letter in "-_." for letter in member.name)


def test_only_the_layer_differs_between_content_representations() -> None:
    members = [member for member in STUDY.members if member.section == "layers"]
    settings = [member.spec.settings.model_dump(exclude={"layers"}) for member in members]
    assert [member.layer for member in members] == ["conv1_1", "conv2_1"]
    assert settings[0] == settings[1]
    assert settings[0]["init"] == "noise"


def test_priors_are_all_that_differs_from_the_inversion_without() -> None:
    (invert,) = [member.spec.settings.model_dump() for member in STUDY.members if member.section == "priors"]
    without = next(
        member.spec.settings for member in STUDY.members if member.name == "reconstruct-conv2_1"
    ).model_dump()
    assert invert["smoothness"] > 0
    assert invert["contrast"] > 0
    shared = invert.keys() & without.keys() - {"frames"}
    assert {key: invert[key] for key in shared} == {key: without[key] for key in shared}


def test_styles_are_cumulative() -> None:
    layers = [member.spec.settings.model_dump()["layers"] for member in STUDY.members if member.section == "style"]
    assert layers == ["relu1_1", "relu1_1,relu2_1"]


def test_the_matrix() -> None:
    cells = [member.spec.settings.model_dump() for member in STUDY.members if member.section == "matrix"]
    assert [(cell["content_layers"], cell["style_weight"]) for cell in cells] == [
        *(("relu1_1", 0.1), ("relu1_1", 10.0), ("relu2_1", 0.1), ("relu2_1", 10.0))
    ]


def test_the_command_of_a_study() -> None:
    study = Study(Path("-a b.png"), Path("c.png"), StudySettings(quick=True, seed=3), TINY)
    assert shlex.split(study.command(Path("my study"))) == [
        *("impasto", "study", "./-a b.png", "c.png", "--quick", "--seed", "3", "--out", "my study")
    ]


# The folder ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "study-photo-painting"),
        ({"quick": True, "network": "nets/mine.py:small"}, "study-quick-small-photo-painting"),
        ({"network": "timm:hub/a", "random_weights": 3}, "study-hub-a-untrained-3-photo-painting"),
        ({"network": "vgg19", "weights": Path("w/best.pth")}, "study-vgg19-best-photo-painting"),
    ],
)
def test_studies_of_several_networks_have_folders_of_their_own(settings: dict[str, Any], name: str) -> None:
    study = Study(Path("a/photo.png"), Path("painting.png"), StudySettings(**settings), QUICK)
    assert default_folder(study) == Path("runs") / name


def test_every_part_is_an_ordinary_run(studied: Path) -> None:
    folder = studied / "study"
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == sorted(NAMES)
    for name in NAMES:
        assert {"run.toml", "metrics.jsonl", "summary.json", "result.png", "report.html"} <= {
            path.name for path in (folder / name).iterdir()
        }


def test_what_is_finished_is_not_made_again(study_desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stamps(study_desk / "study")
    page = page_of(study_desk / "study")
    for module, name in ((impasto.study.run, "make_run"), (impasto.series.members, "resume")):
        monkeypatch.setattr(module, name, lambda *arguments, **words: pytest.fail("a part was made again"))
    run_study(STUDY, Path("study"))
    assert stamps(study_desk / "study") == before
    assert page_of(study_desk / "study") == page


def test_what_is_unfinished_or_missing_is_made(study_desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle: a part without summary, an empty folder, one never begun, one without run.toml."""
    folder, names = study_desk / "study", NAMES[-4:]
    before = stamps(folder)
    wanted = {name: pixels(folder / name / "result.png") for name in names}
    (folder / names[0] / "summary.json").unlink()
    shutil.rmtree(folder / names[1])
    (folder / names[1]).mkdir()
    shutil.rmtree(folder / names[2])
    (folder / names[3] / "run.toml").unlink()
    resumed, resume = [], impasto.series.members.resume
    monkeypatch.setattr(
        impasto.series.members, "resume", lambda place, **words: resumed.append(place) or resume(place, **words)
    )
    said = list[Event]()
    run_study(STUDY, Path("study"), listener=said.append)
    assert resumed == [Path("study") / names[0]]
    assert [event.number for event in said if isinstance(event, MemberBegun)] == [9, 10, 11, 12]
    after = stamps(folder)
    assert {name for name in NAMES if after[name] != before[name]} == set(names)
    for name in names:
        assert np.array_equal(pixels(folder / name / "result.png"), wanted[name])


PROGRAM = """
import impasto.study.plan, runs_for_study
from impasto.cli.app import main
impasto.study.plan.QUICK = runs_for_study.TINIEST
main(["study", "photo.png", "painting.png", "--quick", "--threads", "1", "--out", "killed"])
"""


def test_a_killed_study_goes_on(study_desk: Path) -> None:
    """Killed by the system after some parts: they are kept, and the rest is made."""
    study = Study(STUDY.content, STUDY.style, STUDY.settings, TINIEST)
    names = [member.name for member in study.members]
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
        },
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 600
    while not (study_desk / "killed" / names[2] / "metrics.jsonl").exists() and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.02)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    before = stamps(study_desk / "killed")
    run_study(study, Path("killed"))
    after = stamps(study_desk / "killed")
    assert {name: after[name] for name in names[:2]} == {name: before[name] for name in names[:2]}
    assert set(after) == set(names)
    assert "This study is not finished" not in page_of(study_desk / "killed")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InterruptedRunError("stopped at step 1")])
def test_an_interrupted_study_goes_on(study_desk: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Its page says so and what is missing, and the same call makes the rest."""
    folder, missing = study_desk / "study", NAMES[-2:]
    for name in missing:
        shutil.rmtree(folder / name)
    start = impasto.study.run.make_run

    def stop_at_the_last(spec: RunSpec, place: Path, *others: Any, **more: Any) -> None:
        if place.name == NAMES[-1]:
            raise error
        start(spec, place, *others, **more)

    monkeypatch.setattr(impasto.study.run, "make_run", stop_at_the_last)
    with pytest.raises(InterruptedRunError, match=r"the same command continues in study$"):
        run_study(STUDY, Path("study"))
    page = page_of(folder)
    Outline(page)
    assert "11 of 12 parts are done" in page
    assert "Not done yet: transfer the final picture." in page
    monkeypatch.undo()
    monkeypatch.chdir(study_desk)
    before = stamps(folder)
    run_study(STUDY, Path("study"))
    after = stamps(folder)
    assert {name: after[name] for name in before} == before
    assert set(after) == set(NAMES)
    assert "This study is not finished" not in page_of(folder)


def test_a_run_that_fails_ends_the_study_with_its_error(study_desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(study_desk / "study" / NAMES[-1])

    def diverge(*arguments: object, **more: object) -> None:
        raise DivergedError("style became nan at step 2")

    monkeypatch.setattr(impasto.study.run, "make_run", diverge)
    with pytest.raises(DivergedError, match=r"^style became nan at step 2$"):
        run_study(STUDY, Path("study"))


def test_a_changed_picture_is_another_study(study_desk: Path) -> None:
    shutil.copy(study_desk / "painting.png", study_desk / "photo.png")
    with pytest.raises(OutputError, match="study of other files or with other settings"):
        run_study(STUDY, Path("study"))


def test_where_the_pictures_lie_does_not_matter(study_desk: Path) -> None:
    before = stamps(study_desk / "study")
    (study_desk / "elsewhere").mkdir()
    (study_desk / "photo.png").rename("elsewhere/photo.png")
    moved = Study(Path("elsewhere/photo.png"), STUDY.style, STUDY.settings, STUDY.extent)
    run_study(moved, Path("study"))
    assert stamps(study_desk / "study") == before


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures, and studies that are soon made."""
    save_pictures(tmp_path)
    PillowImage.new("RGB", (12, 12)).save(tmp_path / "small.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("impasto.study.plan.QUICK", TINIEST)
    return tmp_path


@pytest.mark.slow
def test_the_command(desk: Path) -> None:
    words = ("study", "photo.png", "painting.png", "--quick")
    ended = call(*words)
    assert (ended.code, ended.out) == (0, "runs/study-quick-photo-painting/report.html\n")
    assert [line for line in ended.err.splitlines() if line.startswith("run ")] == [
        "run 1 of 4: reconstruct conv1_1",
        "run 2 of 4: amalgamate conv1_1",
        "run 3 of 4: texture up to relu1_1",
        "run 4 of 4: transfer the final picture",
    ]
    again = call(*words, "--quiet")
    assert (again.code, again.out, again.err) == (0, ended.out, "")
    other = call(*words, "--seed", 1)
    assert (other.code, other.out) == (1, "")
    assert "holds a study of other files or with other settings; name another folder" in other.err
    (desk / "runs/study-quick-photo-painting/left.txt").write_text("over")
    forced = call(*words, "--seed", 1, "--force", "--json")
    assert forced.code == 0
    assert not (desk / "runs/study-quick-photo-painting/left.txt").exists()
    events = [json.loads(line) for line in forced.out.splitlines()]
    assert [event["part"] for event in events if event["event"] == "part"] == [1, 2, 3, 4]
    assert events[-1] == {
        "event": "done",
        "folder": "runs/study-quick-photo-painting",
        "page": "runs/study-quick-photo-painting/report.html",
    }


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("none.png", "painting.png"), 1, "there is no file none.png"),
        (("photo.png",), 2, "STYLE"),
        (("photo.png", "painting.png", "--out", "photo.png"), 1, "photo.png is a file; name a folder with --out"),
        (
            ("photo.png", "painting.png", "--out", "."),
            1,
            ". is not the folder of a study; name another folder with --out",
        ),
        (("photo.png", "painting.png", "--out", ".", "--force"), 1, ". is not the folder of a study"),
        (("photo.png", "painting.png", "--out", "a" * 300), 1, "cannot be used: File name too long"),
        (("photo.png", "painting.png", "--seed", "-1"), 2, "seed is '-1'"),
    ],
)
def test_mistakes_write_nothing(desk: Path, words: tuple[str, ...], code: int, sentence: str) -> None:
    before = sorted(desk.rglob("*"))
    ended = call("study", *words, "--quick")
    assert (ended.code, ended.out) == (code, "")
    assert sentence in ended.err
    assert ended.err.count("\n") == 1
    assert sorted(desk.rglob("*")) == before


@pytest.mark.slow
def test_a_picture_too_small_for_a_layer_is_refused_at_once(desk: Path) -> None:
    """Although only a late part reads that layer."""
    before = sorted(desk.rglob("*"))
    ended = call("study", "photo.png", "small.png")  # the full one, with relu5_1
    assert ended.code == 1
    assert ended.err.startswith("impasto: small.png: a picture of 12 × 12 pixels is too small for ")
    assert sorted(desk.rglob("*")) == before


# The page ------------------------------------------------------------------------------------------------------------


def test_the_page_is_whole(studied: Path) -> None:
    page = page_of(studied / "study")
    outline = Outline(page)
    assert 200_000 < len(page) < 3_000_000
    for attributes in outline.every("img"):
        assert attributes["alt"]
        assert max(decoded(attributes["src"]).size) > 0
    ids = {attributes.get("id") for _, attributes in outline.elements}
    for link in outline.every("a"):
        assert not (link["href"] or "").startswith("#") or (link["href"] or "")[1:] in ids
    for tag, attributes in outline.elements:
        for key in ("src", "srcset", "href"):
            assert tag == "a" or key not in attributes or str(attributes[key]).startswith("data:")
    assert NETWORKS["vgg16"].sha256 in page
    assert "CC BY 4.0" in page
    assert "Not done yet" not in page
    assert len(outline.every("img-comparison-slider")) == 1
    assert sum(each.get("class") == "scrubber" for each in outline.every("div")) == 3
    assert sum(each.get("class") == "hole" for each in outline.every("p")) == 0


def test_every_part_has_its_command(studied: Path) -> None:
    text = unescape(re.sub(r"<[^>]+>", "", page_of(studied / "study")))
    commands = [line for line in text.splitlines() if line.startswith("impasto ") and ".png" in line]
    tasks = [line.split()[1] for line in commands]
    assert {task: tasks.count(task) for task in tasks} == {
        "study": 1,
        "reconstruct": 2,
        "invert": 1,
        "amalgamate": 2,
        "texture": 2,
        "transfer": 5,
    }


def test_names_of_pictures_are_escaped(study_desk: Path) -> None:
    (study_desk / "photo.png").rename("a<b>'&.png")
    run_study(Study(Path("a<b>'&.png"), STUDY.style, STUDY.settings, STUDY.extent), Path("study"))
    page = page_of(study_desk / "study")
    Outline(page)
    assert "a<b>" not in page
    assert "a<b>'&.png" in unescape(page)


def test_mean_activations_are_measured(studied: Path) -> None:
    """After is before divided by the means of the photographs, within rounding, and about 1 on the whole."""
    profile = Profile.model_validate_json((studied / "study" / "activations.json").read_text("utf-8"))
    means = load_means(bundled("vgg16-means.safetensors"), NETWORKS["vgg16"].load_weights())
    assert len(profile.layers) == 13
    assert profile.difference < 1e-5
    for layer, each in profile.layers.items():
        assert each.photographs == pytest.approx(means.by_layer[layer].tolist(), rel=1e-3)
        assert np.multiply(each.after, each.photographs) == pytest.approx(np.array(each.before), rel=2e-3, abs=1e-3)
        assert 0.3 < np.mean(each.after) < 3


def test_help_speaks_of_it() -> None:
    assert "study" in list(app)
    text = call("study", "--help").out
    assert "The same command continues a study" in " ".join(text.split())


# Other networks ------------------------------------------------------------------------------------------------------

MODULE = """
from torch import nn
def plain():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.{}(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
    )
"""


def study_of(monkeypatch: pytest.MonkeyPatch, extent: Extent = TINY, **settings: Any) -> Study:
    """A study as small as those of the other tests, of another network."""
    monkeypatch.setattr(impasto.study.plan, "QUICK", extent)
    return plan_study(Path("photo.png"), Path("painting.png"), StudySettings(quick=True, threads=1, **settings))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rectifier", "extent", "layers", "said"),
    [
        # the first of six layers, and the one at 17 % of five steps
        ("ReLU", TINY, ("0", "1"), "It could be normalised exactly: 2 groups of scales"),
        ("GELU", TINIEST, ("0",), "cannot be normalised exactly"),
    ],
)
def test_a_study_of_a_module(
    rectifier: str,
    extent: Extent,
    layers: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path)
    Path("mine.py").write_text(MODULE.format(rectifier))
    study = study_of(monkeypatch, extent, network="mine.py:plain", preprocess="none")
    network = study.settings.choice().open("float32")
    assert study.extent.layers == layers
    assert study.styles == ("1",)
    folder = run_study(study, Path("mine"))
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {member.name for member in study.members}
    for member in study.members:
        assert member.spec.settings.network == "mine.py:plain"
        assert member.spec.settings.preprocess == "none"
    profile = Profile.model_validate_json((folder / "activations.json").read_text("utf-8"))
    images = [resize(load_image(path), (224, 224)) for path in (study.content, study.style)]
    wanted = sum(network(image, ["0"])["0"].relu().mean((0, 2, 3)) for image in images) / 2
    assert profile.layers["0"].before == pytest.approx(wanted.tolist(), rel=1e-3)
    page = unescape(page_of(folder))
    assert said.lower() in page.lower()
    assert "pictures as RGB in 0 … 1" in page
    assert "thirteen" not in page
    assert "conv1_1" not in page
    assert "Visual Geometry Group" not in page
    assert shlex.split(study.command(folder)) == [
        *("impasto", "study", "photo.png", "painting.png", "--quick", "--threads", "1"),
        *("--network", "mine.py:plain", "--preprocess", "none", "--out", "mine"),
    ]
    before = stamps(folder)
    run_study(study, Path("mine"))
    assert stamps(folder) == before


def test_a_study_of_another_network_of_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(monkeypatch, network="vgg16", random_weights=3)
    assert study.extent == TINY
    assert study.styles == ("relu1_1", "relu2_1")
    assert {member.spec.settings.network for member in study.members} == {"vgg16"}
    assert {member.spec.settings.random_weights for member in study.members} == {3}


def test_folders_of_layers_whose_names_are_no_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(Path(__file__).parent / "toy_modules.py", "toys.py")
    study = study_of(monkeypatch, network="toys.py:Residual", random_weights=0)
    study = replace(study, extent=replace(study.extent, layers=("layer1.relu:2", "layer1.relu:1")))
    names = [member.name for member in study.members]
    assert len(set(names)) == len(names)
    assert not [name for name in names if set(':#/@"') & set(name)]
