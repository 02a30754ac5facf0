"""One pass forward and one back through a network, by hand: autograd's gradient with less memory and fewer copies.

Each step says which maps its way back needs. Only these maps are kept, each until its last use; gradients are written
over maps that are no longer needed. In a graph, the gradients from all readers of a layer are added, and only the
layers that the layers read depend on are computed. Autograd would keep 8-byte indices for each pooling, and take fresh
memory for each step, which the system fills with zeros first.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from impasto.errors import ImageError
from impasto.gradients import end
from impasto.images.image import Image, Size
from impasto.machine import unfolds
from impasto.modules.preprocess import Preprocess
from impasto.modules.table import Facts
from impasto.networks.footprint import bytes_at_peak
from impasto.networks.graph import Route, count_needs, route, walk
from impasto.networks.layers import IMAGE, Layer
from impasto.networks.steps import FeatureMap, Past

Visit = Callable[[str, FeatureMap, FeatureMap | None], FeatureMap]


@runtime_checkable
class Trace(Protocol):
    """The way forward, with all that the way back needs."""

    def back(self, visit: Visit) -> Image:
        """The gradient with respect to the picture; see `backward`."""


@runtime_checkable
class Computation(Protocol):
    """How the maps of a network's layers are computed; layers are given by their own names, the picture never.

    `module` is the PyTorch module that computes them, if there is one.
    """

    @property
    def module(self) -> nn.Module | None:
        """The module."""

    def maps(self, image: Image, wanted: Collection[str]) -> Iterator[tuple[str, FeatureMap]]:
        """The maps of these layers in the network's order; a map holds only until the next one is asked for."""

    def trace(self, image: Image, wanted: Collection[str]) -> Trace:
        """The way forward up to these layers, for one way back."""

    def require_size(self, size: Size, wanted: Mapping[str, str]) -> None:
        """Raise ImageError if a layer has no position in a picture of that size.

        `wanted` has the layers' own names by the names that the user gave.
        """

    def bytes_per_pixel(self, read: Collection[str], compared: Collection[str]) -> float:
        """About how many bytes per pixel a pass forward and back holds; see `Network.bytes_per_pixel`."""

    def facts(self, layer: str) -> Facts:
        """What is known of a layer."""


@runtime_checkable
class Readable(Protocol):
    """What passes need of a network."""

    @property
    def computation(self) -> Computation:
        """How the network's maps are computed."""

    def require_size(self, size: Size, layers: Iterable[str]) -> None:
        """Raise ImageError if a picture of that size is too small for a layer, LayerError for an unknown one."""


def forward(network: Readable, image: Image, layers: Iterable[str]) -> Trace:
    """The way forward up to `layers` (canonical names). Raises LayerError; ImageError if the picture is too small."""
    read = frozenset(layers) - {IMAGE}
    network.require_size((image.shape[2], image.shape[3]), read)
    return network.computation.trace(image, read)


def backward(trace: Trace, visit: Visit) -> Image:
    """The gradient with respect to the picture, in the picture's type, of losses at the layers read.

    `visit(layer, features, gradient)` is called for each layer read, in reverse order. `gradient` comes from later
    layers, or is None; `visit` returns it with the gradient of the layer's own losses added, in place or as a new
    tensor. The trace cannot be used again.
    """
    return trace.back(visit)


def read(network: Readable, image: Image, layers: Iterable[str]) -> Iterator[tuple[str, FeatureMap]]:
    """The feature maps of `layers` (canonical names) one by one, in the network's order; none is kept.

    A map holds only until the next one is asked for.
    """
    wanted = frozenset(layers)
    if IMAGE in wanted:
        yield IMAGE, image
    maps = network.computation.maps(image, wanted - {IMAGE})
    while True:
        with torch.no_grad():  # between two maps, gradients are the caller's own affair
            found = next(maps, None)
        if found is None:
            return
        yield found


