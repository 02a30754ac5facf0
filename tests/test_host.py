"""A host (a notebook, a studio, a server) that calls `run` gets all events, can stop the run, and stays unchanged."""

import ast
import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from PIL import ImageFile

import impasto
from command import StopAfter, call, pixels, read_json, read_lines, save_pictures
from conftest import READ
from impasto.errors import InterruptedRunError
from impasto.events import (
    Event,
    MemoryPlanned,
    Notice,
    PageFailed,
    PartBegun,
    PartEnded,
    RunDone,
    Step,
    StopAsked,
    TilesHalved,
    TrackerDropped,
)
from impasto.images.files import load_image
from impasto.images.image import Image
from impasto.machine import isolated
from impasto.networks.catalogue import Choice, open_network
from impasto.runs.recorders import Recorder, Watched
from impasto.runs.start import resume, run
from impasto.runs.stopping import question
from impasto.synthesis.loop import Iterate, synthesise
from impasto.tasks.recipes import invert
from impasto.tasks.settings import InvertSettings
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import make_settings

pytestmark = pytest.mark.slow

SOURCE = Path(impasto.__file__).parent
SMALL: dict[str, Any] = {"device": "cpu", "size": 48, "steps": 3, "frames": 2, "threads": 1, "precision": "float32"}


@pytest.fixture(autouse=True, scope="module")
def each_host_reads_the_weights() -> Iterator[None]:
    """In its own modes; elsewhere they are read once in each process, see conftest.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Choice, "_trained", READ)
        yield


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spec(task: str = "invert", **settings: object) -> RunSpec:
    if task == "invert":
        settings = {"layer": "relu2_1", **settings}
    pictures = (Path("photo.png"), Path("painting.png")) if task == "transfer" else (Path("photo.png"),)
    return RunSpec(task=task, pictures=pictures, settings=make_settings(task, **{**SMALL, **settings}))


def found(folder: Path) -> tuple[list[dict[str, float]], bytes]:
    """All that a run computes: its losses and its picture."""
    return [line["losses"] for line in read_lines(folder / "metrics.jsonl")], pixels(folder / "result.png").tobytes()


# The host is left as it is -------------------------------------------------------------------------------------------


def umask() -> str:
    """Without setting it, which would touch the process; "" on systems that do not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((line for line in lines if line.startswith("Umask")), "")


def of_the_process() -> dict[str, object]:
    with ThreadPoolExecutor(1) as pool:  # a thread that the host begins just now
        threads = pool.submit(torch.get_num_threads).result()
    return {
        "threads of new threads": threads,
        "default dtype": torch.get_default_dtype(),
        "random state of PyTorch": torch.get_rng_state().numpy().tobytes(),
        "random state of NumPy": str(np.random.get_state()),  # noqa: NPY002
        "Pillow's limit": PillowImage.MAX_IMAGE_PIXELS,
        "Pillow's truncated files": ImageFile.LOAD_TRUNCATED_IMAGES,
        "umask": umask(),
        "handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "matplotlib": (mpl.rcParams["backend"], {key: str(value) for key, value in mpl.rcParams.items()}),
        "warnings": list(warnings.filters),
        "folder": Path.cwd(),
        "environment": dict(os.environ),
    }


def of_this_thread() -> dict[str, object]:
    return {
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "device": torch.get_default_device(),
    }


class Onlooker(Recorder):
    """Looks at the process, and at another thread of the host's, after each step."""

    def __init__(self, look: Callable[[], dict[str, object]]) -> None:
        self.seen: list[dict[str, object]] = []
        self._look = look

    def record(self, iterate: Iterate) -> None:
        self.seen.append(self._look())


def test_before_during_and_after(desk: Path) -> None:
    """In a program of its own: nothing has been imported before, and no types are checked, which takes chances."""
    code = "import test_host; test_host.look_at_a_run(grad=False); test_host.look_at_a_run(grad=True)"
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert (ended.stdout, ended.stderr) == ("", "")


def look_at_a_run(*, grad: bool) -> None:
    threads = torch.get_num_threads() + 1
    with ThreadPoolExecutor(1) as pool, torch.set_grad_enabled(grad):

        def all_around() -> dict[str, object]:
            there = pool.submit(of_this_thread).result()
            return of_the_process() | there | {"chance": random.getstate(), "gradients here": torch.is_grad_enabled()}

        here, before, onlooker = of_this_thread(), all_around(), Onlooker(all_around)
        run(spec("transfer", threads=threads), Path(f"run-{grad}"), recorders=[onlooker])
        assert len(onlooker.seen) == 3
        for seen in [*onlooker.seen, all_around()]:
            changed = {key: (seen[key], before[key]) for key in before if seen[key] != before[key]}
            assert not changed, changed
        assert of_this_thread() == here


