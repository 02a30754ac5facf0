"""Joint normalisation of a graph of modules: which channels must share a scale, and the weights after the rescaling.

A map's channels may be divided by any positive numbers if the weights that read the map are multiplied by them: nothing
else changes, because rectifiers and poolings commute with positive scaling (Gatys, Ecker & Bethge 2015, footnote 1;
Nagel et al. 2019, arXiv:1906.04721, rescale weights in this way for other ends). So each channel of each map has a
variable, and the operations say how variables meet:

- a convolution, also grouped or depthwise, a linear layer and a batch norm have weights: new variables;
- rectifiers, poolings, dropout, padding by zeros: the same variables;
- a sum, as at the end of a residual branch: the variables of its inputs become one;
- a concatenation: the variables one after the other; flattening repeats each;
- a subclass of these layers with code of its own: as these, if a trial shows that the map scales with the weights;
- ReLU6: the same variables, and a cap of 6 over the scale for each channel;
- the picture, and the output of anything else: the scale is 1. Anything else may also only read maps of scale 1.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from impasto.scaling.rescaling import commutes
from impasto.scaling.tracing import CAP, POOLING, WEIGHTED, Capped, maps_of
from impasto.scaling.variables import FIXED, Plan, Variables

PASSING_MODULES = (
    *(nn.LeakyReLU, nn.PReLU, nn.Identity, nn.ZeroPad2d, nn.Upsample, nn.Dropout, nn.Dropout2d),
    *(*POOLING, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
)
RELU = {functional.relu, torch.relu, torch.relu_, "relu", "relu_"}
RELU6: set[object] = {functional.relu6}
PASSING = {
    *(functional.max_pool2d, torch.max_pool2d, functional.avg_pool2d, functional.adaptive_avg_pool2d),
    *(functional.adaptive_max_pool2d, functional.dropout, functional.dropout2d, functional.leaky_relu),
    *(functional.interpolate, "contiguous", "clone", "detach"),
}
ADDING = {operator.add, operator.iadd, torch.add, "add", "add_"}
MULTIPLYING = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}
DIVIDING = {operator.truediv, operator.itruediv, torch.div, "div", "div_"}
FLATTENING = {torch.flatten, "flatten", "view", "reshape", torch.reshape}
AVERAGING = {torch.mean, "mean"}


def plan(graph: fx.GraphModule, picture: Tensor) -> Plan:
    """The variables of a traced module's maps; the module takes the picture, (1, channels, height, width)."""
    shapes: dict[str, torch.Size] = {}
    maps_of(graph, picture.double(), lambda name, found: shapes.update({name: found.shape}))
    return _Planner(graph, shapes).plan()


