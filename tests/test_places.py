"""Replacing folders: the old contents are removed only once there is something new to show."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from command import call, save_pictures
from impasto.errors import OutputError
from impasto.files import HALF
from impasto.folders.names import METRICS, SETTINGS_FILE, remove_part
from impasto.folders.places import BEFORE, check_folder, giving_way, make_folder, new_default, put_aside, trace
from impasto.series.places import is_free, share_folder
from impasto.tasks.settings import InvertSettings
from impasto.tasks.spec import RunSpec

INVERT = ("invert", "photo.png", "--layer", "conv1_1", "--size", 24, "--steps", 2, "--frames", 1, "-q")
SPEC = RunSpec(task="invert", pictures=(Path("photo.png"),), settings=InvertSettings(layer="conv1_1"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path)
    return tmp_path


def old_run(folder: Path) -> dict[str, bytes]:
    """A folder with what looks like a run, and what it holds."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / SETTINGS_FILE).write_text("task = 'invert'\n")
    (folder / METRICS).write_text('{"step": 1}\n')
    (folder / ".notes").write_text("mine")
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def identity(folder: Path) -> int:
    return folder.stat().st_ino


# The folder stays ----------------------------------------------------------------------------------------------------


def test_the_folder_itself_stays(tmp_path: Path) -> None:
    """A volume or a working directory cannot be removed: its contents are replaced."""
    folder = tmp_path / "run"
    old_run(folder)
    before = identity(folder)
    assert make_folder(folder, SPEC, force=True) == folder
    with giving_way(folder):
        (folder / METRICS).write_text("a line\n")
    assert identity(folder) == before
    assert contents(folder) == {METRICS: b"a line\n"}


@pytest.mark.parametrize("entries", [[], ["lost+found"]])
def test_an_empty_folder_serves_without_force(tmp_path: Path, entries: list[str]) -> None:
    for entry in entries:
        (tmp_path / entry).mkdir()
    check_folder(tmp_path, SPEC, force=False)
    assert make_folder(tmp_path, SPEC, force=False) == tmp_path
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", *entries}


