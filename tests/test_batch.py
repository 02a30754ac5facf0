"""Batches: their entries, finished runs that are kept, and nothing lost however a process ends."""

import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from threading import Event
from urllib.parse import unquote

import psutil
import pytest

import dying
from batches import in_this_process
from command import call, pixels, read_json, read_lines, save_pictures
from conftest import CLASSIC_WORDS, example
from impasto.batch import processes as engines
from impasto.batch.inputs import find_entries
from impasto.batch.naming import keep_names
from impasto.batch.processes import Again, Ended, Job
from impasto.batch.run import make_jobs, open_batch
from impasto.batch.thumbnails import picture_thumbnail, result_thumbnail
from impasto.batch.underway import runs_under_way
from impasto.cli.batches import LiveBatch, batch_lines
from impasto.cli.listeners import json_lines
from impasto.errors import ImageError, OutputError, SpecError
from impasto.events import BatchBegun, BatchEnded, BatchRunAgain, BatchRunEnded, BatchRunning
from impasto.files import sha256, write_bytes
from impasto.folders.specfiles import spec_toml
from impasto.images.files import save_image
from impasto.images.gathering import pictures_below, words_about
from impasto.tasks.settings import InvertSettings, TransferSettings
from impasto.tasks.spec import RunSpec

SMALL = (
    *("--size", "48", "--smallest", "48", "--frames", "2", "--precision", "float32", "--threads", "1"),
    *CLASSIC_WORDS,
)
TINY = (*SMALL, "--content-layers", "relu2_1", "--style-layers", "relu1_1,relu2_1")
STEPS = 12
WORDS = ("batch", "photos", "--styles", "paintings", "-o", "out")
WHOLE = (*WORDS, *TINY, "--steps", str(STEPS), "--checkpoint", "0.000001")
ENDLESS = ("--steps", "100000", "--checkpoint", "0.1")


