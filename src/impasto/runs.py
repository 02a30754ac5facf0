"""From a spec to a folder of results: the only place that joins pictures, network, synthesis and recorders."""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from impasto.checkpoints import FOLDER, Checkpoints
from impasto.checks import check, sentence_for_memory
from impasto.crews import Crew
from impasto.errors import (
    DivergedError,
    ImpastoError,
    InterruptedRunError,
    OutOfMemoryError,
    OutputError,
    RunFolderError,
    SpecError,
)
from impasto.extras import TrackerName, import_tracker, import_video
from impasto.folders import as_toml, check_folder, default_folder, make_folder, provenance, with_memory
from impasto.images import Image, Picture, load_picture, size_of, write_bytes
from impasto.measuring import measure, unmeasured
from impasto.memory import Fit, lessened, limits, within
from impasto.metrics import peak_memory_mb
from impasto.networks import Network
from impasto.parts import Part, compose, network_of, part_names
from impasto.recorders import Curves, Frames, Recorder, print_json
from impasto.report import add_page
from impasto.results import (
    RESULT,
    Outcome,
    Summary,
    save_overview,
    save_result,
    save_summary,
    sentence_for_folder,
)
from impasto.resuming import NOTHING, Past, cut_back, finished, look_back, open_run, place_of, require_same
from impasto.specfiles import SETTINGS_FILE, fingerprint, located
from impasto.specs import RunSpec, Settings
from impasto.spreading import crew_at, spread
from impasto.stopping import stop_signal
from impasto.synthesis import synthesise
from impasto.watching import Show, Watching, checkpoints, recorders, trackers


def run(
    spec: RunSpec,
    out: Path | None = None,
    *,
    force: bool = False,
    show: Show = "progress",
    track: Sequence[TrackerName] = (),
    mp4: bool = False,
    checkpoint_seconds: float = 30.0,
    memory_share: float = 1.0,
    cluster: str | None = None,
) -> Path:
    """Do what a spec says and return the folder with the results, by default runs/TASK-PICTURES.

    `track` names the trackers that are told of it (see docs/tracking.md), `mp4` adds a video to the animations.
    Every `checkpoint_seconds` (0 for never) and where it is interrupted the run keeps where it stands, for `resume`.
    It takes a `memory_share` of what it may, though never less than it needs: for another try where that was too much.
    `cluster` is the address of a Ray cluster, or "auto", whose workers compute the tiles of large pictures.
    Nothing is written before pictures, layers and sizes are known to serve. A run that is interrupted (Ctrl-C,
    SIGTERM), diverges or runs out of memory keeps its last good picture and raises the ImpastoError that says so.
    """
    for name in track:
        import_tracker(name)
    _require_video(spec.settings, mp4)
    folder = out or default_folder(spec.task, spec.pictures)
    check_folder(folder, spec, force=force)
    with crew_at(cluster, spec.settings) as crew:
        prepared = _prepare(spec, spec.settings.threads, None, memory_share, crew)
        make_folder(folder, spec, force=force)
        toml = as_toml(spec, prepared.network, prepared.fits[0].limits.memory, memory_share)
        with sentence_for_folder(folder, cluster):
            write_bytes(folder / SETTINGS_FILE, toml.encode())
            (folder / FOLDER).mkdir()
            _run_parts(prepared, folder, toml, Watching(show, tuple(track), mp4, checkpoint_seconds), NOTHING)
    return folder


