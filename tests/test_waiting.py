"""PyTorch's threads wait briefly in impasto's programs, and as the host chooses everywhere else."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dying
from impasto.batch import processes
from impasto.waiting import NAMES, for_children, for_workers, missing, wait_briefly

pytestmark = pytest.mark.slow

BOUNDS = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which nobody has decided how threads wait."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back as it was
        monkeypatch.delenv(name)


def python(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize(
    ("theirs", "added"),
    [
        ({}, BOUNDS),
        ({"PATH": "/bin"}, BOUNDS),
        ({"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "1"}),
        ({"KMP_BLOCKTIME": "infinite"}, {"GOMP_SPINCOUNT": "1000"}),
        ({"KMP_LIBRARY": "turnaround"}, {"GOMP_SPINCOUNT": "1000"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {}),
        ({"GOMP_SPINCOUNT": "", "KMP_BLOCKTIME": ""}, {}),
    ],
)
def test_what_is_missing(theirs: dict[str, str], added: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing(theirs) == added
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with for_children():
        assert dict(os.environ) == before | added
    assert dict(os.environ) == before
    assert for_workers() == {name: value for name, value in theirs.items() if name in NAMES} | added
    wait_briefly()
    assert dict(os.environ) == before | added


def test_the_environment_is_put_back_after_an_error() -> None:
    before = dict(os.environ)
    with pytest.raises(OSError, match="no process"), for_children():
        raise OSError("no process")
    assert dict(os.environ) == before


# Stands in for the command line's `main`: says what the environment is, and whether PyTorch has been loaded already.
ENTRIES = """
import os, runpy, sys
from importlib.metadata import EntryPoint
import impasto.cli.app, impasto.cli.program
impasto.cli.app.main = lambda: print(*(os.environ.get(name) for name in {bounds}), "torch" in sys.modules)
sys.argv = ["impasto"]
for theirs in ({{}}, {{"GOMP_SPINCOUNT": "7", "KMP_BLOCKTIME": "200"}}):
    for begin in (
        impasto.cli.program.program,
        lambda: runpy.run_module("impasto", run_name="__main__"),
        EntryPoint("impasto", {script!r}, "console_scripts").load(),
    ):
        for name in {names}:
            os.environ.pop(name, None)
        os.environ |= theirs
        begin()
"""


def test_the_program_waits_briefly_before_pytorch_is_loaded() -> None:
    """Called as a function, as a module and as the console script."""
    script = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]["impasto"]
    said = python(ENTRIES.format(bounds=tuple(BOUNDS), names=NAMES, script=script))
    assert said == 3 * "1000 1 False\n" + 3 * "7 200 False\n"


USES = """
import os
before = dict(os.environ)
import impasto.cli.app
assert dict(os.environ) == before
import impasto; impasto.open_network
assert dict(os.environ) == before
try: impasto.cli.app.main(["networks"])
except SystemExit: pass
assert dict(os.environ) == before
"""


def test_a_host_is_left_alone() -> None:
    python(USES)


def test_workers_of_a_batch_wait_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is a process of its own also if a host starts it: as long as impasto says, or as the host does."""
    monkeypatch.setattr(processes, "serve", dying.waiting_briefly)
    for theirs, waits in (({}, ["1000", "1"]), ({"GOMP_SPINCOUNT": "7"}, ["7", "1"])):
        for name, value in theirs.items():
            monkeypatch.setenv(name, value)
        before = dict(os.environ)
        worker = processes._begin(None, 0)  # type: ignore[arg-type]
        assert worker.connection.recv() == waits
        worker.process.join()
        assert dict(os.environ) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU OpenMP is asked")
def test_openmp_hears_of_it_if_python_sets_it_before_pytorch_is_loaded() -> None:
    """OpenMP itself says which number of spins it has read."""
    code = (
        "import impasto.cli.app, impasto.cli.program\n"
        "impasto.cli.app.main = lambda: __import__('torch')\n"
        "impasto.cli.program.program()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OMP_DISPLAY_ENV": "VERBOSE"}, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    said = [line for line in ended.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    if not said:
        pytest.skip("this PyTorch is not built with GNU OpenMP")
    assert all("'1000'" in line for line in said)