def test_a_failure_leaves_the_host_alone_too(desk: Path) -> None:
    before = of_the_process() | of_this_thread()
    stop = StopAfter(2)
    with pytest.raises(InterruptedRunError):
        run(spec(threads=torch.get_num_threads() + 1), recorders=[stop], stop=stop)
    assert of_the_process() | of_this_thread() == before


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def small_limit() -> Iterator[None]:
    before, PillowImage.MAX_IMAGE_PIXELS = PillowImage.MAX_IMAGE_PIXELS, 500
    try:
        yield
    finally:
        PillowImage.MAX_IMAGE_PIXELS = before


HOSTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no gradients": lambda: torch.set_grad_enabled(mode=False),
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "another device": lambda: torch.device("meta"),
    "Pillow's limit": small_limit,
}
SPECS = {
    "invert": lambda: spec(layer="conv3_1", leap=2, steps=1, frames=0, size=32),
    "dithered": lambda: spec(layer="conv1_1", dither=2, steps=2, frames=0),
    "fourier": lambda: spec(layer="relu2_1", parameterisation="fourier", optimiser="adam", frames=0),
    "transfer": lambda: spec("transfer", init="noise", tile=32, style_layers="relu1_1,relu2_1", steps=1, frames=0),
}


TOGETHER = (
    ("no gradients", "float64", "Pillow's limit"),
    ("inference mode", "bfloat16"),
    ("autocast", "another device"),
)


@pytest.mark.parametrize("name", SPECS)
def test_a_run_is_the_same_in_any_host(desk: Path, name: str) -> None:
    """In several modes at once; a loop of one's own, below, has each alone."""
    plain = found(run(SPECS[name](), Path("plain")))
    for number, kinds in enumerate(TOGETHER if name != "invert" else [("float64", "autocast")]):  # seconds to begin
        with ExitStack() as hosts:
            for kind in kinds:
                hosts.enter_context(HOSTS[kind]())
            before = of_the_process() | of_this_thread()
            folder = run(SPECS[name](), Path(f"run-{number}"))
            assert of_the_process() | of_this_thread() == before, kinds
        assert found(folder) == plain, kinds


@pytest.mark.parametrize("kind", HOSTS)
def test_a_loop_of_one_s_own_is_the_same_in_any_host(desk: Path, kind: str) -> None:
    """Picture, network and loop of a program that calls them itself; its modes are its own between two steps."""

    def made() -> torch.Tensor:
        network = open_network("vgg16", precision="float32", device="cpu")
        settings = InvertSettings(layer="relu2_1", size=48, steps=2)
        before = of_this_thread()
        iterates = synthesise(invert(load_image(desk / "photo.png"), settings), network)
        image = torch.empty(0)
        for iterate in iterates:
            assert of_this_thread() == before
            image = iterate.image
        return image

    plain = made()
    with HOSTS[kind]():
        theirs = made()
    assert torch.equal(theirs, plain)


def test_files_have_the_permissions_of_the_umask(desk: Path) -> None:
    before = os.umask(0o027)
    try:
        folder = run(spec())
    finally:
        assert os.umask(before) == 0o027
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o640}


def test_threads_are_the_run_s_own() -> None:
    """Nested and side by side, to the end in any order."""
    count = torch.get_num_threads()
    with ThreadPoolExecutor(2) as pool, isolated(count + 1):
        assert torch.get_num_threads() == count + 1
        assert pool.submit(torch.get_num_threads).result() == count
        with isolated(count + 2):
            assert torch.get_num_threads() == count + 2
            with isolated(None):
                assert torch.get_num_threads() == count + 2
        assert torch.get_num_threads() == count + 1
    assert torch.get_num_threads() == count


# In any thread, and several at once ----------------------------------------------------------------------------------


