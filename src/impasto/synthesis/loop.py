"""The optimisation loop, from the first picture through all stages to the result. All tasks use this loop."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from impasto.images.image import Image, Size, quantise
from impasto.machine import isolated
from impasto.networks.network import Network
from impasto.objectives.criterion import Criterion, Losses
from impasto.objectives.objective import Objective
from impasto.objectives.representations import Pointwise
from impasto.synthesis.budget import budget_of, cost
from impasto.synthesis.composition import Composition, Look, Move
from impasto.synthesis.descent import Descended, Descent, Evaluate, Viewed, descend, starting, straight
from impasto.synthesis.schedules import Stage, share

Bind = Callable[[Objective, Network, Size], Criterion]
Turn = Callable[[int], Composition | None]  # from the number of steps so far to what holds from now on; None: as before


@dataclass(frozen=True, eq=False)
class State:
    """The state of the loop after a step, sufficient to resume. `steps` and `evaluations` are the earlier stages'.

    `begun` is the picture with which the stage began, if the objective chooses its targets by that picture.
    The loop draws no random numbers (views are drawn from a seed and the number of the evaluation), so a state holds no
    generator. If a run ends with a closing move, its last state
    is the one before that move: a run resumed from there makes the move again.
    """

    stage: int
    steps: int
    evaluations: int
    descent: Descent
    begun: Image | None = None

    def image(self, composition: Composition) -> Image:
        """The picture after the step."""
        size = composition.schedule[self.stage - 1].size
        return composition.parameterisation.decode(self.descent.parameters, size).detach()


def straight_on(step: int) -> None:
    """The turn that is none: the composition stays."""


def _no_state() -> State:
    raise ValueError("this iterate has no state: `synthesise` did not make it")


@dataclass(frozen=True, eq=False)
class Iterate:
    """The picture after a step, finished as composed; its losses are those of the picture before that step.

    `step` counts from 1 over all stages; `evaluations` counts all forward and backward passes so far. `state()` is all
    that `synthesise` needs to continue from this iterate; call `state()` before asking for the next iterate.
    `share` is the fraction of all work that is done (see `schedules.share`).
    """

    stage: int
    stages: int
    step: int
    steps: int
    evaluations: int
    image: Image
    losses: Losses
    state: Callable[[], State] = _no_state
    share: float | None = None

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
    turn: Turn = straight_on,
) -> Iterator[Iterate]:
    """Yield an iterate after each step, through all stages; close the generator to stop.

    `after` is the state of an earlier iterate to continue from. `bind` makes the criterion for each size, which reads
    pictures whole or in tiles. `first` is the first picture if it is known already; otherwise the composition makes it.
    `turn` is asked before each step, with the number of steps so far over all stages, whether the objective and the
    parameterisation of another composition hold from now on; the parameters stay, so both parameterisations must take
    the same. To continue from a state, give the composition that held at the state's step, and a `turn` that answers as
    before.

    The same composition, machine and number of threads give the same pictures, bit for bit, also if the loop continues
    from a state.
    Raises DivergedError with the last good picture if a loss is no longer finite, ImageError if a picture is too small
    for a layer, LayerError for an unknown layer.
    """
    return _calmly(_iterates(composition, network, bind, _Progress(composition, after, first), turn))


def _calmly(iterates: Generator[Iterate, None, None]) -> Iterator[Iterate]:
    """The same; each step is made without the host's modes (see `isolated`), which the host has again in between."""

    def following() -> Iterate | None:
        with isolated(None):
            return next(iterates, None)

    try:
        yield from iter(following, None)
    finally:
        iterates.close()


def _iterates(
    composition: Composition, network: Network, bind: Bind, progress: "_Progress", turn: Turn
) -> Generator[Iterate, None, None]:
    progress.begin(network)
    budget, opening, closing = budget_of(composition), composition.opening, composition.closing
    if opening is not None and progress.resumed is None and budget.allows_opening(opening):
        progress.open(opening, network)
    for stage in progress.stages_left():
        seen = progress.seeing(stage, begins=True)
        evaluate = progress.evaluate(_viewed(bind, seen, network, stage.size), stage, budget.steps)

        def renewed(step: int, stage: Stage = stage, evaluate: Evaluate = evaluate) -> bool:
            if (other := turn(progress.steps + step)) is None:
                return False
            progress.turn(other)
            evaluate.criterion = _viewed(bind, progress.seeing(stage, begins=False), network, stage.size)
            evaluate.parameterisation = other.parameterisation
            return True

        yield from map(progress.step, descend(progress.take(stage), evaluate, stage, composition, renewed))
        progress.end_stage(evaluate)
        if progress.evaluations >= budget.steps:
            break
    if closing is not None and budget.allows_closing(progress.evaluations):
        yield progress.close(closing, network, evaluate.criterion(straight))


def _viewed(bind: Bind, objective: Objective, network: Network, size: Size) -> Viewed:
    """The criterion for each look at the picture: bound once, unless references must be seen through the look too."""
    criterion, in_place = bind(objective, network, size), objective.matches(Pointwise)

    def through(look: Look) -> Criterion:
        if look is straight or not in_place:
            return criterion
        return bind(objective.through(look, size), network, size)

    return through