def test_a_first_batch_or_sweep_in_an_empty_volume(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    before = identity(tmp_path)
    assert is_free(tmp_path, "batch.toml", "about", [], force=False)
    share_folder(tmp_path, "batch.toml", "about", fresh=True, before=None)
    assert identity(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {"batch.toml", "lost+found"}


@pytest.mark.parametrize("force", [False, True])
def test_two_batches_that_were_asked_for_at_once(tmp_path: Path, force: bool) -> None:
    """The first has the folder; what it made is never put aside by the second, which was asked for before that."""
    folder = tmp_path / "batch"
    if force:
        folder.mkdir()
        (folder / "batch.toml").write_text("earlier")
    before = trace(folder, "batch.toml")
    fresh = [is_free(folder, "batch.toml", "about", [], force=force) for _ in range(2)]
    assert fresh == [True, True]
    share_folder(folder, "batch.toml", "about", fresh=True, before=before)
    (folder / "run").mkdir()
    if force:
        with pytest.raises(OutputError, match=r"batch has been taken by another process meanwhile; name another"):
            share_folder(folder, "batch.toml", "about", fresh=True, before=before)
    else:  # there was nothing to replace: both make the same batch
        share_folder(folder, "batch.toml", "about", fresh=True, before=before)
        with pytest.raises(OutputError, match=r"batch has been taken by another process meanwhile; name another"):
            share_folder(folder, "batch.toml", "another", fresh=True, before=before)
    assert (folder / "run").is_dir()
    assert (folder / "batch.toml").read_text() == "about"


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    old_run(tmp_path / "run")
    (tmp_path / "link").symlink_to("run")
    make_folder(tmp_path / "link", SPEC, force=True)
    with giving_way(tmp_path / "link"):
        (tmp_path / "link" / METRICS).write_text("a line\n")
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "run") == {METRICS: b"a line\n"}


# What was there ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_was_there_is_back_if_nothing_came_of_it(tmp_path: Path, error: type[BaseException]) -> None:
    before = old_run(tmp_path / "run")
    make_folder(tmp_path / "run", SPEC, force=True)
    (tmp_path / "run" / SETTINGS_FILE).write_text("new")
    with pytest.raises(error), giving_way(tmp_path / "run"):
        raise error
    assert contents(tmp_path / "run") == before
    assert (tmp_path / "run" / "checkpoints").is_dir()


def test_what_was_there_outlives_runs_that_were_killed(tmp_path: Path) -> None:
    before = old_run(tmp_path / "run")
    for _ in range(2):  # neither comes to its first step, or to the end of `giving_way`
        make_folder(tmp_path / "run", SPEC, force=True)
        (tmp_path / "run" / SETTINGS_FILE).write_text("new")
    with pytest.raises(OutputError, match="exists already"):
        make_folder(tmp_path / "run", SPEC, force=False)
    with giving_way(tmp_path / "run"):
        pass
    assert contents(tmp_path / "run") == before


def test_of_two_runs_that_were_killed_the_later_is_kept(tmp_path: Path) -> None:
    old_run(tmp_path / "run")
    make_folder(tmp_path / "run", SPEC, force=True)
    (tmp_path / "run" / SETTINGS_FILE).write_text("second")
    (tmp_path / "run" / METRICS).write_text("a line\n")
    make_folder(tmp_path / "run", SPEC, force=True)
    with giving_way(tmp_path / "run"):
        pass
    assert contents(tmp_path / "run") == {SETTINGS_FILE: b"second", METRICS: b"a line\n"}


def test_what_cannot_be_moved_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = old_run(tmp_path / "run")
    rename = Path.rename

    def busy(path: Path, target: Path) -> Path:
        if path.name == METRICS:
            raise OSError(16, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", busy)
    with pytest.raises(OutputError, match="run cannot be made: Device or resource busy"):
        make_folder(tmp_path / "run", SPEC, force=True)
    assert contents(tmp_path / "run") == before
    assert not (tmp_path / "run" / BEFORE).exists()


def test_a_result_of_one_of_its_runs_is_something(tmp_path: Path) -> None:
    old_run(tmp_path / "first")
    put_aside(tmp_path)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / METRICS).write_text("a line\n")
    with pytest.raises(RuntimeError), giving_way(tmp_path):
        raise RuntimeError
    assert contents(tmp_path) == {f"second/{METRICS}": b"a line\n"}


# Names ---------------------------------------------------------------------------------------------------------------


def test_names_are_taken_by_one_each(desk: Path) -> None:
    Path("runs").mkdir()
    (desk / "runs" / "invert-photo").symlink_to("nowhere")  # is in nobody's way
    with ThreadPoolExecutor(8) as threads:
        folders = list(threads.map(lambda _: new_default(SPEC), range(24)))
    assert len(set(folders)) == 24
    assert all(folder.is_dir() for folder in folders)


def test_one_of_two_has_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.folders.places.check_folder", lambda *_, **__: None)  # both have looked before
    monkeypatch.setattr("impasto.folders.places.put_aside", lambda *_: None)
    make_folder(tmp_path, SPEC, force=False)
    with pytest.raises(OutputError, match="is taken by another run"):
        make_folder(tmp_path, SPEC, force=False)


# What is somebody else's ----------------------------------------------------------------------------------------------


def test_what_a_part_leaves_is_removed_and_nothing_else(tmp_path: Path) -> None:
    part, mine = tmp_path / "to-conv2_1", ["notes.txt", ".my.notes", "frames/12 retouched.jpg", "frames/1.jpg", "a.gif"]
    own = ["result.png", "summary.json", "losses.png", "progress.gif", "progress.mp4", "frames/000012.jpg"]
    (part / "frames").mkdir(parents=True)
    for name in [*mine, *own]:
        (part / name).write_text("x")
    remove_part(part)
    assert sorted(contents(part)) == sorted(mine)
    for name in mine:
        (part / name).unlink()
    remove_part(part)
    assert not part.exists()


@pytest.mark.slow
def test_to_go_on_removes_only_what_impasto_left_half_written(desk: Path) -> None:
    assert call(*INVERT, "-o", "run").code == 0
    mine = [".my.notes", ".result.png.swp", "frames/.a.b", "frames/7 copy.jpg"]
    halves = [f".result.png.abc{HALF}", f"frames/.000001.jpg.abc{HALF}"]
    for name in [*mine, *halves]:
        (desk / "run" / name).write_text("x")
    (desk / "run" / "summary.json").unlink()  # as if it had been killed at its end
    assert call("resume", "run", "-q").code == 0
    left = contents(desk / "run")
    assert set(mine) <= set(left)
    assert not set(halves) & set(left)


# Commands ------------------------------------------------------------------------------------------------------------


def test_force_in_the_working_directory(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_run(desk / "run")
    monkeypatch.chdir(desk / "run")
    here = identity(desk / "run")
    ended = call("invert", "../photo.png", *INVERT[2:], "--force", "-o", ".")
    assert ended.code == 0, ended.err
    assert identity(desk / "run") == here == identity(Path(os.curdir))
    assert {"result.png", "run.toml", "report.html"} <= {path.name for path in Path().iterdir()}
    assert not (desk / "run" / ".notes").exists()
    assert not (desk / "run" / BEFORE).exists()


def test_a_run_that_fails_at_its_first_step_takes_nothing_away(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = old_run(desk / "run")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("impasto.runs.paint.synthesise", fail)
    ended = call(*INVERT, "--force", "-o", "run")
    assert ended.code == 3
    assert ended.err.rstrip().endswith("; run is unchanged")
    assert contents(desk / "run") == before


@pytest.mark.slow
def test_a_sweep_that_fails_takes_nothing_away(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk / "swept").mkdir()
    (desk / "swept" / "sweep.toml").write_text("old")
    before = old_run(desk / "swept" / "seed=0")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("impasto.runs.paint.synthesise", fail)
    assert call("invert", "photo.png", *INVERT[2:], "--save-spec", "spec.toml").code == 0
    ended = call("sweep", "spec.toml", "--vary", "seed=0,1", "--force", "-o", "swept", "-q")
    assert ended.code == 3, ended.err
    assert contents(desk / "swept" / "seed=0") == before
    assert (desk / "swept" / "sweep.toml").read_text() == "old"
