"""From a module's call to a graph of layers, for the pass by hand: less memory than autograd's, and exact tiles.

VGG, residual networks, SqueezeNet and their kin are translated as far as their operations are known here:
convolutions, batch norms, rectifiers, poolings, zeros around maps, sums and concatenations. All other layers are read
by hooks.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from impasto.errors import NetworkError
from impasto.images.image import Image, Size
from impasto.modules.hooked import Hooked
from impasto.modules.probing import PAIR
from impasto.modules.steps import Pad, Scale, WideMaxPool
from impasto.modules.table import Facts, LayerTable
from impasto.modules.tracing import PICTURE as PICTURE_VALUE
from impasto.modules.tracing import Graph, Operation, trace
from impasto.networks.layers import PICTURE, UNKNOWN_PX, Layer, add, concatenate, convolution, pool, rectifier
from impasto.networks.passes import ByHand, Trace
from impasto.networks.steps import AnyConvolution, AveragePool, FeatureMap, MaxPool

PAIRS = {"kernel": 2, "stride": 2, "padding": 0, "ceil": False}  # the poolings whose squares tiles can follow
SIDES_PX = math.gcd(*PAIR[0], *PAIR[1])  # of the pictures that a module's zeros are learned from


@dataclass(frozen=True, eq=False)
class Translation:
    """A graph of layers, and what is known of some of them, by name.

    `loose` are layers with positions that are no whole squares of the picture: tiles cannot compute them. `padded` are
    layers after zeros whose number is known only if a picture's sides are multiples of `SIDES_PX`. `same` are other
    names of layers, as blocks give the map of their last layer.
    """

    layers: Mapping[str, Layer]
    loose: frozenset[str] = frozenset()
    padded: frozenset[str] = frozenset()
    same: Mapping[str, str] = field(default_factory=dict)


def translate(table: LayerTable, precision: torch.dtype) -> Translation:
    """The layers of a module that can be computed by hand; none if pictures are resized for the module."""
    preprocess, module = table.preprocess, table.probing.module
    if preprocess.size is not None or preprocess.multiple > 1:
        return Translation({})
    graph, other = (trace(module, size, preprocess.channels, precision) for size in PAIR)
    if not graph.is_like(other):  # the module does other things for pictures of other sizes
        return Translation({})
    names, same = _names(table, graph)
    values: dict[int, Layer] = {PICTURE_VALUE: replace(PICTURE, channels=preprocess.channels)}
    loose, padded = set[int](), set[int]()
    for operation in graph.operations:
        if not all(read in values for read in operation.reads):
            continue
        read = [values[each] for each in operation.reads]
        try:
            made = _layer(names.get(operation.value, f"~{operation.value}"), operation, read)
        except NetworkError:  # maps of one size by chance, whose strides differ
            continue
        values[operation.value] = made
        if _is_loose(operation) or loose.intersection(operation.reads):
            loose.add(operation.value)
        if operation.kind == "pad" or padded.intersection(operation.reads):
            padded.add(operation.value)
    layers = {layer.name: layer for value, layer in values.items() if value != PICTURE_VALUE}
    return Translation(
        layers,
        frozenset(values[each].name for each in loose),
        frozenset(values[each].name for each in padded),
        {alias: own for alias, own in same.items() if own in layers},
    )


def _names(table: LayerTable, graph: Graph) -> tuple[dict[int, str], dict[str, str]]:
    """The name of each value, the first of the layers that give it, and the other layers by that name."""
    names: dict[int, str] = {}
    same: dict[str, str] = {}
    for name, row in table.rows.items():
        value = graph.outputs.get(row.output)
        if value is not None and "#" not in name and value != PICTURE_VALUE:
            first = names.setdefault(value, name)
            if first != name:
                same[name] = first
    return names, same


def _is_loose(operation: Operation) -> bool:
    """Whether the module's positions are no whole squares of those that the operation reads."""
    options = operation.options
    match operation.kind:
        case "convolution":
            (weight, _), padding = operation.weights, options["padding"]
            assert weight is not None
            return options["stride"] > 1 or weight.shape[2:] != (2 * padding + 1, 2 * padding + 1)
        case "max":
            return options != PAIRS
        case kind:
            return kind == "pad"


