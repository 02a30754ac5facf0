"""One owner of a folder at a time: threads, processes, killed ones, and processes of other machines."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from command import call, pixels, read_json, save_pictures
from impasto.errors import FolderLostError, OutputError
from impasto.folders import owners
from impasto.folders.owners import OWNER, PRESENT, owned, present, require_unowned, wait
from impasto.folders.processes import Owner, machine_id

RUN = ("invert", "photo.png", "--layer", "conv1_1", "--size", "32", "--threads", "1", "--frames", "0")
HOLD = "import sys, time\nfrom pathlib import Path\nfrom impasto.folders.owners import owned\n"
HOLD += "with owned(Path(sys.argv[1])):\n    print('has it', flush=True)\n    time.sleep(600)"


def holder(folder: Path, code: str = HOLD) -> "subprocess.Popen[str]":
    running = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "has it\n"
    return running


def test_the_second_is_told_who_and_a_kill_frees_the_folder(tmp_path: Path) -> None:
    running = holder(tmp_path)
    try:
        since = json.loads((tmp_path / OWNER).read_text())["since"]
        assert abs(time.mktime(time.strptime(since, "%Y-%m-%d %H:%M:%S")) - time.time()) < 60
        words = f"is in use by process {running.pid} on .*, since {since};"
        with pytest.raises(OutputError, match=words), owned(tmp_path):
            pass
        with pytest.raises(OutputError, match=words):
            require_unowned(tmp_path.parent)
    finally:
        running.kill()
        running.communicate()
    require_unowned(tmp_path)
    with owned(tmp_path):
        assert json.loads((tmp_path / OWNER).read_text())["process"] == os.getpid()
    assert not any(tmp_path.iterdir())


def test_one_of_many_threads_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []

    def attempt(number: int) -> bool:
        try:
            with owned(tmp_path):
                inside.append(number)
                assert len(inside) == 1
                time.sleep(0.01)
                inside.remove(number)
        except OutputError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert any(threads.map(attempt, range(32)))
    assert not any(tmp_path.iterdir())


def elsewhere() -> Owner:
    """A process of another machine, or of another container on this one."""
    return Owner("node7", os.getpid(), "2026-01-01 12:00:00", "node7/boot/pid:[1]", 0.0, "another")


def test_an_owner_elsewhere_that_beats(tmp_path: Path) -> None:
    owner, ended = elsewhere(), threading.Event()
    (tmp_path / OWNER).write_text(json.dumps(asdict(owner)))

    def beat() -> None:
        count = 0
        while not ended.wait(0.1):
            count += 1
            (tmp_path / "next").write_text(json.dumps(asdict(replace(owner, beat=count))))
            (tmp_path / "next").replace(tmp_path / OWNER)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        words = f"is in use by process {os.getpid()} on node7, since 2026-01-01 12:00:00;"
        with pytest.raises(OutputError, match=words), owned(tmp_path):
            pass
    finally:
        ended.set()
        beating.join()


@pytest.mark.parametrize("left", [json.dumps(asdict(elsewhere())), "", "{", "[]"])
def test_an_owner_elsewhere_whose_beat_has_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    monkeypatch.setattr(owners, "STALE_SECONDS", 0.5)
    (tmp_path / OWNER).write_text(left)
    begun = time.monotonic()
    with owned(tmp_path):
        assert time.monotonic() - begun >= 0.5
    assert not any(tmp_path.iterdir())


def test_a_number_that_another_process_has_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "STALE_SECONDS", 0.5)
    gone = replace(elsewhere(), machine=machine_id(), started=1.0)
    (tmp_path / OWNER).write_text(json.dumps(asdict(gone)))
    require_unowned(tmp_path)
    with owned(tmp_path):
        pass


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_changes_no_owner(hours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system gives the time of its boot, and so that of a process, by the clock as set now."""
    boot, created = psutil.boot_time(), psutil.Process().create_time()
    with present(tmp_path):
        monkeypatch.setattr(psutil, "boot_time", lambda: boot + 3600 * hours)
        monkeypatch.setattr(psutil.Process, "create_time", lambda _: created + 3600 * hours)
        with pytest.raises(OutputError, match="is in use by process"):
            require_unowned(tmp_path)
        with present(tmp_path):
            assert len(list(tmp_path.glob(f"{PRESENT}*"))) == 2


