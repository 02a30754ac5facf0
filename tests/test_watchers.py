"""Programs that watch a run, or start one in the background, cannot spoil it."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import impasto.runs.paint
from command import call
from conftest import EXAMPLES
from impasto.cli.app import main
from impasto.synthesis.loop import Iterate, synthesise

PANDA = str(EXAMPLES / "red-panda.webp")
OPTIONS = {"layer": "conv1_1", "size": 48, "steps": 12, "frames": 0, "precision": "float32"}
RUN = ["invert", PANDA, *(f"--{name}={value}" for name, value in OPTIONS.items())]


@pytest.mark.slow
def test_a_reader_that_goes_away_does_not_end_the_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = " ".join([sys.executable, "-m", "impasto", *RUN, "--json", "-o", str(out), "| head -1"])
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["step"] == 1
    assert json.loads((out / "summary.json").read_text())["status"] == "done"
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 12


@pytest.mark.slow
def test_an_ignored_interrupt_stays_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shell does to jobs in the background of a script: Ctrl-C is for the others."""

    def interrupted(*given: Any) -> Iterator[Iterate]:
        for iterate in synthesise(*given):
            signal.raise_signal(signal.SIGINT)
            yield iterate

    monkeypatch.setattr(impasto.runs.paint, "synthesise", interrupted)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        ended = call(*RUN, "--quiet", "-o", tmp_path / "out")
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.code == 0, ended.err
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["status"] == "done"


def test_a_failure_is_an_event_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*RUN[:2], "--json", "--layer", "conv9_9", "-o", str(tmp_path / "out")])
    assert ended.value.code == 2
    event = json.loads(capsys.readouterr().out)
    assert event["event"] == "failed"
    assert event["exit_code"] == 2
    assert "conv9_9" in event["error"]
