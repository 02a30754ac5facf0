"""One pass forward and one back through a network, by hand: autograd's gradient with less memory and fewer copies.

Each step says which maps its way back needs. Only these maps are kept, each until its last use; gradients are written
over maps that are no longer needed. In a graph, the gradients from all readers of a layer are added, and only the
layers that the layers read depend on are computed. Autograd would keep 8-byte indices for each pooling, and take fresh
memory for each step, which the system fills with zeros first.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.images.image import Image
from impasto.networks.graph import Route, count_needs, route, walk
from impasto.networks.layers import IMAGE, Layer
from impasto.networks.network import Network
from impasto.networks.steps import FeatureMap, Past

Visit = Callable[[str, FeatureMap, FeatureMap | None], FeatureMap]


@dataclass(frozen=True, eq=False)
class Trace:
    """The results of the way forward that the way back needs."""

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


def forward(network: Network, image: Image, layers: Iterable[str]) -> Trace:
    """The way forward up to `layers` (canonical names). Raises LayerError; ImageError if the picture is too small."""
    read = frozenset(layers) - {IMAGE}
    network.require_size((image.shape[2], image.shape[3]), read)
    through = route(network.layers, read)
    with torch.enable_grad():
        variable = image.detach().requires_grad_()
        prepared = network.prepare(variable)
    needs = count_needs(through, read)
    kept, shapes = dict[str, Tensor](), {IMAGE: prepared.shape}
    with torch.no_grad():
        for layer, maps in walk(through, prepared.detach(), read):
            shapes[layer.name] = maps.shape
            if needs[layer.name]:
                kept[layer.name] = maps
    return Trace(through, read, kept, needs, shapes, variable, prepared)


def read(network: Network, image: Image, layers: Iterable[str]) -> Iterator[tuple[str, FeatureMap]]:
    """The feature maps of `layers` (canonical names) one by one, in the network's order; none is kept.

    A map holds only until the next one is asked for.
    """
    wanted = frozenset(layers)
    if IMAGE in wanted:
        yield IMAGE, image
    through = route(network.layers, wanted)
    if not through:
        return
    with torch.no_grad():
        steps = walk(through, network.prepare(image), wanted)
    while True:
        with torch.no_grad():  # between two maps, gradients are the caller's own affair
            found = next(steps, None)
        if found is None:
            return
        if found[0].name in wanted:
            yield found[0].name, found[1]


def backward(trace: Trace, visit: Visit) -> Image:
    """The gradient with respect to the picture, in the picture's type, of losses at the layers read.

    `visit(layer, features, gradient)` is called for each layer read, in reverse order. `gradient` comes from later
    layers, or is None; `visit` returns it with the gradient of the layer's own losses added, in place or as a new
    tensor. The trace cannot be used again.
    """
    gradients: dict[str, FeatureMap] = {}
    with torch.no_grad():
        for layer in reversed(trace.layers):
            gradient = gradients.pop(layer.name, None)
            if layer.name in trace.read:
                gradient = visit(layer.name, trace.maps[layer.name], gradient)
                trace.release(layer.name)
            assert gradient is not None  # each layer is read, or another one reads it
            _hand_back(trace, layer, gradient, gradients)
    if IMAGE not in gradients:
        return torch.zeros_like(trace.image)
    (found,) = torch.autograd.grad(trace.prepared, trace.image, gradients[IMAGE])
    return found


def _hand_back(trace: Trace, layer: Layer, gradient: FeatureMap, gradients: dict[str, FeatureMap]) -> None:
    """Take the gradient for a layer's map back through the layer's step, and add the results to `gradients`."""
    found = layer.step.back(gradient, _past(trace, layer))
    for name, more in zip(layer.reads, found, strict=True):
        gradients[name] = gradients[name].add_(more) if name in gradients else more


def _past(trace: Trace, layer: Layer) -> Past:
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
