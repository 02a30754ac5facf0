"""The program as others start it: broken streams do not end a run, and Ctrl-C is answered with one word at any time."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command import call, read_json, save_pictures
from impasto.cli.streams import print_err

pytestmark = pytest.mark.slow

RUN = "invert photo.png --layer conv1_1 --size 32 --steps 4 --threads 1 --frames 0"
FULL = "impasto: standard output cannot be written: No space left on device\n"
IMPASTO = f"{sys.executable} -m impasto"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, and the settings of a run."""
    desk = tmp_path_factory.mktemp("desk")
    save_pictures(desk)
    assert call(*RUN.replace("photo.png", str(desk / "photo.png")).split(), "--save-spec", desk / "spec.toml").code == 0
    return desk


def shell(command: str, desk: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=desk,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("end", ["| true", "2>/dev/full", ">&- 2>&- <&-"])
def test_words_that_nobody_reads(desk: Path, end: str) -> None:
    ended = shell(f"{IMPASTO} show spec.toml {end}", desk)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_words_that_are_lost(desk: Path) -> None:
    """A full disk is told, in words and by the exit code."""
    ended = shell(f"{IMPASTO} show spec.toml >/dev/full", desk)
    assert (ended.returncode, ended.stderr) == (1, FULL)


def test_a_closed_standard_error_sends_no_sentence_elsewhere(desk: Path) -> None:
    ended = shell(f"{IMPASTO} show none.toml 2>&-", desk)
    assert (ended.returncode, ended.stdout) == (2, "")


def test_a_working_directory_that_is_gone(desk: Path) -> None:
    ended = shell(f"mkdir gone && cd gone && rmdir ../gone && {IMPASTO} networks", desk)
    words = "impasto: the working directory no longer exists; go to another folder\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", words)


@pytest.mark.parametrize("columns", ["0", "1", "7"])
def test_a_terminal_without_width(desk: Path, columns: str) -> None:
    ended = shell(f"{IMPASTO} networks --help", desk, COLUMNS=columns)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "List the networks and their layers; " in ended.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_letters_that_the_encoding_lacks(desk: Path, encoding: str) -> None:
    ended = shell(f"{IMPASTO} invert photo.png --save-spec ж-{encoding}.toml", desk, PYTHONIOENCODING=encoding)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"\\u0436-{encoding}.toml\n", "")
    ended = shell(f"{IMPASTO} show ж-{encoding}.toml && {IMPASTO} --help", desk, PYTHONIOENCODING=encoding)
    assert (ended.returncode, ended.stderr) == (0, "")


End = tuple[list[str], dict[str, str], int, str]  # words, streams that are broken, the code, what is said
ENDS: dict[str, End] = {
    "2>&1 | head -1": ([], {"1": "head", "2": "head"}, 0, ""),
    "2>/dev/full": ([], {"2": "full"}, 0, "run1\n"),
    "--json >/dev/full": (["--json"], {"1": "full"}, 1, FULL),
    "2>&-": ([], {"2": "closed"}, 0, "run3\n"),
    ">&- 2>&-": ([], {"1": "closed", "2": "closed"}, 0, ""),
}
FORKS = """
import json, os, sys
import impasto.cli.app, impasto.cli.runs, impasto.pages.run_page, impasto.runs.start  # once; each run is a fork
from impasto.cli.program import program

def fork(words, streams):
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    out = os.open(words[-1] + ".txt", os.O_WRONLY | os.O_CREAT)
    files = {"head": writing, "full": os.open("/dev/full", os.O_WRONLY), "out": out}
    for number in (1, 2):
        os.dup2(files[streams.get(str(number), "out").replace("closed", "out")], number)
    for file in (reading, *files.values()):
        os.close(file)
    for number in streams:
        if streams[number] == "closed":
            os.close(int(number))
    opened = [None if streams.get(str(n)) == "closed" else open(n, "w", closefd=False) for n in (1, 2)]
    sys.stdout, sys.stderr = opened
    sys.argv = ["impasto", *words]
    program()

codes = [fork(*each) for each in json.loads(sys.argv[1])]
print(json.dumps(codes))
"""


@pytest.fixture(scope="module")
def unheard(desk: Path) -> dict[str, int]:
    """The exit codes of runs whose streams are broken, as a shell would break them."""
    runs = [
        ([*RUN.split(), *words, "-o", f"run{number}"], streams)
        for number, (words, streams, *_) in enumerate(ENDS.values())
    ]
    ended = subprocess.run(
        [sys.executable, "-c", FORKS, json.dumps(runs)],
        cwd=desk,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return dict(zip(ENDS, json.loads(ended.stdout), strict=True))


@pytest.mark.parametrize("end", ENDS)
def test_a_run_goes_on_without_its_streams(desk: Path, unheard: dict[str, int], end: str) -> None:
    out = desk / f"run{list(ENDS).index(end)}"
    *_, code, words = ENDS[end]
    assert (unheard[end], out.with_suffix(".txt").read_text()) == (code, words)
    assert read_json(out / "summary.json")["status"] == "done"
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 4


@pytest.mark.slow
def test_a_terminal_that_is_closed(desk: Path) -> None:
    """With the hang-up ignored, as nohup and disown have it, the run ends as if it were watched."""
    terminal, end = pty.openpty()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        words = [sys.executable, "-m", "impasto", *RUN.replace("--steps 4", "--steps 30").split(), "-o", "closed"]
        running = subprocess.Popen(words, cwd=desk, stdin=end, stdout=end, stderr=end, start_new_session=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    os.close(end)
    os.read(terminal, 1)  # it has begun to speak
    os.close(terminal)
    assert running.wait(300) == 0
    assert read_json(desk / "closed" / "summary.json")["steps"] == 30


TOLD = "from impasto.cli.program import program; print('begins', flush=True); program()"


@pytest.mark.parametrize("seconds", [0.15, 0.3, 0.5])
def test_interrupted_while_it_starts(desk: Path, seconds: float) -> None:
    """From the program's first line on, which it is told of here; before that line Python itself begins."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # an ignored one would be inherited
    try:
        words = [sys.executable, "-c", TOLD, *RUN.replace("--steps 4", "--steps 100000").split(), "-o", f"at{seconds}"]
        running = subprocess.Popen(words, cwd=desk, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert running.stdout is not None
    assert running.stdout.readline() == "begins\n"
    time.sleep(seconds)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=300)
    assert (running.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "stopped" in err


def test_a_host_whose_standard_error_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    print_err("nobody hears this")
    assert capsys.readouterr().out == ""
