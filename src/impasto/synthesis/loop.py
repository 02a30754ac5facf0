"""The loop: from a first picture, step by step, to one that the objective likes. There is no other loop."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from impasto.errors import DivergedError
from impasto.images.image import Image, Size, quantise, resize
from impasto.networks.network import Network
from impasto.objectives.criterion import Criterion, Losses
from impasto.objectives.objective import Objective
from impasto.synthesis.composition import Composition
from impasto.synthesis.dither import Dither
from impasto.synthesis.optimisers import Evaluation, Memory
from impasto.synthesis.parameterisations import Parameters
from impasto.synthesis.schedules import Stage

Bind = Callable[[Objective, Network, Size], Criterion]


@dataclass(frozen=True, eq=False)
class Descent:
    """Where a stage stands after a step; `good` are the parameters before it, `memory` is the optimiser's."""

    step: int
    evaluations: int
    parameters: Parameters
    good: Parameters
    converged: bool
    memory: Memory


@dataclass(frozen=True, eq=False)
class State:
    """Where the loop stands after a step: all it needs to go on. `steps` and `evaluations` are the earlier stages'.

    No random numbers are drawn on the way, so none are part of it. After the last step, where the picture is dithered,
    it is still that of the step before.
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
    `synthesise` needs to go on from here; it is the loop's, so take it before the next iterate is asked for.
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
    composition: Composition, network: Network, after: State | None = None, bind: Bind = Objective.bind
) -> Iterator[Iterate]:
    """Yield an iterate after each step, through all stages; close the generator to stop.

    `bind` says how the objective is read at each size: whole, or in tiles.

    Same composition, machine and number of threads: the same pictures, bit for bit, also where it goes on after the
    state of an earlier iterate.
    Raises DivergedError with the last good picture where a loss is no longer finite, ImageError where
    a picture is too small for a layer, LayerError for an unknown layer.
    """
    schedule = composition.schedule
    image = (composition.init(schedule[0].size) if after is None else after.image(composition)).to(network.device)
    begun, done, evaluations = (0, 0, 0) if after is None else (after.stage, after.steps, after.evaluations)
    dither, most = composition.dither, math.inf if composition.evaluations is None else float(composition.evaluations)
    budget = most if dither is None or most < 2 * _cost(dither) else most - _cost(dither)
    leap = composition.leap
    if leap is not None and after is None and budget >= 2 * leap.evaluations:
        image, evaluations = leap(network, image), leap.evaluations
    whole: Callable[[], State] = _no_state if dither is None or after is None else partial(_same, after)
    for number, stage in enumerate(schedule, start=1):
        if number < begun:
            continue
        criterion = bind(composition.objective, network, stage.size)
        resumed, after = after, None  # only the first stage goes on from it
        step, count = (0, 0) if resumed is None else (resumed.descent.step, resumed.descent.evaluations)
        start = resize(image, stage.size)
        left, descent = budget - evaluations, None if resumed is None else resumed.descent
        try:
            image = start if resumed is None else image
            stepping = descend(start, criterion, stage, composition, left, descent)
            del start, resumed, descent  # large, and now the stage's own
            for step, count, image, losses, state in stepping:
                whole = partial(_state, number, done, evaluations, state)
                if dither is not None:  # whose state this is too, after a further step may have begun in vain
                    whole = partial(_same, whole())
                step_now, count_now = done + step, evaluations + count
                yield Iterate(number, len(schedule), step_now, composition.steps, count_now, image, losses, whole)
        except _SpentError:
            count = int(left)
        done += step
        evaluations += count
        if evaluations >= budget:
            break
    if dither is not None and evaluations + _cost(dither) <= most:
        image, losses = _dithered(dither, network, criterion, image)
        step_now, count_now = done + 1, evaluations + _cost(dither)
        yield Iterate(len(schedule), len(schedule), step_now, composition.steps, count_now, image, losses, whole)


def _cost(dither: Dither) -> int:
    return dither.probes + 2


def _dithered(dither: Dither, network: Network, criterion: Criterion, image: Image) -> tuple[Image, Losses]:
    """The picture on levels of 8 bits, dithered if that is better than plain rounding, and the losses of the latter."""
    plain, found = quantise(image), dither(network, image)
    before, after = criterion.losses(plain), criterion.losses(found)
    return found if sum(after.values()) < sum(before.values()) else plain, before


def _state(stage: int, steps: int, evaluations: int, descent: Callable[[], Descent]) -> State:
    return State(stage, steps, evaluations, descent())


def _same(state: State) -> State:
    return state


def descend(
    image: Image,
    criterion: Criterion,
    stage: Stage,
    composition: Composition,
    most: float = math.inf,
    after: Descent | None = None,
) -> Iterator[tuple[int, int, Image, Losses, Callable[[], Descent]]]:
    """One stage, from `image` or on from `after`: (step, evaluations, picture after the step, losses before it, state).

    Ends early where it has converged; raises _SpentError where a step would take more than `most` evaluations.
    """
    decode, project = composition.parameterisation.decode, composition.parameterisation.project
    optimiser = composition.optimiser(stage)
    step = evaluations = 0
    converged = False

    def state() -> Descent:
        return Descent(step, evaluations, parameters, good, converged, optimiser.state())

    def evaluate(parameters: Parameters) -> Evaluation:
        nonlocal evaluations
        if evaluations >= most:
            raise _SpentError
        evaluations += 1
        with torch.enable_grad():
            variable = parameters.detach().requires_grad_()
            picture = decode(variable, stage.size)
            losses, slope = criterion.losses_and_gradient(picture)
            (gradient,) = torch.autograd.grad(picture, variable, slope)
        return Evaluation(losses, sum(losses.values()), gradient)

    if after is None:
        parameters = good = project(composition.parameterisation.encode(image))
    else:
        step, evaluations, converged = after.step, after.evaluations, after.converged
        parameters, good = after.parameters, after.good
        optimiser.restore(after.memory)
    del image, after
    while step < stage.steps and not converged:
        step += 1
        update = optimiser.step(parameters, evaluate, project)
        if not math.isfinite(update.before.loss):
            raise DivergedError(_what_diverged(update.before.losses, stage, step), decode(good, stage.size))
        good, parameters = parameters, update.parameters
        sums = [each.sum(dtype=torch.float64) for each in (update.before.gradient, parameters)]
        if not all(bool(torch.isfinite(each)) for each in sums):  # no number of a finite type can do that to a sum
            raise DivergedError(
                f"the gradient is not finite at step {step} of {stage.steps}, although the losses are; "
                "try a smaller learning rate",
                decode(good, stage.size),
            )
        converged = update.converged
        yield step, evaluations, decode(parameters, stage.size).detach(), update.before.losses, state
        del update  # and with it a gradient that nobody needs any more


class _SpentError(Exception):
    """No evaluation is left."""


def _what_diverged(losses: Losses, stage: Stage, step: int) -> str:
    terms = [name for name, value in losses.items() if not math.isfinite(value)] or ["the total"]
    height, width = stage.size
    return (
        f"{', '.join(terms)} became {'/'.join(str(losses.get(name, math.inf)) for name in terms)} at step {step} of "
        f"{stage.steps} at {width} × {height} px; try a smaller learning rate or smaller weights"
    )
