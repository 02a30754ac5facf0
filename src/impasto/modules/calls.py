"""One call of a module, observed by hooks that live as long as the call; nothing of the module is left changed.

The weights take no gradients, and neither they nor the buffers are touched: the call works with stand-ins. All modules
are in eval mode for the call, and random numbers are the same in each call. A call ends as soon as enough was seen.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

See = Callable[
    [str, int, Any], bool
]  # a layer's path, the number of its call from 1, its output; true if enough is seen

_ONE_AT_A_TIME = threading.RLock()  # two calls of one module would see each other's hooks


class _Enough(BaseException):
    """Ends a call early. No `Exception`: a module's own `except Exception` would swallow that."""


def observe(
    module: nn.Module, prepared: Tensor, paths: Iterable[str], see: See, values: Mapping[str, Tensor] | None = None
) -> None:
    """Call the module on a prepared picture and show `see` the output of each layer as its call ends.

    `values` are used in place of the module's weights and buffers; the module's own by default.
    Raises whatever the module raises.
    """
    called: Counter[str] = Counter()

    def hook_of(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            called[path] += 1
            if see(path, called[path], output):
                raise _Enough

        return hook

    with ExitStack() as stack:
        stack.enter_context(_ONE_AT_A_TIME)
        stack.enter_context(_in_eval_mode(module))
        stack.enter_context(_same_random_numbers(prepared.device))
        if torch.is_inference_mode_enabled():  # its tensors count no changes
            stack.enter_context(torch.inference_mode(mode=False))
        for path in paths:
            handle = module.get_submodule(path).register_forward_hook(hook_of(path))
            stack.callback(handle.remove)
        try:
            own = dict(stand_ins(module) if values is None else values)
            functional_call(module, own, (prepared,), tie_weights=False)  # stand-ins are tied already
        except _Enough:
            return


def stand_ins(module: nn.Module) -> dict[str, Tensor]:
    """The weights without gradients, and copies of the buffers, which a module may write to.

    Each layer's own are named once, even if the layer has two names: PyTorch would restore such a layer wrongly.
    """
    made: dict[int, Tensor] = {}
    found: dict[str, Tensor] = {}
    for path, each in module.named_modules():
        prefix = f"{path}." if path else ""
        for name, weight in each.named_parameters(recurse=False, remove_duplicate=False):
            found[prefix + name] = made.setdefault(id(weight), weight.detach())
        for name, buffer in each.named_buffers(recurse=False, remove_duplicate=False):
            found[prefix + name] = made.setdefault(id(buffer), buffer.detach().clone())
    return found


@contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    before = [(each, each.training) for each in module.modules()]
    try:
        for each, _ in before:
            each.training = False  # `eval` may be overridden
        yield
    finally:
        for each, training in before:
            each.training = training


@contextmanager
def _same_random_numbers(device: torch.device) -> Iterator[None]:
    """The same random numbers in each call, and the program's own afterwards."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(0)
        for each in cuda:
            with torch.cuda.device(each):
                torch.cuda.manual_seed(0)
        yield
