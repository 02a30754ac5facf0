"""The operations of a module's call as a graph: each with the values that it reads, and the layers whose output it is.

One call on the device "meta" is watched. An operation in place makes a new value of the same tensor. Operations that
are not known here, and all that depends on them, are left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from impasto.images.image import Size
from impasto.modules.arrangements import tensors_of
from impasto.modules.calls import observe, stand_ins
from impasto.modules.probing import Output

PICTURE = 0  # the number of the value that the module is called with
Kind = Literal["convolution", "norm", "rectifier", "capped", "max", "average", "pad", "sum", "join"]


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation: the numbers of the values that it reads, and its own; `weights` are the module's own tensors."""

    kind: Kind
    reads: tuple[int, ...]
    value: int
    weights: tuple[Tensor | None, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> tuple[object, ...]:
        """What two operations have in common if they do the same."""
        weights = tuple(None if each is None else each.shape for each in self.weights)
        options = {} if self.kind == "pad" else dict(self.options)  # zeros may depend on the picture's size
        return self.kind, self.reads, self.value, weights, options


@dataclass(frozen=True, eq=False)
class Graph:
    """The known operations in order, and the values that layers give."""

    operations: list[Operation]
    outputs: dict[Output, int]

    def is_like(self, other: "Graph") -> bool:
        """Whether the same operations are done in both graphs."""
        own, others = ([each.facts() for each in graph.operations] for graph in (self, other))
        return own == others and self.outputs == other.outputs


def trace(module: nn.Module, size: Size, channels: int, precision: torch.dtype) -> Graph:
    """The graph of a call with a picture of that size; empty if the module cannot be called without computing."""
    own = stand_ins(module)
    shadows = {name: tensor.to("meta") for name, tensor in own.items()}
    picture = torch.zeros(1, channels, *size, dtype=precision, device="meta")
    tracer = _Tracer({id(shadow): own[name] for name, shadow in shadows.items()}, picture)

    def see(path: str, call: int, output: Any) -> bool:
        for part, tensor in tensors_of(output).items():
            if (value := tracer.value_of(tensor)) is not None:
                tracer.outputs[Output(path, call, part)] = value
            tracer.alive.append(tensor)
        return False

    paths = [path for path, _ in module.named_modules() if path]
    try:
        with torch.no_grad(), tracer:
            observe(module, picture, paths, see, shadows)
    except Exception:
        return Graph([], {})
    return Graph(tracer.operations, tracer.outputs)


class _Tracer(TorchFunctionMode):
    """Watches all functions of PyTorch that a call calls."""

    def __init__(self, weights: Mapping[int, Tensor], picture: Tensor) -> None:
        super().__init__()
        self.weights = weights
        self.operations: list[Operation] = []
        self.outputs: dict[Output, int] = {}
        self.values = {id(picture): (PICTURE, picture._version)}  # by tensor: the value, and the tensor's changes
        self.alive: list[Any] = [picture]  # so that no tensor takes the identity of another
        self.count = PICTURE

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the function, and note what it did."""
        given = dict(kwargs or {})
        before = {id(each): self.value_of(each) for each in _flat([*args, *given.values()]) if isinstance(each, Tensor)}
        result = func(*args, **given)
        if isinstance(result, Tensor) and before:
            self.alive.append(result)
            known = READERS.get(func)
            value = None if known is None else self._noted(known(*args, **given), before)
            if value is None:
                self.values.pop(id(result), None)
            else:
                self.values[id(result)] = (value, result._version)
        return result

    def value_of(self, tensor: Tensor) -> int | None:
        """The number of a tensor's value; None if it is unknown, or the tensor was changed by other means."""
        value, version = self.values.get(id(tensor), (None, 0))
        return value if tensor._version == version else None

    def _noted(self, read: "_Read | None", before: Mapping[int, int | None]) -> int | None:
        """The number of the value that an operation gives; None if a value that it reads was unknown `before`."""
        if read is None:
            return None
        reads = [before.get(id(tensor)) for tensor in read.inputs]
        weights = [None if each is None else self.weights.get(id(each)) for each in read.weights]
        if any(each is None for each in reads):
            return None
        if any(given is not None and own is None for given, own in zip(read.weights, weights, strict=True)):
            return None
        if read.kind is None:
            return reads[0]
        self.count += 1
        numbers = tuple(each for each in reads if each is not None)
        self.operations.append(Operation(read.kind, numbers, self.count, tuple(weights), read.options))
        return self.count


@dataclass(frozen=True, eq=False)
class _Read:
    """What a call of a function of PyTorch says: no kind, if its output is its input."""

    kind: Kind | None
    inputs: tuple[Tensor, ...]
    weights: tuple[Tensor | None, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def _convolution(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> _Read | None:
    sides = _one(stride), _one(padding), _one(dilation)
    if None in sides:
        return None
    options = {"stride": sides[0], "padding": sides[1], "dilation": sides[2], "groups": groups}
    return _Read("convolution", (maps,), (weight, bias), options)


def _norm(
    maps: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> _Read | None:
    if training or mean is None or variance is None:
        return None
    return _Read("norm", (maps,), (mean, variance, weight, bias), {"eps": eps})


def _rectifier(maps: Tensor, inplace: bool = False) -> _Read | None:
    return _Read("rectifier", (maps,))


def _hardtanh(maps: Tensor, min_val: Any = -1.0, max_val: Any = 1.0, inplace: bool = False) -> _Read | None:
    return None if min_val else _Read("capped", (maps,), options={"most": float(max_val)})


def _rectifier6(maps: Tensor, inplace: bool = False) -> _Read | None:
    return _hardtanh(maps, 0.0, 6.0)


def _largest(
    maps: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> _Read | None:
    kernel, step, beside = _one(kernel_size), _one(stride or kernel_size), _one(padding)
    if None in (kernel, step, beside) or _one(dilation) != 1 or return_indices:
        return None
    return _Read("max", (maps,), options={"kernel": kernel, "stride": step, "padding": beside, "ceil": ceil_mode})


def _average(
    maps: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> _Read | None:
    plain = _one(kernel_size) == _one(stride or kernel_size) == 2 and _one(padding) == 0
    return _Read("average", (maps,)) if plain and not ceil_mode and divisor_override is None else None


def _pad(maps: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> _Read | None:
    zeros = mode == "constant" and not value and min(pad, default=-1) >= 0
    return (
        _Read("pad", (maps,), options={"beside": tuple(pad), "shape": tuple(maps.shape)})
        if zeros and len(pad) == 4
        else None
    )


def _sum(first: Any, second: Any, alpha: float = 1) -> _Read | None:
    alike = isinstance(first, Tensor) and isinstance(second, Tensor) and first.shape == second.shape
    return _Read("sum", (first, second)) if alike and alpha == 1 else None


def _join(tensors: Sequence[Tensor], dim: int = 0) -> _Read | None:
    return _Read("join", tuple(tensors)) if dim == 1 and len(tensors) > 1 else None


def _dropout(maps: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> _Read | None:
    return None if training else _Read(None, (maps,))


READERS: dict[Any, Callable[..., _Read | None]] = {
    functional.conv2d: _convolution,
    functional.batch_norm: _norm,
    **dict.fromkeys((functional.relu, torch.relu, Tensor.relu, torch.relu_, Tensor.relu_), _rectifier),
    functional.hardtanh: _hardtanh,
    functional.relu6: _rectifier6,
    functional.max_pool2d: _largest,
    functional.avg_pool2d: _average,
    functional.pad: _pad,
    **dict.fromkeys((torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__), _sum),
    **dict.fromkeys((torch.cat, torch.concat), _join),
    **dict.fromkeys((functional.dropout, functional.dropout2d), _dropout),
    Tensor.contiguous: lambda maps, *_, **__: _Read(None, (maps,)),
}


def _one(given: Any) -> int | None:
    """The one number that is given for both sides; None if the sides differ or words are given."""
    numbers = set(given) if isinstance(given, Sequence) and not isinstance(given, str) else {given}
    found = numbers.pop()
    return found if not numbers and isinstance(found, int) else None


def _flat(values: Sequence[Any]) -> list[Any]:
    return [each for value in values for each in (value if isinstance(value, list | tuple) else [value])]
