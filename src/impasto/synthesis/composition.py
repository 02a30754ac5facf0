"""What is to be synthesised and how, as frozen data."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from impasto.images.image import Image
from impasto.networks.network import Network
from impasto.objectives.objective import Objective
from impasto.synthesis.inits import Init
from impasto.synthesis.optimisers import MakeOptimiser, adam
from impasto.synthesis.parameterisations import Parameterisation, Pixels
from impasto.synthesis.schedules import Schedule


@runtime_checkable
class Move(Protocol):
    """A change of the whole picture that is no step of an optimiser: before the first step, or after the last."""

    @property
    def evaluations(self) -> int:
        """What the move costs: passes of the network, each counted like one forward and back."""

    def __call__(self, network: Network, image: Image) -> Image:
        """The picture after the move, of the same size, in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Composition:
    """What is to be synthesised and how: a first picture, an objective, a schedule, and an optimiser.

    `evaluations` is the most forward and backward passes in all, whatever the schedule says; None for no such bound.
    `opening` moves the first picture before the first step; the move counts as evaluations, not as a step.
    `closing` is one more step at the end: the picture after that move, if its loss is less than that of the picture
    rounded to 8 bits, else the picture rounded to 8 bits.
    """

    init: Init
    objective: Objective
    schedule: Schedule
    parameterisation: Parameterisation = field(default_factory=Pixels)
    optimiser: MakeOptimiser = field(default_factory=adam)
    evaluations: int | None = None
    opening: Move | None = None
    closing: Move | None = None

    @property
    def steps(self) -> int:
        """How many there are in all, unless a stage converges or the evaluations are spent."""
        return sum(stage.steps for stage in self.schedule) + (self.closing is not None)

    def first(self) -> Image:
        """The first picture, at the first size of the schedule."""
        return self.init(self.schedule[0].size)
