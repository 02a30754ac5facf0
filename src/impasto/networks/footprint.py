"""An estimate of the memory for a pass forward and back, from the sizes of the layers' maps alone."""

from collections.abc import Collection, Mapping

from impasto.networks.graph import Route, count_needs, count_readers, needed_by, spare_inputs
from impasto.networks.layers import IMAGE


def bytes_at_peak(
    layers: Route, wanted: Collection[str], item: int, *, before: float, beside: Mapping[str, float], unfolds: bool
) -> float:
    """About how many bytes per pixel of the picture a pass over `layers` holds at its peak.

    A number of a map takes `item` bytes. `before` bytes per pixel are held from the start; reading a layer takes
    `beside` in addition to its map. With `unfolds`, a convolution copies its input and the values under the kernel
    side by side, and holds both copies together with what it makes.
    """
    sizes = {layer.name: layer.bytes_per_pixel(item) for layer in layers}
    left, needs = count_readers(layers), count_needs(layers, wanted)
    spare = spare_inputs(layers, wanted)
    current = peak = before
    for layer in layers:
        if unfolds and layer.step.unfolded:
            copies = layer.step.unfolded * item / layer.stride**2 + sum(sizes.get(name, 0) for name in layer.reads)
            peak = max(peak, current + copies + sizes[layer.name])
        reused = layer.step.in_place and any(spare[layer.name])
        current += 0 if reused else sizes[layer.name]
        peak = max(peak, current + beside.get(layer.name, 0))
        left.subtract(layer.reads)
        gone = [name for name in set(layer.reads) - {IMAGE} if not left[name] and not needs[name]]
        current -= sum(sizes[name] for name in gone) - (sizes[layer.name] if reused else 0)
    return max(peak, _peak_on_the_way_back(layers, wanted, sizes, current))


def _peak_on_the_way_back(layers: Route, wanted: Collection[str], sizes: Mapping[str, float], current: float) -> float:
    """The peak of kept maps together with gradients that wait for those of other branches (none in a chain)."""
    left, peak, waiting = count_needs(layers, wanted), current, set[str]()
    for layer in reversed(layers):
        waiting.discard(layer.name)
        peak = max(peak, current + sum(sizes[name] for name in waiting))
        waiting.update(set(layer.reads) - {IMAGE})
        used = [*needed_by(layer), *([layer.name] if layer.name in wanted else [])]
        left.subtract(used)
        current -= sum(sizes[name] for name in set(used) if not left[name])
    return peak
