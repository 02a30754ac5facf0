"""The description of a synthesis as frozen data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from impasto.images.image import Image, Size, resize
from impasto.networks.network import Network
from impasto.objectives.objective import Objective
from impasto.synthesis.inits import Init
from impasto.synthesis.optimisers import MakeOptimiser, adam
from impasto.synthesis.parameterisations import Parameterisation, Pixels
from impasto.synthesis.schedules import Schedule

Finish = Callable[[Image], Image]
Look = Callable[[Image], Image]  # how a picture is seen: of the same size, and differentiable
Views = Callable[[int], Look]  # from the number of an evaluation, over all stages, to a look: the same each time


@runtime_checkable
class Move(Protocol):
    """A change of the whole picture outside the optimiser, made before the first step or after the last."""

    @property
    def evaluations(self) -> int:
        """The cost of the move in network passes, each counted as one evaluation (a pass forward and back)."""

    def __call__(self, network: Network, image: Image) -> Image:
        """The picture after the move, of the same size, in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Composition:
    """A synthesis: its first picture, objective, schedule and optimiser.

    `evaluations` limits the forward and backward passes of the whole synthesis; None: only the schedule limits them.
    `opening` changes the first picture before the first step; this move counts as evaluations, not as a step.
    `closing` counts as one more step at the end. Its picture is kept if it has a smaller loss than the picture rounded
    to 8 bits; otherwise the rounded picture is kept.
    `finish` makes the picture that is shown of each picture that is optimised; it does not change the descent.
    `enlarged` brings a stage's picture to the size of the next stage.
    `views` are how the picture is seen in each evaluation; None: as it is.
    """

    init: Init
    objective: Objective
    schedule: Schedule
    parameterisation: Parameterisation = field(default_factory=Pixels)
    optimiser: MakeOptimiser = field(default_factory=adam)
    evaluations: int | None = None
    opening: Move | None = None
    closing: Move | None = None
    finish: Finish | None = None
    enlarged: Callable[[Image, Size], Image] = resize
    views: Views | None = None

    @property
    def steps(self) -> int:
        """The number of steps in all stages; fewer are taken if a stage converges or the evaluations are spent."""
        return sum(stage.steps for stage in self.schedule) + (self.closing is not None)

    def finished(self, image: Image) -> Image:
        """The picture that is shown of a picture that is optimised."""
        return image if self.finish is None else self.finish(image)

    def first(self) -> Image:
        """The first picture, at the first size of the schedule."""
        return self.init(self.schedule[0].size)
