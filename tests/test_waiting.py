"""PyTorch's threads wait briefly in impasto's programs, and as the host chooses everywhere else."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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


def python(code: str, **environment: str) -> str:
    command = [sys.executable, "-c", code]
    ended = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )
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
ENTRY = """
import os, sys, impasto.cli.app, impasto.cli.program
impasto.cli.app.main = lambda: print(*(os.environ.get(name) for name in {names}), "torch" in sys.modules)
sys.argv = ["impasto"]
{begin}
"""


@pytest.mark.parametrize(
    "begin",
    [
        "impasto.cli.program.program()",
        "import runpy; runpy.run_module('impasto', run_name='__main__')",
        "from importlib.metadata import EntryPoint; EntryPoint('impasto', {script!r}, 'console_scripts').load()()",
    ],
    ids=["function", "module", "console script"],
)
def test_the_program_waits_briefly_before_pytorch_is_loaded(begin: str) -> None:
    script = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]["impasto"]
    code = ENTRY.format(names=tuple(BOUNDS), begin=begin.format(script=script))
    assert python(code) == "1000 1 False\n"
    assert python(code, GOMP_SPINCOUNT="7", KMP_BLOCKTIME="200") == "7 200 False\n"


@pytest.mark.parametrize(
    "use",
    [
        "import impasto; impasto.open_network",
        "import impasto.cli.app",
        "from impasto.cli.app import main\ntry: main(['networks'])\nexcept SystemExit: pass",
    ],
)
def test_a_host_is_left_alone(use: str) -> None:
    code = f"import os\nbefore = dict(os.environ)\n{use}\nassert dict(os.environ) == before"
    python(code)


# A batch's worker is a process of its own also if a host starts it: what it finds in its environment.
WORKER = """
import os

def say(connection, place, number):
    connection.send((os.environ.get("GOMP_SPINCOUNT"), os.environ.get("KMP_BLOCKTIME")))

if __name__ == "__main__":
    from impasto.batch import processes

    processes.serve = say
    for theirs in ({}, {"GOMP_SPINCOUNT": "7"}):
        os.environ |= theirs
        before = dict(os.environ)
        worker = processes._begin(None, 0)
        print(*worker.connection.recv())
        worker.process.join()
        assert dict(os.environ) == before
"""


def test_workers_of_a_batch_wait_briefly(tmp_path: Path) -> None:
    """As long as impasto says, or as their host does."""
    (tmp_path / "host.py").write_text(WORKER, "utf-8")
    ended = subprocess.run(
        [sys.executable, tmp_path / "host.py"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "1000 1\n7 1\n"), ended.stderr


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
