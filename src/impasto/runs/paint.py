"""The parts of a run, one after the other: each is synthesised, recorded, measured and saved."""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from impasto.errors import DivergedError, ImpastoError, InterruptedRunError, OutOfMemoryError, OutputError
from impasto.events import MemoryPlanned, PartBegun, RunDone, TilesHalved
from impasto.files import write_bytes
from impasto.folders.checkpoints import Checkpoints
from impasto.folders.names import FOLDER, RESULT, SETTINGS_FILE, place_of
from impasto.folders.results import Curves, Outcome, Summary, save_overview, save_result, save_summary
from impasto.folders.specfiles import with_changes
from impasto.images.image import Image, Picture, Size, size_of
from impasto.machine import forget_peak, peak_memory_mb
from impasto.pages.run_page import add_page
from impasto.runs.checks import sentence_for_memory
from impasto.runs.fitting import Course, planned
from impasto.runs.measures import measure, unmeasured
from impasto.runs.prepare import Prepared
from impasto.runs.recorders import Frames, Recording
from impasto.runs.resuming import NOTHING, Past
from impasto.runs.stopping import Steering
from impasto.runs.watching import Watching, begun, checkpoints, recordings, watched
from impasto.synthesis.loop import Turn, synthesise
from impasto.tasks.parts import Part
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import TASKS
from impasto.tiles.budget import MemoryPlan


@dataclass(eq=False)
class Painting:
    """A run whose folder exists: its prepared parts, folder, settings, and how it is watched and steered.

    `toml` is the text of run.toml, which is written anew if settings change while the run goes on.
    """

    prepared: Prepared
    folder: Path
    toml: str
    watching: Watching
    steering: Steering

    @cached_property
    def course(self) -> Course:
        """The parts as they are after the changes so far."""
        prepared, listener = self.prepared, self.watching.listener
        parts, plans = list(prepared.parts), list(prepared.plans)
        return Course(prepared.spec, prepared.pictures, parts, plans, self.steering, self._save_changes, listener)

    def _save_changes(self, spec: RunSpec) -> None:
        self.toml = with_changes(self.toml, spec)
        write_bytes(self.folder / SETTINGS_FILE, self.toml.encode())

    @property
    def names(self) -> list[str]:
        """The parts' names."""
        return [part.name for part in self.prepared.parts]

    @property
    def content(self) -> Picture | None:
        """The picture that results are compared with, if the task has a content."""
        return self.prepared.pictures[0] if TASKS[self.prepared.spec.task].has_content else None


def paint(painting: Painting, past: Past) -> None:
    """Paint each part that is not done yet. If a part ends early, raise its error once the picture is saved."""
    folder, names, summaries = painting.folder, painting.names, dict(past.summaries)
    curves = {name: Curves() for name in names}
    failure: ImpastoError | None = None
    forget_peak(painting.prepared.network.device)
    for line in past.lines:
        curves[line.part].add(line.total, line.losses)
    for number in range(len(past.summaries), len(names)):
        name, here = names[number], past if number == len(past.summaries) else NOTHING
        summaries[name], failure = _paint_part(painting, number, curves[name], here)
        if failure is not None:
            break
        if len(names) > 1 and name != names[-1]:
            _save_overview(painting, summaries, curves)
    if len(names) > 1:
        _save_overview(painting, summaries, curves)
    add_page(folder, painting.watching.listener)
    if failure is None or isinstance(failure, DivergedError):  # the run cannot be resumed
        shutil.rmtree(folder / FOLDER)
    if failure is not None:
        raise failure
    painting.watching.listener(RunDone(folder, folder / RESULT, summaries))


def _save_overview(painting: Painting, summaries: dict[str, Summary], curves: dict[str, Curves]) -> None:
    prepared, totals = painting.prepared, {name: curves[name].total for name in summaries}
    save_overview(prepared.spec.task, painting.folder, prepared.pictures, summaries, totals, painting.toml)


def _paint_part(painting: Painting, number: int, curves: Curves, past: Past) -> tuple[Summary, ImpastoError | None]:
    """Paint one part, from its first picture or the past's checkpoint: its summary, and the error if it ended early."""
    prepared, folder, toml, watching = painting.prepared, painting.folder, painting.toml, painting.watching
    course = painting.course
    course.enter(number, 0 if past.checkpoint is None else past.checkpoint.step)
    part, place = course.parts[number], place_of(folder, painting.names, prepared.parts[number].name)
    place.mkdir(exist_ok=True)
    about = watched(part, folder, place, prepared.spec, toml, watching.listener, past.checkpoint)
    _announce(painting, number, about.step)
    # Made before the recorders of lines, so that the checkpoints' clock is never behind theirs.
    keeper = checkpoints(folder, toml, number, watching.checkpoint_seconds, past.checkpoint)
    first = [part.composition.first()]  # the loop takes the picture out, so that it is freed after a step
    with begun(watching.recorders, about, first[0]) as results:
        recorders = [curves, *recordings(part, about, first[0], watching.mp4, past.checkpoint), *watching.recorders]
        save = partial(_save_result, painting, part, place)
        loop = _Loop(part, course.plans[number], recorders, keeper, save, watching, partial(course.turn, number))
        outcome = _synthesise(loop, first.pop(), past)
        summary = _summary(painting, number, outcome)
        save_summary(prepared.spec.task, part.name, place, summary, curves)
        results.append(summary)
    return summary, outcome.failure


