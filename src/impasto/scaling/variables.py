"""Variables for the scales of channels, some of which become one, and the plan that says where each stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import fx

FIXED = 0  # the variable of scale 1


class Variables:
    """Variables, some of which have become one."""

    def __init__(self) -> None:
        self._parents = [FIXED]

    def new(self, count: int) -> list[int]:
        """That many new variables."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return list(range(first, first + count))

    def find(self, variable: int) -> int:
        """The variable that stands for all that have become one with this one; the fixed one for itself."""
        root = variable
        while self._parents[root] != root:
            root = self._parents[root]
        while self._parents[variable] != root:
            self._parents[variable], variable = root, self._parents[variable]
        return root

    def tie(self, first: Sequence[int], second: Sequence[int]) -> None:
        """Let each variable of `first` and its neighbour in `second` become one."""
        for one, other in zip(first, second, strict=True):
            low, high = sorted((self.find(one), self.find(other)))
            self._parents[high] = low


@dataclass(frozen=True, eq=False)
class Plan:
    """The variables of each node's map by channel, the rectifiers in order, and what may only read maps of scale 1."""

    graph: fx.GraphModule
    channels: Mapping[str, list[int]]
    rectifiers: tuple[str, ...]
    variables: Variables
    refusing: tuple[tuple[str, list[int]], ...]
    capped: tuple[str, ...] = ()

    def groups(self) -> list[tuple[str, ...]]:
        """Rectifiers that share a variable, together; the others alone. Those of scale 1 are left out."""
        owner, found = dict[int, int](), list[list[str]]()
        for name in self.rectifiers:
            roots = {self.variables.find(variable) for variable in self.channels[name]} - {FIXED}
            if not roots:
                continue
            met = sorted({owner[root] for root in roots if root in owner})
            members = [*(each for index in met for each in found[index]), name]
            for index in met:
                found[index] = []
            found.append(members)
            for each in members:
                owner |= {self.variables.find(variable): len(found) - 1 for variable in self.channels[each]}
            owner.pop(FIXED, None)
        return [tuple(members) for members in found if members]
