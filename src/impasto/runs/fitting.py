"""A part of a run within its memory: L-BFGS remembers as many steps at each size as fit."""

from collections.abc import Callable
from dataclasses import replace

from impasto.synthesis.optimisers import Optimiser
from impasto.synthesis.schedules import Stage
from impasto.tasks.parts import Part
from impasto.tasks.recipes import way_down
from impasto.tiles.budget import Fit


def within(part: Part, fit: Fit) -> Part:
    """The part with as many steps remembered at each size as fit."""

    def optimiser(stage: Stage) -> Optimiser:
        settings = fit.settings.model_copy(update={"history": fit.history(stage.size)})
        return way_down(settings)(stage)

    make: Callable[[Stage], Optimiser] = optimiser
    return replace(part, composition=replace(part.composition, optimiser=make))
