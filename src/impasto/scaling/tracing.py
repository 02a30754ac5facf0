"""Modules as graphs: a copy in float64, and every map of a pass over the graph."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from impasto.errors import NetworkError

CAP = 6.0  # of ReLU6
WEIGHTED = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)  # layers whose weights can take up a scale
POOLING = (nn.MaxPool2d, nn.AvgPool2d)
WHOLE = (*WEIGHTED, *POOLING)  # layers that stay one operation, also where a subclass has code of its own


class Capped(nn.Module):
    """A rectifier with a cap of its own for each channel."""

    def __init__(self, cap: Tensor) -> None:
        super().__init__()
        self.register_buffer("cap", cap)

    def forward(self, maps: Tensor) -> Tensor:
        """Values from 0 to the channel's cap."""
        assert isinstance(self.cap, Tensor)
        return maps.clamp_min(0).minimum(self.cap.reshape(1, -1, *(1,) * (maps.ndim - 2)))


class _Tracer(fx.Tracer):
    """Takes torch's own modules as they are, and rectifiers with caps, and own kinds of layers that hold no modules.

    An own kind of convolution may pad by the picture's size, which no graph can hold. What such a layer does is not
    read: the planner tries whether rescaled weights give a rescaled map.
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own_kind = isinstance(m, WHOLE) and not [*m.children()]
        return own_kind or isinstance(m, Capped) or super().is_leaf_module(m, module_qualified_name)


def traced(module: nn.Module) -> fx.GraphModule:
    """A copy of the module as a graph, in float64 and evaluation mode. Raises NetworkError if it has no fixed graph."""
    try:
        own = copy.deepcopy(module).eval().double().requires_grad_(False)
        return fx.GraphModule(own, _Tracer().trace(own), type(module).__name__)
    except Exception as error:  # whatever the module's own code raises for a picture that has no numbers
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise NetworkError(f"{type(module).__name__} has no graph that can be normalised: {why}") from None


class _Reader(fx.Interpreter):
    """Runs a graph and shows each tensor of it to `see`; of several tensors that a node gives, the first."""

    def __init__(self, graph: fx.GraphModule, see: Callable[[str, Tensor], None]) -> None:
        super().__init__(graph)
        self._see = see

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        pieces = found if isinstance(found, tuple | list) else [found]
        first = next((piece for piece in pieces if isinstance(piece, Tensor)), None)
        if first is not None:
            self._see(n.name, first)
        return found


@torch.no_grad()
def maps_of(graph: fx.GraphModule, picture: Tensor, see: Callable[[str, Tensor], None]) -> None:
    """Run the graph, and show each node's map to `see`, before a later node may write over the map."""
    _Reader(graph, see).run(picture)
