"""How many evaluations a synthesis may take, and how they are divided among the opening, the steps and the closing."""

import math
from dataclasses import dataclass

from impasto.synthesis.composition import Composition, Move

COMPARISON = 2  # evaluations to compare a closing move with plain rounding


@dataclass(frozen=True)
class Budget:
    """The limit on all evaluations (infinite if there is none), and the number that the closing move takes."""

    most: float
    closing: int = 0

    @property
    def steps(self) -> float:
        """The limit before the closing move, whose cost is reserved unless it is more than half of the budget."""
        return self.most if self.most < 2 * self.closing else self.most - self.closing

    def allows_opening(self, move: Move) -> bool:
        """Whether the move leaves the steps at least as many evaluations as the move itself takes."""
        return self.steps >= 2 * move.evaluations

    def allows_closing(self, spent: int) -> bool:
        """Whether enough evaluations are left for the closing move."""
        return spent + self.closing <= self.most


def budget_of(composition: Composition) -> Budget:
    """The budget that a composition asks for."""
    most = math.inf if composition.evaluations is None else float(composition.evaluations)
    return Budget(most, 0 if composition.closing is None else cost(composition.closing))


def cost(closing: Move) -> int:
    """Evaluations of a closing move, including its comparison with plain rounding."""
    return closing.evaluations + COMPARISON
