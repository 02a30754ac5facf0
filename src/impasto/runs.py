"""From a spec to a folder of results: the only place that joins pictures, network, synthesis and recorders."""

import sys
import threading
import time
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from impasto.catalogue import open_network
from impasto.checks import check, layers_read, sentence_for_memory
from impasto.errors import (
    DivergedError,
    ImpastoError,
    InterruptedRunError,
    OutOfMemoryError,
    OutputError,
    SpecError,
)
from impasto.extras import TrackerName, import_tracker, import_video
from impasto.folders import SETTINGS_FILE, as_toml, check_folder, default_folder, make_folder
from impasto.images import Image, Picture, load_picture, write_bytes
from impasto.metrics import peak_memory_mb
from impasto.networks import Network, Precision
from impasto.parts import Part, compose
from impasto.recorders import Bar, Curves, Frames, JsonLines, MetricsFile, PlainLines, Recorder, print_json
from impasto.report import add_page
from impasto.results import RESULT, Summary, measure, save_overview, save_result, save_summary
from impasto.specs import RunSpec, Settings
from impasto.stopping import stop_signal
from impasto.synthesis import synthesise
from impasto.trackers import Tracked
from impasto.tracking import Tracking

Show = Literal["progress", "json", "nothing"]


def run(
    spec: RunSpec,
    out: Path | None = None,
    *,
    force: bool = False,
    show: Show = "progress",
    track: Sequence[TrackerName] = (),
    mp4: bool = False,
) -> Path:
    """Do what a spec says and return the folder with the results, by default runs/TASK-PICTURES.

    `track` names the trackers that are told of it (see docs/tracking.md), `mp4` adds a video to the animations.
    Nothing is written before pictures, layers and sizes are known to serve. A run that is interrupted (Ctrl-C,
    SIGTERM), diverges or runs out of memory keeps its last good picture and raises the ImpastoError that says so.
    """
    settings = spec.settings
    for name in track:
        import_tracker(name)
    if mp4:
        import_video()
        if not settings.frames:
            raise SpecError("--mp4 needs pictures on the way, and --frames is 0")
    folder = out or default_folder(spec.task, spec.pictures)
    check_folder(folder, spec, force=force)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    pictures = [load_picture(path) for path in spec.pictures]
    with sentence_for_memory(settings):
        network = _open(settings, settings.precision)
        precise = network if network.precision == torch.float32 else _open(settings, "float32")
        parts = compose(spec, [picture.image for picture in pictures])
        for part in parts:
            check(part, network, spec, pictures)
    make_folder(folder, spec, force=force)
    try:
        _run_parts(spec, folder, network, precise, parts, pictures, show, track, mp4)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written any more: {error.strerror or error}") from None
    except ImpastoError as error:
        if (folder / RESULT).is_file():
            error.args = (f"{error}; the picture so far is in {folder}",)
        raise
    return folder


def _open(settings: Settings, precision: Precision) -> Network:
    return open_network(
        settings.network,
        weights=settings.weights,
        means=settings.means,
        pooling=settings.pooling,
        padding=settings.padding,
        precision=precision,
        device=settings.device,
    )


def _precise_enough(part: Part, network: Network, precise: Network, settings: Settings) -> Network:
    """With automatic precision the first two blocks are read in float32: they cost little, and rounding shows there."""
    deepest = network.smallest_side(layers_read(part))
    return precise if settings.precision == "auto" and deepest <= 2 else network


