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

import pytest

from command import call, pixels, read_json, save_pictures
from impasto.errors import OutputError
from impasto.folders import owners
from impasto.folders.owners import OWNER, Owner, owned, require_unowned

RUN = ("invert", "photo.png", "--layer", "conv1_1", "--size", "32", "--threads", "1", "--frames", "0")
HOLD = "import sys, time\nfrom pathlib import Path\nfrom impasto.folders.owners import owned\n"
HOLD += "with owned(Path(sys.argv[1])):\n    print('has it', flush=True)\n    time.sleep(600)"


def holder(folder: Path) -> "subprocess.Popen[str]":
    running = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
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
    gone = replace(elsewhere(), machine=owners.machine_id(), started=1.0)
    (tmp_path / OWNER).write_text(json.dumps(asdict(gone)))
    require_unowned(tmp_path)
    with owned(tmp_path):
        pass


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
        time.sleep(0.01)
    ended = call("resume", "live")
    assert ended.code == 1
    assert f"live is in use by process {running.pid} on " in ended.err
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert call("resume", "live", "-q").code == 0
    assert read_json(desk / "live" / "summary.json")["status"] == "done"
    assert not any(path.name.startswith(OWNER) for path in (desk / "live").iterdir())
