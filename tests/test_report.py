"""Pages made from run folders: their contents, escaping, and the errors for missing or damaged folders."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL.JpegImagePlugin import JpegImageFile

import impasto.pages.run_page
from command import Ended, call, pixels, read_json
from impasto.errors import RunFolderError
from impasto.extras import own_version
from impasto.files import bundled, sha256
from impasto.folders.records import Frame, Line, RunRecord, read_run
from impasto.images.files import embedded_settings
from impasto.networks.catalogue import NETWORKS
from impasto.pages.blocks import _embedded_file, figure, spread
from impasto.pages.comparison import comparison_page, differences, unique_names
from impasto.pages.curves import stage_changes, term_curves, total_curves
from impasto.pages.rendering import _templates
from impasto.pages.run_page import about_run, run_page, title, write_report
from impasto.pages.sections import frame_label, measures_table, terms_table
from impasto.pages.words import duration, number, repeat_command
from impasto.tasks.settings import InvertSettings, TransferSettings
from impasto.tasks.spec import RunSpec
from outline import Outline, decoded


def line(step: int, total: float = 1.0, stage: int = 1, part: str = "", **terms: float) -> Line:
    size = (24 * stage, 32 * stage)
    return Line(
        part=part, step=step, steps=9, stage=stage, size=size, seconds=step, evaluations=step, total=total, losses=terms
    )


# Pages ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["one", "layers"])
def test_every_run_leaves_its_page(made: Path, name: str) -> None:
    page = (made / name / "report.html").read_text("utf-8")
    outline = Outline(page)
    assert 80_000 < len(page) < 2_000_000
    for attributes in outline.every("img"):
        assert attributes["alt"]
        shown = decoded(attributes["src"])
        assert 0 < max(shown.size) <= 1024
    assert (made / name / "run.toml").read_text("utf-8") in unescape(page)
    assert NETWORKS["vgg16"].sha256 in page
    assert "CC BY 4.0" in page


def test_each_network_is_credited_by_its_own_name(made: Path) -> None:
    """The authors of the bundled VGG-16 are named if a run read these weights, whatever other runs read."""
    bundled_one, bundled_layers = read_run(made / "one"), read_run(made / "layers")
    resnet = with_network(bundled_one, "torchvision:resnet18", "12ab")
    untrained = with_network(bundled_one, "toy.py:net", "none: untrained, seed 3", random_weights=3)

    assert credited(run_page(resnet)) == ["Network: torchvision:resnet18, with weights of your own; please check"]
    assert credited(run_page(untrained)) == ["Network: toy.py:net, untrained."]
    both = credited(comparison_page([resnet, bundled_one, bundled_layers, resnet]))
    assert [line.split(" with ")[0].split(" by ")[0] for line in both] == [
        "Network: torchvision:resnet18,",
        "Network: VGG-16",
    ]


def with_network(record: RunRecord, network: str, sha: str, **settings: Any) -> RunRecord:
    changed = record.spec.settings.model_copy(update={"network": network, **settings})
    spec = record.spec.model_copy(update={"settings": changed})
    return replace(record, spec=spec, provenance={**record.provenance, "weights_sha256": sha})


def credited(page: str) -> list[str]:
    """The first words about each network at the end of a page."""
    return [
        " ".join(line.split()) for line in re.findall("<li>(Network: .*?)(?: their licence|<|$)", page, re.MULTILINE)
    ]


@pytest.mark.parametrize("name", ["one", "layers", "both"])
def test_nothing_is_fetched(made: Path, name: str) -> None:
    """No element, style or script names a place outside the page; links may, for readers to follow."""
    page = (
        comparison_page([read_run(made / each) for each in ("one", "other")])
        if name == "both"
        else run_page(read_run(made / name))
    )
    outline = Outline(page)
    for tag, attributes in outline.elements:
        for key in ("src", "srcset", "poster", "data", "href"):
            if tag != "a" and key in attributes:
                assert str(attributes[key]).startswith("data:")
    assert not re.search(r"@import|url\(\s*['\"]?(?!data:)", "".join(re.findall(r"<style>(.*?)</style>", page, re.S)))
    (policy,) = [each["content"] for each in outline.every("meta") if "http-equiv" in each]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_pictures_are_those_of_the_run(made: Path) -> None:
    images = Outline((made / "one" / "report.html").read_text("utf-8")).every("img")
    by_alt = {str(each["alt"]): each for each in reversed(images)}  # the first of each: a slider repeats some
    for alt, path in {
        "content: photo": "photo.png",
        "style: painting": "painting.png",
        "result": "one/result.png",
    }.items():
        shown = np.asarray(decoded(by_alt[alt]["src"]).convert("RGB")).astype(float)
        assert shown.shape == pixels(made / path).shape
        assert abs(shown - pixels(made / path)).mean() < 10
        assert shown.shape[:2] == (int(str(by_alt[alt]["height"])), int(str(by_alt[alt]["width"])))


def test_a_comparison_says_what_differs(made: Path) -> None:
    records = [read_run(made / name) for name in ("one", "other")]
    assert differences(records) == {"style_weight": ["1.0", "3.0"]}
    page = comparison_page(records)
    Outline(page)
    assert "style_weight: 1.0" in page
    assert "style_weight: 3.0" in page
    assert "style_weight: 1.0" not in run_page(records[0])
    assert differences([records[0], records[0]]) == {}
    assert "All settings, pictures and versions are the same." in comparison_page([records[0], records[0]])


def test_a_comparison_of_different_tasks(made: Path) -> None:
    records = [read_run(made / name) for name in ("one", "layers", "other")]
    page = comparison_page(records)
    Outline(page)
    assert [name for name in ("one", "layers", "other") if f"{name}<span" in page] == ["one", "layers", "other"]
    assert differences(records)["task"] == ["transfer", "reconstruct", "transfer"]


def test_names_of_runs_are_told_apart(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "one", tmp_path / "one")
    records = [read_run(folder) for folder in (made / "one", tmp_path / "one", made / "other")]
    assert unique_names(records) == [str(made / "one"), str(tmp_path / "one"), "other"]


def test_what_a_user_names_is_escaped(made_desk: Path) -> None:
    bad = "a<script>alert(1)</script>&\"'"
    name = bad.replace("/", "∕")
    shutil.copy(made_desk / "photo.png", made_desk / f"{name}.png")
    ended = call(
        "invert", f"{name}.png", "--layer", "conv1_1", "--size", 32, "--steps", 2, "--quiet", "--out", f"<b>{name}"
    )
    assert ended.code == 0, ended.err
    page = (made_desk / f"<b>{name}" / "report.html").read_text("utf-8")
    Outline(page)
    assert name in unescape(page)
    assert "alert(1)" in page
    assert "<script>alert" not in page
    both = comparison_page([read_run(made_desk / f"<b>{name}"), read_run(made_desk / "one")])
    Outline(both)
    assert "<script>alert" not in both
    assert "<b>a" not in both


def test_json_inside_the_page_cannot_end_it() -> None:
    curves = term_curves("</script><script>alert(1)</script>", [line(1, 2.0, **{"</script>": 1.0, "b": 1.0})])
    html = str(_templates().get_template("blocks.html").module.curves(curves))
    assert html.count("</script>") == 1
    assert "alert(1)" in html


def test_a_picture_that_is_gone_or_changed(made_desk: Path) -> None:
    (made_desk / "photo.png").unlink()
    page = run_page(read_run(made_desk / "one"))
    assert "no longer exists and is not shown" in page
    assert Outline(page).every("img-comparison-slider") == []
    shutil.copy(made_desk / "painting.png", made_desk / "photo.png")
    record = read_run(made_desk / "one")
    assert [picture.path for picture in record.pictures][1] is not None


def test_a_picture_is_known_by_its_hash(made_desk: Path) -> None:
    call("invert", "photo.png", "--layer", "conv1_1", "--size", 32, "--steps", 1, "--quiet", "--out", "deep/down/run")
    assert read_run(made_desk / "deep/down/run").pictures[0].path == Path("photo.png")
    shutil.copy(made_desk / "painting.png", made_desk / "photo.png")
    (picture,) = read_run(made_desk / "deep/down/run").pictures
    assert (picture.path, picture.missing) == (None, "has changed since the run")


def test_a_picture_is_found_from_elsewhere(
    made_desk: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    """Paths are from where the run was started, which is above its folder."""
    call("invert", "photo.png", "--layer", "conv1_1", "--size", 32, "--steps", 1, "--quiet", "--out", "runs/run")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (picture,) = read_run(made_desk / "runs" / "run").pictures
    assert picture.path == made_desk / "photo.png"


def test_what_a_file_says_of_its_author(made_desk: Path) -> None:
    exif = PillowImage.Exif()
    exif[0x013B], exif[0x8298] = "Ada <Lovelace>", "CC0"
    with PillowImage.open(made_desk / "photo.png") as file:
        file.convert("RGB").save(made_desk / "signed.jpg", exif=exif)
    call("invert", "signed.jpg", "--layer", "conv1_1", "--size", 32, "--steps", 1, "--quiet", "--out", "signed")
    assert "<li>Original: signed.jpg, Ada &lt;Lovelace&gt;, CC0</li>" in (made_desk / "signed/report.html").read_text(
        "utf-8"
    )


def test_a_large_photograph_is_shown_upright_and_soon(made_desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera's file, stored on its side: not all of its pixels are decoded for the page."""
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    lying = (
        PillowImage.open(made_desk / "photo.png")
        .convert("RGB")
        .resize((4000, 3000))
        .transpose(PillowImage.Transpose.ROTATE_90)
    )
    lying.save(made_desk / "camera.jpg", exif=exif)
    call("invert", "camera.jpg", "--layer", "conv1_1", "--size", 64, "--steps", 1, "--quiet", "--out", "run")
    decoding, load = [], JpegImageFile.load
    monkeypatch.setattr(JpegImageFile, "load", lambda file: decoding.append(file.size) or load(file))
    shown = Outline(write_report(made_desk / "run").read_text("utf-8")).every("img")[0]
    assert decoding
    assert max(map(max, decoding)) <= 4000 / 2
    picture = decoded(shown["src"])
    assert picture.size == (1024, 768)
    small = np.asarray(picture.convert("RGB").resize((64, 48))).astype(float)
    assert abs(small - pixels(made_desk / "photo.png")).mean() < 8


