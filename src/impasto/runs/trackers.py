"""Experiment trackers: W&B, TensorBoard and MLflow behind one small protocol.

Their files go to the run's folder, under tracking/, unless a tracker's own environment variables name another place.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image as PillowImage

from impasto.extras import TrackerName, import_tracker
from impasto.folders.names import ANIMATION, CURVES, RESULT, SETTINGS_FILE
from impasto.images.opening import open_picture

PROJECT = "impasto"


@runtime_checkable
class Tracker(Protocol):
    """One run of one tracker; an exception ends the tracking but not the synthesis."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Log losses and other numbers of a step."""

    def picture(self, step: int, picture: PillowImage.Image) -> None:
        """Log the picture of a step."""

    def results(self, step: int, place: Path, measured: Mapping[str, float]) -> None:
        """Log the part's files in `place`, and its measures."""

    def end(self, status: str) -> None:
        """Finish; `status` is "done", or how the part ended early."""


@dataclass(frozen=True)
class Tracked:
    """The description of a part that a tracker starts with; the part's name is "" if the run has only one."""

    folder: Path
    part: str
    config: Mapping[str, Any]

    @property
    def run(self) -> str:
        """The run's name: the name of its folder."""
        return self.folder.resolve().name

    @property
    def name(self) -> str:
        """The name of the tracker's run; each part has a tracker's run of its own."""
        return f"{self.run}/{self.part}" if self.part else self.run

    @property
    def files(self) -> Path:
        """The folder of the trackers' own files."""
        return self.folder / "tracking"


def start_tracker(name: TrackerName, about: Tracked, *, quiet: bool = False) -> Tracker:
    """Start a tracker's run; `quiet` keeps the tracker from writing to the terminal."""
    match name:
        case "wandb":
            return WandbRun(about, quiet=quiet)
        case "tensorboard":
            return TensorBoardRun(about)
        case "mlflow":
            return MlflowRun(about)


class WandbRun:
    """A run of Weights & Biases, in the project WANDB_PROJECT or "impasto"; the parts of a run are one group."""

    def __init__(self, about: Tracked, *, quiet: bool) -> None:
        self._wandb = wandb = import_tracker("wandb")
        folder = Path(os.environ.get("WANDB_DIR") or about.files)
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=about.name,
            group=about.run if about.part else None,
            dir=str(folder),
            config=dict(about.config),
            reinit="create_new",  # does not end a W&B run of the program that calls impasto
            # W&B gets impasto's logs and its own measures of the machine: no code, no repository, no terminal output.
            settings=wandb.Settings(
                console="off",
                disable_code=True,
                disable_git=True,
                init_timeout=30,
                finish_timeout=300,
                finish_timeout_raises=True,
                **({"silent": True} if quiet else {}),
            ),
        )

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Log all numbers of a step together."""
        self._run.log(dict(values), step=step)

    def picture(self, step: int, picture: PillowImage.Image) -> None:
        """Log a frame."""
        self._run.log({"frame": self._wandb.Image(picture)}, step=step)

    def results(self, step: int, place: Path, measured: Mapping[str, float]) -> None:
        """Log files unchanged (`wandb.Video` copies a GIF), and the measures as the run's summary."""
        media = {"result": self._wandb.Image(str(place / RESULT)), "curves": self._wandb.Image(str(place / CURVES))}
        if (place / ANIMATION).is_file():
            media["animation"] = self._wandb.Video(str(place / ANIMATION), format="gif")
        self._run.log(media, step=step)
        self._run.summary.update(dict(measured))

    def end(self, status: str) -> None:
        """Wait until all is sent, five minutes at most; the rest stays in the folder, for `wandb sync`."""
        self._run.summary["status"] = status
        self._run.finish(exit_code=0 if status == "done" else 1)


class TensorBoardRun:
    """Event files for `tensorboard --logdir`, which shows a GIF as an image that moves."""

    def __init__(self, about: Tracked) -> None:
        module = import_tracker("tensorboard")
        self._writer = module.SummaryWriter(str(about.files / "tensorboard" / about.part))
        settings = (f"    {key} = {value}" for key, value in flat(about.config).items())  # indented: a block of code
        self._writer.add_text("settings", "\n".join(settings))

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Add scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, picture: PillowImage.Image) -> None:
        """Add an image."""
        self._writer.add_image("frame", np.asarray(picture), step, dataformats="HWC")

    def results(self, step: int, place: Path, measured: Mapping[str, float]) -> None:
        """Add files unchanged, and measures as scalars at the last step."""
        for name, file in {"result": RESULT, "curves": CURVES, "animation": ANIMATION}.items():
            if (place / file).is_file():
                self._file(name, place / file, step)
        for name, value in measured.items():
            self._writer.add_scalar(f"summary/{name}", value, step)

    def end(self, status: str) -> None:
        """Add the status and close the file."""
        self._writer.add_text("status", status)
        self._writer.close()

    def _file(self, name: str, path: Path, step: int) -> None:
        event = import_module("tensorboard.compat.proto.summary_pb2").Summary  # add_video wants moviepy
        with open_picture(path) as picture:
            width, height = picture.size
        image = event.Image(height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes())
        self._writer.file_writer.add_summary(event(value=[event.Value(tag=name, image=image)]), step)


class MlflowRun:
    """A run of MLflow, at MLFLOW_TRACKING_URI or in the run's folder; the parts of a run share the tag `group`."""

    def __init__(self, about: Tracked) -> None:
        mlflow = import_tracker("mlflow")
        uri = os.environ.get("MLFLOW_TRACKING_URI") or (about.files / "mlflow").resolve().as_uri()
        if uri.startswith("file:") or "://" not in uri:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # databases need packages that mlflow-skinny lacks
        self._entities, self._folder = mlflow.entities, about.folder
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        experiment = self._client.get_experiment_by_name(name)
        number = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        run = self._client.create_run(number, run_name=about.name, tags={"group": about.run})
        self._run = run.info.run_id
        params = [mlflow.entities.Param(key, str(value)) for key, value in flat(about.config).items()]
        for start in range(0, len(params), 100):  # a server accepts 100 at once
            self._client.log_batch(self._run, params=params[start : start + 100])

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Log all numbers of a step together."""
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def picture(self, step: int, picture: PillowImage.Image) -> None:
        """Log a frame as an artifact."""
        self._client.log_image(self._run, picture, artifact_file=f"frames/{step:06}.png")

    def results(self, step: int, place: Path, measured: Mapping[str, float]) -> None:
        """Log files as artifacts, measures as metrics."""
        for path in (place / RESULT, place / CURVES, place / ANIMATION, self._folder / SETTINGS_FILE):
            if path.is_file():
                self._client.log_artifact(self._run, str(path))
        self.numbers(step, {f"summary/{name}": value for name, value in measured.items()})

    def end(self, status: str) -> None:
        """Set the status and terminate the run."""
        self._client.set_tag(self._run, "status", status)
        words = {"done": "FINISHED", "interrupted": "KILLED"}
        self._client.set_terminated(self._run, words.get(status, "FAILED"))


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as a flat one: keys joined with slashes, lists as JSON."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}/")
        else:
            found[f"{prefix}{key}"] = json.dumps(value) if isinstance(value, list) else value
    return found