def test_two_at_once_are_as_one_after_the_other(desk: Path) -> None:
    specs = [
        spec(layer="relu3_1", steps=8, threads=1),
        spec(layer="relu2_1", size=64, steps=8, threads=2, tile=32),
    ]
    alone = [found(run(each, Path(f"alone-{number}"))) for number, each in enumerate(specs)]
    both, seen = threading.Barrier(2), dict[int, set[int]]()

    class Together(Recorder):
        """Both begin at the same time, and note how many threads each has."""

        def begin(self, part: Watched, first: Image) -> None:
            both.wait(60)

        def record(self, iterate: Iterate) -> None:
            seen.setdefault(threading.get_ident(), set()).add(torch.get_num_threads())

    with ThreadPoolExecutor(2) as pool:
        running = [
            pool.submit(run, each, Path(f"both-{number}"), recorders=[Together()]) for number, each in enumerate(specs)
        ]
        assert [found(each.result()) for each in running] == alone
    assert sorted(map(sorted, seen.values())) == [[1], [2]]


def test_inside_asyncio(desk: Path) -> None:
    async def both() -> list[Path]:
        tasks = [asyncio.to_thread(run, spec(seed=seed), Path(f"seed-{seed}")) for seed in (1, 2)]
        return list(await asyncio.gather(*tasks))

    before = of_the_process() | of_this_thread()
    assert [read_json(folder / "summary.json")["status"] for folder in asyncio.run(both())] == ["done"] * 2
    assert of_the_process() | of_this_thread() == before


# Watched -------------------------------------------------------------------------------------------------------------


class Note(Recorder):
    def __init__(self) -> None:
        self.told: list[object] = []

    def begin(self, part: Watched, first: Image) -> None:
        self.told.append(("begin", part.part, part.step, part.steps, tuple(first.shape)))

    def record(self, iterate: Iterate) -> None:
        self.told.append(iterate.step)

    def close(self) -> None:
        self.told.append("close")

    def results(self, place: Path, summary: dict[str, Any] | None) -> None:
        self.told.append((str(place), summary and summary["status"]))


def test_recorders_are_told_of_each_part(desk: Path) -> None:
    note, events = Note(), list[Event]()
    reconstruct = spec("reconstruct", layers="conv1_1,conv2_1", steps=2)
    folder = run(reconstruct, Path("run"), recorders=[note], listener=events.append)
    assert note.told == [
        *(("begin", "conv1_1", 0, 2, (1, 3, 36, 48)), 1, 2, "close", ("run/conv1_1", "done")),
        *(("begin", "conv2_1", 0, 2, (1, 3, 36, 48)), 1, 2, "close", ("run/conv2_1", "done")),
    ]
    kinds = [PartBegun, Step, Step, PartEnded]
    assert [type(event) for event in events] == [*kinds, *kinds, RunDone]
    steps = [event.line() for event in events if isinstance(event, Step)]
    lines = read_lines(folder / "metrics.jsonl")
    assert [{**line, "seconds": 0} for line in steps] == [{**line, "seconds": 0} for line in lines]
    last = events[-1]
    assert isinstance(last, RunDone)
    assert (last.folder, last.result, list(last.parts)) == (folder, folder / "result.png", ["conv1_1", "conv2_1"])


def test_a_recorder_that_fails_ends_the_run_and_all_are_told(desk: Path) -> None:
    class Fails(Recorder):
        def record(self, iterate: Iterate) -> None:
            raise ValueError("no room on the canvas")

    note = Note()
    with pytest.raises(ValueError, match="no room on the canvas"):
        run(spec(), Path("run"), recorders=[note, Fails()])
    assert note.told[1:] == [1, "close", ("run", None)]


def test_a_resumed_run_says_where_it_goes_on(desk: Path) -> None:
    stop, note, events = StopAfter(2), Note(), list[Event]()
    with pytest.raises(InterruptedRunError):
        run(spec(), Path("run"), recorders=[stop], stop=stop)
    resume(Path("run"), recorders=[note], listener=events.append)
    assert note.told == [("begin", "", 2, 3, (1, 3, 36, 48)), 3, "close", ("run", "done")]
    begun, step, *_ = events
    assert begun == PartBegun("invert", "", 3, 2)
    assert isinstance(step, Step)
    assert step.step == 3
    resume(Path("run"), listener=events.append)
    assert events[-1] == Notice("run is done; nothing is left to do")


def test_the_library_is_silent(desk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    resume(run(spec("reconstruct", layers="conv1_1,conv2_1", tile=16), Path("run")))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (TilesHalved((64, 96)), "memory is short; tiles are halved to 96 × 64 px"),
        (TrackerDropped("mlflow", "gone"), "tracking with mlflow ends here, the run goes on: gone"),
        (PageFailed(Path("report.html"), "no room"), "report.html is not written: no room"),
        (MemoryPlanned("48 × 48 px in 9 tiles"), "48 × 48 px in 9 tiles"),
        (StopAsked(), "stopping after this step at the latest; interrupt again to stop at once"),
        (PartEnded(""), ""),
    ],
)
def test_events_have_words_for_people(event: Event, words: str) -> None:
    assert event.words == words


