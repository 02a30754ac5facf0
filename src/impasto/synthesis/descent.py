"""One stage of the loop: an optimiser's steps at one size."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from impasto.errors import DivergedError
from impasto.gradients import end
from impasto.images.image import Image, Size
from impasto.objectives.criterion import Criterion, Losses
from impasto.synthesis.composition import Composition, Look, Views
from impasto.synthesis.optimisers import Evaluation, Memory, Update
from impasto.synthesis.parameterisations import Parameterisation, Parameters
from impasto.synthesis.schedules import Stage

Viewed = Callable[[Look], Criterion]  # the criterion for a picture that is seen so


@dataclass(frozen=True, eq=False)
class Descent:
    """The state of a stage after a step; `good` are the parameters before the step, `memory` is the optimiser's."""

    step: int
    evaluations: int
    parameters: Parameters
    good: Parameters
    converged: bool
    memory: Memory


class Descended(NamedTuple):
    """The outcome of a step: the picture after the step, the losses before it, and a function for the stage's state."""

    step: int
    evaluations: int
    image: Image
    losses: Losses
    state: Callable[[], Descent]


def straight(image: Image) -> Image:
    """The look at the picture itself."""
    return image


@dataclass
class Evaluate:
    """The criterion as a function of parameters. It counts its calls and raises SpentError after `most` of them.

    If there are `views`, the picture is seen through another one in each call; `before` calls came in earlier stages.
    """

    criterion: Viewed
    parameterisation: Parameterisation
    size: Size
    most: float = math.inf
    count: int = 0
    views: Views | None = None
    before: int = 0

    def __call__(self, parameters: Parameters) -> Evaluation:
        """Losses, their sum, and the gradient with respect to the parameters."""
        if self.count >= self.most:
            raise SpentError
        look = straight if self.views is None else self.views(self.before + self.count)
        self.count += 1
        criterion = self.criterion(look)
        with torch.enable_grad():
            variable = parameters.detach().requires_grad_()
            seen = look(self.parameterisation.decode(variable, self.size))
            losses, slope = criterion.losses_and_gradient(seen)
            (gradient,) = torch.autograd.grad(end(seen, slope), variable)
        return Evaluation(losses, sum(losses.values()), gradient)


class SpentError(Exception):
    """No evaluation is left."""


def _never(step: int) -> bool:
    return False


def starting(image: Image, composition: Composition) -> Descent:
    """The state of a stage before its first step."""
    parameters = composition.parameterisation.project(composition.parameterisation.encode(image))
    return Descent(0, 0, parameters, parameters, converged=False, memory={})


def descend(
    after: Descent, evaluate: Evaluate, stage: Stage, composition: Composition, renewed: Callable[[int], bool] = _never
) -> Iterator[Descended]:
    """The steps of one stage, starting from `after`; ends early if the stage converges or no evaluation is left.

    Before each step `renewed` is called with the stage's steps so far. If it has given `evaluate` another criterion and
    parameterisation and returns true, the optimiser begins anew: what it remembers is of another objective.
    Raises DivergedError with the last good picture if a loss or the gradient is not finite.
    """
    optimiser = composition.optimiser(stage)
    if after.step:
        optimiser.restore(after.memory)
    after = replace(after, memory={})  # the memory is large, and the optimiser has it now

    def state() -> Descent:
        return replace(after, memory=optimiser.state())

    while after.step < stage.steps:
        if renewed(after.step):
            optimiser = composition.optimiser(stage)
        elif after.converged:
            return
        try:
            update = optimiser.step(after.parameters, evaluate, evaluate.parameterisation.project)
        except SpentError:
            return
        _require_finite(update, after, stage, evaluate.parameterisation)
        after = Descent(after.step + 1, evaluate.count, update.parameters, after.parameters, update.converged, {})
        image, losses = evaluate.parameterisation.decode(after.parameters, stage.size), update.before.losses
        del update  # frees the gradient
        yield Descended(after.step, after.evaluations, image.detach(), losses, state)


def _require_finite(update: Update, before: Descent, stage: Stage, parameterisation: Parameterisation) -> None:
    """Raise DivergedError with the last good picture if a loss, the gradient or a new parameter is not finite."""
    step, decode = before.step + 1, parameterisation.decode
    if not math.isfinite(update.before.loss):
        raise DivergedError(_what_diverged(update.before.losses, stage, step), decode(before.good, stage.size))
    sums = [each.sum(dtype=torch.float64) for each in (update.before.gradient, update.parameters)]
    if not all(bool(torch.isfinite(each)) for each in sums):  # finite float32 values cannot overflow a float64 sum
        raise DivergedError(
            f"the gradient is not finite at step {step} of {stage.steps}, although the losses are; "
            "try a smaller learning rate",
            decode(before.parameters, stage.size),
        )


def _what_diverged(losses: Losses, stage: Stage, step: int) -> str:
    terms = [name for name, value in losses.items() if not math.isfinite(value)] or ["the total"]
    height, width = stage.size
    return (
        f"{', '.join(terms)} became {'/'.join(str(losses.get(name, math.inf)) for name in terms)} at step {step} of "
        f"{stage.steps} at {width} × {height} px; try a smaller learning rate or smaller weights"
    )
