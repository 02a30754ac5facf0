"""Passes through a module that is read by hooks: its maps forward, and autograd's way back to the picture."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from impasto.errors import ImageError, NetworkError
from impasto.gradients import end
from impasto.images.image import Image, Size, size_of
from impasto.modules.arrangements import tensors_of
from impasto.modules.calls import observe
from impasto.modules.probing import Output
from impasto.modules.table import Facts, LayerTable

Visit = Callable[[str, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, eq=False)
class HookedTrace:
    """The maps of a module with autograd's graph back to the picture; can be taken back once."""

    image: Tensor
    maps: dict[str, Tensor]

    def back(self, visit: Visit) -> Image:
        """The gradient with respect to the picture; see `impasto.networks.passes.backward`."""
        with torch.no_grad():
            slopes = {name: visit(name, maps.detach(), None) for name, maps in reversed(self.maps.items())}
        if not slopes:
            return torch.zeros_like(self.image)
        ends = [end(self.maps[name], slope.to(self.maps[name].dtype)) for name, slope in slopes.items()]
        (found,) = torch.autograd.grad(ends, self.image)
        return found


@dataclass(frozen=True, eq=False)
class Hooked:
    """A module whose layers are read by hooks. It sees the whole picture at once: its reach is unknown.

    A layer whose output is overwritten later in the same call, by a rectifier in place for instance, is copied as soon
    as it is there; `copied` remembers such layers.
    """

    table: LayerTable
    precision: torch.dtype
    name: str
    copied: set[Output] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.copied.update(row.output for row in self.table.rows.values() if row.overwritten)

    @property
    def module(self) -> nn.Module:
        """The module."""
        return self.table.probing.module

    def maps(self, image: Image, wanted: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """The maps of these layers in order."""
        yield from self._maps(image, wanted).items()

    def trace(self, image: Image, wanted: Collection[str]) -> HookedTrace:
        """The way forward, with a way back."""
        with torch.enable_grad():
            variable = image.detach().requires_grad_()
            maps = self._maps(variable, wanted)
        for name, each in maps.items():
            if not each.requires_grad:
                raise NetworkError(
                    f"{name} of {self.name} has no gradient with respect to the picture: the module detaches its maps "
                    "or computes without gradients there; read a layer before"
                )
        return HookedTrace(variable, maps)

    def require_size(self, size: Size, wanted: Mapping[str, str]) -> None:
        """Raise ImageError if the module cannot take a picture of that size, or a layer has no position there."""
        taken = self.table.preprocess.taken(size)
        probed = self.table.probing.probe(taken)
        for given, name in wanted.items():
            if self.table.probing.gives(taken, self.table.rows[name].output):
                continue
            smallest = self.table.smallest_side(name)
            if smallest is not None and min(taken) < smallest:
                raise ImageError(
                    f"a picture of {size[1]} × {size[0]} pixels is too small for {given}, "
                    f"which needs at least {smallest} × {smallest}"
                )
            raise ImageError(
                f"{self.name} fails for a picture of {size[1]} × {size[0]} pixels: {_words(probed.error)}; choose "
                "another size, or give the sizes that the module takes: Preprocess(size=…) or Preprocess(multiple=…)"
            )

    def facts(self, layer: str) -> Facts:
        """What is known of a layer."""
        return self.table.facts(layer)

    def bytes_per_pixel(self, read: Collection[str], compared: Collection[str]) -> float:
        """About how many bytes per pixel of the picture a pass forward and back holds at its peak."""
        item = self.precision.itemsize
        rows = [self.table.rows[name] for name in read]
        held = max((row.bytes_per_pixel for row in rows), default=0.0)
        beside = [row.channels * (12 + item) / row.stride**2 for row in rows if row.name in compared]
        return 2 * 3 * 4.0 + 2 * self.table.preprocess.channels * item + held + sum(beside)

    def _maps(self, image: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
        """The maps of these layers in the order in which they are computed."""
        if not wanted:
            return {}
        prepared = self.table.preprocess(image, self.precision).contiguous()  # modules may expect their rows together
        outputs, overwritten = self._outputs(prepared, {self.table.rows[name].output for name in wanted})
        if overwritten:
            self.copied.update(overwritten)
            outputs, _ = self._outputs(prepared, set(outputs))
        taken = size_of(prepared)
        rows = [row for row in self.table.rows.values() if row.name in wanted]
        return {row.name: row.arrangement(outputs[row.output], taken) for row in rows}

    def _outputs(self, prepared: Tensor, wanted: set[Output]) -> tuple[dict[Output, Tensor], set[Output]]:
        """The outputs, and those that have been overwritten since; the call ends with the last one wanted."""
        found, versions, left = dict[Output, Tensor](), dict[Output, int](), set(wanted)

        def see(path: str, call: int, output: object) -> bool:
            for part, each in tensors_of(output).items():
                key = Output(path, call, part)
                if key in left:
                    found[key] = each.clone() if key in self.copied else each
                    versions[key] = found[key]._version
                    left.remove(key)
            return not left

        try:
            observe(self.module, prepared, {output.path for output in wanted}, see)
        except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
            if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
                raise
            raise NetworkError(f"{self.name} fails: {_words(error)}") from error
        if left:
            missing = min(left)
            raise NetworkError(f"{self.name} did not call {missing.path} for this picture, as it did for others")
        return found, {key for key, each in found.items() if each._version != versions[key]}


def _words(error: Exception | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
