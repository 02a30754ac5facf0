"""Programs that watch a run, or start one in the background, cannot spoil it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import EXAMPLES
from impasto.cli.app import main

PANDA = str(EXAMPLES / "red-panda.webp")
RUN = ["invert", PANDA, "--size", "48", "--steps", "12", "--frames", "0", "--precision", "float32"]


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
def test_an_ignored_interrupt_stays_ignored(tmp_path: Path) -> None:
    """What a shell does to jobs in the background of a script: Ctrl-C is for the others."""
    program = f"""
import os, signal, threading
from impasto.cli.app import main
signal.signal(signal.SIGINT, signal.SIG_IGN)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
main({[*RUN, "--quiet", "-o", str(tmp_path / "out")]!r})
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["status"] == "done"


def test_a_failure_is_an_event_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*RUN, "--json", "--layer", "conv9_9", "-o", str(tmp_path / "out")])
    assert ended.value.code == 2
    event = json.loads(capsys.readouterr().out)
    assert event["event"] == "failed"
    assert event["exit_code"] == 2
    assert "conv9_9" in event["error"]
