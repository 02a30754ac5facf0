"""The parts of a run, one after the other: each is synthesised, recorded, measured and saved."""

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from impasto.errors import (
    DivergedError,
    FolderLostError,
    ImpastoError,
    InterruptedRunError,
    OutOfMemoryError,
    OutputError,
)
from impasto.events import MemoryPlanned, PartBegun, RunDone
from impasto.files import sha256
from impasto.folders.checkpoints import Checkpoint, Checkpoints
from impasto.folders.names import FOLDER, RESULT
from impasto.folders.results import Curves, Outcome, Summary, form_of, save_overview, save_result, save_summary
from impasto.images.image import Image, quantise, size_of
from impasto.machine import forget_peak, peak_memory_mb
from impasto.pages.run_page import add_page
from impasto.runs.fitting import planned, sentence_for_memory
from impasto.runs.measures import measure, say_if_silent, unmeasured
from impasto.runs.painting import Painting
from impasto.runs.recorders import Frames, Recording
from impasto.runs.resuming import NOTHING, Past
from impasto.runs.watching import begun, checkpoints, recordings
from impasto.synthesis.composition import Composition
from impasto.synthesis.loop import Iterate, State, synthesise
from impasto.tasks.parts import Part
from impasto.tiles.budget import MemoryPlan


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
    painting.ownership.require()
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
    painting.course.enter(number, 0 if past.checkpoint is None else past.checkpoint.step)
    part, watching = painting.course.parts[number], painting.watching
    about = painting.about(number, past.checkpoint)
    about.place.mkdir(exist_ok=True)
    _announce(painting, number, about.step)

    # Made before the recorders of lines, so that the checkpoints' clock is never behind theirs.
    keeper = checkpoints(painting.folder, painting.toml, number, watching.checkpoint_seconds, past.checkpoint)
    first = [part.composition.first()]  # the loop takes the picture out, so that it is freed after a step
    with begun(watching.recorders, about, first[0]) as results:
        usual = recordings(part, about, first[0], watching.mp4, past.checkpoint)
        recorders = [curves, *usual, *watching.recorders]
        outcome = _synthesise(_Loop(painting, number, recorders, keeper), _Progress(first.pop()), past)
        summary = _summary(painting, number, outcome)
        painting.ownership.require()
        summary["result_sha256"] = sha256(about.place / RESULT)
        save_summary(about.task, part.name, about.place, summary, curves)
        results.append(summary)
    say_if_silent(part, summary, painting.prepared.precise, watching.listener)
    return summary, outcome.failure


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
            precise, depth = replace(plan, network=prepared.precise), prepared.spec.settings.depth
            measured = measure(part, quantise(outcome.image, depth), painting.content, precise, painting.halved)
    peak, size = peak_memory_mb(plan.network.device), part.composition.schedule[-1].size
    return {**outcome.as_summary(), "peak_memory_mb": peak, **plan.as_summary(size), **measured}


@dataclass(frozen=True, eq=False)
class _Loop:
    """The loop of one part of a run, with all that receives its iterates."""

    painting: Painting
    number: int
    recorders: Sequence[Recording]
    keeper: Checkpoints

    @property
    def part(self) -> Part:
        return self.painting.course.parts[self.number]

    @property
    def plan(self) -> MemoryPlan:
        return self.painting.course.plans[self.number]

    @property
    def frames(self) -> list[Frames]:
        """The recorder of frames, if frames are wanted."""
        return [recorder for recorder in self.recorders if isinstance(recorder, Frames)]

    def stops(self) -> bool:
        """Whether a stop has been asked for. Raises FolderLostError."""
        self.painting.ownership.require()
        return self.painting.watching.stops()

    def record(self, iterate: Iterate) -> None:
        """Hand the iterate to all recorders. Raises FolderLostError before anything is written."""
        self.painting.ownership.require()
        for recorder in [*self.recorders, self.keeper]:  # a checkpoint is never ahead of the other files
            recorder.record(iterate)

    def save(self, image: Image) -> None:
        """Save the part's picture. Raises FolderLostError."""
        self.painting.ownership.require()
        self._save(self.painting.place(self.number) / RESULT, image)

    def save_apart(self, image: Image) -> Path:
        """Save the part's picture beside the run's folder, which belongs to another run now; return the file."""
        ownership = self.painting.ownership
        name = "-".join(word for word in (ownership.folder.resolve().name, self.part.name, ownership.name) if word)
        self._save(file := ownership.folder.resolve().with_name(f"{name}.png"), image)
        return file

    def _save(self, file: Path, image: Image) -> None:
        form = form_of(self.painting.prepared.spec.settings)
        save_result(file, self.painting.content, self.painting.toml, image.cpu(), form)