def resume(
    folder: Path,
    *,
    show: Show = "progress",
    mp4: bool = False,
    checkpoint_seconds: float = 30.0,
    memory_share: float = 1.0,
    cluster: str | None = None,
) -> Path:
    """Go on with a run that was ended before its end, from its last checkpoint; return its folder.

    On the same machine it ends as a run in one go does, bit for bit. One that is done is left as it is. With a smaller
    `memory_share` than it had so far its tiles are smaller from here on, and the last digits may differ.
    Raises RunFolderError where the folder is no run, its pictures or weights have changed, or no checkpoint can be
    read; DivergedError where the run has diverged; else as `run`.
    """
    found = open_run(folder)
    names = part_names(found.spec.settings)
    if finished(folder, names):
        if show != "nothing":
            print(f"impasto: {folder} is done; nothing is left to do", file=sys.stderr)
        return folder
    _require_video(found.spec.settings, mp4)
    spec, changed = located(found)
    if changed:
        raise RunFolderError(f"{folder} cannot go on: {changed[0]}; start again with impasto run {found.path}")
    threads = spec.settings.threads or found.provenance.get("threads")
    before = found.provenance.get("memory_share", 1.0)
    share, toml = min(memory_share, before), found.toml
    with crew_at(cluster, spec.settings) as crew:
        prepared = _prepare(spec, threads, found.provenance.get("memory_bytes"), share / before, crew)
        require_same(folder, found.provenance, provenance(spec, prepared.network))
        with sentence_for_memory(spec.settings):
            past = look_back(folder, names, fingerprint(toml), prepared.network.device)
        with sentence_for_folder(folder, cluster):
            past = cut_back(folder, names, past)
            if share < before:
                toml = with_memory(toml, prepared.fits[0].limits.memory, share)
                write_bytes(folder / SETTINGS_FILE, toml.encode())
            _run_parts(prepared, folder, toml, Watching(show, (), mp4, checkpoint_seconds), past)
    return folder


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A run whose pictures, layers and sizes are known to serve."""

    spec: RunSpec
    pictures: list[Picture]
    network: Network
    precise: Network
    parts: list[Part]
    fits: list[Fit]


def _prepare(spec: RunSpec, threads: int | None, memory: int | None, share: float, crew: Crew | None) -> _Prepared:
    settings = spec.settings
    if threads is not None:
        torch.set_num_threads(threads)
    pictures = [load_picture(path) for path in spec.pictures]
    with sentence_for_memory(settings):
        network = network_of(settings, settings.precision)
        precise = network if network.precision == torch.float32 else network_of(settings, "float32")
        parts = compose(spec, [picture.image for picture in pictures])
        allowed = limits(settings, network.device, memory)
        fits = [
            spread(
                Fit(_precise_enough(part, network, precise, settings), part.composition.objective, allowed, settings),
                crew,
            )
            for part in parts
        ]
        fits = lessened(fits, [part.composition.schedule[-1].size for part in parts], share)
        for part, fit in zip(parts, fits, strict=True):
            check(part, fit, spec, pictures)
    return _Prepared(spec, pictures, network, precise, list(map(within, parts, fits)), fits)


def _require_video(settings: Settings, mp4: bool) -> None:
    if mp4:
        import_video()
        if not settings.frames:
            raise SpecError("--mp4 needs pictures on the way, and --frames is 0")


def _precise_enough(part: Part, network: Network, precise: Network, settings: Settings) -> Network:
    """With automatic precision the first two blocks are read in float32: they cost little, and rounding shows there."""
    deepest = network.smallest_side(part.composition.objective.layers())
    return precise if settings.precision == "auto" and deepest <= 2 else network


def _run_parts(prepared: _Prepared, folder: Path, toml: str, watching: Watching, past: Past) -> None:
    spec, parts, track = prepared.spec, prepared.parts, watching.track
    content = None if spec.task == "texture" else prepared.pictures[0]
    names = [part.name for part in parts]
    summaries = dict(past.summaries)
    curves = {name: Curves() for name in names}
    for line in past.lines:
        curves[line.part].add(line.total, line.losses)
    failure: ImpastoError | None = None
    with stop_signal() as stop:
        for number, part in enumerate(parts):
            if part.name in past.summaries:
                continue
            here = past if number == len(past.summaries) else NOTHING
            place = place_of(folder, names, part.name)
            place.mkdir(exist_ok=True)
            fit, size = prepared.fits[number], part.composition.schedule[-1].size
            if watching.show == "progress" and (words := fit.words(size)):
                print(f"impasto: {words}", file=sys.stderr)
            keeper = checkpoints(folder, toml, number, watching, here.checkpoint)  # before what keeps lines
            with trackers(track, part, folder, toml, spec.settings, watching.show) as tracking:
                outcome = _synthesise(
                    part,
                    fit,
                    [curves[part.name], *recorders(part, folder, place, spec, watching, here.checkpoint), tracking],
                    keeper,
                    partial(save_result, part, place, content, toml),
                    stop,
                    here,
                )
                if isinstance(outcome.failure, InterruptedRunError) and fit.core(size_of(outcome.image)) is not None:
                    measured = unmeasured(part)  # it would take as long as a step or two
                else:
                    with sentence_for_memory(spec.settings):
                        measured = measure(part, outcome.image, content, replace(fit, network=prepared.precise))
                memory = {"peak_memory_mb": peak_memory_mb(fit.network.device), **fit.as_summary(size)}
                summaries[part.name] = {**outcome.as_summary(), **memory, **measured}
                save_summary(spec.task, part.name, place, summaries[part.name], curves[part.name])
                tracking.results(place, summaries[part.name])
            track, failure = tracking.names, outcome.failure
            if failure is not None:
                break
            if len(parts) > 1 and part is not parts[-1]:
                _save_overview(prepared, folder, summaries, curves, toml)
        if len(parts) > 1:
            _save_overview(prepared, folder, summaries, curves, toml)
        add_page(folder)
        if failure is None or isinstance(failure, DivergedError):  # nothing to go on with
            shutil.rmtree(folder / FOLDER)
        if failure is not None:
            raise failure
    if watching.show == "json":
        print_json({"event": "done", "folder": str(folder), "result": str(folder / RESULT), "parts": summaries})


def _save_overview(
    prepared: _Prepared, folder: Path, summaries: dict[str, Summary], curves: dict[str, Curves], toml: str
) -> None:
    totals = {name: curves[name].total for name in summaries}
    save_overview(prepared.spec.task, folder, prepared.pictures, summaries, totals, toml)


def _synthesise(
    part: Part,
    fit: Fit,
    recorders: list[Recorder],
    keeper: Checkpoints,
    save: Callable[[Image], None],
    stop: threading.Event,
    past: Past,
) -> Outcome:
    """The loop. The picture is saved before animations are made, and where something else cannot be written."""
    composition, start = part.composition, time.monotonic()
    steps, evaluations, in_all = 0, 0, composition.steps
    if (checkpoint := past.take()) is None:
        image, after = composition.init(composition.schedule[0].size), None
    else:
        after, start = checkpoint.state, start - checkpoint.seconds
        image, steps, evaluations = after.image(composition), checkpoint.step, checkpoint.evaluations

    def between_tiles() -> None:
        if stop.is_set() and keeper.up_to_date:  # a step of a large picture takes minutes, and only that one is lost
            raise InterruptedRunError(f"stopped within step {steps + 1} of {in_all}, which begins again")

    failure: ImpastoError | None = None
    with ExitStack() as closing:  # all recorders, also where one fails
        for recorder in reversed(recorders):
            closing.callback(recorder.close)
        try:
            with sentence_for_memory(fit.settings):
                bind = partial(fit.bind, between_tiles=between_tiles)
                iterates = synthesise(composition, fit.network, after, bind)
                del checkpoint, after  # large, and the loop's own from here on
                for iterate in iterates:
                    image, steps, evaluations = iterate.image, iterate.step, iterate.evaluations
                    for recorder in [*recorders, keeper]:  # a checkpoint is never ahead of what the others have written
                        recorder.record(iterate)
                    if stop.is_set() and steps < in_all:
                        keeper.save(iterate)
                        failure = InterruptedRunError(f"stopped at step {steps} of {in_all}")
                        break
        except DivergedError as error:
            failure, image = error, image if error.image is None else error.image
            for recorder in recorders:
                if isinstance(recorder, Frames):
                    recorder.replace_last(image)
        except (InterruptedRunError, OutOfMemoryError) as error:
            failure = error
        except (OSError, OutputError):
            save(image.cpu())
            raise
        seconds = time.monotonic() - start
        save(image.cpu())
    return Outcome(image.cpu(), steps, evaluations, seconds, failure)
