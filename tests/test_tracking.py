"""Trackers: files of the real packages, read back; and runs whose trackers fail."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import impasto.runs.tracking
import wandb_file
from command import call, read_json, read_lines, save_pictures
from impasto.errors import SpecError
from impasto.extras import import_extra, import_tracker
from impasto.images.animations import frame_steps
from impasto.runs.recorders import Recording, Watched
from impasto.runs.trackers import Tracked, Tracker, flat
from impasto.runs.tracking import Tracking
from impasto.synthesis.loop import Iterate

PARTS = ("conv1_1", "relu2_1")
TRACKERS = ("wandb", "tensorboard", "mlflow")
STEPS, FRAMES = 6, 4


@dataclass(frozen=True)
class Run:
    """A run of two parts that all trackers were told of."""

    folder: Path
    ended: subprocess.CompletedProcess[str]

    def lines(self, part: str) -> list[dict[str, Any]]:
        return [line for line in read_lines(self.folder / "metrics.jsonl") if line["part"] == part]


def impasto_program(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "MLFLOW"))}
    command = [sys.executable, "-m", "impasto", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**kept, **environment})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    desk = tmp_path_factory.mktemp("tracked")
    save_pictures(desk)
    options = ["--layers", ",".join(PARTS), "--size", 48, "--steps", STEPS, "--frames", FRAMES, "--threads", 1]
    tracked = [word for name in TRACKERS for word in ("--track", name)]
    ended = impasto_program(
        "reconstruct", desk / "photo.png", *options, *tracked, "--quiet", "-o", desk / "run", WANDB_MODE="offline"
    )
    assert ended.returncode == 0, ended.stderr
    return Run(desk / "run", ended)


def losses_of(lines: list[dict[str, Any]]) -> list[dict[str, float]]:
    """What trackers are told of each step."""
    return [
        {"loss/total": line["total"], **{f"loss/{name}": value for name, value in line["losses"].items()}}
        for line in lines
    ]


@pytest.mark.slow
def test_quiet_is_quiet(done: Run) -> None:
    assert done.ended.stdout == f"{done.folder}\n"
    assert not done.ended.stderr


@pytest.mark.slow
def test_all_files_are_in_the_run_s_folder(done: Run) -> None:
    assert {path.name for path in (done.folder / "tracking").iterdir()} == set(TRACKERS)
    assert {path.name for path in done.folder.parent.iterdir()} == {"run", "photo.png", "painting.png"}


# The real packages ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_wandb(done: Run) -> None:
    files = sorted((done.folder / "tracking" / "wandb").glob("offline-run-*/*.wandb"), key=os.path.getmtime)
    assert len(files) == len(PARTS)
    for part, file in zip(PARTS, files, strict=True):
        found, place = wandb_file.read(file), done.folder / part
        run = found["run"]
        assert (run.project, run.display_name, run.run_group) == ("impasto", f"run/{part}", "run")
        assert found["config"]["task"] == "reconstruct"
        assert found["config"]["settings"]["size"] == 48
        assert found["config"]["provenance"]["weights_sha256"]
        by_step: dict[int, dict[str, Any]] = {}
        for entry in found["history"]:
            by_step.setdefault(entry["_step"], {}).update(entry)
        for step, losses in enumerate(losses_of(done.lines(part)), start=1):
            assert {name: by_step[step][name] for name in losses} == pytest.approx(losses)
        wanted = {0, *frame_steps(STEPS, FRAMES)}
        assert {step for step, entry in by_step.items() if "frame" in entry} == wanted
        media = {"frame": by_step[0]["frame"], **{name: by_step[STEPS][name] for name in ("result", "curves")}}
        assert {entry["_type"] for entry in media.values()} == {"image-file"}
        assert media["frame"]["width"] == 48
        assert by_step[STEPS]["animation"]["_type"] == "video-file"
        logged = {name: file.parent / "files" / by_step[STEPS][name]["path"] for name in ("result", "animation")}
        assert logged["result"].read_bytes() == (place / "result.png").read_bytes()
        assert logged["animation"].read_bytes() == (place / "progress.gif").read_bytes()
        summary = read_json(place / "summary.json")
        assert found["summary"]["metrics/psnr"] == summary["metrics"]["psnr"]
        assert found["summary"]["evaluations"] == summary["evaluations"]
        assert found["summary"]["status"] == "done"
        assert found["exit_code"] == 0


@pytest.mark.slow
def test_wandb_is_told_nothing_of_the_program(done: Run) -> None:
    """No code, no repository, no terminal output."""
    for folder in (done.folder / "tracking" / "wandb").glob("offline-run-*"):
        names = {path.name for path in (folder / "files").rglob("*")}
        assert not names & {"code", "diff.patch", "output.log"}
        (file,) = folder.glob("*.wandb")
        kinds = {record.WhichOneof("record_type") for record in wandb_file.records(file)}
        assert kinds >= {"run", "history"}
        assert not kinds & {"output", "output_raw"}
        assert not wandb_file.read(file)["run"].git.remote_url


@pytest.mark.slow
def test_tensorboard(done: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for part in PARTS:
        events = EventAccumulator(str(done.folder / "tracking" / "tensorboard" / part), {"images": 0, "scalars": 0})
        events.Reload()
        for step, losses in enumerate(losses_of(done.lines(part)), start=1):
            for name, value in losses.items():
                (found,) = [event.value for event in events.Scalars(name) if event.step == step]
                assert found == pytest.approx(value, rel=1e-6)
        assert [event.step for event in events.Images("frame")] == [0, *sorted(frame_steps(STEPS, FRAMES))]
        place = done.folder / part
        for name, file in {"animation": "progress.gif", "result": "result.png", "curves": "losses.png"}.items():
            (image,) = events.Images(name)
            assert image.encoded_image_string == (place / file).read_bytes()
            with PillowImage.open(place / file) as picture:
                assert (image.width, image.height) == picture.size
        psnr = read_json(place / "summary.json")["metrics"]["psnr"]
        assert events.Scalars("summary/metrics/psnr")[0].value == pytest.approx(psnr, rel=1e-6)
        (settings,) = events.Tensors("settings/text_summary")
        assert b"    settings/size = 48\n" in settings.tensor_proto.string_val[0]


@pytest.mark.slow
def test_mlflow(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = import_tracker("mlflow")
    client = mlflow.MlflowClient(tracking_uri=(done.folder / "tracking" / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("impasto")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {f"run/{part}" for part in PARTS}
    for part in PARTS:
        run, place = runs[f"run/{part}"], done.folder / part
        assert run.info.status == "FINISHED"
        assert (run.data.tags["group"], run.data.tags["status"]) == ("run", "done")
        assert (run.data.params["task"], run.data.params["settings/size"]) == ("reconstruct", "48")
        for name in losses_of(done.lines(part))[0]:
            history = client.get_metric_history(run.info.run_id, name)
            wanted = [losses[name] for losses in losses_of(done.lines(part))]
            assert [metric.step for metric in history] == list(range(1, STEPS + 1))
            assert [metric.value for metric in history] == pytest.approx(wanted)
        psnr = read_json(place / "summary.json")["metrics"]["psnr"]
        assert run.data.metrics["summary/metrics/psnr"] == pytest.approx(psnr)
        kept = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        assert kept == {"frames", "result.png", "losses.png", "progress.gif", "run.toml"}
        (artifacts,) = done.folder.glob(f"tracking/mlflow/*/{run.info.run_id}/artifacts")
        assert (artifacts / "progress.gif").read_bytes() == (place / "progress.gif").read_bytes()
        assert len(list((artifacts / "frames").iterdir())) == FRAMES


@pytest.mark.slow
def test_without_the_option_no_tracker_is_loaded(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    words = [
        "invert",
        str(tmp_path / "photo.png"),
        "--layer",
        "conv1_1",
        "--size",
        "32",
        "--steps",
        "1",
        "--quiet",
        "-o",
        str(tmp_path / "o"),
    ]
    program = f"""