def test_the_command_repeats_the_run(made_desk: Path) -> None:
    for name in ("other", "layers"):
        words = shlex.split(repeat_command(read_run(made_desk / name)))
        assert words[0] == "impasto"
        assert call(*words[1:], "--quiet", "--out", made_desk / f"{name}-again").code == 0
        for part in ("conv1_1", "conv3_1") if name == "layers" else (".",):  # its own result.png has the seconds in it
            first, again = (pixels(made_desk / run / part / "result.png") for run in (name, f"{name}-again"))
            assert np.array_equal(first, again)


def test_the_defaults_of_a_module_are_its_own() -> None:
    """A layer by depth and a long memory; what is VGG-16's default, but not the module's, is an option."""
    settings = InvertSettings(network="mine.py:small", history=10)
    spec = RunSpec(task="invert", pictures=(Path("a.png"),), settings=settings)
    record = RunRecord(Path("run"), spec, "", {"impasto": own_version()}, (), ("",), ())
    rows = {row[0].text: (row[1].text, row[2].text) for row in about_run(record)["settings"].rows}
    assert rows["network"] == ("mine.py:small", "–")
    assert rows["layer"] == ("@0.57", "@0.57")
    assert rows["history"] == ("10", "100")
    assert shlex.split(repeat_command(record)) == [
        *("impasto", "invert", "a.png", "--history", "10", "--network", "mine.py:small")
    ]