def _run_parts(
    spec: RunSpec,
    folder: Path,
    network: Network,
    precise: Network,
    parts: list[Part],
    pictures: list[Picture],
    show: Show,
    track: Sequence[TrackerName],
    mp4: bool,
) -> None:
    toml = as_toml(spec, network)
    write_bytes(folder / SETTINGS_FILE, toml.encode())
    content = None if spec.task == "texture" else pictures[0]
    summaries: dict[str, Summary] = {}
    curves: dict[str, list[float]] = {}
    with stop_signal() as stop:
        for part in parts:
            place = folder / part.name if len(parts) > 1 else folder
            place.mkdir(exist_ok=True)
            traced = Curves()
            with _tracking(track, part, folder, toml, spec.settings, show) as tracking:
                recorders = [traced, *_recorders(part, folder, place, spec, show, mp4), tracking]
                outcome = _synthesise(
                    part, _precise_enough(part, network, precise, spec.settings), recorders, stop, spec.settings
                )
                save_result(part, place, outcome.image, content, toml)
                with sentence_for_memory(spec.settings):
                    measured = measure(part, outcome.image, content, precise)
                memory = {"peak_memory_mb": peak_memory_mb(network.device)}
                summaries[part.name] = {**outcome.as_summary(), **memory, **measured}
                save_summary(spec.task, part.name, place, summaries[part.name], traced)
                tracking.results(place, summaries[part.name])
            track = tracking.names
            if len(parts) > 1:
                curves[part.name] = traced.total
                save_overview(spec.task, folder, pictures, summaries, curves, toml)
            if outcome.failure is not None or part is parts[-1]:
                add_page(folder)
            if outcome.failure is not None:
                raise outcome.failure
    if show == "json":
        print_json({"event": "done", "folder": str(folder), "result": str(folder / RESULT), "parts": summaries})


def _tracking(
    names: Sequence[TrackerName], part: Part, folder: Path, toml: str, settings: Settings, show: Show
) -> Tracking:
    schedule = part.composition.schedule
    first, steps = part.composition.init(schedule[0].size), sum(stage.steps for stage in schedule)
    about = Tracked(folder, part.name, tomllib.loads(toml))
    return Tracking(names, about, first, steps, settings.frames, quiet=show != "progress")


def _recorders(part: Part, folder: Path, place: Path, spec: RunSpec, show: Show, mp4: bool) -> list[Recorder]:
    schedule = part.composition.schedule
    steps = sum(stage.steps for stage in schedule)
    title = f"{spec.task} {part.name}".strip()
    recorders: list[Recorder] = [MetricsFile(folder / "metrics.jsonl", part.name)]
    if spec.settings.frames:
        first = part.composition.init(schedule[0].size)
        recorders.append(Frames(place, first, steps, spec.settings.frames, mp4=mp4))
    if show == "json":
        recorders.append(JsonLines(part.name))
    elif show == "progress":
        recorders.append(Bar(title, steps) if sys.stderr.isatty() else PlainLines(title, steps))
    return recorders


@dataclass(frozen=True, eq=False)
class _Outcome:
    """How a synthesis ended: its last good picture, what it took, and why it ended early if it did."""

    image: Image
    steps: int
    evaluations: int
    seconds: float
    failure: ImpastoError | None

    def as_summary(self) -> Summary:
        words = {InterruptedRunError: "interrupted", OutOfMemoryError: "out of memory", DivergedError: "diverged"}
        status = next((words[kind] for kind in words if isinstance(self.failure, kind)), "done")
        seconds = round(self.seconds, 2)
        reason = {} if self.failure is None else {"reason": str(self.failure)}
        return {"status": status, **reason, "steps": self.steps, "evaluations": self.evaluations, "seconds": seconds}


def _synthesise(
    part: Part, network: Network, recorders: list[Recorder], stop: threading.Event, settings: Settings
) -> _Outcome:
    image = part.composition.init(part.composition.schedule[0].size)
    steps = evaluations = 0
    failure: ImpastoError | None = None
    start = time.monotonic()
    try:
        with sentence_for_memory(settings):
            for iterate in synthesise(part.composition, network):
                image, steps, evaluations = iterate.image, iterate.step, iterate.evaluations
                for recorder in recorders:
                    recorder.record(iterate)
                if stop.is_set() and steps < iterate.steps:
                    failure = InterruptedRunError(f"stopped at step {steps} of {iterate.steps}")
                    break
    except DivergedError as error:
        failure, image = error, image if error.image is None else error.image
        for recorder in recorders:
            if isinstance(recorder, Frames):
                recorder.replace_last(image)
    except OutOfMemoryError as error:
        failure = error
    finally:
        seconds = time.monotonic() - start
        with ExitStack() as closing:  # all of them, also where one fails
            for recorder in reversed(recorders):
                closing.callback(recorder.close)
    return _Outcome(image.cpu(), steps, evaluations, seconds, failure)
