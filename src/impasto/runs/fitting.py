"""A part of a run within its memory: L-BFGS remembers as many steps at each size as fit."""

from dataclasses import replace

from impasto.tasks.parts import Part
from impasto.tiles.budget import Fit


def within(part: Part, fit: Fit) -> Part:
    """The part with as many steps remembered at each size as fit."""
    schedule = tuple(replace(stage, history=fit.history(stage.size)) for stage in part.composition.schedule)
    return replace(part, composition=replace(part.composition, schedule=schedule))
