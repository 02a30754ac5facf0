"""A pass over layers: which of them it takes, who reads whose map, and for how long a map is needed.

A chain is one case of a graph: layers come after those they read, and any number of them may read one.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from impasto.networks.layers import IMAGE, Layer
from impasto.networks.steps import AveragePool, FeatureMap, MaxPool, Rectifier

Route = tuple[Layer, ...]


def route(layers: Mapping[str, Layer], wanted: Collection[str]) -> Route:
    """The layers that the maps of `wanted` depend on, in order; `wanted` are names in `layers`, or "image".

    A rectifier whose map only a pooling needs becomes one step with the pooling.
    """
    needed = set(wanted)
    for layer in reversed([*layers.values()]):
        if layer.name in needed:
            needed.update(layer.reads)
    chosen = [layer for layer in layers.values() if layer.name in needed]
    readers = count_readers(chosen)
    fused, gone = list[Layer](), set[str]()
    for layer in chosen:
        before = layers.get(layer.reads[0])
        if isinstance(layer.step, MaxPool | AveragePool) and before is not None:
            alone = readers[before.name] == 1 and before.name not in wanted
            if alone and isinstance(before.step, Rectifier):
                gone.add(before.name)
                layer = replace(layer, step=layer.step.rectified(), reads=before.reads)
        fused.append(layer)
    return tuple(layer for layer in fused if layer.name not in gone)


def count_readers(layers: Collection[Layer]) -> Counter[str]:
    """How often each layer's map is read by others of `layers`."""
    return Counter(name for layer in layers for name in layer.reads)


def spare_inputs(layers: Route, wanted: Collection[str]) -> dict[str, tuple[bool, ...]]:
    """For each layer, which inputs its way forward may write over.

    These are maps of layers that nobody wants, that no other layer reads, and that the way back through the layer
    whose map it is does not need. Never the picture.
    """
    readers = count_readers(layers)
    spare = {
        layer.name
        for layer in layers
        if readers[layer.name] == 1 and layer.name not in wanted and "output" not in layer.step.keeps
    }
    return {layer.name: tuple(name in spare for name in layer.reads) for layer in layers}


def needed_by(layer: Layer) -> list[str]:
    """The layers whose maps the way back through `layer` needs."""
    own = [layer.name] if "output" in layer.step.keeps else []
    return [*own, *(name for name in layer.reads if "input" in layer.step.keeps and name != IMAGE)]


def count_needs(layers: Route, wanted: Collection[str]) -> Counter[str]:
    """How many times the way back needs each layer's map; that somebody wants the map is one of these times."""
    needs = Counter(name for name in wanted if name != IMAGE)
    for layer in layers:
        needs.update(needed_by(layer))
    return needs


def walk(layers: Route, prepared: Tensor, wanted: Collection[str]) -> Iterator[tuple[Layer, FeatureMap]]:
    """Each layer and its map in order, from the picture as the first layers take it.

    A map is let go once all have read it; a later step may write over it unless it is wanted, or needed for the way
    back.
    """
    maps, left, spare = {IMAGE: prepared}, count_readers(layers), spare_inputs(layers, wanted)
    del prepared  # `maps` alone says how long the map is held
    for layer in layers:
        found = layer.step.forward([maps[name] for name in layer.reads], spare[layer.name])
        left.subtract(layer.reads)
        for name in set(layer.reads):
            if not left[name]:
                del maps[name]
        if left[layer.name]:
            maps[layer.name] = found
        yield layer, found
