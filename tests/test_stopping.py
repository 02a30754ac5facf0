"""A stop ends a long step between two tiles if only that step is lost, otherwise after it; the run can be resumed."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from command import Ended, call, pixels, read_json, read_lines, save_pictures
from conftest import CLASSIC_WORDS
from impasto.events import Event, StopAsked
from impasto.networks.steps import Convolution
from impasto.runs.stopping import stop_signal

STEPS = 3
WORDS = (  # nine tiles
    *("transfer", "photo.png", "painting.png", "--size", "48", "--smallest", "48", "--tile", "16", "--threads", "1"),
    *("--steps", str(STEPS), "--style-layers", "relu1_1,relu2_1", "--content-layers", "relu2_1", "--frames", "2"),
    *("--precision", "float32", "--quiet", *CLASSIC_WORDS),
)
EVER, NEVER = "0.000001", "0"  # seconds between checkpoints


@pytest.fixture(autouse=True)
def signals_are_heard() -> Iterator[None]:
    """Tests that were started by `nohup`, or in the background, ignore SIGHUP or SIGINT, and so would the command."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, and the run in one go."""
    desk = tmp_path_factory.mktemp("desk")
    save_pictures(desk)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk)
        assert call(*WORDS, "-o", "whole").code == 0
    return desk


def stopped(out: Path, number: int, checkpoint: str, ready: Callable[[Path], bool]) -> Ended:
    """How a run ends that a signal is sent to within a step: as the next tile is read once the run is `ready`."""
    forward, sent = Convolution.forward, list[int]()

    def read(step: Convolution, *inputs: Any) -> Tensor:
        if not sent and step.weight.shape[1] == 3 and ready(out):
            sent.append(number)
            os.kill(os.getpid(), number)
        return forward(step, *inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Convolution, "forward", read)
        return call(*WORDS, "--checkpoint", checkpoint, "-o", out)


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
    ("number", "checkpoint", "ready", "ending"),
    [
        (signal.SIGINT, EVER, has_a_checkpoint, "during step 2"),
        (signal.SIGTERM, NEVER, has_begun, "during step 1"),
        (signal.SIGTERM, NEVER, has_a_step, "at step 2"),  # more than one step would be lost
        (signal.SIGHUP, EVER, has_a_checkpoint, "during step 2"),
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
    ending: str,
) -> None:
    monkeypatch.chdir(desk)
    out = tmp_path / "stopped"
    ended = stopped(out, number, checkpoint, ready)
    assert ended.code == 130, ended.err
    assert "stopping after this step at the latest; interrupt again to stop at once\n" in ended.err
    done = len(read_lines(out / "metrics.jsonl"))
    repeats = "during" in ending
    assert done == int(ending[-1]) - repeats
    words = f"stopped {ending} of {STEPS}" + ("; resuming repeats that step" if repeats else "")
    assert ended.err.endswith(
        f"impasto: {words}; the picture so far is in {out}; continue with: impasto resume {out}\n"
    )
    summary = read_json(out / "summary.json")
    assert (summary["status"], summary["reason"], summary["steps"]) == ("interrupted", words, done)
    assert set(summary["losses"].values()) == {None}  # measuring would take as long again
    assert pixels(out / "result.png").shape == (36, 48, 3)
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