# Waiting, and losing a folder ----------------------------------------------------------------------------------------

WORKER = "import sys, time\nfrom pathlib import Path\nfrom impasto.folders import owners\nowners.BEAT_SECONDS = 0.1\n"
WORKER += "with owners.owned(Path(sys.argv[1]), on_loss=owners.end_the_process):\n"
WORKER += "    print('has it', flush=True)\n    time.sleep(600)"


def test_who_waits_has_the_folder_next(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with owned(tmp_path, busy=wait):
            order.append("second")

    waiting = threading.Thread(target=second)
    with owned(tmp_path):
        waiting.start()
        time.sleep(0.5)
        order.append("first")
    waiting.join(60)
    assert order == ["first", "second"]
    assert not any(tmp_path.iterdir())


def test_a_killed_owner_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = holder(tmp_path)
    running.kill()
    running.communicate()
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waited for one that is gone"))
    with owned(tmp_path, busy=wait):
        pass


def test_a_folder_that_is_held_is_passed_on(tmp_path: Path) -> None:
    with owned(tmp_path) as held:
        with owned(tmp_path, held=held) as same:
            assert same is held
        require_unowned(tmp_path, held)
        with pytest.raises(OutputError, match="is in use by"):
            require_unowned(tmp_path)
        assert (tmp_path / OWNER).is_file()
    assert not any(tmp_path.iterdir())


def test_a_file_that_a_person_removed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "BEAT_SECONDS", 0.05)
    with owned(tmp_path) as held:
        (tmp_path / OWNER).unlink()
        until = time.monotonic() + 60
        while not (tmp_path / OWNER).exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert json.loads((tmp_path / OWNER).read_text())["process"] == os.getpid()
        held.require()
    assert not any(tmp_path.iterdir())


