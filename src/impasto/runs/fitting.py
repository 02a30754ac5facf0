"""A part of a run within its memory: how pictures are read at each size, and how many steps L-BFGS remembers."""

from collections.abc import Callable
from dataclasses import replace

from impasto.cluster.crew import Crew
from impasto.cluster.plan import CrewHelper
from impasto.images.image import Size
from impasto.networks.network import Network
from impasto.objectives.criterion import Criterion
from impasto.objectives.objective import Objective
from impasto.synthesis.composition import Composition
from impasto.synthesis.keeping import Keeping
from impasto.tasks.parts import Part
from impasto.tasks.settings import Settings
from impasto.tiles.budget import Limits, MemoryPlan

KEPT = 3  # vectors of the picture's size for a photo that is laid over: the photo, its opacity, the picture of both


def plan_memory(
    composition: Composition, network: Network, allowed: Limits, settings: Settings, crew: Crew | None = None
) -> MemoryPlan:
    """The plan by which a composition's objective is read within the memory limits, beside the settings' optimiser.

    If there is a crew, its workers compute the tiles of large pictures.
    """
    history = 0 if settings.optimiser == "adam" else settings.history
    helper = None if crew is None else CrewHelper(crew)
    beside = KEPT if isinstance(composition.parameterisation, Keeping) else 0
    return MemoryPlan(network, composition.objective, allowed, history, helper, beside)


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
