"""A stop ends a long step between two tiles if only that step is lost, otherwise after it; the run can be resumed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from command import call, pixels, read_json, read_lines, save_pictures
from conftest import CLASSIC_WORDS
from impasto.events import Event, StopAsked
from impasto.runs.stopping import stop_signal

STEPS = 3
WORDS = (  # some hundreds of tiles, so that a step takes long enough to be hit
    *("transfer", "photo.png", "painting.png", "--size", "96", "--smallest", "96", "--tile", "8", "--threads", "1"),
    *("--steps", str(STEPS), "--style-layers", "relu1_1,relu2_1", "--content-layers", "relu2_1", "--frames", "2"),
    *("--precision", "float32", "--quiet", *CLASSIC_WORDS),
)
EVER, NEVER = "0.000001", "0"  # seconds between checkpoints


@pytest.fixture(autouse=True)
def hang_ups_are_heard() -> Iterator[None]:
    """Tests that were started by `nohup` ignore SIGHUP, and so would their programs."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, and the run in one go."""
    desk = tmp_path_factory.mktemp("desk")
    save_pictures(desk)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk)
        assert call(*WORDS, "-o", "whole").code == 0
    return desk


def stopped(desk: Path, name: str, number: int, checkpoint: str, ready: Callable[[Path], bool]) -> tuple[int, str]:
    """Exit code and words of a run that a signal is sent to once it is `ready`."""
    words = [sys.executable, "-m", "impasto", *WORDS, "--checkpoint", checkpoint, "-o", name]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # one that is ignored would be inherited so
    try:
        running = subprocess.Popen(words, cwd=desk, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    end = time.monotonic() + 900
    while not ready(desk / name) and running.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    os.kill(running.pid, number)
    _, err = running.communicate(timeout=900)
    return running.returncode, err


def has_begun(folder: Path) -> bool:
    return (folder / "metrics.jsonl").exists()


def has_a_step(folder: Path) -> bool:
    return has_begun(folder) and (folder / "metrics.jsonl").stat().st_size > 0


def has_a_checkpoint(folder: Path) -> bool:
    return any(folder.glob("checkpoints/000-*.safetensors"))


def steps_of(folder: Path) -> list[dict[str, Any]]:
    return [{**line, "seconds": 0} for line in read_lines(folder / "metrics.jsonl")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "checkpoint", "ready", "step", "words"),
    [
        (signal.SIGINT, EVER, has_a_checkpoint, 1, "stopped during step 2 of 3; resuming repeats that step"),
        (signal.SIGTERM, NEVER, has_begun, 0, "stopped during step 1 of 3; resuming repeats that step"),
        (signal.SIGTERM, NEVER, has_a_step, 2, "stopped at step 2 of 3"),
        (signal.SIGHUP, EVER, has_a_checkpoint, 1, "stopped during step 2 of 3; resuming repeats that step"),
    ],
    ids=["between checkpoints", "before the first step", "no checkpoint yet", "hang-up"],
)
def test_a_stop_within_a_step(
    desk: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    checkpoint: str,
    ready: Callable[[Path], bool],
    step: int,
    words: str,
) -> None:
    monkeypatch.chdir(desk)
    name = f"stopped-{step}-{number}"
    code, err = stopped(desk, name, number, checkpoint, ready)
    assert code == 130, err
    assert "stopping after this step at the latest; interrupt again to stop at once\n" in err
    assert err.endswith(f"impasto: {words}; the picture so far is in {name}; continue with: impasto resume {name}\n")
    assert len(read_lines(Path(name, "metrics.jsonl"))) == step
    summary = read_json(Path(name, "summary.json"))
    assert (summary["status"], summary["reason"], summary["steps"]) == ("interrupted", words, step)
    assert set(summary["losses"].values()) == {None}  # measuring would take as long again
    assert pixels(Path(name, "result.png")).shape == (72, 96, 3)
    assert "This run was" in Path(name, "report.html").read_text("utf-8")
    assert call("resume", name, "--quiet").code == 0
    assert steps_of(Path(name)) == steps_of(Path("whole"))
    assert (pixels(Path(name, "result.png")) == pixels(Path("whole", "result.png"))).all()
    assert read_json(Path(name, "summary.json"))["losses"] == read_json(Path("whole", "summary.json"))["losses"]


def test_a_second_hang_up_does_nothing() -> None:
    """As a terminal is closed, its shell sends one and the system another; an interruption is still heard."""
    told = list[Event]()
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    with stop_signal(told.append) as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.is_set()
        assert told == [StopAsked()]
        assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in before} == before
