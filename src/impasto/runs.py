"""From a spec to a folder of results: the only place that joins pictures, network, synthesis and recorders."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch

from impasto.catalogue import open_network
from impasto.errors import DivergedError, ImageError, ImpastoError, InterruptedRunError, OutOfMemoryError, OutputError
from impasto.folders import SETTINGS_FILE, as_toml, check_folder, default_folder, make_folder
from impasto.images import Image, Picture, load_picture, write_bytes
from impasto.metrics import free_memory, peak_memory_mb
from impasto.networks import Network, Precision
from impasto.objectives import Match
from impasto.parts import Part, compose
from impasto.recorders import Bar, Curves, Frames, JsonLines, MetricsFile, PlainLines, Recorder, print_json
from impasto.report import add_page
from impasto.results import RESULT, Summary, measure, save_overview, save_result, save_summary
from impasto.specs import RunSpec, Settings
from impasto.synthesis import synthesise

Show = Literal["progress", "json", "nothing"]
_Handler = Callable[[int, FrameType | None], Any] | int | None


def run(spec: RunSpec, out: Path | None = None, *, force: bool = False, show: Show = "progress") -> Path:
    """Do what a spec says and return the folder with the results, by default runs/TASK-PICTURES.

    Nothing is written before pictures, layers and sizes are known to serve. A run that is interrupted (Ctrl-C,
    SIGTERM), diverges or runs out of memory keeps its last good picture and raises the ImpastoError that says so.
    """
    settings = spec.settings
    folder = out or default_folder(spec.task, spec.pictures)
    check_folder(folder, spec, force=force)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    pictures = [load_picture(path) for path in spec.pictures]
    with _sentence_for_memory(settings):
        network = _open(settings, settings.precision)
        precise = network if network.precision == torch.float32 else _open(settings, "float32")
        parts = compose(spec, [picture.image for picture in pictures])
        for part in parts:
            _check(part, network, spec, pictures)
    make_folder(folder, spec, force=force)
    try:
        _run_parts(spec, folder, network, precise, parts, pictures, show)
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
    deepest = network.smallest_side(_layers(part))
    return precise if settings.precision == "auto" and deepest <= 2 else network


def _layers(part: Part) -> list[str]:
    terms = [term for term in part.composition.objective.terms if isinstance(term, Match)]
    return [layer for term in terms for layer in term.layers]


def _check(part: Part, network: Network, spec: RunSpec, pictures: list[Picture]) -> None:
    """Fail before anything is written: unknown layers, pictures too small, no memory for the first stage."""
    layers = _layers(part)
    for path, picture in zip(spec.pictures, pictures, strict=True):
        try:
            network.require_size(picture.size, layers)
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None
    _require_memory(part, network, spec.settings)
    first = part.composition.schedule[0]
    try:
        part.composition.objective.bind(network, first.size)
    except ImageError as error:
        height, width = first.size
        sizes = [name for name in ("size", "smallest", "style_scale") if name in type(spec.settings).model_fields]
        larger = " or ".join(f"--{name.replace('_', '-')}" for name in sizes)
        raise ImageError(f"at {width} × {height} px {error}; choose a larger {larger}, or shallower layers") from None


def _require_memory(part: Part, network: Network, settings: Settings) -> None:
    """Refuse what cannot fit, before the system ends the program without a word."""
    height, width = part.composition.schedule[-1].size
    vectors = 12 + (0 if settings.optimiser == "adam" else 2 * settings.history)  # of the picture's size, float32
    needed = height * width * (network.bytes_per_pixel(_layers(part)) + 12 * vectors)
    free = free_memory(network.device)
    if needed > free:
        fitting = max(1, int(settings.size * (0.9 * free / needed) ** 0.5))
        raise OutOfMemoryError(
            f"a result of {width} × {height} px needs about {needed / 1e9:.1f} GB of memory, "
            f"{free / 1e9:.1f} GB are free; --size {fitting} would fit"
        )


def _run_parts(
    spec: RunSpec,
    folder: Path,
    network: Network,
    precise: Network,
    parts: list[Part],
    pictures: list[Picture],
    show: Show,
) -> None:
    toml = as_toml(spec, network)
    write_bytes(folder / SETTINGS_FILE, toml.encode())
    content = None if spec.task == "texture" else pictures[0]
    summaries: dict[str, Summary] = {}
    curves: dict[str, list[float]] = {}
    with _stop_signal() as stop:
        for part in parts:
            place = folder / part.name if len(parts) > 1 else folder
            place.mkdir(exist_ok=True)
            traced = Curves()
            recorders = [traced, *_recorders(part, folder, place, spec, show)]
            outcome = _synthesise(
                part, _precise_enough(part, network, precise, spec.settings), recorders, stop, spec.settings
            )
            save_result(part, place, outcome.image, content, toml)
            with _sentence_for_memory(spec.settings):
                measured = measure(part, outcome.image, content, precise)
            memory = {"peak_memory_mb": peak_memory_mb(network.device)}
            summaries[part.name] = {**outcome.as_summary(), **memory, **measured}
            save_summary(spec.task, part.name, place, summaries[part.name], traced)
            if len(parts) > 1:
                curves[part.name] = traced.total
                save_overview(spec.task, folder, pictures, summaries, curves, toml)
            if outcome.failure is not None or part is parts[-1]:
                add_page(folder)
            if outcome.failure is not None:
                raise outcome.failure
    if show == "json":
        print_json({"event": "done", "folder": str(folder), "result": str(folder / RESULT), "parts": summaries})


def _recorders(part: Part, folder: Path, place: Path, spec: RunSpec, show: Show) -> list[Recorder]:
    schedule = part.composition.schedule
    steps = sum(stage.steps for stage in schedule)
    title = f"{spec.task} {part.name}".strip()
    recorders: list[Recorder] = [MetricsFile(folder / "metrics.jsonl", part.name)]
    if spec.settings.frames:
        recorders.append(Frames(place, part.composition.init(schedule[0].size), steps, spec.settings.frames))
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
        with _sentence_for_memory(settings):
            for iterate in synthesise(part.composition, network):
                image, steps, evaluations = iterate.image, iterate.step, iterate.evaluations
                for recorder in recorders:
                    recorder.record(iterate)
                if stop.is_set() and steps < iterate.steps:
                    failure = InterruptedRunError(f"stopped at step {steps} of {iterate.steps}")
                    break
    except DivergedError as error:
        failure, image = error, image if error.image is None else error.image
    except OutOfMemoryError as error:
        failure = error
    finally:
        seconds = time.monotonic() - start
        with ExitStack() as closing:  # all of them, also where one fails
            for recorder in reversed(recorders):
                closing.callback(recorder.close)
    return _Outcome(image.cpu(), steps, evaluations, seconds, failure)


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; a second one ends the program in the usual way."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}  # nohup and &

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        print("stopping after this step; once more to stop at once", file=sys.stderr)
        _restore(before)

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        _restore(before)


def _restore(handlers: Mapping[signal.Signals, _Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def _sentence_for_memory(settings: Settings) -> Iterator[None]:
    """Turn the several ways in which PyTorch says that memory is short into one."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(
            f"there is not enough memory for {settings.size} px; try --size {max(16, settings.size * 2 // 3)}"
        ) from None