def _layer(name: str, operation: Operation, read: list[Layer]) -> Layer:
    options = operation.options
    match operation.kind:
        case "convolution":
            weight, bias = operation.weights
            assert weight is not None
            if not _is_loose(operation):
                return convolution(name, read[0], weight, bias, padding=options["padding"])
            step = AnyConvolution(weight, bias, options["stride"], options["padding"])
            made = _windows(name, read[0], step, max(weight.shape[2:]))
            return replace(made, channels=weight.shape[0])
        case "norm":
            return replace(rectifier(name, read[0]), step=_scale(operation))
        case "rectifier":
            return rectifier(name, read[0])
        case "max":
            if not _is_loose(operation):
                return pool(name, read[0], MaxPool())
            return _windows(name, read[0], WideMaxPool(**options), options["kernel"])
        case "average":
            return pool(name, read[0], AveragePool())
        case "pad":
            return replace(rectifier(name, read[0]), step=Pad(*options["beside"]), reach_px=UNKNOWN_PX)
        case "sum":
            return add(name, *read)
        case "join":
            return concatenate(name, *read)


def _scale(operation: Operation) -> Scale:
    mean, variance, weight, bias = operation.weights
    assert mean is not None
    assert variance is not None
    factor = (variance + operation.options["eps"]).rsqrt() * (1.0 if weight is None else weight)
    offset = (0.0 if bias is None else bias) - mean * factor
    return Scale(_across(factor), _across(offset))


def _across(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1)


def _windows(name: str, read: Layer, step: AnyConvolution | WideMaxPool, kernel: int) -> Layer:
    """A layer whose positions see `kernel` positions on each side, which may reach beyond their squares."""
    beyond = max(step.padding, kernel - step.padding - step.stride, 0) * read.stride
    reach = min(UNKNOWN_PX, read.reach_px + beyond)
    return replace(rectifier(name, read), step=step, stride=read.stride * step.stride, reach_px=reach)


@dataclass(frozen=True, eq=False)
class Translated:
    """A module whose layers are computed by hand where they are known, and read by hooks where they are not."""

    by_hand: ByHand
    hooked: Hooked
    translation: Translation

    @property
    def module(self) -> nn.Module:
        """The module."""
        return self.hooked.module

    def maps(self, image: Image, wanted: Collection[str]) -> Iterator[tuple[str, FeatureMap]]:
        """The maps of these layers in order."""
        return self._way((image.shape[2], image.shape[3]), wanted).maps(image, wanted)

    def trace(self, image: Image, wanted: Collection[str]) -> Trace:
        """The way forward, with a way back."""
        return self._way((image.shape[2], image.shape[3]), wanted).trace(image, wanted)

    def require_size(self, size: Size, wanted: Mapping[str, str]) -> None:
        """Raise ImageError if the module cannot take a picture of that size, or a layer has no position there."""
        loose = self.translation.loose.intersection(wanted.values())
        way = self.hooked if loose else self._way(size, wanted.values())
        way.require_size(size, wanted)

    def bytes_per_pixel(self, read: Collection[str], compared: Collection[str]) -> float:
        """About how many bytes per pixel a pass holds, by hand if that is possible at all sizes."""
        own = all(name in self.by_hand.layers and name not in self.translation.padded for name in read)
        return (self.by_hand if own else self.hooked).bytes_per_pixel(read, compared)

    def facts(self, layer: str) -> Facts:
        """What is known of a layer."""
        known, own = self.hooked.facts(layer), self.translation.layers.get(layer)
        if own is None:
            return known
        also = [f"also {name}" for name, given in self.translation.same.items() if given == layer]
        reach = own.reach_px if own.reach_px < UNKNOWN_PX else None
        tiles = ["not in tiles"] if reach is not None and layer in self.translation.loose else []
        return known._replace(stride=own.stride, reach_px=reach, notes=(*known.notes, *also, *tiles))

    def _way(self, size: Size, wanted: Collection[str]) -> ByHand | Hooked:
        known = all(name in self.by_hand.layers for name in wanted)
        same_zeros = not self.translation.padded.intersection(wanted) or not any(side % SIDES_PX for side in size)
        return self.by_hand if known and same_zeros else self.hooked


def computed(table: LayerTable, translation: Translation, hooked: Hooked, device: torch.device) -> Hooked | Translated:
    """The computation of a module's maps."""
    if not translation.layers:
        return hooked
    by_hand = ByHand(translation.layers, table.preprocess, device, hooked.precision)
    return Translated(by_hand, hooked, translation)


def described(table: LayerTable, translation: Translation, opaque: Mapping[str, Layer]) -> dict[str, Layer]:
    """All layers by name: the translated ones that tiles can compute, and `opaque` ones.

    An opaque layer has its exact stride if the layer is translated, otherwise an estimate.

    Operations that are no modules have no names here, also not among what a layer reads.
    """
    named = {*table.rows, PICTURE.name}
    known = {
        name: replace(layer, reads=tuple(read for read in layer.reads if read in named))
        for name, layer in translation.layers.items()
        if name not in translation.loose
    }
    known |= {name: replace(opaque[name], stride=translation.layers[name].stride) for name in translation.loose & named}
    return {name: known.get(name, opaque[name]) for name in table.rows if name not in translation.same}