def _save_result(painting: Painting, part: Part, place: Path, image: Image) -> None:
    """Save a part's picture with the settings as they are at the end."""
    save_result(part, place, painting.content, painting.toml, image)


def _announce(painting: Painting, number: int, step: int) -> None:
    part, listener = painting.course.parts[number], painting.watching.listener
    if words := painting.course.plans[number].words(part.composition.schedule[-1].size):
        listener(MemoryPlanned(words))
    listener(PartBegun(painting.prepared.spec.task, part.name, part.composition.steps, step))


def _summary(painting: Painting, number: int, outcome: Outcome) -> Summary:
    """A part's summary: how it ended, its cost, and its picture's losses and metrics."""
    prepared = painting.prepared
    part, plan = painting.course.parts[number], painting.course.plans[number]
    if isinstance(outcome.failure, InterruptedRunError) and plan.core(size_of(outcome.image)) is not None:
        measured = unmeasured(part)  # measuring takes as long as a step or two
    else:
        with sentence_for_memory(prepared.spec.settings.size):
            measured = measure(part, outcome.image, painting.content, replace(plan, network=prepared.precise))
    peak, size = peak_memory_mb(plan.network.device), part.composition.schedule[-1].size
    return {**outcome.as_summary(), "peak_memory_mb": peak, **plan.as_summary(size), **measured}


@dataclass(frozen=True, eq=False)
class _Loop:
    """The data of one loop; `save` saves its picture, `turn` gives another objective if settings change."""

    part: Part
    plan: MemoryPlan
    recorders: Sequence[Recording]
    keeper: Checkpoints
    save: Callable[[Image], None]
    watching: Watching
    turn: Turn

    def halved(self, core: Size) -> None:
        """Report that tiles are made smaller because memory is short."""
        self.watching.listener(TilesHalved(core))


def _synthesise(loop: _Loop, image: Image, past: Past) -> Outcome:
    """Run the loop. The picture is saved before animations are made, and also if another file cannot be written."""
    composition, keeper, start = loop.part.composition, loop.keeper, time.monotonic()
    steps, evaluations, in_all = 0, 0, composition.steps
    if (checkpoint := past.take()) is None:
        after = None
    else:
        after, start = checkpoint.state, start - checkpoint.seconds
        image, steps, evaluations = after.image(composition), checkpoint.step, checkpoint.evaluations

    def between_tiles() -> None:
        # A step of a large picture takes minutes, and a stop here loses only this step.
        if loop.watching.stops() and keeper.up_to_date:
            raise InterruptedRunError(f"stopped during step {steps + 1} of {in_all}; resuming repeats that step")

    failure: ImpastoError | None = None
    with ExitStack() as closing:  # closes all recorders, even if one fails
        for recorder in reversed(loop.recorders):
            closing.callback(recorder.close)
        try:
            with sentence_for_memory(max(composition.schedule[-1].size)):
                bind = planned(loop.plan, between_tiles, loop.halved)
                iterates = synthesise(composition, loop.plan.network, after, bind, image, loop.turn)
                del checkpoint, after  # both are large, and the loop has taken the state
                for iterate in iterates:
                    image, steps, evaluations = iterate.image, iterate.step, iterate.evaluations
                    for recorder in [*loop.recorders, keeper]:  # a checkpoint is never ahead of the other files
                        recorder.record(iterate)
                    if steps < in_all and loop.watching.stops():
                        keeper.save(iterate)
                        failure = InterruptedRunError(f"stopped at step {steps} of {in_all}")
                        break
        except DivergedError as error:
            failure, image = error, image if error.image is None else error.image
            for frames in (recorder for recorder in loop.recorders if isinstance(recorder, Frames)):
                frames.replace_last(image)
        except (InterruptedRunError, OutOfMemoryError) as error:
            failure = error
        except (OSError, OutputError):
            loop.save(image.cpu())
            raise
        seconds = time.monotonic() - start
        loop.save(image.cpu())
    return Outcome(image.cpu(), steps, evaluations, seconds, failure)
