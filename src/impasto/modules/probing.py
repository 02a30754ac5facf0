"""Which layers a module has: found out by calls on the device "meta", where shapes are known and nothing is computed.

A module that cannot be called there, because it makes tensors of its own or looks at values, computes its probes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from impasto.errors import NetworkError
from impasto.images.image import Size
from impasto.modules.arrangements import Shape, tensors_of
from impasto.modules.calls import observe, stand_ins
from impasto.modules.preprocess import Preprocess

PAIR: tuple[Size, Size] = ((192, 256), (288, 320))  # of different proportions; multiples of 32
PATCHES_PX = 14  # patches of DINOv2 and CLIP's ViT-L, which take only pictures of whole patches
USUAL_PX = (224, 256, 299, 384, 336, 448, 518, 512, 128, 96, 64, 32, 28)  # sizes that modules are trained at


class Output(NamedTuple):
    """One tensor that a layer gives: the layer's path, the number of its call, and ".0" … within a tuple."""

    path: str
    call: int
    part: str


@dataclass(frozen=True)
class Seen:
    """What a probe shows of one output: `held` bytes are kept for the way back by then, `largest` is one output's."""

    shape: Shape
    held: int
    largest: int
    overwritten: bool


@dataclass(frozen=True)
class Probed:
    """A call of a module on a picture of a size (as the module takes it): its outputs in order, and its error."""

    size: Size
    outputs: dict[Output, Seen]
    odd: dict[str, str]  # paths of layers that give no tensor of floating point, and what they give
    error: Exception | None


@dataclass(frozen=True, eq=False)
class Probing:
    """Calls of one module with pictures of any size."""

    module: nn.Module
    precision: torch.dtype
    channels: int
    device: torch.device
    known: dict[Size, Probed] = field(default_factory=dict)

    def probe(self, size: Size) -> Probed:
        """A call on a picture of that size. Each size is probed once."""
        if size not in self.known:
            found = self._call(size, torch.device("meta"))
            if found.error is not None:
                computed = self._call(size, self.device)
                found = computed if computed.error is None or len(computed.outputs) > len(found.outputs) else found
            self.known[size] = found
        return self.known[size]

    def gives(self, size: Size, output: Output) -> bool:
        """Whether the layer gives an output with at least one position, for a picture of that size."""
        seen = self.probe(size).outputs.get(output)
        return seen is not None and 0 not in seen.shape

    def smallest(self, output: Output, most: int) -> int | None:
        """The least side of a square picture for which the layer gives an output, up to `most`.

        None if not all larger pictures are taken either, those of odd sides for instance.
        """
        least, enough = 0, most
        while enough - least > 1:
            between = (least + enough) // 2
            least, enough = (least, between) if self.gives((between, between), output) else (between, enough)
        monotone = all(self.gives((side, side), output) for side in (enough, enough + 1))
        return enough if monotone else None

    def _call(self, size: Size, device: torch.device) -> Probed:
        values = {name: value.to(device) for name, value in stand_ins(self.module).items()}
        prepared = torch.zeros(1, self.channels, *size, dtype=self.precision, device=device, requires_grad=True)
        kept = _Kept({value.untyped_storage()._cdata for value in values.values()})
        outputs: dict[Output, tuple[Tensor, int, int, int]] = {}
        odd: dict[str, str] = {}
        largest = 0

        def see(path: str, call: int, output: Any) -> bool:
            nonlocal largest
            found = tensors_of(output)
            if not found:
                odd[path] = type(output).__name__
            for part, each in found.items():
                largest = max(largest, each.numel() * each.element_size())
                outputs[Output(path, call, part)] = (each, each._version, kept.size, largest)
            return False

        error = None
        paths = [path for path, _ in self.module.named_modules() if path]
        try:
            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(kept.add, _unchanged):
                observe(self.module, prepared, paths, see, values)
        except Exception as raised:
            error = raised
        seen = {
            output: Seen(tuple(each.shape), held, most, each._version != version)
            for output, (each, version, held, most) in outputs.items()
        }
        return Probed(size, seen, odd, error)


@dataclass(eq=False)
class _Kept:
    """The bytes of all that is kept for the way back; weights are kept anyway."""

    known: set[int]
    size: int = 0
    alive: list[Tensor] = field(default_factory=list)  # so that no other tensor takes the place of one in `known`

    def add(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.alive.append(tensor)
            self.size += storage.nbytes()
        return tensor


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def settle(probing: Probing, preprocess: Preprocess, name: str) -> tuple[Preprocess, list[Probed], dict[Output, str]]:
    """The preprocessing with the sizes that the module takes, its probes, and why some layers cannot be read.

    A module that takes one size alone, or whole patches, gets a preprocessing that resizes pictures accordingly.
    Raises NetworkError if the module fails for all sizes.
    """
    flexible: list[Probed] = []
    if not any(True for _ in probing.module.children()):
        raise NetworkError(f"{name} has no layers; give a module that is made of others")
    for tried, sizes in _attempts(preprocess):
        probes = [probing.probe(size) for size in sizes]
        if all(probe.error is None for probe in probes):
            if not flexible:
                return tried, probes, {}
            reached = {output for probe in flexible for output in probe.outputs}
            if 2 * len(reached) >= len(probes[0].outputs):
                height, width = sizes[0]
                needs = (
                    f"runs only for pictures of {width} × {height} pixels; give Preprocess(size=({height}, {width}))"
                )
                return preprocess, flexible, dict.fromkeys(set(probes[0].outputs) - reached, needs)
            return tried, probes, {}
        flexible = flexible or probes
    if all(probe.outputs for probe in flexible):
        said = f"is not reached: the module fails before ({_first_line(flexible[0].error)})"
        return preprocess, flexible, {Output("", 1, ""): said}
    height, width = flexible[0].size
    raise NetworkError(f"{name} fails for a picture of {width} × {height} pixels: {_first_line(flexible[0].error)}")


def _attempts(preprocess: Preprocess) -> Iterator[tuple[Preprocess, Sequence[Size]]]:
    if preprocess.size is not None:
        yield preprocess, [preprocess.size]
        return
    yield preprocess, [preprocess.taken(size) for size in PAIR]
    if preprocess.multiple == 1:
        whole = replace(preprocess, multiple=PATCHES_PX)
        yield whole, [whole.taken(size) for size in PAIR]
    for side in dict.fromkeys(preprocess.taken((side, side)) for side in USUAL_PX):
        yield replace(preprocess, size=side), [side]


def _first_line(error: Exception | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
