"""The loop: from a first picture, step by step, to one that the objective likes. There is no other loop."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from impasto.images.image import Image, Size, quantise, resize
from impasto.machine import calm
from impasto.networks.network import Network
from impasto.objectives.criterion import Criterion, Losses
from impasto.objectives.objective import Objective
from impasto.synthesis.budget import budget_of, cost
from impasto.synthesis.composition import Composition, Move
from impasto.synthesis.descent import Descended, Descent, Evaluate, descend, starting
from impasto.synthesis.schedules import Stage

Bind = Callable[[Objective, Network, Size], Criterion]


@dataclass(frozen=True, eq=False)
class State:
    """Where the loop stands after a step: all it needs to go on. `steps` and `evaluations` are the earlier stages'.

    The loop draws no random numbers, so a state holds no generator. If a run ends with a closing move, its last state
    is the one before that move: a run resumed from there makes the move again.
    """

    stage: int
    steps: int
    evaluations: int
    descent: Descent

    def image(self, composition: Composition) -> Image:
        """The picture after that step."""
        size = composition.schedule[self.stage - 1].size
        return composition.parameterisation.decode(self.descent.parameters, size).detach()


def _no_state() -> State:
    raise ValueError("this iterate comes from no loop that could go on")


@dataclass(frozen=True, eq=False)
class Iterate:
    """The picture after a step; its losses are those of the picture before that step.

    `step` counts from 1 over all stages, `evaluations` all forward and backward passes so far. `state()` is all that
    `synthesise` needs to go on from here; call `state()` before the next iterate is asked for.
    """

    stage: int
    stages: int
    step: int
    steps: int
    evaluations: int
    image: Image
    losses: Losses
    state: Callable[[], State] = _no_state

    @property
    def loss(self) -> float:
        """Sum of the weighted terms."""
        return sum(self.losses.values())


def synthesise(
    composition: Composition,
    network: Network,
    after: State | None = None,
    bind: Bind = Objective.bind,
    first: Image | None = None,
) -> Iterator[Iterate]:
    """Yield an iterate after each step, through all stages; close the generator to stop.

    `bind` says how the objective is read at each size: whole, or in tiles. `first` is the first picture if it has been
    made already; else the composition makes it.

    Same composition, machine and number of threads: the same pictures, bit for bit, also if the loop goes on after the
    state of an earlier iterate.
    Raises DivergedError with the last good picture if a loss is no longer finite, ImageError if a picture is too small
    for a layer, LayerError for an unknown layer.
    """
    return _calmly(_iterates(composition, network, bind, _Progress(composition, after, first)))


def _calmly(iterates: Generator[Iterate, None, None]) -> Iterator[Iterate]:
    """The same; each step is made without the host's modes (see `calm`), which the host has again in between."""

    def following() -> Iterate | None:
        with calm(None):
            return next(iterates, None)

    try:
        yield from iter(following, None)
    finally:
        iterates.close()


def _iterates(
    composition: Composition, network: Network, bind: Bind, progress: "_Progress"
) -> Generator[Iterate, None, None]:
    progress.begin(network)
    budget, opening, closing = budget_of(composition), composition.opening, composition.closing
    if opening is not None and progress.resumed is None and budget.allows_opening(opening):
        progress.open(opening, network)
    for stage in progress.stages_left():
        criterion = bind(composition.objective, network, stage.size)
        evaluate = progress.evaluate(criterion, stage, budget.steps)
        yield from map(progress.step, descend(progress.take(stage), evaluate, stage, composition))
        progress.end_stage(evaluate)
        if progress.evaluations >= budget.steps:
            break
    if closing is not None and budget.allows_closing(progress.evaluations):
        yield progress.close(closing, network, criterion)


