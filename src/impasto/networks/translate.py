"""From a module's call to a graph of layers, for the pass by hand: less memory than autograd's, and exact tiles.

VGG, residual networks and their kin are translated as far as their operations are known here: convolutions, batch
norms, rectifiers, poolings, sums and concatenations. All other layers are read by hooks.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from impasto.errors import NetworkError
from impasto.images.image import Image, Size
from impasto.modules.hooked import Hooked
from impasto.modules.probing import PAIR
from impasto.modules.steps import Scale, WideMaxPool
from impasto.modules.table import Facts, LayerTable
from impasto.modules.tracing import PICTURE as PICTURE_VALUE
from impasto.modules.tracing import Graph, Operation, trace
from impasto.networks.layers import PICTURE, Layer, add, concatenate, convolution, pool, rectifier
from impasto.networks.passes import ByHand, Trace
from impasto.networks.steps import AveragePool, FeatureMap, MaxPool


@dataclass(frozen=True, eq=False)
class Translation:
    """A graph of layers; `whole` are layers that are the module's only if a picture's sides are multiples of a number.

    `same` are names of layers that give the map of another layer, as blocks give that of their last layer.
    """

    layers: Mapping[str, Layer]
    whole: Mapping[str, int]
    same: Mapping[str, str]


def translate(table: LayerTable, precision: torch.dtype) -> Translation:
    """The layers of a module that can be computed by hand; none if pictures are resized for the module."""
    preprocess, module = table.preprocess, table.probing.module
    if preprocess.size is not None or preprocess.multiple > 1:
        return Translation({}, {}, {})
    graph, other = (trace(module, size, preprocess.channels, precision) for size in PAIR)
    if not graph.is_like(other):  # the module does other things for pictures of other sizes
        return Translation({}, {}, {})
    names, same = _names(table, graph)
    values: dict[int, Layer] = {PICTURE_VALUE: replace(PICTURE, channels=preprocess.channels)}
    whole: dict[int, int] = {PICTURE_VALUE: 1}
    for operation in graph.operations:
        if not all(read in values for read in operation.reads):
            continue
        read = [values[each] for each in operation.reads]
        try:
            made = _layer(names.get(operation.value, f"~{operation.value}"), operation, read)
        except NetworkError:  # its positions are no squares of pixels
            continue
        if made is not None:
            values[operation.value] = made
            own = made.stride if _drops_rows(operation) else 1
            whole[operation.value] = max(own, *(whole[each] for each in operation.reads))
    layers = {layer.name: layer for value, layer in values.items() if value != PICTURE_VALUE}
    multiples = {layer.name: whole[value] for value, layer in values.items() if whole[value] > 1}
    return Translation(layers, multiples, {alias: own for alias, own in same.items() if own in layers})


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


def _drops_rows(operation: Operation) -> bool:
    """Whether the module keeps positions at the edge that do not fill a square of pixels, which the pass leaves out."""
    strided = operation.options.get("stride", 1) > 1
    return strided and (operation.kind == "convolution" or operation.options.get("kernel") != 2)


def _layer(name: str, operation: Operation, read: list[Layer]) -> Layer | None:
    options = operation.options
    match operation.kind:
        case "convolution":
            weight, bias = operation.weights
            assert weight is not None
            return convolution(name, read[0], weight, bias, stride=options["stride"], padding=options["padding"])
        case "norm":
            return replace(rectifier(name, read[0]), step=_scale(operation))
        case "rectifier":
            return rectifier(name, read[0])
        case "max":
            return _max_pool(name, read[0], options["kernel"], options["stride"], options["padding"])
        case "average":
            return pool(name, read[0], AveragePool())
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


def _max_pool(name: str, read: Layer, kernel: int, stride: int, padding: int) -> Layer | None:
    if (kernel, stride, padding) == (2, 2, 0):
        return pool(name, read, MaxPool())
    if not kernel - stride <= 2 * padding < kernel:
        return None
    beyond = max(padding, kernel - padding - stride) * read.stride
    made = pool(name, read, MaxPool())
    step = WideMaxPool(kernel, stride, padding)
    return replace(made, step=step, stride=read.stride * stride, reach_px=read.reach_px + beyond)


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
        self._way(size, wanted.values()).require_size(size, wanted)

    def bytes_per_pixel(self, read: Collection[str], compared: Collection[str]) -> float:
        """About how many bytes per pixel a pass holds, by hand if that is possible at all sizes."""
        own = all(name in self.by_hand.layers and name not in self.translation.whole for name in read)
        return (self.by_hand if own else self.hooked).bytes_per_pixel(read, compared)

    def facts(self, layer: str) -> Facts:
        """What is known of a layer."""
        known, translation = self.hooked.facts(layer), self.translation
        also = [f"also {name}" for name, own in translation.same.items() if own == layer]
        tiled = layer in translation.layers and layer not in translation.whole
        reach = translation.layers[layer].reach_px if tiled else None
        return known._replace(reach_px=reach, notes=(*known.notes, *also))

    def _way(self, size: Size, wanted: Collection[str]) -> ByHand | Hooked:
        known = all(name in self.by_hand.layers for name in wanted)
        multiple = max((self.translation.whole.get(name, 1) for name in wanted), default=1)
        return self.by_hand if known and not any(side % multiple for side in size) else self.hooked


def computed(table: LayerTable, translation: Translation, hooked: Hooked, device: torch.device) -> Hooked | Translated:
    """The computation of a module's maps."""
    if not translation.layers:
        return hooked
    by_hand = ByHand(translation.layers, table.preprocess, device, hooked.precision)
    return Translated(by_hand, hooked, translation)


def described(table: LayerTable, translation: Translation, opaque: Mapping[str, Layer]) -> dict[str, Layer]:
    """All layers by name: the translated ones that tiles can compute, and `opaque` ones.

    Operations that are no modules have no names here, also not among what a layer reads.
    """
    named = {*table.rows, PICTURE.name}
    known = {
        name: replace(layer, reads=tuple(read for read in layer.reads if read in named))
        for name, layer in translation.layers.items()
        if name not in translation.whole
    }
    return {name: known.get(name, opaque[name]) for name in table.rows if name not in translation.same}
