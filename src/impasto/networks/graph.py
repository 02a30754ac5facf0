"""A pass over a graph of layers: the layers to compute, the readers of each map, and how long a map is needed.

Layers come after the layers that they read, and any number of layers may read one map. A chain is the simplest case.
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
    """How often each layer's map is read by other layers."""
    return Counter(name for layer in layers for name in layer.reads)


def spare_inputs(layers: Route, wanted: Collection[str]) -> dict[str, tuple[bool, ...]]:
    """For each layer, the inputs that its way forward may overwrite.

    An input is spare if it is the map of a layer that is not wanted, that no other layer reads, and whose own way back
    does not need the map. The picture is never spare.
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
    """How many times the way back needs each layer's map, once more if the map is wanted."""
    needs = Counter(name for name in wanted if name != IMAGE)
    for layer in layers:
        needs.update(needed_by(layer))
    return needs


def walk(layers: Route, prepared: Tensor, wanted: Collection[str]) -> Iterator[tuple[Layer, FeatureMap]]:
    """Each layer and its map in order, from the `prepared` picture.

    A map is let go once all its readers are done. A later step may overwrite a map unless the map is wanted or needed
    for the way back.
    """
    maps, left, spare = {IMAGE: prepared}, count_readers(layers), spare_inputs(layers, wanted)
    del prepared  # now only `maps` keeps the prepared picture alive
    for layer in layers:
        found = layer.step.forward([maps[name] for name in layer.reads], spare[layer.name])
        left.subtract(layer.reads)
        for name in set(layer.reads):
            if not left[name]:
                del maps[name]
        if left[layer.name]:
            maps[layer.name] = found
        yield layer, found
