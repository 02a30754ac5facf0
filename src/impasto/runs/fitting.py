"""A part of a run within its memory: how pictures are read at each size, and how many steps L-BFGS remembers."""

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
    """The plan by which an objective is read within the memory limits, beside the optimiser in the settings.

    If there is a crew, its workers compute the tiles of large pictures.
    """
    history = 0 if settings.optimiser == "adam" else settings.history
    return MemoryPlan(network, objective, allowed, history, None if crew is None else CrewHelper(crew))


def within(part: Part, plan: MemoryPlan) -> Part:
    """The part with L-BFGS's history limited at each size to the steps that fit into memory."""
    schedule = tuple(replace(stage, history=plan.history(stage.size)) for stage in part.composition.schedule)
    return replace(part, composition=replace(part.composition, schedule=schedule))


def planned(
    plan: MemoryPlan, between_tiles: Callable[[], None], halved: Callable[[Size], None]
) -> Callable[[Objective, Network, Size], Criterion]:
    """The function with which `synthesise` binds its objective as the plan has it, whole or in tiles."""

    def bind(objective: Objective, network: Network, size: Size) -> Criterion:
        return replace(plan, objective=objective).bind(size, between_tiles, halved)

    return bind
