"""Runs that are interrupted and resumed: in this process at any step, and as a program that is killed."""

import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

import impasto.runs.paint
from command import Ended, StopAfter, call, pixels, read_json, read_lines, save_pictures
from conftest import CLASSIC, make_tiny, random_image
from impasto.errors import DivergedError, InterruptedRunError, RunFolderError
from impasto.events import Listener
from impasto.folders.checkpoints import (
    KEPT,
    Checkpoint,
    Checkpoints,
    checkpoint_files,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from impasto.folders.records import read_run
from impasto.images.files import embedded_settings
from impasto.networks.network import Network
from impasto.objectives.objective import content, prior, style
from impasto.objectives.priors import out_of_range, total_variation
from impasto.runs.recorders import Frames
from impasto.runs.start import resume, run
from impasto.synthesis.composition import Composition
from impasto.synthesis.descent import Descent
from impasto.synthesis.dither import Dither
from impasto.synthesis.inits import noise
from impasto.synthesis.lbfgs import lbfgs
from impasto.synthesis.loop import Iterate, State, synthesise
from impasto.synthesis.optimisers import MakeOptimiser, adam
from impasto.synthesis.parameterisations import Fourier, Parameterisation, Pixels
from impasto.synthesis.schedules import Stage
from impasto.tasks.settings import InvertSettings, ReconstructSettings, TransferSettings
from impasto.tasks.spec import RunSpec

PHOTO, PAINTING = random_image(24, 32, 1, torch.float32), random_image(20, 30, 2, torch.float32)
OBJECTIVE = (
    content(PHOTO, {"conv2_1": 0.1}) + style(PAINTING, ["relu1_1", "conv2_1"]) + prior("range", 1.0, out_of_range)
)
SCHEDULE = (Stage((12, 16), 4), Stage((18, 24), 2), Stage((24, 32), 4))
OPTIMISERS = {"adam": adam(final=0.1), "lbfgs": lbfgs(history=3), "plain": lbfgs(line_search=False)}
CPU = torch.device("cpu")


def composition(**changes: object) -> Composition:
    composed = Composition(noise(3, 0.1), OBJECTIVE + prior("smoothness", 0.01, total_variation), SCHEDULE)
    return replace(composed, **changes)


def same(one: Iterate, other: Iterate) -> bool:
    numbers = ("stage", "stages", "step", "steps", "evaluations", "losses")
    return torch.equal(one.image, other.image) and all(getattr(one, key) == getattr(other, key) for key in numbers)


def through_a_file(state: State, folder: Path) -> State:
    write_checkpoint(Checkpoint("abc", 2, 1.5, state), folder / "state.safetensors")
    read = read_checkpoint(folder / "state.safetensors", CPU)
    assert (read.fingerprint, read.part, read.seconds) == ("abc", 2, 1.5)
    return read.state


# The loop ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimiser", "parameterisation", "evaluations"),
    [  # each pair of values once
        pytest.param(OPTIMISERS["adam"], Pixels(), None, id="adam-pixels"),
        pytest.param(OPTIMISERS["adam"], Fourier(), 16, id="adam-fourier-bound"),
        pytest.param(OPTIMISERS["lbfgs"], Pixels(), 16, id="lbfgs-pixels-bound"),
        pytest.param(OPTIMISERS["lbfgs"], Fourier(), None, id="lbfgs-fourier"),
        pytest.param(OPTIMISERS["plain"], Pixels(), None, id="plain-pixels"),
        pytest.param(OPTIMISERS["plain"], Fourier(), 16, id="plain-fourier-bound"),
    ],
)
def test_the_loop_goes_on_after_any_step(
    tiny32: Network,
    tmp_path: Path,
    optimiser: MakeOptimiser,
    parameterisation: Parameterisation,
    evaluations: int | None,
) -> None:
    """Over changes of size, and before the picture is dithered, which is done again if that was the last step.

    Every other state goes through a file; with and without a bound of evaluations, these are not the same ones.
    """
    composed = composition(
        optimiser=optimiser,
        parameterisation=parameterisation,
        evaluations=evaluations,
        closing=Dither("conv1_1", probes=2),
    )
    whole, states = [], []
    for iterate in synthesise(composed, tiny32):
        whole.append(iterate)
        states.append(iterate.state())  # taken on the way: later steps must not change it
    assert [same(whole[-1], each) for each in synthesise(composed, tiny32, states[-1])] == [True]
    for done, state in enumerate(states[:-1], start=1):
        assert torch.equal(state.image(composed), whole[done - 1].image)
        filed = (done % 2 == 0) == (evaluations is None)
        rest = list(synthesise(composed, tiny32, through_a_file(state, tmp_path) if filed else state))
        assert len(rest) == len(whole) - done
        assert all(same(one, other) for one, other in zip(rest, whole[done:], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS)
@pytest.mark.parametrize("most", [1, 4, 9])
def test_the_bound_of_evaluations_holds_over_an_interruption(
    tiny32: Network, optimiser: MakeOptimiser, most: int
) -> None:
    composed = composition(optimiser=optimiser, evaluations=most)
    whole = list(synthesise(composed, tiny32))
    for done, iterate in enumerate(synthesise(composed, tiny32), start=1):
        rest = list(synthesise(composed, tiny32, iterate.state()))
        assert [each.evaluations for each in rest] == [each.evaluations for each in whole[done:]]
        assert all(same(one, other) for one, other in zip(rest, whole[done:], strict=True))
    assert all(each.evaluations <= most for each in whole)


def test_what_has_converged_stays_so(tiny: Network) -> None:
    """At its own target nothing is left to do: the stage ends early, also after an interruption."""
    photo = random_image(12, 16, 4)
    composed = Composition(
        lambda size: photo, content(photo, ["conv1_1"]), (Stage((12, 16), 9), Stage((24, 32), 2)), optimiser=lbfgs()
    )
    whole = list(synthesise(composed, tiny))
    assert whole[1].stage == 2
    assert all(
        same(one, other)
        for one, other in zip(synthesise(composed, tiny, whole_state(composed, tiny, 1)), whole[1:], strict=True)
    )


def whole_state(composed: Composition, network: Network, step: int) -> State:
    *_, last = islice(synthesise(composed, network), step)
    return last.state()


def test_divergence_after_going_on_has_the_same_good_picture(tiny32: Network) -> None:
    composed = composition(optimiser=adam(1e30), parameterisation=Fourier())
    good = []
    for after in (None, whole_state(composed, tiny32, 1)):
        with pytest.raises(DivergedError) as caught:
            list(synthesise(composed, tiny32, after))
        good.append(caught.value.image)
    assert torch.equal(*good)


def test_an_iterate_of_no_loop_has_no_state() -> None:
    with pytest.raises(ValueError, match="this iterate has no state"):
        Iterate(1, 1, 1, 1, 1, PHOTO, {}).state()


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state() -> State:
    return whole_state(composition(optimiser=lbfgs(history=3)), make_tiny("float32"), 6)


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path, "", 1, 0.0, before=5.0)
    for iterate in synthesise(composition(), make_tiny("float32")):
        keeper.record(iterate)  # 0 seconds: never of itself
        keeper.save(iterate)
        assert len(list((tmp_path / "checkpoints").iterdir())) == min(KEPT, iterate.step)
    found, damaged = newest_checkpoint(tmp_path, 1, CPU)
    assert found is not None
    assert (found.part, found.step, damaged) == (1, 10, [])
    assert 5 <= found.seconds < 1000
    assert newest_checkpoint(tmp_path, 0, CPU) == (None, [])


