"""A part of a run within its memory: how it is read at each size, and how many steps L-BFGS remembers there."""

from collections.abc import Callable
from dataclasses import replace

from impasto.cluster.crew import Crew
from impasto.cluster.plan import CrewHelper
from impasto.images.image import Size
from impasto.networks.network import Network
from impasto.objectives.criterion import Criterion
from impasto.objectives.objective import Objective
from impasto.tasks.parts import Part
from impasto.tasks.settings import Settings
from impasto.tiles.budget import Limits, MemoryPlan


def plan_memory(
    objective: Objective, network: Network, allowed: Limits, settings: Settings, crew: Crew | None = None
) -> MemoryPlan:
    """How the objective is read within what is allowed, next to the optimiser that the settings ask for.

    With a crew, its workers compute the tiles of large pictures.
    """
    history = 0 if settings.optimiser == "adam" else settings.history
    return MemoryPlan(network, objective, allowed, history, None if crew is None else CrewHelper(crew))


def within(part: Part, plan: MemoryPlan) -> Part:
    """The part with as many steps remembered at each size as fit."""
    schedule = tuple(replace(stage, history=plan.history(stage.size)) for stage in part.composition.schedule)
    return replace(part, composition=replace(part.composition, schedule=schedule))


def planned(
    plan: MemoryPlan, between_tiles: Callable[[], None], halved: Callable[[Size], None]
) -> Callable[[Objective, Network, Size], Criterion]:
    """How `synthesise` binds the objective of the plan: whole or in tiles, as the plan says."""

    def bind(objective: Objective, network: Network, size: Size) -> Criterion:
        return plan.bind(size, between_tiles, halved)

    return bind
