"""How many evaluations a synthesis may take, and how the moves before and after its steps share in them."""

import math
from dataclasses import dataclass

from impasto.synthesis.composition import Composition, Move

COMPARISON = 2  # evaluations that tell whether a closing move is better than plain rounding


@dataclass(frozen=True)
class Budget:
    """The most evaluations of all, infinite without a bound, and how many the closing move takes."""

    most: float
    closing: int = 0

    @property
    def steps(self) -> float:
        """The most before the closing move: what that takes is put aside, unless it is more than half of all."""
        return self.most if self.most < 2 * self.closing else self.most - self.closing

    def allows_opening(self, move: Move) -> bool:
        """Whether at least as many evaluations are left for the steps as the move takes."""
        return self.steps >= 2 * move.evaluations

    def allows_closing(self, spent: int) -> bool:
        """Whether the closing move can still be made."""
        return spent + self.closing <= self.most


def budget_of(composition: Composition) -> Budget:
    """The budget that a composition asks for."""
    most = math.inf if composition.evaluations is None else float(composition.evaluations)
    return Budget(most, 0 if composition.closing is None else cost(composition.closing))


def cost(closing: Move) -> int:
    """Evaluations of a closing move, which is compared with plain rounding."""
    return closing.evaluations + COMPARISON
