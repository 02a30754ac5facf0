"""From a module's call to a graph of layers, for the pass by hand: less memory than autograd's, and exact tiles.

VGG, residual networks, SqueezeNet and their kin are translated as far as their operations are known here:
convolutions, batch norms, rectifiers, poolings, zeros around maps, sums and concatenations. All other layers are read
by hooks.

Zeros around a map may depend on the size of the picture. Pictures of several sizes show whether they follow a rule.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from impasto.errors import NetworkError
from impasto.images.image import Image, Size
from impasto.modules.hooked import Hooked
from impasto.modules.probing import PAIR
from impasto.modules.steps import Capped, Pad, PadSame, Scale, WideMaxPool
from impasto.modules.table import Facts, LayerTable
from impasto.modules.tracing import PICTURE as PICTURE_VALUE
from impasto.modules.tracing import Graph, Operation, trace
from impasto.networks.layers import PICTURE, UNKNOWN_PX, Layer, add, concatenate, convolution, pool, rectifier, windows
from impasto.networks.passes import ByHand, Trace
from impasto.networks.steps import AnyConvolution, AveragePool, FeatureMap, MaxPool

PLAIN = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}  # the convolutions of VGG, but for their zeros
PAIRS = {"kernel": 2, "stride": 2, "padding": 0, "ceil": False}  # the poolings of VGG
SIDES_PX = math.gcd(*PAIR[0], *PAIR[1])  # all sides of the first pictures that a module's zeros are learned from
ODD: tuple[Size, Size] = ((225, 291), (230, 319))  # the others, whose sides leave other remainders


@dataclass(frozen=True, eq=False)
class Translation:
    """A graph of layers, and what is known of some of them, by name.

    `padded` are layers after zeros whose number is known only if a picture's sides are multiples of `SIDES_PX`: tiles
    cannot compute them. `same` are other names of layers, as blocks give the map of their last layer.
    """

    layers: Mapping[str, Layer]
    padded: frozenset[str] = frozenset()
    same: Mapping[str, str] = field(default_factory=dict)


def translate(table: LayerTable, precision: torch.dtype) -> Translation:
    """The layers of a module that can be computed by hand; none if pictures are resized for the module."""
    preprocess, module = table.preprocess, table.probing.module
    if preprocess.size is not None or preprocess.multiple > 1:
        return Translation({})
    graph, *others = (trace(module, size, preprocess.channels, precision) for size in PAIR)
    if not all(graph.is_like(other) for other in others):  # the module does other things for pictures of other sizes
        return Translation({})
    zeros = dict[int, Zeros]()
    if any(operation.kind == "pad" for operation in graph.operations):
        odd = [trace(module, size, preprocess.channels, precision) for size in ODD]
        zeros = {at: found for at in range(len(graph.operations)) if (found := _zeros(at, [graph, *others], odd))}
    names, same = _names(table, graph)
    values: dict[int, Layer] = {PICTURE_VALUE: replace(PICTURE, channels=preprocess.channels)}
    padded = set[int]()
    for at, operation in enumerate(graph.operations):
        if not all(read in values for read in operation.reads) or (operation.kind == "pad" and at not in zeros):
            continue
        read = [values[each] for each in operation.reads]
        name = names.get(operation.value, f"~{operation.value}")
        try:
            made = _layer(name, operation, read) if operation.kind != "pad" else _padded(name, read[0], zeros[at])
        except NetworkError:  # maps of one size by chance, whose strides differ
            continue
        values[operation.value] = made
        if (at in zeros and not zeros[at].always) or padded.intersection(operation.reads):
            padded.add(operation.value)
    layers = {layer.name: layer for value, layer in values.items() if value != PICTURE_VALUE}
    return Translation(
        layers,
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


class Zeros(NamedTuple):
    """Zeros around a map, and whether they are known for pictures of all sizes."""

    step: Pad | PadSame
    always: bool


def _zeros(at: int, graphs: Sequence[Graph], odd: Sequence[Graph]) -> Zeros | None:
    """The zeros that an operation puts around its map; None if there is no rule, or the operation is another one.

    A rule must hold in pictures of all sizes looked at; without a rule, zeros may be equal at least in those of `PAIR`.
    """
    own = [graph.operations[at] for graph in graphs]
    if own[0].kind != "pad":
        return None
    seen = own + [graph.operations[at] for graph in odd if graph.is_like(graphs[0])]
    fixed = Pad(*own[0].options["beside"])
    rules: list[Pad | PadSame] = [fixed, *_same([each for each in graphs[0].operations if own[0].value in each.reads])]
    for rule in rules if len(seen) == len(own) + len(odd) else []:
        if all(_gives(rule, each) for each in seen):
            return Zeros(rule, always=True)
    return Zeros(fixed, always=False) if all(_gives(fixed, each) for each in own) else None


def _same(readers: Sequence[Operation]) -> list[PadSame]:
    """The zeros of TensorFlow for the convolutions that read them, if all of these have one kernel and stride."""
    if not all(each.kind == "convolution" and not each.options["padding"] for each in readers):
        return []
    alike = {(_extent(each), each.options["stride"]) for each in readers}
    return [PadSame(*each) for each in alike] if len(alike) == 1 else []


def _extent(convolution: Operation) -> int:
    """How many rows a kernel spans."""
    weight, dilation = convolution.weights[0], int(convolution.options["dilation"])
    assert weight is not None
    return dilation * (weight.shape[2] - 1) + 1


def _gives(rule: Pad | PadSame, seen: Operation) -> bool:
    beside: tuple[int, ...] = seen.options["beside"]
    return rule.beside(seen.options["shape"]) == beside


def _padded(name: str, read: Layer, zeros: Zeros) -> Layer:
    """The layer of a map with zeros around; what a named map of `PadSame` sees is left open, as are its sides."""
    made, step = replace(rectifier(name, read), step=zeros.step), zeros.step
    if isinstance(step, PadSame):
        before, more = ((step.kernel - 1) // 2, max(step.kernel - step.stride, 0) // 2), {step.kernel - 1}
    else:
        before, more = (step.left, step.top), {step.left + step.right, step.top + step.bottom}
    known = zeros.always and len(more) == 1 and (isinstance(step, Pad) or name.startswith("~"))
    return replace(
        made,
        before_px=read.before_px + max(before) * read.stride if known else UNKNOWN_PX,
        after_px=read.after_px - min(before) * read.stride,
        extra_px=read.extra_px + max(more) * read.stride,
        shifts=read.shifts or isinstance(step, PadSame),
    )


def _layer(name: str, operation: Operation, read: list[Layer]) -> Layer:
    options = operation.options
    match operation.kind:
        case "convolution":
            weight, bias = operation.weights
            assert weight is not None
            side = 2 * options["padding"] + 1
            if weight.shape[2:] == (side, side) and options == {**PLAIN, "padding": options["padding"]}:
                return convolution(name, read[0], weight, bias, padding=options["padding"])
            made = windows(name, read[0], AnyConvolution(weight, bias, **options), _extent(operation))
            square = weight.shape[2] == weight.shape[3]  # else rows and columns differ in number and in what they see
            return replace(made, channels=weight.shape[0], before_px=made.before_px if square else UNKNOWN_PX)
        case "norm":
            return replace(rectifier(name, read[0]), step=_scale(operation))
        case "rectifier":
            return rectifier(name, read[0])
        case "capped":
            return replace(rectifier(name, read[0]), step=Capped(**options))
        case "max":
            if options == PAIRS:
                return pool(name, read[0], MaxPool())
            step = WideMaxPool(**options)
            over = min(step.stride - 1, step.kernel - step.padding - 1) if step.ceil else 0
            return windows(name, read[0], step, step.kernel, over)
        case "average":
            return pool(name, read[0], AveragePool())
        case "sum":
            return add(name, *read)
        case "join":
            return concatenate(name, *read)
        case _:
            raise NetworkError(f"{name} is of another kind")


def _scale(operation: Operation) -> Scale:
    mean, variance, weight, bias = operation.weights
    assert mean is not None
    assert variance is not None
    factor = (variance + operation.options["eps"]).rsqrt() * (1.0 if weight is None else weight)
    offset = (0.0 if bias is None else bias) - mean * factor
    return Scale(_across(factor), _across(offset))


def _across(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1)


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
        self.hooked.require_size(size, wanted)

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
        return known._replace(stride=own.stride, reach_px=reach, notes=(*known.notes, *also))

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
    """All layers by name: the translated ones, and `opaque` ones.

    Operations that are no modules have no names here, also not among what a layer reads.
    """
    named = {*table.rows, PICTURE.name}
    known = {
        name: replace(layer, reads=tuple(read for read in layer.reads if read in named))
        for name, layer in translation.layers.items()
    }
    return {name: known.get(name, opaque[name]) for name in table.rows if name not in translation.same}