def test_a_loss_is_noticed_before_the_next_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process had been suspended: the clock has gone on, and the heartbeat has not."""
    with owned(tmp_path) as held:
        taker = json.dumps(asdict(elsewhere()))
        (tmp_path / OWNER).write_text(taker)
        held.require()  # has just looked
        now = time.time() + 60
        monkeypatch.setattr(time, "time", lambda: now)
        with pytest.raises(FolderLostError, match=r"was taken by process \d+ on node7, since 2026-01-01 12:00:00,"):
            held.require()
        with pytest.raises(FolderLostError):
            held.require()
    assert (tmp_path / OWNER).read_text() == taker  # the other's file stays


@pytest.mark.slow
def test_a_suspended_owner_ends_once_the_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "STALE_SECONDS", 0.5)
    monkeypatch.setattr(owners, "BEAT_SECONDS", 0.1)
    running = holder(tmp_path, WORKER)
    os.kill(running.pid, signal.SIGSTOP)  # like a node that is cut off: its beat is not heard, but it is not dead
    start = time.monotonic()
    with owned(tmp_path, busy=wait) as held:
        assert time.monotonic() - start > 0.4
        os.kill(running.pid, signal.SIGCONT)
        assert running.wait(timeout=600) == 1
        held.require()
    running.communicate()
    assert not any(tmp_path.iterdir())


def test_several_may_be_at_work_and_none_may_replace(tmp_path: Path) -> None:
    (tmp_path / f"{PRESENT}killed").write_text(json.dumps(asdict(replace(elsewhere(), machine=machine_id()))))
    require_unowned(tmp_path)
    with present(tmp_path), present(tmp_path):
        assert len(list(tmp_path.iterdir())) == 2
        with pytest.raises(OutputError, match=f"is in use by process {os.getpid()} on "):
            require_unowned(tmp_path)
    assert not any(tmp_path.iterdir())


# Commands ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_commands_in_a_folder_that_is_in_use(desk: Path) -> None:
    assert call(*RUN, "--steps", 1, "-o", "live", "--save-spec", "spec.toml").code == 0
    assert call(*RUN, "--steps", 1, "-o", "live").code == 0
    (desk / "live" / "summary.json").unlink()  # as if it were not done
    before = (desk / "live" / "result.png").read_bytes()
    running = holder(desk / "live")
    try:
        for words in (
            ("resume", "live"),
            (*RUN, "--force", "-o", "live"),
            ("sweep", "spec.toml", "--vary", "seed=1,2", "-o", "live", "--force"),
        ):
            ended = call(*words)
            assert ended.code == 1
            assert ended.out == ""
            if words[0] != "sweep":
                assert f"live is in use by process {running.pid} on " in ended.err
        assert (desk / "live" / "result.png").read_bytes() == before
    finally:
        running.kill()
        running.communicate()
    assert call("resume", "live", "-q").code == 0


@pytest.mark.slow
def test_two_with_force_at_once(desk: Path) -> None:
    """One makes its picture, which the folder has; the other says who has the folder."""
    words = [sys.executable, "-m", "impasto", *RUN, "--steps", "40", "--force", "-o", "ff", "--quiet"]
    both = [
        subprocess.Popen([*words, "--seed", str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for seed in (1, 2)
    ]
    told = [running.communicate(timeout=300) for running in both]
    codes = [running.returncode for running in both]
    assert sorted(codes) == [0, 1], told
    assert "is in use by" in told[codes.index(1)][1] or "by another run meanwhile" in told[codes.index(1)][1]
    assert f"seed = {1 + codes.index(0)}\n" in (desk / "ff" / "run.toml").read_text()
    assert call(*RUN, "--steps", 40, "--seed", 1 + codes.index(0), "-o", "same", "-q").code == 0
    assert (pixels(desk / "ff" / "result.png") == pixels(desk / "same" / "result.png")).all()


@pytest.mark.slow
def test_a_live_run_is_not_resumed_and_a_killed_one_is(desk: Path) -> None:
    words = [sys.executable, "-m", "impasto", *RUN, "--steps", "300", "-o", "live", "--checkpoint", "0.01", "-q"]
    running = subprocess.Popen(words)
    while not any((desk / "live" / "checkpoints").glob("*.safetensors")):
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGSTOP)  # alive, and not done before it is asked for
    ended = call("resume", "live")
    assert ended.code == 1
    assert f"live is in use by process {running.pid} on " in ended.err
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert call("resume", "live", "-q").code == 0
    assert read_json(desk / "live" / "summary.json")["status"] == "done"
    assert not any(path.name.startswith(OWNER) for path in (desk / "live").iterdir())


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_run_that_lost_its_folder_keeps_its_picture_and_writes_nothing_there(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "STALE_SECONDS", 0.5)
    words = [sys.executable, "-m", "impasto", *RUN[:-1], "5", "--steps", "20000", "-o", "live", "-q"]
    running = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    live = desk / "live"
    while not (live / "metrics.jsonl").is_file() or not (live / "metrics.jsonl").stat().st_size:
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGSTOP)
    with owned(live, busy=wait) as held:
        before = files_in(live)
        time.sleep(5)  # as long as an owner may rely on its last look
        running.send_signal(signal.SIGCONT)
        _, told = running.communicate(timeout=300)
        held.require()
        after = files_in(live)
    assert running.returncode == 1
    assert f"live was taken by process {os.getpid()} on " in told
    (kept,) = desk.glob("live-*.png")
    assert told.endswith(f"; the last good picture is kept as {kept}\n")
    assert "impasto resume" not in told
    assert after.keys() - {OWNER} == before.keys() - {OWNER}
    assert all(after[name] == content for name, content in before.items() if name != OWNER)
    assert call("run", kept, "--steps", 1, "-o", "again", "-q").code == 0  # the picture holds its settings
