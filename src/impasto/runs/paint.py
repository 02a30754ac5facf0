"""The parts of a run, one after the other: each is painted, watched, measured and saved."""

import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from impasto.errors import DivergedError, ImpastoError, InterruptedRunError, OutOfMemoryError, OutputError
from impasto.events import print_json
from impasto.folders.checkpoints import Checkpoints
from impasto.folders.names import FOLDER, RESULT, place_of
from impasto.folders.results import Curves, Outcome, Summary, save_overview, save_result, save_summary
from impasto.images.image import Image, size_of
from impasto.machine import peak_memory_mb
from impasto.pages.run_page import add_page
from impasto.runs.checks import sentence_for_memory
from impasto.runs.fitting import planned
from impasto.runs.measures import measure, unmeasured
from impasto.runs.prepare import Prepared
from impasto.runs.recorders import Frames, Recorder
from impasto.runs.resuming import NOTHING, Past
from impasto.runs.stopping import stop_signal
from impasto.runs.watching import Watching, checkpoints, recorders, trackers
from impasto.synthesis.loop import synthesise
from impasto.tasks.parts import Part
from impasto.tasks.table import TASKS
from impasto.tiles.budget import MemoryPlan


def run_parts(prepared: Prepared, folder: Path, toml: str, watching: Watching, past: Past) -> None:
    """Paint each part that is not done yet. Raises what ended a part early, once its picture is saved."""
    spec, parts, track = prepared.spec, prepared.parts, watching.track
    content = prepared.pictures[0] if TASKS[spec.task].has_content else None
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
            plan, size = prepared.plans[number], part.composition.schedule[-1].size
            if watching.show == "progress" and (words := plan.words(size)):
                print(f"impasto: {words}", file=sys.stderr)
            # Made before the recorders of lines, so that its clock is never behind theirs.
            keeper = checkpoints(folder, toml, number, watching, here.checkpoint)
            first = [part.composition.first()]  # made once; the loop takes it out, and lets go of it after a step
            with trackers(track, part, first[0], folder, toml, spec.settings, watching.show) as tracking:
                shown = recorders(part, first[0], folder, place, spec, watching, here.checkpoint)
                outcome = _synthesise(
                    part,
                    plan,
                    first.pop(),
                    [curves[part.name], *shown, tracking],
                    keeper,
                    partial(save_result, part, place, content, toml),
                    stop,
                    here,
                )
                if isinstance(outcome.failure, InterruptedRunError) and plan.core(size_of(outcome.image)) is not None:
                    measured = unmeasured(part)  # it would take as long as a step or two
                else:
                    with sentence_for_memory(spec.settings.size):
                        measured = measure(part, outcome.image, content, replace(plan, network=prepared.precise))
                memory = {"peak_memory_mb": peak_memory_mb(plan.network.device), **plan.as_summary(size)}
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
    prepared: Prepared, folder: Path, summaries: dict[str, Summary], curves: dict[str, Curves], toml: str
) -> None:
    totals = {name: curves[name].total for name in summaries}
    save_overview(prepared.spec.task, folder, prepared.pictures, summaries, totals, toml)


def _synthesise(
    part: Part,
    plan: MemoryPlan,
    image: Image,
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
        after = None
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
            with sentence_for_memory(max(composition.schedule[-1].size)):
                bind = planned(plan, between_tiles)
                iterates = synthesise(composition, plan.network, after, bind, image)
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