@dataclass(eq=False)
class _Progress:
    """How far a loop has come: its last good picture and its cost."""

    image: Image
    steps: int = 0
    evaluations: int = 0
    start: float = field(default_factory=time.monotonic)

    def go_on_after(self, checkpoint: Checkpoint, composition: Composition) -> State:
        """Start from a checkpoint, whose state is returned."""
        self.image = composition.finished(checkpoint.state.image(composition))
        self.start -= checkpoint.seconds
        self.steps, self.evaluations = checkpoint.step, checkpoint.evaluations
        return checkpoint.state

    def reach(self, iterate: Iterate) -> None:
        """Go on to an iterate."""
        self.image, self.steps, self.evaluations = iterate.image, iterate.step, iterate.evaluations

    def outcome(self, failure: ImpastoError | None) -> Outcome:
        """How the loop ended, now."""
        return Outcome(self.image.cpu(), self.steps, self.evaluations, time.monotonic() - self.start, failure)


def _synthesise(loop: _Loop, progress: _Progress, past: Past) -> Outcome:
    """Run the loop. The picture is saved before animations are made, and also if another file cannot be written."""
    with ExitStack() as closing:  # closes all recorders, even if one fails
        for recorder in reversed(loop.recorders):
            closing.callback(recorder.close)
        try:
            outcome = progress.outcome(_follow(loop, progress, past))
            loop.save(outcome.image)
        except FolderLostError as error:
            for frames in loop.frames:
                frames.give_up()
            error.args = (f"{error}; the last good picture is kept as {loop.save_apart(progress.image)}",)
            raise
    return outcome


def _follow(loop: _Loop, progress: _Progress, past: Past) -> ImpastoError | None:
    """Follow the loop to its end; the error if it ended early with a picture that is good."""
    try:
        with sentence_for_memory(max(loop.part.composition.schedule[-1].size)):
            return _descend(loop, progress, past)
    except DivergedError as error:
        if error.image is not None:
            progress.image = loop.painting.course.parts[loop.number].composition.finished(error.image)
        for frames in loop.frames:
            frames.replace_last(progress.image)
        return error
    except (InterruptedRunError, OutOfMemoryError) as error:
        return error
    except FolderLostError:
        raise
    except (OSError, OutputError):
        loop.save(progress.image)
        raise


def _descend(loop: _Loop, progress: _Progress, past: Past) -> InterruptedRunError | None:
    """Go through the iterates; an error if a stop was asked for between two steps."""
    composition, turn = loop.part.composition, partial(loop.painting.course.turn, loop.number)

    def between_tiles() -> None:
        # A step of a large picture takes minutes, and a stop here loses only this step.
        if loop.stops() and loop.keeper.up_to_date:
            step = f"step {progress.steps + 1} of {composition.steps}"
            raise InterruptedRunError(f"stopped during {step}; resuming repeats that step")

    checkpoint = past.take()
    after = None if checkpoint is None else progress.go_on_after(checkpoint, composition)
    bind = planned(lambda: loop.plan, between_tiles, loop.painting.halved)
    iterates = synthesise(composition, loop.plan.network, after, bind, progress.image, turn)
    del checkpoint, after  # both are large, and the loop has taken the state
    for iterate in iterates:
        progress.reach(iterate)
        loop.record(iterate)
        if iterate.step < composition.steps and loop.stops():
            loop.keeper.save(iterate)
            return InterruptedRunError(f"stopped at step {iterate.step} of {composition.steps}")
    return None