@dataclass(frozen=True, eq=False)
class ByHand:
    """The pass by hand along a graph of layers."""

    layers: Mapping[str, Layer]
    preprocess: Preprocess
    device: torch.device
    precision: torch.dtype

    @property
    def module(self) -> nn.Module | None:
        """None."""
        return None

    def maps(self, image: Image, wanted: Collection[str]) -> Iterator[tuple[str, FeatureMap]]:
        """The maps of these layers; each layer that they depend on is computed once."""
        through = route(self.layers, wanted)
        if through:
            pairs = walk(through, self.preprocess(image, self.precision), wanted)
            yield from ((layer.name, maps) for layer, maps in pairs if layer.name in wanted)

    def trace(self, image: Image, wanted: Collection[str]) -> "HandTrace":
        """The way forward; only the maps that the way back needs are kept."""
        through = route(self.layers, wanted)
        with torch.enable_grad():
            variable = image.detach().requires_grad_()
            prepared = self.preprocess(variable, self.precision)
        needs = count_needs(through, wanted)
        kept, shapes = dict[str, Tensor](), {IMAGE: prepared.shape}
        with torch.no_grad():
            for layer, maps in walk(through, prepared.detach(), wanted):
                shapes[layer.name] = maps.shape
                if needs[layer.name]:
                    kept[layer.name] = maps
        return HandTrace(through, frozenset(wanted), kept, needs, shapes, variable, prepared)

    def require_size(self, size: Size, wanted: Mapping[str, str]) -> None:
        """Raise ImageError if the deepest layer has no position in a picture of that size."""
        strides = {given: self.layers[own].stride for given, own in wanted.items()}
        deepest = max(strides, key=strides.__getitem__, default=IMAGE)
        smallest = strides.get(deepest, 1)
        if min(size) < smallest:
            raise ImageError(
                f"a picture of {size[1]} × {size[0]} pixels is too small for {deepest}, "
                f"which needs at least {smallest} × {smallest}"
            )

    def bytes_per_pixel(self, read: Collection[str], compared: Collection[str]) -> float:
        """Each map that is read, or that the way back needs, is kept.

        Comparing maps in place, instead of their statistics, takes three more maps in float32, and a gradient.
        """
        item, picture = self.precision.itemsize, 3 * 4.0
        return bytes_at_peak(
            route(self.layers, read),
            read,
            item,
            before=2 * picture + 3 * item,  # the picture, its gradient, and what the first layer takes
            beside={name: self.layers[name].bytes_per_pixel(12 + item) for name in compared},
            unfolds=unfolds(self.precision, self.device),
        )

    def facts(self, layer: str) -> Facts:
        """What is known of a layer."""
        known = self.layers[layer]
        kind = type(known.step).__name__
        return Facts(kind, known.channels, known.stride, known.reach_px, known.stride)


@dataclass(frozen=True, eq=False)
class HandTrace:
    """The results of the way forward by hand that the way back needs."""

    layers: Route
    read: frozenset[str]
    maps: dict[str, Tensor]
    needs: Counter[str]  # how many times each map is still needed
    shapes: dict[str, torch.Size]
    image: Image
    prepared: Tensor  # the picture as the first layers take it, with autograd's graph back to `image`

    def release(self, layer: str) -> None:
        """Count one use of a map as done, and let the map go after its last use."""
        self.needs[layer] -= 1
        if not self.needs[layer]:
            self.maps.pop(layer, None)

    def back(self, visit: Visit) -> Image:
        """The way back, layer by layer; see `backward`."""
        gradients: dict[str, FeatureMap] = {}
        with torch.no_grad():
            for layer in reversed(self.layers):
                gradient = gradients.pop(layer.name, None)
                if layer.name in self.read:
                    gradient = visit(layer.name, self.maps[layer.name], gradient)
                    self.release(layer.name)
                assert gradient is not None  # each layer is read, or another one reads it
                _hand_back(self, layer, gradient, gradients)
        if IMAGE not in gradients:
            return torch.zeros_like(self.image)
        (found,) = torch.autograd.grad(end(self.prepared, gradients[IMAGE]), self.image)
        return found


def _hand_back(trace: HandTrace, layer: Layer, gradient: FeatureMap, gradients: dict[str, FeatureMap]) -> None:
    """Take the gradient for a layer's map back through the layer's step, and add the results to `gradients`."""
    found = layer.step.back(gradient, _past(trace, layer))
    for name, more in zip(layer.reads, found, strict=True):
        gradients[name] = gradients[name].add_(more) if name in gradients else more


def _past(trace: HandTrace, layer: Layer) -> Past:
    """The maps that the layer's way back needs; the trace lets go of maps after their last use."""
    inputs, output = tuple[FeatureMap, ...](), None
    spare = tuple(trace.needs[name] == 1 for name in layer.reads)
    if "output" in layer.step.keeps:
        output = trace.maps[layer.name]
        trace.release(layer.name)
    if "input" in layer.step.keeps:
        inputs = tuple(trace.maps.get(name, trace.prepared.detach()) for name in layer.reads)
        for name in layer.reads:
            trace.release(name)
    return Past(tuple(trace.shapes[name] for name in layer.reads), inputs, output, spare)


def wide(features: Tensor) -> Tensor:
    """The features in float32, or in float64 if they are."""
    return features if features.dtype == torch.float64 else features.float()
