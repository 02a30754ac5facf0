"""The loop: from a first picture, step by step, to one that the objective likes. There is no other loop."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch

from impasto.errors import DivergedError
from impasto.images import Image, resize
from impasto.inits import Init
from impasto.networks import Network
from impasto.objectives import Criterion, Losses, Objective
from impasto.optimisers import Evaluation, MakeOptimiser, adam
from impasto.parameterisations import Parameterisation, Parameters, Pixels, hold_at_levels
from impasto.schedules import Schedule, Stage


@dataclass(frozen=True, eq=False)
class Composition:
    """What is to be synthesised and how: a first picture, an objective, a schedule, and a way down.

    `evaluations` is the most forward and backward passes in all, whatever the schedule says; None for no such bound.
    """

    init: Init
    objective: Objective
    schedule: Schedule
    parameterisation: Parameterisation = field(default_factory=Pixels)
    optimiser: MakeOptimiser = field(default_factory=adam)
    evaluations: int | None = None


@dataclass(frozen=True, eq=False)
class Iterate:
    """The picture after a step; its losses are those of the picture before that step.

    `step` counts from 1 over all stages, `evaluations` all forward and backward passes so far.
    """

    stage: int
    stages: int
    step: int
    steps: int
    evaluations: int
    image: Image
    losses: Losses

    @property
    def loss(self) -> float:
        """Sum of the weighted terms."""
        return sum(self.losses.values())


def synthesise(composition: Composition, network: Network) -> Iterator[Iterate]:
    """Yield an iterate after each step, through all stages; close the generator to stop.

    Same composition, machine and number of threads: the same pictures, bit for bit.
    Raises DivergedError with the last good picture where a loss is no longer finite, ImageError where
    a picture is too small for a layer, LayerError for an unknown layer.
    """
    schedule = composition.schedule
    image = composition.init(schedule[0].size).to(network.device)
    done = evaluations = 0
    steps = sum(stage.steps for stage in schedule)
    for number, stage in enumerate(schedule, start=1):
        criterion = composition.objective.bind(network, stage.size)
        step = count = 0
        left = math.inf
        if composition.evaluations is not None:
            left = float(composition.evaluations - evaluations)
            left -= min(sum(later.steps for later in schedule[number:] if later.held), left // 2)
        start = resize(image, stage.size)
        way = replace(composition, parameterisation=hold_at_levels(start, stage.held)) if stage.held else composition
        try:
            for step, count, image, losses in descend(start, criterion, stage, way, left):
                yield Iterate(number, len(schedule), done + step, steps, evaluations + count, image, losses)
        except _SpentError:
            count = int(left)
        done += step
        evaluations += count
        if evaluations == composition.evaluations:
            return


def descend(
    image: Image, criterion: Criterion, stage: Stage, composition: Composition, most: float = math.inf
) -> Iterator[tuple[int, int, Image, Losses]]:
    """One stage: (step, evaluations, picture after the step, losses before it).

    Ends early where it has converged; raises _SpentError where a step would take more than `most` evaluations.
    """
    decode, project = composition.parameterisation.decode, composition.parameterisation.project
    optimiser = composition.optimiser(stage)
    evaluations = 0

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

    parameters = good = project(composition.parameterisation.encode(image))
    for step in range(1, stage.steps + 1):
        update = optimiser.step(parameters, evaluate, project)
        if not math.isfinite(update.before.loss):
            raise DivergedError(_what_diverged(update.before.losses, stage, step), decode(good, stage.size))
        good, parameters = parameters, update.parameters
        if not bool((torch.isfinite(update.before.gradient) & torch.isfinite(parameters)).all()):
            raise DivergedError(
                f"the gradient is not finite at step {step} of {stage.steps}, although the losses are; "
                "try a smaller learning rate",
                decode(good, stage.size),
            )
        yield step, evaluations, decode(parameters, stage.size).detach(), update.before.losses
        if update.converged:
            return


class _SpentError(Exception):
    """No evaluation is left."""


def _what_diverged(losses: Losses, stage: Stage, step: int) -> str:
    terms = [name for name, value in losses.items() if not math.isfinite(value)] or ["the total"]
    height, width = stage.size
    return (
        f"{', '.join(terms)} became {'/'.join(str(losses.get(name, math.inf)) for name in terms)} at step {step} of "
        f"{stage.steps} at {width} × {height} px; try a smaller learning rate or smaller weights"
    )