def test_one_every_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("impasto.folders.checkpoints.time.monotonic", lambda: now)
    keeper, saved = Checkpoints(tmp_path, "", 0, 10.0), []
    for iterate in synthesise(composition(), make_tiny("float32")):
        now += 4
        keeper.record(iterate)
        saved.append([path.stem for path in checkpoint_files(tmp_path / "checkpoints")][:1])
    assert saved == [[]] * 2 + [["000-0000003"]] * 3 + [["000-0000006"]] * 3 + [["000-0000009"]] * 2


def test_the_same_tensor_is_written_once(tmp_path: Path, state: State) -> None:
    write_checkpoint(Checkpoint("", 0, 0.0, state), tmp_path / "one")
    vectors = (tmp_path / "one").stat().st_size / (4 * state.descent.parameters.numel())
    assert vectors < 2 * 3 + 5  # pairs; parameters, the good ones, and three gradients at most


DAMAGES = {
    "empty": lambda whole: b"",
    "truncated": lambda whole: whole[: len(whole) // 2],
    "one byte short": lambda whole: whole[:-1],
    "flipped in the tensors": lambda whole: flipped(whole, len(whole) - 100),
    "flipped in the numbers": lambda whole: whole.replace(b'\\"stage\\": 2', b'\\"stage\\": 3'),
    "flipped in the length": lambda whole: flipped(whole, 2),
    "no safetensors": lambda whole: b"a text\n" * 100,
    "another format": lambda whole: whole.replace(b"impasto checkpoint 1", b"impasto checkpoint 9"),
}


def flipped(whole: bytes, index: int) -> bytes:
    return whole[:index] + bytes([whole[index] ^ 16]) + whole[index + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed(tmp_path: Path, state: State, damage: str) -> None:
    path = tmp_path / "000-0000006.safetensors"
    write_checkpoint(Checkpoint("", 0, 0.0, state), path)
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    assert path.read_bytes() != whole
    with pytest.raises(RunFolderError, match="damaged"):
        read_checkpoint(path)


def test_any_flipped_byte_is_noticed(tmp_path: Path, state: State) -> None:
    path = tmp_path / "checkpoint"
    write_checkpoint(Checkpoint("", 0, 0.0, state), path)
    whole, chosen = path.read_bytes(), random.Random(0)
    for _ in range(40):
        path.write_bytes(flipped(whole, chosen.randrange(len(whole))))
        with pytest.raises(RunFolderError, match="damaged"):
            read_checkpoint(path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_keeps_one_copy(tmp_path: Path) -> None:
    """Twelve vectors of 8 MB: the process' peak grows by them and little more."""
    vectors = [torch.rand(2**21) for _ in range(12)]
    descent = Descent(1, 1, vectors[0], vectors[1], False, {"pairs": vectors[2:]})
    write_checkpoint(Checkpoint("", 0, 0.0, State(1, 0, 0, descent)), tmp_path / "checkpoint")
    program = """
import re, sys
from pathlib import Path
from impasto.folders.checkpoints import read_checkpoint
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
before = peak()
read = read_checkpoint(Path(sys.argv[1]))
print(peak() - before)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "checkpoint")]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert 12 * 2**23 <= grown < 14 * 2**23


# Whole runs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with two pictures."""
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


FRAMES = {"size": 48, "steps": 5, "frames": 4, "precision": "float32"}
SPECS = {
    "transfer": RunSpec(
        task="transfer",
        pictures=(Path("photo.png"), Path("painting.png")),
        settings=TransferSettings(
            **{**FRAMES, "size": 96}, smallest=48, content_layers="relu2_1", style_layers="relu1_1", **CLASSIC
        ),
    ),
    "fourier": RunSpec(
        task="invert",
        pictures=(Path("photo.png"),),
        settings=InvertSettings(**FRAMES, layer="conv2_1", optimiser="adam", parameterisation="fourier", dither=2),
    ),
    "parts": RunSpec(
        task="reconstruct",
        pictures=(Path("photo.png"),),
        settings=ReconstructSettings(**FRAMES, layers="conv1_1,conv1_2,conv2_1", evaluations=6),
    ),
}


Wholes = dict[str, Path]


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> Wholes:
    """Each of the specs run in one go."""
    desk = tmp_path_factory.mktemp("wholes")
    save_pictures(desk)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk)
        return {name: desk / run(spec, Path(name)) for name, spec in SPECS.items()}


def lines_without_times(folder: Path) -> list[dict[str, object]]:
    return [{**line, "seconds": 0} for line in read_lines(folder / "metrics.jsonl")]


def assert_the_same(folder: Path, whole: Path) -> None:
    """Everything but times, memory and what is embedded of the hour."""
    files = {path.relative_to(whole) for path in whole.rglob("*")}
    assert {path.relative_to(folder) for path in folder.rglob("*")} == files
    assert lines_without_times(folder) == lines_without_times(whole)
    for file in files:
        if file.name == "result.png":
            if (whole / "frames").exists() or file.parent != Path():  # the figure of several parts has seconds in it
                assert np.array_equal(pixels(folder / file), pixels(whole / file))
        elif file.suffix in (".jpg", ".gif", ".webp") or file.name == "losses.png":
            assert (folder / file).read_bytes() == (whole / file).read_bytes(), file
        elif file.name == "summary.json":
            one, other = (without_costs(read_json(place / file)) for place in (folder, whole))
            assert one == other


def without_costs(summary: dict[str, object]) -> dict[str, object]:
    """All but times and memory, and the hash of a picture's file, in which the hour is embedded."""
    others = ("seconds", "peak_memory_mb", "result_sha256")
    kept = {key: value for key, value in summary.items() if key not in others}
    if isinstance(parts := kept.get("parts"), dict):
        kept["parts"] = {name: without_costs(part) for name, part in parts.items()}
    return kept


@pytest.mark.slow
def test_seconds_never_go_back(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a busy machine lets time pass while a run's recorders are made."""
    begin = Frames.__init__

    def slowly(frames: Frames, *given: Any, **named: Any) -> None:
        begin(frames, *given, **named)
        time.sleep(0.5)

    with monkeypatch.context() as patch:
        patch.setattr(Frames, "__init__", slowly)
        stop = StopAfter(2)
        with pytest.raises(InterruptedRunError):
            run(SPECS["fourier"], desk / "broken", recorders=[stop], stop=stop)
    resume(desk / "broken")
    times = [line["seconds"] for line in read_lines(desk / "broken" / "metrics.jsonl")]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("name", "step", "part"),
    [
        ("transfer", 1, 1),
        ("transfer", 10, 1),  # the last step of the first stage
        ("transfer", 12, 1),
        ("fourier", 3, 1),
        ("fourier", 5, 1),  # before the picture is dithered
        ("parts", 2, 1),
        ("parts", 4, 3),
    ],
)
def test_a_run_goes_on(
    desk: Path, wholes: Wholes, monkeypatch: pytest.MonkeyPatch, name: str, step: int, part: int
) -> None:
    spec, whole = SPECS[name], wholes[name]
    stop = StopAfter(step, part)
    with pytest.raises(InterruptedRunError, match=r"continue with: impasto resume .*broken$"):
        run(spec, desk / "broken", recorders=[stop], stop=stop)
    assert read_run(desk / "broken").status == "interrupted"
    before = read_lines(desk / "broken" / "metrics.jsonl")
    toml = (desk / "broken" / "run.toml").read_text("utf-8")
    assert resume(desk / "broken") == desk / "broken"
    assert_the_same(desk / "broken", whole)
    after = read_lines(desk / "broken" / "metrics.jsonl")
    assert after[: len(before)] == before
    times = [line["seconds"] for line in after if line.get("part") == after[len(before) - 1].get("part")]
    assert times == sorted(times)
    assert read_run(desk / "broken").status == "done"
    assert embedded_settings(desk / "broken" / "result.png") == toml


@pytest.mark.slow
def test_seconds_are_summed(desk: Path) -> None:
    stop = StopAfter(2)
    with pytest.raises(InterruptedRunError):
        run(SPECS["fourier"], desk / "run", recorders=[stop], stop=stop)
    path = checkpoint_files(desk / "run" / "checkpoints")[0]
    write_checkpoint(replace(read_checkpoint(path), seconds=1000.0), path)
    resume(desk / "run")
    assert 1000 < read_json(desk / "run" / "summary.json")["seconds"] < 1900  # not summed twice
    assert [line["seconds"] > 1000 for line in read_lines(desk / "run" / "metrics.jsonl")] == [False] * 2 + [True] * 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transfer", "fourier"])
def test_what_was_loaded_is_let_go_of(desk: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """After as many steps as L-BFGS remembers nothing is left of a checkpoint: nobody holds it beside the loop."""
    spec = SPECS[name].model_copy(update={"settings": SPECS[name].settings.model_copy(update={"history": 2})})
    stop = StopAfter(2)
    with pytest.raises(InterruptedRunError):
        run(spec, desk / "run", recorders=[stop], stop=stop)
    loaded: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def watched(*given: Any) -> Iterator[Iterate]:
        tensors: list[torch.Tensor] = []
        _gather(given[2], tensors)
        loaded.extend(weakref.ref(tensor) for tensor in tensors)
        iterates = synthesise(*given)
        del given, tensors
        for iterate in iterates:
            gc.collect()
            alive.append(sum(each() is not None for each in loaded))
            yield iterate

    monkeypatch.setattr(impasto.runs.paint, "synthesise", watched)
    gc.collect()
    gc.freeze()  # so that each collection looks at what is new alone
    try:
        resume(desk / "run")
    finally:
        gc.unfreeze()
    assert len(loaded) >= 4
    assert alive[0] < len(loaded)
    assert alive[3:] == [0] * len(alive[3:]) != []


def _gather(value: Any, into: list[torch.Tensor]) -> None:
    """All tensors of a state."""
    if isinstance(value, torch.Tensor):
        into.append(value)
    elif isinstance(value, dict):
        _gather(list(value.values()), into)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _gather(each, into)
    elif isinstance(value, (State, Descent)):
        _gather([getattr(value, each.name) for each in fields(value)], into)


@pytest.fixture
def broken(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped after its third step, with checkpoints of the second and third."""
    stop = StopAfter(3)
    with pytest.raises(InterruptedRunError):
        run(SPECS["transfer"], Path("run"), checkpoint_seconds=1e-9, recorders=[stop], stop=stop)
    monkeypatch.undo()
    monkeypatch.chdir(desk)
    return Path("run")


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(broken: Path, wholes: Wholes) -> None:
    newest, before = checkpoint_files(broken / "checkpoints")
    newest.write_bytes(newest.read_bytes()[:-7])
    ended = call("resume", broken)
    assert ended.code == 0
    assert (
        f"impasto: {newest} is damaged; the checkpoint before, of step {int(before.stem[-7:])}, is used\n" in ended.err
    )
    assert_the_same(broken, wholes["transfer"])


@pytest.mark.slow
def test_all_checkpoints_are_damaged(broken: Path) -> None:
    for path in checkpoint_files(broken / "checkpoints"):
        path.write_bytes(b"")
    held = {path: path.read_bytes() for path in broken.rglob("*") if path.is_file()}
    ended = call("resume", broken)
    assert (ended.code, ended.out) == (1, "")
    again = "impasto: no checkpoint of run can be read; start again with impasto run run/run.toml\n"
    assert ended.err.splitlines(keepends=True)[-1] == again
    assert {path: path.read_bytes() for path in broken.rglob("*") if path.is_file()} == held


def test_without_a_checkpoint_it_starts_at_its_beginning(broken: Path, wholes: Wholes) -> None:
    shutil.rmtree(broken / "checkpoints")
    ended = call("resume", broken)
    assert (ended.code, ended.out) == (0, "run\n")
    assert ended.err.startswith("impasto: run has no checkpoint yet and starts from the beginning\n")
    assert_the_same(broken, wholes["transfer"])


@pytest.mark.slow
def test_a_run_that_is_done_is_left_alone(desk: Path) -> None:
    folder = run(SPECS["fourier"], Path("run"))
    held = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    assert call("resume", "run") == Ended(0, "run\n", "impasto: run is done; nothing is left to do\n")
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()} == held


def test_killed_just_before_the_page(desk: Path, wholes: Wholes, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(folder: Path, listener: Listener) -> None:
        raise KeyboardInterrupt

    for name in ("fourier", "parts"):
        with monkeypatch.context() as patch:
            patch.setattr(impasto.runs.paint, "add_page", killed)
            with pytest.raises(KeyboardInterrupt):
                run(SPECS[name], Path(name))
        assert not (desk / name / "report.html").exists()
        resume(Path(name))
        assert_the_same(desk / name, wholes[name])


@pytest.mark.slow
def test_a_run_that_has_diverged_would_again(desk: Path) -> None:
    settings = InvertSettings(size=32, optimiser="adam", learning_rate=1e30, parameterisation="fourier")
    with pytest.raises(DivergedError):
        run(RunSpec(task="invert", pictures=(Path("photo.png"),), settings=settings), Path("run"))
    ended = call("resume", "run")
    assert ended.code == 4
    assert ended.err.startswith("impasto: run has diverged and would diverge again: content/conv4_1")


@pytest.mark.slow
def test_a_picture_that_has_changed(broken: Path) -> None:
    shutil.copy("painting.png", "photo.png")
    ended = call("resume", broken)
    assert ended.code == 1
    assert ended.err == (
        "impasto: run cannot be resumed: photo.png has changed since that run; "
        "start again with impasto run run/run.toml\n"
    )
    Path("photo.png").unlink()
    assert call("resume", broken).err.startswith("impasto: there is no file photo.png, neither beside ")


@pytest.mark.slow
def test_other_weights_and_versions(broken: Path) -> None:
    toml = broken / "run.toml"
    whole = toml.read_text("utf-8")
    toml.write_text(whole.replace('weights_sha256 = "e', 'weights_sha256 = "f'), "utf-8")
    ended = call("resume", broken)
    assert ended.code == 1
    assert "cannot be resumed: the weights changed after the run was started; start again" in ended.err
    toml.write_text(whole.replace(f'torch = "{torch.__version__}"', 'torch = "1.0"'), "utf-8")
    ended = call("resume", broken)
    assert ended.code == 0
    changed = f"torch was 1.0 and is {torch.__version__} now"
    assert ended.err.startswith(f"impasto: the result may differ from an uninterrupted run: {changed}\n")


@pytest.mark.slow
def test_settings_edited_on_the_way(broken: Path) -> None:
    toml = (broken / "run.toml").read_text("utf-8")
    (broken / "run.toml").write_text(toml.replace("size = 96", "size = 64"), "utf-8")
    ended = call("resume", broken)
    assert ended.code == 1
    assert ended.err == (
        "impasto: run cannot be resumed: run.toml has been edited since the run was started; "
        "start again with impasto run run/run.toml\n"
    )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("nowhere", "there is no folder nowhere"),
        ("photo.png", "photo.png is a file; name the folder of a run"),
        (".", ". is not the folder of a run: it has no run.toml"),
    ],
)
def test_what_is_no_run(desk: Path, given: str, sentence: str) -> None:
    assert call("resume", given) == Ended(1, "", f"impasto: {sentence}\n")


@pytest.mark.slow
def test_a_damaged_run_toml(broken: Path) -> None:
    (broken / "run.toml").write_text("task = ", "utf-8")
    ended = call("resume", broken)
    assert ended.code == 1
    assert ended.err.startswith("impasto: run/run.toml is not valid TOML: ")


def test_frames_of_a_run_that_goes_on(tmp_path: Path) -> None:
    """An early end's last picture goes again, and what is beyond the step too."""
    images = [torch.full((1, 3, 8, 8), value / 10) for value in range(11)]
    first = Frames(tmp_path, images[0], 10, 4)
    for step in range(1, 9):
        first.record(Iterate(1, 1, step, 10, step, images[step], {}))
    first.close()
    assert sorted(path.stem for path in (tmp_path / "frames").iterdir()) == ["000000", "000001", "000004", "000008"]
    second = Frames(tmp_path, images[0], 10, 4, after=(3, images[3]))
    assert sorted(path.stem for path in (tmp_path / "frames").iterdir()) == ["000000", "000001"]
    second.close()  # no step is left
    assert sorted(path.stem for path in (tmp_path / "frames").iterdir()) == ["000000", "000001", "000003"]


# Killed --------------------------------------------------------------------------------------------------------------

KILLS = 2  # of each of two runs; the suite meets other moments each time
INTERVAL = 0.1
VICTIMS = {  # of two sizes and of two parts; both changes are among the steps of the kills
    "lbfgs": [
        *("transfer", "photo.png", "painting.png", "--size", "96", "--smallest", "48", "--steps", "12"),
        *("--content-layers", "relu2_1", "--style-layers", "relu1_1,relu2_1"),
    ],
    "adam": [
        *("reconstruct", "photo.png", "--size", "48", "--steps", "30"),
        *("--layers", "conv1_1,conv2_1", "--optimiser", "adam"),
    ],
}
FORKS = """
import json, os, sys
import torch
from impasto.cli.app import main
torch.set_num_threads(1)
for line in sys.stdin:
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            main(json.loads(line))
        except SystemExit as ended:
            os._exit(ended.code or 0)
    print(child, flush=True)
    sys.stdin.readline()  # until then the process is there, if only as one that has ended
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Programs:
    """Programs, one at a time: each is a fork of one that has loaded PyTorch, and begins at once."""

    def __init__(self) -> None:
        self._forking = subprocess.Popen(
            [sys.executable, "-c", FORKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def start(self, *words: str) -> int:
        """The process of a program that begins."""
        return self._answer(json.dumps([*words, "--quiet", "--checkpoint", str(INTERVAL)]))

    def end(self) -> int:
        """The exit code of the program that was begun last, once it has ended."""
        return self._answer("")

    def _answer(self, asked: str) -> int:
        assert self._forking.stdin
        assert self._forking.stdout
        self._forking.stdin.write(f"{asked}\n")
        self._forking.stdin.flush()
        return int(self._forking.stdout.readline())

    def close(self) -> None:
        self._forking.communicate()


@pytest.fixture
def programs(desk: Path) -> Iterator[Programs]:
    programs = Programs()
    yield programs
    programs.close()


def lines_of(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_text("utf-8").count("\n") if path.exists() else 0


def words_of(name: str, folder: Path) -> list[str]:
    return [*VICTIMS[name], "--frames", "5", "--precision", "float32", "-o", str(folder)]


def kill_again_and_again(programs: Programs, name: str, folder: Path, seed: int) -> tuple[int, list[str]]:
    """How often it was killed before its end, and the newest checkpoints then."""
    chosen, newest, kills = random.Random(seed), list[str](), 0
    process = programs.start(*words_of(name, folder))
    for _ in range(KILLS):
        if lines_of(folder) == 0 or chosen.random() < 0.8:  # mostly while steps are taken, some further than last time
            far = lines_of(folder) + chosen.randint(4, 12)
            while lines_of(folder) < far and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.005)
            time.sleep(chosen.uniform(0, 0.04))
        else:
            time.sleep(chosen.uniform(0, 0.5))
        os.kill(process, signal.SIGKILL)
        code = programs.end()
        kills += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL)
        assert_readable(folder)
        newest += [path.stem for path in checkpoint_files(folder / "checkpoints")][:1]
        process = programs.start("resume", str(folder))
    assert programs.end() == 0
    return kills, newest


def assert_readable(folder: Path) -> None:
    """Its page could be made, and at most the interval and a step or two are lost."""
    if not lines_of(folder):
        with pytest.raises(RunFolderError, match="holds no step yet"):
            read_run(folder)
        return
    record = read_run(folder)
    part = record.parts[-1]
    for frame in part.frames:
        pixels(frame.path)
    found, damaged = newest_checkpoint(folder, len([each for each in record.parts if each.status == "done"]), CPU)
    assert not damaged
    if found is not None and part.status != "done":
        kept, *lost = [line.seconds for line in part.lines if line.step >= found.step] or [0.0]
        if len(lost) > 1:  # at the end of the last but one the next checkpoint was not due yet
            assert lost[-2] - lost[0] < max(INTERVAL, 10 * (lost[0] - kept))


@pytest.mark.slow
def test_killed_at_random_moments(desk: Path, programs: Programs) -> None:
    """Each time with SIGKILL: the results are those of one go, bit for bit."""
    ended = [kill_again_and_again(programs, name, desk / name, seed) for seed, name in enumerate(VICTIMS)]
    assert sum(kills for kills, _ in ended) >= KILLS
    for _, newest in ended:
        assert newest == sorted(newest)  # nothing of what was kept is lost again
    for name in VICTIMS:
        assert call(*words_of(name, Path(f"whole-{name}")), "--quiet").code == 0
        assert_the_same(desk / name, desk / f"whole-{name}")