@dataclass(eq=False)
class _Planner:
    """Walks a graph once and gathers a plan. `shapes` are those of the nodes' maps for some picture."""

    graph: fx.GraphModule
    shapes: Mapping[str, torch.Size]
    variables: Variables = field(default_factory=Variables)
    channels: dict[str, list[int]] = field(default_factory=dict)
    calls: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)
    rectifiers: list[str] = field(default_factory=list)
    capped: list[str] = field(default_factory=list)
    refusing: list[tuple[str, list[int]]] = field(default_factory=list)

    def plan(self) -> Plan:
        for node in self.graph.graph.nodes:
            if node.op == "output":
                self.channels[node.name] = self.channels.get(node.all_input_nodes[0].name, [])
            elif node.name in self.shapes:
                self.channels[node.name] = self._of(node)
        return Plan(
            self.graph,
            self.channels,
            tuple(self.rectifiers),
            self.variables,
            tuple(self.refusing),
            tuple(self.capped),
        )

    def _of(self, node: fx.Node) -> list[int]:
        read = [self.channels[each.name] for each in node.all_input_nodes if each.name in self.channels]
        module = self.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        what = node.target
        if node.op in ("placeholder", "get_attr") or not read:
            return self._fixed(node)
        if module is not None and not commutes(module, self._shape_before(node), self.shapes[node.name]):
            return self._other(node, read, module)
        if isinstance(module, WEIGHTED):
            return self._weighted(node, module, read[0])
        if isinstance(module, nn.ReLU6 | nn.Hardtanh | Capped) or what in RELU6:
            if isinstance(module, nn.Hardtanh) and (module.min_val, module.max_val) != (0, CAP):
                return self._other(node, read, module)
            self.capped.append(node.name)
            self.rectifiers.append(node.name)
            return read[0]
        if isinstance(module, nn.ReLU) or what in RELU:
            self.rectifiers.append(node.name)
            return read[0]
        if isinstance(module, PASSING_MODULES) or (what in PASSING and self._keeps_channels(node)):
            return read[0]
        if what is functional.pad and self._keeps_channels(node) and _pads_by_zero_or_copies(node):
            return read[0]
        if what in AVERAGING and self._over_positions(node):
            return read[0]
        if isinstance(module, nn.Flatten) or what in FLATTENING:
            return self._flattened(node, read)
        if what in (torch.cat, torch.concat) and self._along_channels(node):
            order = [each for each in node.args[0] if isinstance(each, fx.Node)]  # type: ignore[union-attr]
            return [variable for each in order for variable in self.channels[each.name]]
        if what in ADDING and self._same_shapes(node) and all(isinstance(each, fx.Node) for each in node.args):
            self.variables.tie(read[0], read[-1])
            return read[0]
        if what in MULTIPLYING and len(read) == 1 and any(isinstance(each, int | float) for each in node.args):
            return read[0]
        if what in DIVIDING and isinstance(node.args[1], int | float):
            return read[0]
        if what in MULTIPLYING and len(read) == 2 and self._same_channels(node):
            free = [each for each in read if any(self.variables.find(one) != FIXED for one in each)]
            if len(free) < 2:  # a gate of scale 1
                return free[0] if free else read[0]
        return self._other(node, read, module)

    def _fixed(self, node: fx.Node) -> list[int]:
        shape = self.shapes[node.name]
        return [FIXED] * (shape[1] if len(shape) > 1 else 1)

    def _weighted(self, node: fx.Node, module: nn.Module, read: list[int]) -> list[int]:
        """New variables, or those of the module's first call, whose weights are the same."""
        shape, before = self.shapes[node.name], self._shape_before(node)
        if len(before) not in (2, 4) or (isinstance(module, nn.Linear) and len(before) != 2):
            return self._other(node, [read], module)
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is None:
            return self._other(node, [read], module)
        if isinstance(module, nn.BatchNorm2d) and module.weight is None:
            return read
        first = self.calls.get(str(node.target))
        if first is None:
            self.calls[str(node.target)] = (read, self.variables.new(shape[1]))
        else:
            self.variables.tie(first[0], read)
        return self.calls[str(node.target)][1]

    def _flattened(self, node: fx.Node, read: list[list[int]]) -> list[int]:
        before, after = self._shape_before(node), self.shapes[node.name]
        if len(after) < 2 or after[0] != before[0] or after[1] != before[1:].numel() or after[1] % len(read[0]):
            return read[0] if after[:2] == before[:2] else self._other(node, read, None)
        times = after[1] // len(read[0])
        return [variable for variable in read[0] for _ in range(times)]

    def _other(self, node: fx.Node, read: list[list[int]], module: nn.Module | None) -> list[int]:
        """An operation that does not commute with scaling: its inputs may not be scaled, nor is its output."""
        what = type(module).__name__ if module is not None else getattr(node.target, "__name__", str(node.target))
        self.refusing.extend((f"{node.target if module is not None else node.name} ({what})", each) for each in read)
        return self._fixed(node)

    def _shape_before(self, node: fx.Node) -> torch.Size:
        return self.shapes[next(each.name for each in node.all_input_nodes if each.name in self.channels)]

    def _keeps_channels(self, node: fx.Node) -> bool:
        return self.shapes[node.name][:2] == self._shape_before(node)[:2]

    def _over_positions(self, node: fx.Node) -> bool:
        dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
        return len(self._shape_before(node)) == 4 and _set(dims) in ({2, 3}, {-1, -2}, {2}, {3}, {-1}, {-2})

    def _along_channels(self, node: fx.Node) -> bool:
        dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        return dim in (1, 1 - len(self.shapes[node.name]))

    def _same_shapes(self, node: fx.Node) -> bool:
        shapes = {self.shapes[each.name] for each in node.all_input_nodes}
        return len(shapes) == 1 and "alpha" not in node.kwargs

    def _same_channels(self, node: fx.Node) -> bool:
        shapes = [self.shapes[each.name] for each in node.all_input_nodes]
        return len({len(shape) for shape in shapes}) == 1 and len({shape[1] for shape in shapes}) == 1


def _pads_by_zero_or_copies(node: fx.Node) -> bool:
    given = dict(zip(("mode", "value"), node.args[2:], strict=False)) | dict(node.kwargs)
    return given.get("mode", "constant") != "constant" or given.get("value") in (None, 0)


def _set(dims: object) -> set[int]:
    return {dims} if isinstance(dims, int) else set(dims) if isinstance(dims, list | tuple) else set()
