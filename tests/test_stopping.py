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


def stopped(desk: Path, out: Path, number: int, checkpoint: str, ready: Callable[[Path], bool]) -> tuple[int, str]:
    """Exit code and words of a run that a signal is sent to once it is `ready`."""
    words = [sys.executable, "-m", "impasto", *WORDS, "--checkpoint", checkpoint, "-o", str(out)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # one that is ignored would be inherited so
    try:
        running = subprocess.Popen(words, cwd=desk, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    end = time.monotonic() + 900
    while not ready(out) and running.poll() is None and time.monotonic() < end:
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
    ("number", "checkpoint", "ready"),
    [
        (signal.SIGINT, EVER, has_a_checkpoint),
        (signal.SIGTERM, NEVER, has_begun),
        (signal.SIGTERM, NEVER, has_a_step),
        (signal.SIGHUP, EVER, has_a_checkpoint),
    ],
    ids=["between checkpoints", "before the first step", "no checkpoint yet", "hang-up"],
)
def test_a_stop_within_a_step(
    desk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    checkpoint: str,
    ready: Callable[[Path], bool],
) -> None:
    """Which step the signal meets is left to the machine; the words must name that one."""
    monkeypatch.chdir(desk)
    out = tmp_path / "stopped"
    code, err = stopped(desk, out, number, checkpoint, ready)
    assert code == 130, err
    assert "stopping after this step at the latest; interrupt again to stop at once\n" in err
    done = len(read_lines(out / "metrics.jsonl"))
    words = f"stopped at step {done} of {STEPS}"
    if f"impasto: {words};" not in err:
        assert checkpoint == EVER or done == 0  # more than one step would be lost
        words = f"stopped during step {done + 1} of {STEPS}; resuming repeats that step"
    assert err.endswith(f"impasto: {words}; the picture so far is in {out}; continue with: impasto resume {out}\n")
    summary = read_json(out / "summary.json")
    assert (summary["status"], summary["reason"], summary["steps"]) == ("interrupted", words, done)
    assert set(summary["losses"].values()) == {None}  # measuring would take as long again
    assert pixels(out / "result.png").shape == (72, 96, 3)
    assert "This run was" in (out / "report.html").read_text("utf-8")
    assert call("resume", str(out), "--quiet").code == 0
    assert steps_of(out) == steps_of(Path("whole"))
    assert (pixels(out / "result.png") == pixels(Path("whole", "result.png"))).all()
    assert read_json(out / "summary.json")["losses"] == read_json(Path("whole", "summary.json"))["losses"]


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
