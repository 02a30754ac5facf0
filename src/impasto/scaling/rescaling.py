"""Rescaling the weights of a graph by a plan, or refusing by the name of the operation that forbids it."""

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, fx, nn

from impasto.errors import NetworkError
from impasto.scaling.tracing import CAP, WEIGHTED, WHOLE, Capped
from impasto.scaling.variables import Plan

TRIAL = 1e-10  # the largest relative difference between a layer and its rescaled copy, in float64


def require_exact(found: Plan, scales: Mapping[int, float]) -> None:
    """Raise NetworkError, which names the operation, if one that does not commute with scaling reads a scaled map."""
    for what, variables in found.refusing:
        if any(scales.get(found.variables.find(variable), 1.0) != 1.0 for variable in variables):
            raise NetworkError(
                f"the network cannot be normalised exactly: {what} reads rectified maps, and does not commute with "
                "scaling; normalised losses (--distance normalised) need no such network"
            )


@torch.no_grad()
def commutes(module: nn.Module, read: torch.Size, given: torch.Size) -> bool:
    """Whether a layer with code of its own (a subclass of torch's layers) rescales as torch's layer does.

    The trial: a rescaled copy reads a map of noise of shape `read`, rescaled too. True for torch's own layers.
    """
    if not isinstance(module, WHOLE) or type(module) in WHOLE:
        return True
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is None:
        return False
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(read, generator=generator, dtype=torch.float64)
    try:
        before, after = (torch.rand(shape[1], generator=generator, dtype=noise.dtype) + 0.5 for shape in (read, given))
        truth, other = module(noise.clone()), copy.deepcopy(module)
        if not isinstance(other, WEIGHTED) or other.weight is None:
            after = before
        if isinstance(other, WEIGHTED):
            _rescale_module(other, before, after)
        found = other(noise / _across(before, noise)) * _across(after, truth)
    except (RuntimeError, IndexError):  # the numbers of channels are not those of the weights
        return False
    return bool((found - truth).norm() <= TRIAL * truth.norm())


def _across(values: Tensor, maps: Tensor) -> Tensor:
    return values.reshape(1, -1, *(1,) * (maps.ndim - 2))


@torch.no_grad()
def rescale(found: Plan, scale: Callable[[Sequence[int]], Tensor]) -> None:
    """Rescale the weights of the plan's graph in place; `scale` gives the divisors of variables, float64.

    A capped rectifier is replaced by one with a cap for each channel, of the same name.
    """
    nodes = {node.name: node for node in found.graph.graph.nodes}
    done = set[str]()
    for name, node in nodes.items():
        if node.op == "call_module" and name in found.channels and str(node.target) not in done:
            module = found.graph.get_submodule(str(node.target))
            if not isinstance(module, WEIGHTED):
                continue
            read = next(each.name for each in node.all_input_nodes)
            done.add(str(node.target))
            _rescale_module(module, scale(found.channels[read]), scale(found.channels[name]))
    for name in found.capped:
        _cap(found.graph, nodes[name], scale(found.channels[name]))
    found.graph.recompile()


def _rescale_module(module: nn.Module, before: Tensor, after: Tensor) -> None:
    if isinstance(module, nn.BatchNorm2d):
        assert module.running_mean is not None
        module.running_mean /= before
        if module.weight is not None:
            module.weight.mul_(before / after)
            module.bias.div_(after)
        return
    assert isinstance(module, nn.Conv2d | nn.Linear)
    groups = module.groups if isinstance(module, nn.Conv2d) else 1
    each = len(after) // groups
    taken = before.reshape(groups, 1, -1).expand(groups, each, -1).reshape(len(after), -1)
    factors = taken / after[:, None]
    module.weight.mul_(factors.reshape(*factors.shape, *(1,) * (module.weight.ndim - 2)))
    if module.bias is not None:
        module.bias.div_(after)


def _cap(graph: fx.GraphModule, node: fx.Node, scale: Tensor) -> None:
    name, path = node.name, f"capped_{node.name}"
    before = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    cap = before.cap if isinstance(before, Capped) else torch.tensor(CAP, dtype=scale.dtype)
    assert isinstance(cap, Tensor)
    graph.add_submodule(path, Capped(cap / scale))
    with graph.graph.inserting_after(node):
        capped = graph.graph.call_module(path, (node.all_input_nodes[0],))
    node.replace_all_uses_with(capped)
    graph.graph.erase_node(node)
    capped.name = name