@dataclass(eq=False)
class _Progress:
    """Where the loop stands: the picture, the stage, and how many steps and evaluations the stages before it took.

    Changed in place: what a step replaces is kept nowhere.
    """

    composition: Composition
    after: State | None
    first: Image | None
    image: Image = field(init=False)
    stage: int = 1
    steps: int = 0
    evaluations: int = 0
    resumed: Descent | None = None  # where the first stage goes on, until it takes that
    state: Callable[[], State] = _no_state
    step_of_stage: int = 0

    def begin(self, network: Network) -> None:
        """Make the first picture, or go on after a state; neither is kept longer than it is needed."""
        after, first, self.after, self.first = self.after, self.first, None, None
        if after is None:
            self.image = (self.composition.first() if first is None else first).to(network.device)
            return
        self.image, self.resumed = after.image(self.composition).to(network.device), after.descent
        self.stage, self.steps, self.evaluations = after.stage, after.steps, after.evaluations
        if self.composition.closing is not None:  # no step may be left, only the closing move
            self.state = partial(_same, after)

    def open(self, move: Move, network: Network) -> None:
        """Move the first picture."""
        self.image, self.evaluations = move(network, self.image), move.evaluations

    def stages_left(self) -> Iterator[Stage]:
        """The stages that are not finished, each of which becomes the present one."""
        for number in range(self.stage, len(self.composition.schedule) + 1):
            self.stage = number
            yield self.composition.schedule[number - 1]

    def evaluate(self, criterion: Criterion, stage: Stage, most: float) -> Evaluate:
        """The criterion as what the stage's optimiser calls, `most` times less the evaluations of earlier stages."""
        count = 0 if self.resumed is None else self.resumed.evaluations
        left = most - self.evaluations
        return Evaluate(criterion, self.composition.parameterisation, stage.size, left, count)

    def take(self, stage: Stage) -> Descent:
        """Where the stage begins, or goes on: large, and from here on the stage's own."""
        after, self.resumed = self.resumed, None
        self.step_of_stage = 0 if after is None else after.step
        return starting(resize(self.image, stage.size), self.composition) if after is None else after

    def step(self, made: Descended) -> Iterate:
        """The iterate of a step."""
        self.image, self.step_of_stage = made.image, made.step
        self.state = partial(_state, self.stage, self.steps, self.evaluations, made.where)
        if self.composition.closing is not None:  # also the state of the closing move, even after a step cut short
            self.state = partial(_same, self.state())
        return self._iterate(self.stage, made.evaluations, made.losses)

    def end_stage(self, evaluate: Evaluate) -> None:
        """Add up what the stage took."""
        self.steps, self.evaluations = self.steps + self.step_of_stage, self.evaluations + evaluate.count
        self.step_of_stage = 0

    def close(self, move: Move, network: Network, criterion: Criterion) -> Iterate:
        """The iterate of the closing move, with the losses of plain rounding."""
        self.image, losses = closed(move, network, criterion, self.image)
        self.step_of_stage = 1
        return self._iterate(len(self.composition.schedule), cost(move), losses)

    def _iterate(self, stage: int, evaluations: int, losses: Losses) -> Iterate:
        step, count = self.steps + self.step_of_stage, self.evaluations + evaluations
        stages, steps = len(self.composition.schedule), self.composition.steps
        return Iterate(stage, stages, step, steps, count, self.image, losses, self.state)


class Moved(NamedTuple):
    """A picture after a move, and the losses that are told of it."""

    image: Image
    losses: Losses


def closed(move: Move, network: Network, criterion: Criterion, image: Image) -> Moved:
    """The picture after the closing move or, if that is better, rounded to 8 bits; and the losses of the latter."""
    plain, moved = quantise(image), move(network, image)
    before, after = criterion.losses(plain), criterion.losses(moved)
    return Moved(moved if sum(after.values()) < sum(before.values()) else plain, before)


def _state(stage: int, steps: int, evaluations: int, where: Callable[[], Descent]) -> State:
    return State(stage, steps, evaluations, where())


def _same(state: State) -> State:
    return state
