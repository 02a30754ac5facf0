"""One pass forward and one back through a network, by hand: autograd's gradient with less memory and fewer copies.

The weights take no gradients, so on the way back a convolution needs nothing of the way forward, a ReLU only where it
was above 0, a pooling only what went in and came out. So one feature map is kept for each ReLU and pooling and let go
as soon as the way back has passed it; gradients are written over what nobody needs any more. Autograd would keep
8-byte indices for each pooling, and take fresh memory, which the system fills with zeros first, for each step.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.images.image import Image
from impasto.networks.network import IMAGE, FeatureMap, Network

Visit = Callable[[str, FeatureMap, FeatureMap | None], FeatureMap]


@dataclass(frozen=True, eq=False)
class Trace:
    """What the way forward leaves for the way back."""

    network: Network
    layers: tuple[str, ...]  # as far as the deepest one read
    read: frozenset[str]
    maps: dict[str, Tensor]
    image: Image
    prepared: Tensor  # the picture as the first convolution takes it; autograd knows how it was made


def forward(network: Network, image: Image, layers: Iterable[str]) -> Trace:
    """To the deepest of `layers` (canonical names). Raises LayerError, ImageError where the picture is too small."""
    read = frozenset(layers) - {IMAGE}
    network.require_size((image.shape[2], image.shape[3]), read)
    through = network.layers[: max((network.index(layer) + 1 for layer in read), default=0)]
    with torch.enable_grad():
        variable = image.detach().requires_grad_()
        prepared = network.prepare(variable)
    kept: dict[str, Tensor] = {}
    with torch.no_grad():
        maps = prepared.detach()
        for layer in through:
            maps = _apply(network, layer, maps, read)
            if layer in read or not layer.startswith("conv"):
                kept[layer] = maps
    return Trace(network, through, read, kept, variable, prepared)


def read(network: Network, image: Image, layers: Iterable[str]) -> Iterator[tuple[str, FeatureMap]]:
    """The feature maps of `layers` (canonical names) one by one, the shallowest first; none is kept.

    A map holds only until the next one is asked for.
    """
    wanted = frozenset(layers)
    if IMAGE in wanted:
        yield IMAGE, image
    deepest = max((network.index(layer) + 1 for layer in wanted - {IMAGE}), default=0)
    if not deepest:
        return
    with torch.no_grad():
        maps = network.prepare(image)
    for layer in network.layers[:deepest]:
        with torch.no_grad():
            maps = _apply(network, layer, maps, wanted)
        if layer in wanted:
            yield layer, maps


def backward(trace: Trace, visit: Visit) -> Image:
    """The gradient with respect to the picture of what `visit` finds at the layers read; float32 or as the picture is.

    `visit(layer, features, gradient)` is called for each of them, deepest first, with the gradient that the layers
    after it give (None at the deepest), and returns it, or a new one, with its own added. It uses the trace up.
    """
    network, maps = trace.network, trace.maps
    gradient: Tensor | None = None
    with torch.no_grad():
        for position in reversed(range(len(trace.layers))):
            layer = trace.layers[position]
            if layer in trace.read:
                gradient = visit(layer, maps[layer], gradient)
            assert gradient is not None  # the deepest layer is one of those read
            here = maps.pop(layer, None)
            if layer.startswith("conv"):
                gradient = network.pull_back(layer, gradient)
            elif layer.startswith("relu"):
                if here is not None:
                    _threshold_backward(gradient, here, 0, grad_input=gradient)
            elif here is not None:
                before = trace.layers[position - 1]
                unread = before not in trace.read
                inputs = maps.pop(before) if unread else maps[before]
                back = _unpool_max if network.pooling == "max" else _unpool_average
                gradient = back(gradient, here, inputs, inputs if unread else torch.empty_like(inputs))
    if gradient is None:
        return torch.zeros_like(trace.image)
    (found,) = torch.autograd.grad(trace.prepared, trace.image, gradient)
    return found


# Autograd's own step back through a ReLU; only under this name does it take a place to write to.
_threshold_backward = torch.ops.aten.threshold_backward.grad_input


def _apply(network: Network, layer: str, maps: Tensor, read: frozenset[str]) -> Tensor:
    if layer.startswith("pool") and network.pooling == "max":
        return _pool(maps)
    return network.apply(layer, maps, overwrite=f"conv{layer[4:]}" not in read)


def _pool(maps: Tensor) -> Tensor:
    first, second, third, fourth = _quarters(maps)
    return torch.maximum(first, second).maximum(torch.maximum(third, fourth))


def _quarters(maps: Tensor) -> list[Tensor]:
    """The four positions of each 2 × 2 window, each for all windows; an odd last row or column is in none."""
    height, width = maps.shape[2] // 2 * 2, maps.shape[3] // 2 * 2
    return [maps[:, :, top:height:2, left:width:2] for top in (0, 1) for left in (0, 1)]


def _unpool_max(gradient: Tensor, pooled: Tensor, maps: Tensor, into: Tensor) -> Tensor:
    """Back through max pooling and the ReLU before it; `into` may be `maps`. Of equals, the first one takes it all."""
    _threshold_backward(gradient, pooled, 0, grad_input=gradient)
    nearly = -torch.finfo(maps.dtype).tiny
    share = torch.empty_like(pooled)
    for values, place in zip(_quarters(maps), _quarters(into), strict=True):
        share.copy_(values).sub_(pooled)  # 0 at the largest, negative elsewhere
        _threshold_backward(gradient, share, nearly, grad_input=share)
        gradient.sub_(share)
        place.copy_(share)
    return _clear_rim(into)


def _unpool_average(gradient: Tensor, pooled: Tensor, maps: Tensor, into: Tensor) -> Tensor:
    """Back through average pooling and the ReLU before it; `into` may be `maps`."""
    gradient.div_(4)
    share = torch.empty_like(pooled)
    for values, place in zip(_quarters(maps), _quarters(into), strict=True):
        _threshold_backward(gradient, share.copy_(values), 0, grad_input=share)
        place.copy_(share)
    return _clear_rim(into)


def _clear_rim(maps: Tensor) -> Tensor:
    height, width = maps.shape[2] // 2 * 2, maps.shape[3] // 2 * 2
    maps[:, :, height:].zero_()
    maps[:, :, :, width:].zero_()
    return maps