import sys
from impasto.cli.app import main
try:
    main({words})
except SystemExit as ended:
    assert not ended.code
loaded = {{name.split(".")[0] for name in sys.modules}}
assert "torch" in loaded
assert not loaded & {{"wandb", "tensorboard", "mlflow", "av"}}, loaded
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert not (tmp_path / "o" / "tracking").exists()


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "module", "extra"),
    [
        (["--track", "wandb"], "wandb", "wandb"),
        (["--track", "tensorboard"], "torch.utils.tensorboard", "tensorboard"),
        (["--track", "mlflow"], "mlflow", "mlflow"),
        (["--mp4"], "av", "video"),
    ],
)
def test_a_package_that_is_missing(
    option: list[str], module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    ended = call("invert", "photo.png", "--size", 32, "--steps", 1, *option)
    assert ended.code == 2
    assert ended.err.startswith(f"impasto: {' '.join(option)} needs a package that is missing (")
    assert ended.err.endswith(f"; pip install 'impasto-torch[{extra}]'\n")
    assert not (tmp_path / "runs").exists()


def test_a_folder_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trackers leave folders of their own names where they were started."""
    (tmp_path / "nandb").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SpecError, match=r"^--track nandb needs .*; pip install 'impasto-torch\[nandb\]'$"):
        import_extra("nandb", "--track nandb", "nandb")


def test_a_video_package_without_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some distributions build FFmpeg without x264."""
    av = ModuleType("av")
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"}, raising=False)
    monkeypatch.setattr(av, "__file__", "av.py", raising=False)
    monkeypatch.setitem(sys.modules, "av", av)
    ended = call("invert", tmp_path / "photo.png", "--mp4")
    assert ended.code == 2
    assert ended.err.startswith("impasto: --mp4 needs PyAV with libx264, but this PyAV has none; ")


def test_an_unknown_tracker(tmp_path: Path) -> None:
    ended = call("invert", tmp_path / "photo.png", "--track", "comet")
    assert ended.code == 2
    assert "comet" in ended.err
    assert "wandb" in ended.err


# Trackers that fail --------------------------------------------------------------------------------------------------


class Fake:
    """A tracker that notes what it is told, and fails at one thing."""

    def __init__(self, fails_at: str = "") -> None:
        self.told: list[tuple[str, Any]] = []
        self._fails_at = fails_at

    def _note(self, what: str, value: object) -> None:
        if what == self._fails_at:
            raise ConnectionError("the network\nis gone")
        self.told.append((what, value))

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        self._note("numbers", (step, dict(values)))

    def picture(self, step: int, picture: PillowImage.Image) -> None:
        self._note("picture", step)

    def results(self, step: int, place: Path, measured: Mapping[str, float]) -> None:
        self._note("results", (step, place, dict(measured)))

    def end(self, status: str) -> None:
        self._note("end", status)


def with_fakes(monkeypatch: pytest.MonkeyPatch, fails_at: str) -> dict[str, list[Fake]]:
    """TensorBoard fails, MLflow does not; each start is a fake of its own."""
    started: dict[str, list[Fake]] = {"tensorboard": [], "mlflow": []}

    def start(name: str, about: Tracked, *, quiet: bool) -> Tracker:
        if (name, fails_at) == ("tensorboard", "start"):
            raise ConnectionError("the network\nis gone")
        started[name].append(Fake(fails_at if name == "tensorboard" else ""))
        return started[name][-1]

    monkeypatch.setattr(impasto.runs.tracking, "start_tracker", start)
    return started


@pytest.mark.slow
@pytest.mark.parametrize("fails_at", ["start", "numbers", "picture", "results", "end", ""])
def test_a_tracker_that_fails_is_dropped(fails_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    started = with_fakes(monkeypatch, fails_at)
    options = ["--layers", "conv1_1,relu1_1", "--size", 32, "--steps", 3, "--frames", 2, "--out", "run", "--quiet"]
    ended = call("reconstruct", "photo.png", *options, "--track", "tensorboard", "--track", "mlflow")
    assert ended.code == 0
    assert ended.out == "run\n"
    warning = "impasto: tracking with tensorboard ends here, the run goes on: the network is gone\n"
    assert ended.err == (warning if fails_at else "")
    assert read_json(tmp_path / "run" / "summary.json")["status"] == "done"
    assert len(started["tensorboard"]) == {"start": 0, "": 2}.get(fails_at, 1)  # not tried again with the next part
    assert len(started["mlflow"]) == 2
    for part, fake in zip(("conv1_1", "relu1_1"), started["mlflow"], strict=True):
        assert [what for what, _ in fake.told] == ["picture", *["numbers"] * 3, "picture", "results", "end"]
        assert fake.told[-1] == ("end", "done")
        step, place, measured = fake.told[-2][1]
        assert (step, place) == (3, Path("run") / part)
        assert measured["evaluations"] == read_json(place / "summary.json")["evaluations"]
    assert [what for what, _ in started["mlflow"][0].told] == [what for what, _ in started["mlflow"][1].told]


@pytest.mark.slow
def test_a_run_that_fails_ends_its_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    started = with_fakes(monkeypatch, "")
    options = ["--optimiser", "adam", "--learning-rate", "1e30", "--parameterisation", "fourier", "--size", 32]
    ended = call("invert", "photo.png", *options, "--steps", 9, "--out", "run", "--quiet", "--track", "mlflow")
    assert ended.code == 4
    assert started["mlflow"][0].told[-1] == ("end", "diverged")

    monkeypatch.setattr(
        "impasto.runs.paint.save_result", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    ended = call("invert", "photo.png", "--size", 32, "--steps", 2, "--out", "other", "--quiet", "--track", "mlflow")
    assert ended.code == 1
    assert started["mlflow"][1].told[-1] == ("end", "failed")


def test_what_trackers_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started = with_fakes(monkeypatch, "")
    image = torch.zeros(1, 3, 20, 30)
    about = Tracked(tmp_path / "paint", "conv1_1", {})
    assert (about.run, about.name, about.files) == ("paint", "paint/conv1_1", tmp_path / "paint" / "tracking")
    assert Tracked(tmp_path / "paint", "", {}).name == "paint"
    tracking = Tracking(["mlflow", "mlflow"])
    assert isinstance(tracking, Recording)
    tracking.begin(watched(tmp_path / "paint", frames=1), image)
    for step in (1, 2, 3):
        tracking.record(Iterate(2, 2, step, 3, 2 * step, image, {"content/conv1_1": 1.5, "smoothness": 0.5}))
    tracking.close()
    tracking.results(tmp_path, None)
    (fake,) = started["mlflow"]
    assert fake.told[0] == (
        "numbers",
        (
            1,
            {
                "loss/total": 2.0,
                "loss/content/conv1_1": 1.5,
                "loss/smoothness": 0.5,
                "progress/evaluations": 2.0,
                "progress/stage": 2.0,
                "progress/long_side_px": 30.0,
            },
        ),
    )
    assert [what for what, _ in fake.told] == ["numbers"] * 3 + ["picture", "end"]
    tracking.begin(watched(tmp_path / "paint", frames=0), image)
    tracking.record(Iterate(1, 1, 3, 3, 3, image, {"contrast": 0.0}))
    tracking.results(tmp_path, None)
    assert [what for what, _ in started["mlflow"][1].told] == ["numbers", "end"]


def watched(folder: Path, frames: int) -> Watched:
    return Watched(folder, folder, "invert", "conv1_1", {}, frames=frames, steps=3)


def test_nested_keys_are_joined() -> None:
    nested = {"a": 1, "b": {"c": None, "d": {"e": [1, "x"]}}, "f": {}}
    assert flat(nested) == {"a": 1, "b/c": None, "b/d/e": '[1, "x"]'}
    assert np.isnan(flat({"a": float("nan")})["a"])


def test_unknown_trackers() -> None:
    with pytest.raises(SpecError, match=r"there is no tracker 'mlflov'; did you mean 'mlflow'"):
        Tracking("mlflov")
