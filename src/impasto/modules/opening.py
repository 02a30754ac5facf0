"""A module that is given, made ready to be read: what it is, where it computes, and its table of layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from impasto.errors import NetworkError
from impasto.modules.preprocess import Preprocess
from impasto.modules.probing import Probing
from impasto.modules.table import LayerTable, tabulate

PRECISIONS = (torch.float32, torch.bfloat16, torch.float64)


@dataclass(frozen=True, eq=False)
class Opened:
    """A module's table of layers, its device and its precision."""

    name: str
    table: LayerTable
    device: torch.device
    precision: torch.dtype


def open_module(
    module: Any, preprocess: Preprocess, layers: Sequence[str] | None, tokens: int | None, name: str | None
) -> Opened:
    """Look at a module. Raises NetworkError with one sentence if it cannot be read, LayerError for unknown `layers`."""
    name = name or type(module).__name__
    own = _unwrapped(module, name)
    device, precision = _place(own, name)
    table = tabulate(Probing(own, precision, preprocess.channels, device), preprocess, name, layers, tokens)
    return Opened(name, table, device, precision)


def _unwrapped(module: Any, name: str) -> nn.Module:
    """The module whose layers can be hooked: the one that a compiled or parallel module wraps."""
    if isinstance(module, torch.jit.ScriptModule):
        raise NetworkError(
            f"{name} is a TorchScript program, whose layers cannot be read; give the module that it was made from"
        )
    if not isinstance(module, nn.Module):
        raise NetworkError(f"{name} is no torch.nn.Module; give a module, or a function that returns one")
    if isinstance(wrapped := getattr(module, "_orig_mod", None), nn.Module):
        return wrapped
    return module.module if isinstance(module, nn.DataParallel) else module


def _place(module: nn.Module, name: str) -> tuple[torch.device, torch.dtype]:
    """The device and the precision of all of a module's numbers."""
    tensors = [*module.parameters(), *module.buffers()]
    if any(isinstance(tensor, UninitializedParameter | UninitializedBuffer) for tensor in tensors):
        raise NetworkError(f"{name} has layers that get their shapes in the first call; call the module once before")
    devices = {tensor.device for tensor in tensors} or {torch.device("cpu")}
    if len(devices) > 1:
        places = " and ".join(sorted(map(str, devices)))
        raise NetworkError(f"{name} has its weights on {places}; move all of the module to one device")
    device = devices.pop()
    if device.type == "meta":
        raise NetworkError(f"{name} has no weights, as its device is meta; load the weights first")
    precisions = {tensor.dtype for tensor in module.parameters() if tensor.is_floating_point()} or {torch.float32}
    if len(precisions) > 1 or not precisions <= set(PRECISIONS):
        given = " and ".join(sorted(str(each).removeprefix("torch.") for each in precisions))
        raise NetworkError(f"{name} has weights in {given}; call .float() on the module first, or .bfloat16()")
    return device, precisions.pop()
