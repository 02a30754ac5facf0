"""What is to be synthesised and how, as frozen data."""

from dataclasses import dataclass, field

from impasto.objectives.objective import Objective
from impasto.synthesis.dither import Dither
from impasto.synthesis.inits import Init
from impasto.synthesis.leap import Leap
from impasto.synthesis.optimisers import MakeOptimiser, adam
from impasto.synthesis.parameterisations import Parameterisation, Pixels
from impasto.synthesis.schedules import Schedule


@dataclass(frozen=True, eq=False)
class Composition:
    """What is to be synthesised and how: a first picture, an objective, a schedule, and a way down.

    `evaluations` is the most forward and backward passes in all, whatever the schedule says; None for no such bound.
    `leap` moves the first picture before the first step; it counts as evaluations, not as a step.
    `dither` is one more step at the end, which puts the picture on the levels of a file of 8 bits.
    """

    init: Init
    objective: Objective
    schedule: Schedule
    parameterisation: Parameterisation = field(default_factory=Pixels)
    optimiser: MakeOptimiser = field(default_factory=adam)
    evaluations: int | None = None
    leap: Leap | None = None
    dither: Dither | None = None

    @property
    def steps(self) -> int:
        """How many there are in all, unless it ends early."""
        return sum(stage.steps for stage in self.schedule) + (self.dither is not None)