def test_quiet_is_silent(desk: Path) -> None:
    words = ("invert", "photo.png", "--size", 48, "--steps", 2, "--tile", 16, "--frames", 0, "--out", "run")
    loud, quiet = call(*words), call(*words, "--force", "--quiet")
    assert "impasto: 48 × 36 px in " in loud.err
    assert (quiet.code, quiet.out, quiet.err) == (0, "run\n", "")
    assert call("resume", "run", "--quiet").err == ""


def test_only_the_command_line_prints() -> None:
    """Read from the sources: nothing else writes to a terminal, or asks for one."""
    found = []
    for path in SOURCE.rglob("*.py"):
        inside = path.relative_to(SOURCE)
        if inside.parts[0] == "cli" or inside == Path("batch/worker.py"):  # which writes its process's log
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            prints = isinstance(node, ast.Name) and node.id in ("print", "input") and isinstance(node.ctx, ast.Load)
            streams = isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr", "stdin")
            rich = isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rich"
            if prints or streams or rich:
                found.append(f"{inside}:{getattr(node, 'lineno', 0)}")
    assert not found


def test_only_programs_set_handlers() -> None:
    users = {
        str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if "stop_signal(" in path.read_text("utf-8")
    }
    assert users == {"runs/stopping.py", "cli/options.py", "batch/worker.py"}


# Stopped -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["event", "function"])
def test_anything_can_stop_a_run(desk: Path, kind: str) -> None:
    event, steps = threading.Event(), list[int]()

    def listen(said: Event) -> None:
        if isinstance(said, Step):
            steps.append(said.step)
            if said.step == 2:
                event.set()

    whole = run(spec(steps=4), Path("whole"))
    with pytest.raises(
        InterruptedRunError, match=r"^stopped at step 2 of 4; the picture so far is in run; continue with"
    ):
        run(spec(steps=4), Path("run"), stop=event if kind == "event" else event.is_set, listener=listen)
    assert steps == [1, 2]
    assert read_json(Path("run/summary.json"))["status"] == "interrupted"
    assert found(resume(Path("run"))) == found(whole)


def test_a_stop_comes_from_another_thread(desk: Path) -> None:
    event = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        begun = threading.Event()
        running = pool.submit(
            run, spec(steps=100_000, frames=0), Path("run"), stop=event, listener=lambda _: begun.set()
        )
        assert begun.wait(60)
        event.set()
        with pytest.raises(InterruptedRunError):
            running.result(60)


def test_a_stop_between_tiles(desk: Path) -> None:
    asked = chain([False] * 20, repeat(True))
    with pytest.raises(InterruptedRunError, match=r"^stopped during step 1 of 3; resuming repeats that step"):
        run(spec(layer="conv2_1", tile=8), Path("run"), stop=lambda: next(asked, None) is not False)
    assert read_json(Path("run/summary.json"))["steps"] == 0


def test_a_stop_before_the_beginning_leaves_nothing(desk: Path) -> None:
    with pytest.raises(InterruptedRunError, match=r"^stopped before the first step$"):
        run(spec(), Path("run"), stop=lambda: True)
    assert not Path("run").exists()


def test_what_cannot_say_whether_to_stop() -> None:
    assert not question(None)()
    with pytest.raises(TypeError, match="stop"):
        question(3)  # type: ignore[arg-type]


def test_a_handler_in_c_is_left_alone() -> None:
    """Python says None of a handler that was there before it, as with an interpreter inside another program."""
    program = """
import ctypes, os, signal
from impasto.runs.stopping import stop_signal
C = ctypes.CDLL(None)
C.signal.restype, C.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
mine = ctypes.cast(C.abs, ctypes.c_void_p)  # harmless, whatever number it is called with
C.signal(signal.SIGTERM, mine)
known, signal.getsignal = signal.getsignal, lambda number: None if number == signal.SIGTERM else known(number)
for _ in range(2):
    with stop_signal(print) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(60)
    assert C.signal(signal.SIGTERM, mine) == mine.value
assert known(signal.SIGINT) is signal.default_int_handler
"""
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + program
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