@dataclass(eq=False)
class _Progress:
    """The progress of the loop: picture, stage, and the steps and evaluations of the stages before.

    Changed in place, so that no picture is kept after a step has replaced it.
    """

    composition: Composition
    after: State | None
    first: Image | None
    image: Image = field(init=False)
    stage: int = 1
    steps: int = 0
    evaluations: int = 0
    resumed: Descent | None = None  # the state that the first stage continues from, until the stage takes it
    state: Callable[[], State] = _no_state
    step_of_stage: int = 0
    begun: Image | None = None

    def begin(self, network: Network) -> None:
        """Make the first picture, or continue from a state; neither is kept longer than it is needed."""
        after, first, self.after, self.first = self.after, self.first, None, None
        if after is None:
            self.image = (self.composition.first() if first is None else first).to(network.device)
            return
        self.image, self.resumed = after.image(self.composition).to(network.device), after.descent
        self.stage, self.steps, self.evaluations = after.stage, after.steps, after.evaluations
        self.begun = after.begun
        if self.composition.closing is not None:  # perhaps only the closing move is left
            self.state = partial(_same, after)

    def open(self, move: Move, network: Network) -> None:
        """Move the first picture."""
        self.image, self.evaluations = move(network, self.image), move.evaluations

    def turn(self, other: Composition) -> None:
        """Go on with the objective, the parameterisation and the finish of another composition."""
        self.composition = replace(
            self.composition, objective=other.objective, parameterisation=other.parameterisation, finish=other.finish
        )

    def stages_left(self) -> Iterator[Stage]:
        """The stages that are not finished; each becomes the current stage."""
        for number in range(self.stage, len(self.composition.schedule) + 1):
            self.stage = number
            yield self.composition.schedule[number - 1]

    def seeing(self, stage: Stage, *, begins: bool) -> Objective:
        """The objective in a stage that `begins` or goes on: from the second stage on, its first picture may matter.

        If an objective to which that picture matters is taken up later in the stage, the picture is the one then.
        """
        if begins and self.resumed is None:
            self.begun = None
        objective = self.composition.objective
        if self.stage == 1 or not objective.neighbours:
            return objective
        if self.begun is None:
            self.begun = self._enlarged(stage.size)
        return objective.seeing(self.begun.to(self.image.device))

    def evaluate(self, criterion: Viewed, stage: Stage, most: float) -> Evaluate:
        """The function that the stage's optimiser may call until all stages together have made `most` evaluations."""
        count = 0 if self.resumed is None else self.resumed.evaluations
        left = most - self.evaluations
        composition = self.composition
        return Evaluate(
            criterion, composition.parameterisation, stage.size, left, count, composition.views, self.evaluations
        )

    def take(self, stage: Stage) -> Descent:
        """Hand over the state from which the stage begins or continues; it is large, so it is not kept here."""
        after, self.resumed = self.resumed, None
        self.step_of_stage = 0 if after is None else after.step
        return starting(self._enlarged(stage.size), self.composition) if after is None else after

    def step(self, descended: Descended) -> Iterate:
        """The iterate of a step."""
        self.image, self.step_of_stage = descended.image, descended.step
        self.state = partial(_state, self.stage, self.steps, self.evaluations, descended.state, self.begun)
        if self.composition.closing is not None:  # the closing move has this state too, even after a step cut short
            self.state = partial(_same, self.state())
        return self._iterate(self.stage, descended.evaluations, descended.losses)

    def end_stage(self, evaluate: Evaluate) -> None:
        """Add the steps and evaluations of the stage to the totals."""
        self.steps, self.evaluations = self.steps + self.step_of_stage, self.evaluations + evaluate.count
        self.step_of_stage = 0

    def close(self, move: Move, network: Network, criterion: Criterion) -> Iterate:
        """The iterate of the closing move, with the losses of plain rounding."""
        self.image, losses = closed(move, network, criterion, self.image)
        self.step_of_stage = 1
        return self._iterate(len(self.composition.schedule), cost(move), losses)

    def _enlarged(self, size: Size) -> Image:
        return self.composition.enlarged(self.image, size)

    def _iterate(self, stage: int, evaluations: int, losses: Losses) -> Iterate:
        step, count = self.steps + self.step_of_stage, self.evaluations + evaluations
        stages, steps = len(self.composition.schedule), self.composition.steps
        image = self.composition.finished(self.image)
        done = 1.0 if step == steps else share(self.composition.schedule, stage, self.step_of_stage)
        return Iterate(stage, stages, step, steps, count, image, losses, self.state, done)


class Moved(NamedTuple):
    """A picture after a move, and the losses reported for it."""

    image: Image
    losses: Losses


def closed(move: Move, network: Network, criterion: Criterion, image: Image) -> Moved:
    """The picture after the closing move, or rounded to 8 bits if that is better; and the losses of the rounded one."""
    plain, moved = quantise(image), move(network, image)
    before, after = criterion.losses(plain), criterion.losses(moved)
    return Moved(moved if sum(after.values()) < sum(before.values()) else plain, before)


def _state(stage: int, steps: int, evaluations: int, descent: Callable[[], Descent], begun: Image | None) -> State:
    return State(stage, steps, evaluations, descent(), begun)


def _same(state: State) -> State:
    return state