def test_the_command_quotes(made_desk: Path) -> None:
    shutil.copy(made_desk / "photo.png", made_desk / "-my photo's.png")
    ended = call(
        *("texture", "./-my photo's.png", "--cumulative", "--layers", "relu1_1", "--size", 32, "--steps", 1),
        *("--quiet", "--out", "quoted"),
    )
    assert ended.code == 0, ended.err
    words = shlex.split(repeat_command(read_run(made_desk / "quoted")))
    assert words[:3] == ["impasto", "texture", "./-my photo's.png"]
    assert "--cumulative" in words
    assert call(*words[1:], "--quiet", "--out", "again").code == 0


def test_a_page_is_quickly_made(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture is encoded that the page does not show, and those of the run not a second time."""
    encoded, save = [], PillowImage.Image.save
    monkeypatch.setattr(
        PillowImage.Image,
        "save",
        lambda picture, *where, **how: encoded.append(picture.size) or save(picture, *where, **how),
    )
    _embedded_file.cache_clear()
    page = write_report(made / "one", tmp_path / "page.html").read_text("utf-8")
    shown = set(re.findall(r"data:image/webp;base64,[\w+/=]+", page))
    assert 0 < len(encoded) <= len(shown) + len(read_run(made / "one").pictures)
    assert all(max(size) <= 1024 for size in encoded)
    encoded.clear()
    write_report(made / "one", tmp_path / "again.html")
    assert len(encoded) <= 2 * len(read_run(made / "one").pictures)


# Folders that are not whole ------------------------------------------------------------------------------------------


def test_a_run_that_was_killed(made_desk: Path) -> None:
    """No summary, no result, half a line: what is there is shown."""
    for name in ("summary.json", "result.png"):
        (made_desk / "one" / name).unlink()
    metrics = made_desk / "one" / "metrics.jsonl"
    metrics.write_text("\n".join([*metrics.read_text().splitlines()[:5], '{"step": 6, "ste']))
    record = read_run(made_desk / "one")
    assert (record.status, len(record.parts[0].lines)) == ("unfinished", 5)
    page = run_page(record)
    Outline(page)
    assert "is not finished" in page
    assert "step 5 of 12" in page


def test_a_run_of_which_a_part_is_missing(made_desk: Path) -> None:
    metrics = made_desk / "layers" / "metrics.jsonl"
    metrics.write_text(
        "".join(text for text in metrics.read_text().splitlines(keepends=True) if "conv1_1" in text[:20])
    )
    shutil.rmtree(made_desk / "layers" / "conv3_1")
    record = read_run(made_desk / "layers")
    assert (record.status, record.planned) == ("unfinished", ("conv1_1", "conv3_1"))
    assert "1 of 2 parts done" in run_page(record)


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "there is no folder run": ("one", shutil.rmtree),
    "run is a file; name the folder of a run": ("one", lambda run: (shutil.rmtree(run), run.write_text("no"))),
    "run is not the folder of a run: it has no run.toml": ("one", lambda run: (run / "run.toml").unlink()),
    "run/run.toml is damaged: Expected '=' after": ("one", lambda run: (run / "run.toml").write_text("task")),
    "run/run.toml is damaged: it is not text": ("one", lambda run: (run / "run.toml").write_bytes(b"\xff\xfe")),
    "run/run.toml is damaged: settings: Field required": (
        "one",
        lambda run: (run / "run.toml").write_text("task='transfer'\npictures=['a','b']"),
    ),
    "run/run.toml is damaged: ": (
        "one",
        lambda run: (run / "run.toml").write_text("task='transfer'\npictures=['a','b']\n[settings]\nsice=2"),
    ),
    "run/metrics.jsonl is damaged at line 2": (
        "one",
        lambda run: (run / "metrics.jsonl").write_text(
            "\n".join(
                "?" if n == 1 else text for n, text in enumerate((run / "metrics.jsonl").read_text().splitlines())
            )
        ),
    ),
    "run/metrics.jsonl is damaged: '../..' is not the name of a part": (
        "one",
        lambda run: (run / "metrics.jsonl").write_text(line(1, part="../..", a=1.0).model_dump_json() + "\n"),
    ),
    "run/metrics.jsonl is damaged: '..' is not the name of a part": (
        "layers",
        lambda run: (run / "metrics.jsonl").write_text(line(1, part="..", a=1.0).model_dump_json() + "\n"),
    ),
    "run/summary.json is damaged: Invalid JSON": ("one", lambda run: (run / "summary.json").write_text("{")),
    "run/summary.json is damaged: status: Field required": ("one", lambda run: (run / "summary.json").write_text("{}")),
    "run/conv1_1/summary.json is damaged: Invalid JSON": (
        "layers",
        lambda run: (run / "conv1_1" / "summary.json").write_text(""),
    ),
    "run is damaged: run/result.png cannot be read as a picture": (
        "one",
        lambda run: (run / "result.png").write_bytes((run / "result.png").read_bytes()[:900]),
    ),
    "run is damaged: run/frames/000000.jpg cannot be read as a picture": (
        "one",
        lambda run: (run / "frames" / "000000.jpg").write_text("no picture"),
    ),
    "run holds no step yet; there is nothing to show": (
        "one",
        lambda run: ((run / "metrics.jsonl").unlink(), (run / "summary.json").unlink()),
    ),
}


@pytest.mark.parametrize("words", DAMAGE)
def test_damaged_folders(made_desk: Path, words: str) -> None:
    """One sentence, exit code 1, and nothing is written."""
    name, damage = DAMAGE[words]
    shutil.copytree(made_desk / name, made_desk / "run")
    (made_desk / "run" / "report.html").unlink()
    damage(made_desk / "run")
    ended = call("report", "run")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith(f"impasto: {words}")
    assert not (made_desk / "run" / "report.html").exists()
    assert call("report", "one", "run").code == 1
    assert not (made_desk / "comparison.html").exists()


def test_a_page_that_cannot_be_written_costs_nothing_else(made_desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(impasto.pages.run_page, "read_run", fail)
    ended = call("invert", "photo.png", "--layer", "conv1_1", "--size", 32, "--steps", 2, "--quiet", "--out", "run")
    assert (ended.code, ended.out) == (0, "run\n")
    assert ended.err == "impasto: run/report.html is not written: a mistake of ours\n"
    assert read_json(made_desk / "run" / "summary.json")["status"] == "done"
    assert (made_desk / "run" / "result.png").is_file()


# The command ---------------------------------------------------------------------------------------------------------


def test_the_page_of_a_run_is_made_anew(made_desk: Path) -> None:
    (made_desk / "one" / "report.html").write_text("old")
    assert call("report", "one") == Ended(0, "one/report.html\n", "")
    assert len((made_desk / "one" / "report.html").read_text("utf-8")) > 80_000
    assert call("report", "one", "-o", "page.html") == Ended(0, "page.html\n", "")
    assert call("report", "one", "other") == Ended(0, "comparison.html\n", "")


@pytest.mark.parametrize("runs", [["one"], ["one", "other"]])
def test_other_files_are_kept(made_desk: Path, runs: list[str]) -> None:
    (made_desk / "mine.html").write_text("mine")
    ended = call("report", *runs, "-o", "mine.html")
    assert ended.code == 1
    assert ended.err == (
        "impasto: mine.html exists already; name another file with --out, or replace it with --force\n"
    )
    assert (made_desk / "mine.html").read_text() == "mine"
    assert call("report", *runs, "-o", "mine.html", "--force").code == 0
    assert call("report", *runs, "-o", "no/such/folder.html").err.startswith("impasto: no/such/folder.html cannot be")


# Pieces --------------------------------------------------------------------------------------------------------------


def test_curves_are_what_metrics_say(made: Path) -> None:
    lines = read_run(made / "one").parts[0].lines
    data = term_curves("", lines).data
    assert data["steps"] == list(range(1, 13))
    assert [each["name"] for each in data["series"]] == ["total", *lines[0].losses]
    assert data["series"][0]["values"] == pytest.approx([each.total for each in lines], rel=1e-3)
    assert data["stages"] == [{"step": 9, "label": "96 × 72 px"}]
    assert (
        data["series"][1]["values"][0] is None
    )  # the content's own loss is 0 at first: no place on a logarithmic axis


def test_curves_of_several_runs_share_their_steps() -> None:
    data = total_curves("", {"a": [line(1, 2.0), line(2, 1.0)], "b": [line(1, 4.0)]}).data
    assert data["steps"] == [1, 2]
    assert [each["values"] for each in data["series"]] == [[2, 1], [4, None]]


def test_long_curves_are_thinned() -> None:
    data = total_curves("", {"a": [line(step, 1 / step) for step in range(1, 5001)]}).data
    assert len(data["steps"]) == 1000
    assert (data["steps"][0], data["steps"][-1]) == (1, 5000)
    assert len(data["series"][0]["values"]) == 1000
    assert len(json.dumps(data)) < 40_000


def test_stage_changes() -> None:
    assert stage_changes([line(1), line(2), line(3, stage=2), line(4, stage=2)]) == [(3, "64 × 48 px")]


@pytest.mark.parametrize(("count", "most", "steps"), [(3, 6, [0, 1, 2]), (11, 3, [0, 5, 10]), (40, 2, [0, 39])])
def test_spread(count: int, most: int, steps: list[int]) -> None:
    assert [frame.step for frame in spread([Frame(step, Path()) for step in range(count)], most)] == steps


def test_labels_of_frames(made: Path) -> None:
    """A frame's loss is in the line after it: a line's losses are of the picture before its step."""
    (part,) = read_run(made / "one").parts
    assert [frame.step for frame in part.frames] == [0, 1, 3, 7, 12]
    labels = [frame_label(part, frame) for frame in part.frames]
    assert labels[0] == f"step 0 of 12 · 48 × 36 px · loss {number(part.lines[0].total)}"
    assert labels[1] == f"step 1 of 12 · 48 × 36 px · loss {number(part.lines[1].total)}"
    assert part.summary is not None
    assert (
        labels[-1] == f"step 12 of 12 · 96 × 72 px · loss {number(sum(v or 0 for v in part.summary.losses.values()))}"
    )


def test_terms_have_weights_and_shares(made: Path) -> None:
    table, settings = terms_table(read_run(made / "other")), TransferSettings()
    assert [cell.text for cell in table.rows[0][:3]] == ["content", "relu4_2", number(settings.content_weight)]
    assert [cell.text for cell in table.rows[1][:3]] == ["layout", "relu3_1", number(settings.layout / 2)]
    assert [cell.text for cell in table.rows[3][:3]] == ["style", "relu1_1", "0.353"]
    shares = [row[3].bar for row in table.rows]
    assert sum(share or 0 for share in shares) == pytest.approx(1)
    losses = read_json(made / "other" / "summary.json")["losses"]
    assert shares == pytest.approx([loss / sum(losses.values()) for loss in losses.values()])


def test_measures(made: Path) -> None:
    table = measures_table([("", read_run(made / "layers"))])
    assert table.head[:4] == ("", "status", "e", "PSNR")
    assert [row[0].text for row in table.rows] == ["conv1_1", "conv3_1"]
    errors = read_json(made / "layers" / "conv1_1" / "summary.json")["metrics"]["feature_error"]
    assert table.rows[0][2].text == ", ".join(f"{number(error)} at {layer}" for layer, error in errors.items())


def test_titles(made: Path) -> None:
    assert title(read_run(made / "one")) == "photo, in the style of painting"
    assert title(read_run(made / "layers")) == "What each layer keeps of photo"


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (float("nan"), "–"), (0.0, "0"), (0.12345, "0.123"), (12345.0, "1.23·10⁴"), (2.35e-5, "2.35·10⁻⁵")],
)
def test_numbers(value: float | None, words: str) -> None:
    assert number(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (9.5, "9.5 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (7260.0, "2 h 1 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.slow
def test_large_pictures_are_made_small(tmp_path: Path) -> None:
    PillowImage.effect_noise((3000, 1000), 60).convert("RGB").save(tmp_path / "large.png")
    shown = figure(tmp_path / "large.png", "noise", most_px=600)
    assert (shown.width, shown.height) == (600, 200)
    assert decoded(shown.uri).size == (600, 200)


@pytest.mark.parametrize(
    ("statistics", "word"), [("wasserstein", "Wasserstein"), ("gram", "Gram matri"), ("moments", "moments of")]
)
@pytest.mark.parametrize("task", ["transfer", "texture"])
def test_the_page_explains_what_was_matched(made_desk: Path, task: str, statistics: str, word: str) -> None:
    pictures = ("photo.png", "painting.png")[: 2 if task == "transfer" else 1]
    words = ("--statistics", statistics, "--size", 48, "--smallest", 48, "--steps", 2, "--frames", 0, "--quiet")
    assert call(task, *pictures, *words, "-o", "explained").code == 0
    page = unescape((made_desk / "explained" / "report.html").read_text("utf-8"))
    explained = page[page.index('<p class="lead"') : page.index("</header>")]
    assert [each for each in ("Wasserstein", "Gram matri", "moments of") if each in explained] == [word]


@pytest.mark.slow
def test_the_page_explains_a_pattern(made_desk: Path) -> None:
    words = ("--statistics", "pattern", "--size", 48, "--smallest", 48, "--steps", 2, "--frames", 0, "--quiet")
    assert call("texture", "photo.png", *words, "-o", "explained").code == 0
    page = unescape((made_desk / "explained" / "report.html").read_text("utf-8"))
    explained = page[page.index('<p class="lead"') : page.index("</header>")]
    assert "and the same periods as the original" in explained
    assert "D(A(x), A(original))" in explained
    assert "A: how alike the picture is to itself, shifted" in explained
    assert call("transfer", "photo.png", "painting.png", "--statistics", "pattern").code == 2  # a photo has no periods


@pytest.mark.filterwarnings("error")
def test_pictures_beyond_pillows_own_limit(made_desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would warn from 89 megapixels on, and refuse from 179 on."""
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 100)
    assert call("report", "one").code == 0
    assert embedded_settings("one/result.png")
    assert (made_desk / "one" / "report.html").stat().st_size > 50_000


def test_transparency_is_kept(tmp_path: Path) -> None:
    PillowImage.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert decoded(figure(tmp_path / "clear.png", "", most_px=8).uri).mode == "RGBA"


def test_vendored_scripts_are_the_published_files() -> None:
    vendor = bundled("report/vendor")
    noted = dict(re.findall(r"^\| (\S+) \|.*`(\w{64})` \|$", (vendor / "VENDORED.md").read_text("utf-8"), re.M))
    assert noted == {path.name: sha256(path) for path in vendor.iterdir() if path.suffix in (".js", ".css")}
    for name in ("uPlot", "img-comparison-slider"):
        assert "Permission is hereby granted" in (vendor / f"{name}.LICENSE").read_text("utf-8")


def test_errors_from_python(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=f"there is no folder {re.escape(str(tmp_path / 'none'))}"):
        write_report(tmp_path / "none")
