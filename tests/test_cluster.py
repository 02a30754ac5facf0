"""Batches on a Ray cluster of several nodes on this machine: a lost node loses no results."""

import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from command import call, pixels, read_json, read_lines, save_pictures
from conftest import CLASSIC_WORDS, example
from impasto.batch.processes import Ended, Job
from impasto.batch.ray import PATIENCE_SECONDS, _attempt_there, _Cancelling, _Tasks, _work
from impasto.batch.underway import runs_under_way
from impasto.batch.worker import Workplace
from impasto.cluster.connection import connected
from impasto.errors import InterruptedRunError
from impasto.folders.owners import OWNER
from impasto.images.files import save_image
from impasto.tasks.settings import TransferSettings
from impasto.tasks.spec import RunSpec

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
STEPS = 40  # a tenth of a second each: four seconds in which a process or a node can be killed
TINY = ("--size", "48", "--smallest", "48", "--frames", "2", "--precision", "float32", "--threads", "1", *CLASSIC_WORDS)
WORDS = (*TINY, "--steps", str(STEPS), "--checkpoint", "0.1")
NAMES = ("one--painting", "two--painting")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    save_pictures(folder)
    (folder / "photos").mkdir()
    (folder / "photo.png").rename(folder / "photos" / "one.png")
    save_image(example("red-panda", (48, 64)), folder / "photos" / "two.png")
    return folder