def make_desk(tmp_path: Path) -> None:
    """photos/photo.png and photos/other.png, paintings/painting.png."""
    save_pictures(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "paintings").mkdir()
    save_image(example("red-panda", (48, 64)), tmp_path / "photos" / "other.png")
    (tmp_path / "photo.png").rename(tmp_path / "photos" / "photo.png")
    (tmp_path / "painting.png").rename(tmp_path / "paintings" / "painting.png")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_desk(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def workers_of(process: int | None = None) -> list[psutil.Process]:
    """The workers of another process, or of this one."""
    children = psutil.Process(process).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def wait_for(found: Callable[[], object], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def has_checkpoint() -> bool:
    return any(Path("out").glob("*/checkpoints/*.safetensors"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs that a batch consists of, each by itself."""
    folder = tmp_path_factory.mktemp("alone")
    make_desk(folder)
    for name in ("photo", "other"):
        pictures = (folder / "photos" / f"{name}.png", folder / "paintings" / "painting.png")
        ended = call("transfer", *pictures, *TINY, "--steps", STEPS, "-o", folder / f"{name}--painting", "-q")
        assert ended.code == 0, ended.err
    return folder


def assert_same_run(out: Path, alone: Path, name: str) -> None:
    """Each step once, the same losses, the same picture, bit for bit."""
    here, there = out / f"{name}--painting", alone / f"{name}--painting"
    lines, others = (
        [(line["step"], line["losses"]) for line in read_lines(folder / "metrics.jsonl")] for folder in (here, there)
    )
    assert [step for step, _ in lines] == list(range(1, STEPS + 1))
    assert lines == others
    assert (pixels(here / "result.png") == pixels(there / "result.png")).all()


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attrs if key in ("src", "href") and value]


# What a batch consists of --------------------------------------------------------------------------------------------


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_all_pairs_with_names_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "c/a.jpg", "c/a.png", "c/A.webp", "c/below/ü b.png", "c/notes.txt", "c/.hidden.png", "c/.git/x.png")
    touch(tmp_path, "s/one.jpg", "s/two.jpg", "c/out/run.toml", "c/out/result.png")
    pairs = find_entries(tmp_path / "c", tmp_path / "s", "transfer")
    assert len(pairs) == 4 * 2
    assert len({pair.name.casefold() for pair in pairs}) == 8
    by_name = {pair.name: [path.name for path in pair.pictures] for pair in pairs}
    assert by_name["below-ü-b--two"] == ["ü b.png", "two.jpg"]
    assert {"A--one", "a.jpg--one", "a.png--one"} < set(by_name)
    lone = find_entries(tmp_path / "s", None, "texture")
    assert [(pair.name, len(pair.pictures)) for pair in lone] == [("one", 1), ("two", 1)]


def test_names_that_would_not_do(tmp_path: Path) -> None:
    touch(tmp_path, f"{'x' * 200}.png", f"{'x' * 201}.png", "thumbnails.png", "-.png")
    names = [pair.name for pair in find_entries(tmp_path, None, "invert")]
    assert len(set(names)) == 4
    assert all(len(name.encode()) <= 120 for name in names)
    assert not {"thumbnails", "index.html"} & set(names)
    assert all(name[0] not in "-." for name in names)


def test_names_that_would_be_too_long(tmp_path: Path) -> None:
    long = [f"{letter * 200}.png" for letter in "abcde"]
    (tmp_path / "list.csv").write_text(f"content,style\n{long[0]},{';'.join(long[1:])}\n{long[0]},{long[1]}\n")
    pairs = find_entries(tmp_path / "list.csv", None, "transfer")
    touch(tmp_path, *(f"c/{name}" for name in long), *(f"s/{name}" for name in long))
    pairs += find_entries(tmp_path / "c", tmp_path / "s", "transfer")
    assert len({pair.name for pair in pairs[2:]}) == 25
    for pair in pairs:
        written = tmp_path / result_thumbnail(pair.name)
        written.parent.mkdir(exist_ok=True)
        write_bytes(written, b"x")
        assert written.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are text")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    touch(tmp_path, "p/a.png", "p/caf\udce9.png")
    assert [pair.pictures[0].name for pair in find_entries(tmp_path / "p", None, "invert")] == ["a.png"]
    _, left_out = pictures_below(tmp_path / "p")
    assert words_about(tmp_path / "p", left_out) == (
        rf"left out of {tmp_path / 'p'}, not readable as pictures, or with names that are not text: caf\xe9.png"
    )
    folder = tmp_path / "caf\udce9"
    assert picture_thumbnail(folder / "a.png") != picture_thumbnail(tmp_path / "caf\udce8" / "a.png")
    with pytest.raises(ValueError, match=r"caf\\xe9/a.png contains bytes that are not text; rename the file"):
        RunSpec(task="invert", pictures=(folder / "a.png",), settings=InvertSettings())
    moved = RunSpec(task="invert", pictures=(Path("a.png"),), settings=InvertSettings())
    with pytest.raises(SpecError, match="contains bytes that are not text"):
        spec_toml(moved.model_copy(update={"pictures": (folder / "a.png",)}))


def test_lists(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        "\ufeffcontent, style, name, style-weight, style_layers\n"
        'a.png, s.png,,2,\n\nb.png,s.png;t.png,mine,,"relu1_1,relu2_1"\n',
        "utf-8",
    )
    first, second = find_entries(tmp_path / "list.csv", None, "transfer")
    assert (first.name, first.pictures, first.values) == (
        "a--s",
        (tmp_path / "a.png", tmp_path / "s.png"),
        {"style_weight": "2"},
    )
    assert (second.name, [path.name for path in second.pictures]) == ("mine", ["b.png", "s.png", "t.png"])
    assert second.values == {"style_layers": "relu1_1,relu2_1"}
    (tmp_path / "list.toml").write_text(
        '[[run]]\ncontent = "a.png"\nstyle = ["s.png", "t.png"]\nseed = 3\n'
        '[[run]]\ncontent = "a.png"\nstyle = "s.png"\ninit = "first.png"\n',
        "utf-8",
    )
    one, two = find_entries(tmp_path / "list.toml", None, "transfer")
    assert (one.name, one.values, len(one.pictures)) == ("a--s--t", {"seed": 3}, 3)
    assert two.values == {"init": str(tmp_path / "first.png")}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("content,stlye\na,b", "line 2: there is no column 'stlye'; did you mean 'style'?"),
        ("content,style\na,", "line 2 has no style; name a picture file"),
        ("content,style\na,b,c", "line 2 has more values than columns; quote values that contain commas"),
        ("content,style,content\na,b,c", "has a column twice; give each column once"),
        ("content,style\n", "has no runs; give one row for each run"),
        ("content,style,name\na,b,../c", "line 2: '../c' cannot name a folder"),
        ('content,style\n"a,b\n', "is not valid CSV"),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "list.csv").write_text(text, "utf-8")
    with pytest.raises(SpecError) as raised:
        find_entries(tmp_path / "list.csv", None, "transfer")
    assert sentence in str(raised.value)


def test_what_does_not_go_together(tmp_path: Path) -> None:
    touch(tmp_path, "c/a.png", "none/notes.txt")
    for task, styles in (("transfer", None), ("invert", tmp_path / "c"), ("painting", None)):
        with pytest.raises(SpecError):
            find_entries(tmp_path / "c", styles, task)
    for empty in ("none", "missing"):
        with pytest.raises(ImageError, match=empty):
            find_entries(tmp_path / empty, None, "invert")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--stepps", "3"), "there is no setting 'stepps'; did you mean 'steps'?"),
        (("--steps", "0"), "steps is '0'; it must be at least 1"),
        (("--content-layers", "conv9_1"), "vgg16 has no layer 'conv9_1'; did you mean 'conv5_1'?"),
        (("--recipe", "trnasfer"), "there is no task 'trnasfer'; did you mean 'transfer'?"),
        (("--cluster", "here"), "'here' is not a cluster's address; write auto, or one such as 10.0.0.1:6379"),
    ],
)
def test_what_no_run_could_work_with(desk: Path, words: tuple[str, ...], sentence: str) -> None:
    ended = call("batch", "photos", "--styles", "paintings", "-o", "out", *words)
    assert (ended.code, ended.err) == (2, f"impasto: {sentence}\n")
    assert not (desk / "out").exists()


# What it does --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_bad_picture_stops_nothing(desk: Path, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk / "photos" / "bad.jpg").write_text("no picture")
    ended = call(*WHOLE, "--jobs", "2", "--json")
    assert ended.code == 1
    assert "impasto: bad--painting: photos/bad.jpg is not a picture in a format that can be read" in ended.err
    assert "1 of 3 runs failed; the same command tries again" in ended.err
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert {event["name"]: event["status"] for event in events if event["event"] == "run"} == {
        "photo--painting": "done",
        "other--painting": "done",
        "bad--painting": "failed",
    }
    assert events[-1]["event"] == "failed"
    for name in ("photo", "other"):
        assert_same_run(Path("out"), alone, name)
    page = (desk / "out" / "index.html").read_text("utf-8")
    assert "bad--painting" in page
    links = Links()
    links.feed(page)
    assert len(links.found) == 2 * (1 + 1 + 2)  # page, result, two pictures
    assert all((desk / "out" / unquote(link)).is_file() for link in links.found)
    before = {path: path.stat().st_mtime_ns for path in (desk / "out").glob("*/result.png")}
    shutil.copy(desk / "photos" / "photo.png", desk / "photos" / "bad.jpg")
    monkeypatch.setattr(engines, "on_this_machine", in_this_process)
    ended = call(*WHOLE, "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "out/index.html\n", "")
    after = {path: path.stat().st_mtime_ns for path in (desk / "out").glob("*/result.png")}
    assert len(after) == 3
    assert {path: after[path] for path in before} == before
    assert runs_under_way(desk / "out") == []
    assert not list((desk / "out").glob("*/.impasto-owner*"))


def save_run(job: Job, out: Path) -> None:
    """A run's settings, as a folder has them from its beginning."""
    (out / job.name).mkdir(parents=True)
    known = {"provenance": {"pictures_sha256": [sha256(path) for path in job.spec.pictures]}}
    (out / job.name / "run.toml").write_text(spec_toml(job.spec, known), "utf-8")


def jobs_of(folder: Path, out: Path, **values: object) -> dict[str, str]:
    """Names of a batch's runs by their pictures; runs that are not there yet are begun."""
    jobs = keep_names(make_jobs(find_entries(folder, None, "invert"), "invert", values), out)
    left = open_batch(jobs, values, out)
    for job in left:
        if not (out / job.name).exists():
            save_run(job, out)
    return {job.spec.pictures[0].name: job.name for job in jobs}


@pytest.mark.slow
def test_pictures_that_come_later_take_no_other_s_name(desk: Path) -> None:
    photos, out = desk / "photos", desk / "out"
    sizes = {"size": 32, "layer": "conv1_1", "precision": "float32"}
    assert jobs_of(photos, out, **sizes) == {"other.png": "other", "photo.png": "photo"}
    for number, name in enumerate(("photo.bmp", "photo.apng"), start=1):
        save_image(example("red-panda", (48, 64 + number)), photos / "new.png")
        (photos / "new.png").rename(photos / name)
        named = jobs_of(photos, out, **sizes)
        assert named | {"other.png": "other", "photo.png": "photo"} == named
        assert len(set(named.values())) == len(named) == 2 + number
        assert jobs_of(photos, out, **sizes) == named  # the same each time
    (photos / "photo.png").unlink()  # its run stays, and is nobody else's
    assert jobs_of(photos, out, **sizes) == {key: name for key, name in named.items() if key != "photo.png"}
    shutil.copy(photos / "photo.bmp", photos / "photo.gif")  # the same picture twice has two runs
    assert len(set(jobs_of(photos, out, **sizes).values())) == 4
    save_image(example("schwerin-palace", (48, 64)), photos / "other.png")  # edited: to be decided by whoever did so
    with pytest.raises(OutputError, match="other holds a run of other files or with other settings"):
        jobs_of(photos, out, **sizes)


@pytest.mark.slow
def test_folders_that_are_taken(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "on_this_machine", in_this_process)
    (desk / "list.csv").write_text("content,style,seed\nphotos/photo.png,paintings/painting.png,1\n")
    words = ("batch", "list.csv", *TINY, "-o", "out", "-q")
    assert call(*words, "--steps", "2").code == 0
    assert read_json(Path("out/photo--painting/summary.json"))["steps"] == 2
    other = call(*words, "--steps", "3")
    assert (other.code, "holds a batch of other files or with other settings" in other.err) == (1, True)
    (desk / "list.csv").write_text("content,style,seed\nphotos/photo.png,paintings/painting.png,2\n")
    changed = call(*words, "--steps", "2")
    assert (changed.code, "photo--painting holds a run of other files" in changed.err) == (1, True)
    assert call(*words, "--steps", "2", "--force").code == 0
    assert "seed = 2" in Path("out/photo--painting/run.toml").read_text()


@pytest.mark.slow
def test_a_killed_worker_is_replaced(desk: Path, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "serve", dying.killed_in_a_step)
    ended = call(*WHOLE, "--jobs", "1")
    assert ended.code == 0, ended.err
    assert ended.err.count("its process was ended by SIGKILL") == 1
    for name in ("photo", "other"):
        assert_same_run(Path("out"), alone, name)


def job(name: str) -> Job:
    pictures = (Path("photos/photo.png"), Path("paintings/painting.png"))
    return Job(name, RunSpec(task="transfer", pictures=pictures, settings=TransferSettings()))


@pytest.mark.slow
def test_a_worker_that_is_killed_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "serve", dying.killed)
    events = list(engines.on_this_machine([job("a"), job("b")], Event(), workplace=dying.Place(tmp_path), workers=2))
    killed = "its process was ended by SIGKILL, perhaps because memory was short"
    ended = [event for event in events if isinstance(event, Ended)]
    assert sorted(each.job.name for each in ended) == ["a", "b"]
    assert {str(each.error) for each in ended} == {
        f"{killed}; the run was tried 3 times, the last time with a quarter of the memory"
    }
    assert [event.words for event in events if isinstance(event, Again)] == 2 * [
        f"{killed}; the run is tried again, alone, with half of the memory",
        f"{killed}; the run is tried again, alone, with a quarter of the memory",
    ]
    shares = ["1.0", "0.5", "0.25"]
    assert [(tmp_path / name).read_text().split() for name in "ab"] == [shares, shares]


@pytest.mark.slow
def test_too_little_memory_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was refused before it began is tried again only where others may have been in its way, with all."""
    monkeypatch.setattr(engines, "serve", dying.short_of_memory_at_first)
    for workers, errors in ((2, [None, None]), (1, ["too little memory"] * 2)):
        out = tmp_path / str(workers)
        out.mkdir()
        events = list(
            engines.on_this_machine([job("a"), job("b")], Event(), workplace=dying.Place(out), workers=workers)
        )
        assert [event.error and str(event.error) for event in events if isinstance(event, Ended)] == errors
        again = ["too little memory; the run is tried again, alone,"] * (2 if workers == 2 else 0)
        assert [event.words for event in events if isinstance(event, Again)] == again


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_a_worker_short_of_memory_makes_smaller_tiles(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system gives it much less than it was told there is: it fails, and then does with less."""
    (desk / "photos" / "other.png").unlink()
    monkeypatch.setattr(engines, "serve", dying.given_little_memory)
    words = ("--recipe", "invert", "--layer", "relu2_1", "--size", "640", "--steps", "2", "--frames", "0")
    precise = ("--precision", "float32", "--threads", "1", "--history", "2", "--memory", "1400MB")
    ended = call("batch", "photos", *words, *precise, "-o", "out")
    assert ended.code == 0, ended.err
    assert re.match(
        r"photo: there is not enough memory for 640 px; .*; the picture so far is in out/photo; "
        r"the run is tried again, alone, with half of the memory\n",
        ended.err,
    )
    summary = read_json(Path("out/photo/summary.json"))
    assert (summary["status"], summary["steps"], summary.get("tile_px") is not None) == ("done", 2, True)
    known = tomllib.loads(Path("out/photo/run.toml").read_text("utf-8"))
    assert known["provenance"]["memory_share"] in (0.5, 0.25)
    assert known["provenance"]["memory_bytes"] < 400e6
    assert known["settings"]["memory"] == "1400MB"


@pytest.mark.slow
def test_a_stop_keeps_what_there_is(desk: Path, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engines, "serve", dying.stopped_in_a_step)
        ended = call(*WHOLE, "--jobs", "2")
    assert ended.code == 130
    assert "0 of 2 runs are done, and the same command continues in out" in ended.err
    assert not workers_of()
    stopped = [read_json(path) for path in Path("out").glob("*/summary.json")]
    assert ("interrupted", dying.STEP) in [(summary["status"], summary["steps"]) for summary in stopped]
    assert has_checkpoint()
    monkeypatch.setattr(engines, "on_this_machine", in_this_process)
    ended = call(*WHOLE)
    assert ended.code == 0, ended.err
    for name in ("photo", "other"):
        assert_same_run(Path("out"), alone, name)


@pytest.mark.slow
def test_a_killed_driver_leaves_no_orphans(desk: Path) -> None:
    words = [sys.executable, "-m", "impasto", *WORDS, *SMALL, *ENDLESS]  # of deep layers, which do not converge so soon
    driver = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(has_checkpoint)
        workers = workers_of(driver.pid)
        assert workers
    finally:
        driver.kill()
        driver.wait()
    wait_for(lambda: not any(worker.is_running() for worker in workers))
    (stopped,) = [read_json(path) for path in Path("out").glob("*/summary.json")]
    assert stopped["status"] == "interrupted"


@pytest.mark.slow
def test_a_folder_that_is_gone(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "serve", dying.without_their_folder)
    ended = call(*WORDS, *TINY, *ENDLESS, "--jobs", "2")
    assert ended.code == 1
    assert "cannot be written" in ended.err
    assert "the same command continues in out" in ended.err
    assert not workers_of()
    assert not (desk / "out").exists()


@pytest.mark.slow
def test_a_disk_that_is_full(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "serve", dying.on_a_full_disk)
    ended = call(*WHOLE, "--jobs", "1")
    assert ended.code == 1
    assert "File too large" in ended.err
    assert "0 of 2 runs are done, and the same command continues in out" in ended.err


# What is said --------------------------------------------------------------------------------------------------------


def test_a_log_has_a_line_for_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for event in (
        BatchBegun(tmp_path, runs=3, done=1),
        BatchRunEnded(2, 3, "a", 1.234, None),
        BatchRunAgain("b", "too little memory; the run is tried again"),
        BatchRunEnded(3, 3, "b", None, ImageError("b.png is no picture")),
    ):
        batch_lines(event)
    assert capsys.readouterr().err.splitlines() == [
        "1 of 3 runs are done already",
        "2/3 a: done, 1.2 s",
        "b: too little memory; the run is tried again",
        "3/3 b: not done: b.png is no picture",
    ]


def test_a_terminal_has_a_bar_for_each_run_under_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, step in (("a", 3), ("b", 7)):
        (tmp_path / name).mkdir()
        line = {"step": step, "steps": 9, "stage": 1, "size": [4, 4], "seconds": 1, "evaluations": 3, "total": 0.25}
        written = "".join(json.dumps({**line, "losses": {}, "step": each}) + "\n" for each in range(1, step + 1))
        (tmp_path / name / "metrics.jsonl").write_text(written + '{"step": 8, "st')  # it is writing just now
    view = LiveBatch()
    view(BatchBegun(tmp_path, runs=3, done=1))
    view(BatchRunning(("a", "b", "c")))
    bars = [(task.description.strip(), task.completed, task.total) for task in view._progress.tasks]
    assert bars == [("runs", 1, 3), ("a", 3, 9), ("b", 7, 9)]
    view(BatchRunEnded(2, 3, "a", None, ImageError("no picture")))
    view(BatchRunAgain("b", "the run is tried again"))
    view(BatchRunning(("b",)))
    assert [(task.description.strip(), task.completed) for task in view._progress.tasks] == [("runs", 2), ("b", 7)]
    view(BatchEnded())
    said = capsys.readouterr()
    assert "a: no picture" in said.err
    assert "b: the run is tried again" in said.err
    json_lines(BatchRunAgain("b", "the run is tried again"))
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "event": "again",
        "name": "b",
        "words": "the run is tried again",
    }