def start(desk: Path, cluster: Any, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "impasto", "batch", "photos", "--styles", "painting.png", *WORDS, *words]
    return subprocess.Popen(
        [*command, "--cluster", cluster.address], cwd=desk, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(found: Callable[[], object], process: subprocess.Popen[str], seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def begun(out: Path) -> list[Path]:
    """Runs that have a checkpoint and are not done."""
    return [path.parent.parent for path in out.glob("*/checkpoints/*.safetensors")]


def assert_right(out: Path, desk: Path) -> None:
    """As each run by itself: every step once, the same losses, the same picture, bit for bit."""
    for name in NAMES:
        alone = desk / "alone" / name
        if not alone.exists():
            pictures = (desk / "photos" / f"{name[:3]}.png", desk / "painting.png")
            assert call("transfer", *pictures, *TINY, "--steps", STEPS, "-o", alone, "-q").code == 0
        lines, others = (
            [(line["step"], line["losses"]) for line in read_lines(folder / "metrics.jsonl")]
            for folder in (out / name, alone)
        )
        assert [step for step, _ in lines] == list(range(1, STEPS + 1))
        assert lines == others
        assert (pixels(out / name / "result.png") == pixels(alone / "result.png")).all()


def test_a_stop_keeps_what_there_is(desk: Path, cluster: Any) -> None:
    out = desk / "stopped"
    process = start(desk, cluster, "-o", "stopped")
    wait_for(lambda: begun(out), process)
    process.terminate()
    _, err = process.communicate(timeout=900)
    assert process.returncode == 130, err
    assert f"the same command continues in {out}" in err
    assert "interrupted" in [read_json(path)["status"] for path in out.glob("*/summary.json")]
    assert begun(out)


def test_a_lost_node_costs_nothing(desk: Path, cluster: Any) -> None:
    """On with the batch that was stopped, and in its middle one of two nodes is killed."""
    out = desk / "stopped"
    killed = next(iter(cluster.worker_nodes))
    process = start(desk, cluster, "-o", "stopped")
    wait_for(lambda: len(runs_under_way(out)) == 2, process)
    cluster.remove_node(killed, allow_graceful=False)
    said, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert said == f"{out / 'index.html'}\n"
    assert "raylet" not in err
    assert "memory" not in err  # a node that is lost says nothing about that
    assert_right(out, desk)


def test_a_killed_process_goes_on_with_less_memory(desk: Path, cluster: Any) -> None:
    out = desk / "killed"
    process = start(desk, cluster, "-o", "killed")
    wait_for(lambda: begun(out), process)
    killed = begun(out)[0]
    os.kill(read_json(killed / OWNER)["process"], signal.SIGKILL)
    _, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    why = "its process was ended, perhaps because memory was short"
    assert f"{killed.name}: {why}; the run is tried again with half of the memory\n" in err
    known = {name: tomllib.loads((out / name / "run.toml").read_text("utf-8"))["provenance"] for name in NAMES}
    assert {name: values.get("memory_share", 1.0) for name, values in known.items()} == {
        name: 0.5 if name == killed.name else 1.0 for name in NAMES
    }
    assert_right(out, desk)


def test_a_folder_that_a_node_does_not_see(tmp_path: Path) -> None:
    spec = RunSpec(task="transfer", pictures=(Path("a.png"), Path("b.png")), settings=TransferSettings())
    (tmp_path / "batch.toml").write_bytes(b"another")
    for out in (tmp_path, tmp_path / "nowhere"):
        failure = _attempt_there(spec, "a", Workplace(out, 1), b"this", "batch.toml")
        assert failure is not None
        assert failure.kind == "OutputError"
        assert f"does not see {out}; a batch on a cluster needs a folder that all nodes share" in failure.sentence


def test_no_cluster_answers(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    words = (tmp_path / "photo.png", "--styles", tmp_path / "painting.png", "-o", tmp_path / "out")
    ended = call("batch", *words, "--cluster", "127.0.0.1:1")
    assert ended.code == 1
    assert ended.err.startswith("impasto: no Ray cluster answers at 127.0.0.1:1")
    assert ended.err.endswith("start one with: ray start --head\n")


@pytest.mark.slow
def test_ray_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pictures(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    words = (tmp_path / "photo.png", "--styles", tmp_path / "painting.png", "-o", tmp_path / "out")
    ended = call("batch", *words, "--cluster", "auto")
    assert ended.code == 2
    assert "pip install 'impasto-torch[ray]'" in ended.err


def test_workers_wait_briefly(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their environment bounds how long threads spin before PyTorch is loaded, as the leading machine's does."""
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    for name in ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "KMP_LIBRARY"):
        monkeypatch.delenv(name, raising=False)

    def look() -> tuple[object, ...]:
        import os
        import sys

        return os.environ.get("GOMP_SPINCOUNT"), os.environ.get("KMP_BLOCKTIME"), "torch" in sys.modules

    with connected(cluster.address) as ray:
        assert ray.get(ray.remote(look).remote()) == ("7", "1", False)


def test_a_stop_before_a_task_begins_is_no_fault_of_its_node(tmp_path: Path) -> None:
    """Ray calls the handler that a node has for SIGINT, if a stop comes while it reads a task's arguments."""
    stop = threading.Event()

    class TaskError(Exception):
        cause = TypeError("'Handlers' object is not callable")

    def wait(handed: list[object], **_: object) -> tuple[list[object], list[object]]:
        return (handed, []) if stop.is_set() else ([], handed)

    def get(_: object) -> None:
        raise TaskError

    task = SimpleNamespace(options=lambda **_: task, remote=lambda *_: object())
    kinds = dict.fromkeys(("TaskCancelledError", "WorkerCrashedError", "OutOfMemoryError", "RayError"), KeyError)
    ray = ModuleType("ray")
    vars(ray).update(
        remote=lambda _: task,
        cluster_resources=lambda: {"CPU": 1},
        wait=wait,
        get=get,
        cancel=lambda *_, **__: None,
        exceptions=SimpleNamespace(RayTaskError=TaskError, **kinds),
    )
    marker = tmp_path / "batch.toml"
    marker.touch()
    spec = RunSpec(task="transfer", pictures=(Path("a.png"), Path("b.png")), settings=TransferSettings(device="cpu"))
    ended = _work(_Tasks(ray, [Job("a--b", spec)], Workplace(tmp_path, 1), marker, 1), stop)
    assert next(ended) is None
    stop.set()
    (last,) = [each for each in ended if each is not None]
    assert isinstance(last, Ended)
    assert isinstance(last.error, InterruptedRunError)


def test_tasks_that_do_not_stop_in_time_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []
    now = [0.0]
    monkeypatch.setattr("impasto.batch.ray.time.monotonic", lambda: now[0])
    ray = ModuleType("ray")
    vars(ray).update(cancel=lambda reference, *, force: asked.append((reference, force)))
    cancel = _Cancelling(ray)
    for now[0] in (0.0, 1.0, PATIENCE_SECONDS, PATIENCE_SECONDS + 1):
        cancel(["a", "b"])
    assert asked == [("a", False), ("b", False), ("a", True), ("b", True)]
