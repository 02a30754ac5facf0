"""A frozen network of named layers, computed only as far as the layers asked for.

Nothing here is trained, hooked or cached: a network is data, and calling a network is one pass over its layers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from impasto.errors import ImageError, LayerError, most_similar, nearest
from impasto.images.image import Image, Size, size_of
from impasto.machine import Precision, unfolds
from impasto.networks.footprint import bytes_at_peak
from impasto.networks.graph import route, walk
from impasto.networks.layers import IMAGE, PICTURE, Layer
from impasto.networks.steps import FeatureMap, Rectifier

Features = dict[str, FeatureMap]
Weights = Mapping[str, Tensor]
Pooling = Literal["max", "average"]
Padding = Literal["zero", "replicate"]

SHALLOW_STRIDE = 2  # layers computed at this stride or less see the rounding of pixels to 8 bits
MIDDLE_STRIDE = 8  # layers computed above SHALLOW_STRIDE and up to this stride are linear enough for a leap


@dataclass(frozen=True)
class Preprocess:
    """Preparation of a picture, RGB in [0, 1], for the first layer: (scale · picture - mean) / deviation.

    `padding` pixels are then added on each side, each a copy of the nearest pixel of the picture.
    """

    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: tuple[float, float, float] | None = None
    padding: int = 0

    def __call__(self, image: Image, precision: torch.dtype) -> Tensor:
        """The picture as the first layer takes it, in that precision."""
        # The mean is not folded into the first bias, because zeros that a convolution pads with stand for the mean.
        maps = image * self.scale - _colour(self.mean, image)
        if self.deviation is not None:
            maps = maps / _colour(self.deviation, image)
        maps = maps.to(precision).contiguous(memory_format=torch.channels_last)
        return functional.pad(maps, (self.padding,) * 4, mode="replicate") if self.padding else maps


@dataclass(frozen=True, eq=False)
class Network:
    """Layers by name, each after the layers that it reads; their weights are on `device` in `precision`.

    `aliases` maps other names to layers. `variant` says how the network differs from others of its name, and is kept
    in files of its mean activations.
    """

    name: str
    layers: Mapping[str, Layer]
    preprocess: Preprocess
    device: torch.device
    precision: torch.dtype
    aliases: Mapping[str, str] = field(default_factory=dict)
    variant: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, image: Image, layers: Iterable[str]) -> Features:
        """Feature maps of `layers` in the network's precision; the key "image" gives the picture itself.

        Raises LayerError for an unknown layer, ImageError if the picture is too small for the deepest one.
        """
        names = {layer: self.canonical(layer) for layer in layers}
        wanted = set(names.values())
        self.require_size(size_of(image), names)
        features: Features = {IMAGE: image}
        chosen = route(self.layers, wanted)
        if chosen:
            pairs = walk(chosen, self.prepare(image), wanted)
            features.update((layer.name, maps) for layer, maps in pairs if layer.name in wanted)
        return {layer: features[name] for layer, name in names.items()}

    def prepare(self, image: Image) -> Tensor:
        """The picture as the first layer takes it, in the network's precision."""
        return self.preprocess(image, self.precision)

    def canonical(self, layer: str) -> str:
        """A layer's own name, from that name or an alias. Raises LayerError, which offers the most similar name."""
        name = self._own_name(layer)
        if name != IMAGE and name not in self.layers:
            similar = most_similar(name, [*self.layers, *self.aliases])
            meant = name if similar is None else self.aliases.get(similar, name)
            raise LayerError(f"{self.name} has no layer {layer!r}; {nearest(meant, self.layers)}")
        return name

    def has(self, layer: str) -> bool:
        """Whether the network has a layer of that name or alias; the picture itself is no layer."""
        return self._own_name(layer) in self.layers

    def layer(self, name: str) -> Layer:
        """The layer of that name or alias, or the picture for "image". Raises LayerError."""
        return self.layers.get(self.canonical(name), PICTURE)

    def stride(self, layer: str) -> int:
        """Pixels of the picture from one position of the layer to the next."""
        return self.layer(layer).stride

    def channels(self, layer: str) -> int:
        """The layer's number of channels; 3 for the picture."""
        return self.layer(layer).channels

    def reach_px(self, layer: str) -> int:
        """How far in pixels a position of the layer sees beyond its own square of stride × stride pixels.

        Each convolution adds half its kernel times its input's stride: 58 in all for relu5_1 of VGG-16. Poolings,
        whose squares do not overlap, add nothing.
        """
        return self.layer(layer).reach_px

    def rectified(self, layer: str) -> str | None:
        """The rectified linear unit right after a layer; None if there is none."""
        name = self.canonical(layer)
        after = (each.name for each in self.layers.values() if isinstance(each.step, Rectifier) and name in each.reads)
        return next(after, None)

    def is_shallow(self, layer: str) -> bool:
        """Whether the layer is so near the picture that rounding pixels to 8 bits shows in its map.

        In VGG networks these are the layers of the first two blocks, and the picture itself.
        """
        return self._computed_at(layer) <= SHALLOW_STRIDE

    def is_middle(self, layer: str) -> bool:
        """Whether the layer is not shallow, but linear enough for a leap: in VGG networks, blocks 3 and 4."""
        return SHALLOW_STRIDE < self._computed_at(layer) <= MIDDLE_STRIDE

    def _own_name(self, layer: str) -> str:
        name = layer.strip().lower()
        return self.aliases.get(name, name)

    def _computed_at(self, layer: str) -> int:
        """The stride of the finest map that the layer's step reads."""
        return min((self.stride(name) for name in self.layer(layer).reads), default=1)

    def smallest_side(self, layers: Iterable[str]) -> int:
        """The least height and width in pixels at which the deepest of `layers` has one position."""
        return max((self.stride(layer) for layer in layers), default=1)

    def require_size(self, size: Size, layers: Iterable[str]) -> None:
        """Raise ImageError if the deepest of `layers` has no position in a picture of `size`."""
        layers = list(layers)
        smallest = self.smallest_side(layers)
        if min(size) < smallest:
            deepest = max(layers, key=self.stride)
            raise ImageError(
                f"a picture of {size[1]} × {size[0]} pixels is too small for {deepest}, "
                f"which needs at least {smallest} × {smallest}"
            )

    def bytes_per_pixel(self, layers: Iterable[str], compared: Iterable[str] = ()) -> float:
        """About how many bytes per pixel a pass forward and back to the deepest of `layers` holds at its peak.

        Each map that is read, or that the way back needs, is kept. Comparing the maps of a layer in `compared` in
        place, instead of their statistics, takes three more maps in float32, and a gradient.
        """
        wide = [layer for name in compared if (layer := self.layer(name)) is not PICTURE]
        read = {self.canonical(layer) for layer in layers} | {layer.name for layer in wide}
        item, picture = self.precision.itemsize, 3 * 4.0
        return bytes_at_peak(
            route(self.layers, read),
            read,
            item,
            before=2 * picture + 3 * item,  # the picture, its gradient, and what the first layer takes
            beside={layer.name: layer.bytes_per_pixel(12 + item) for layer in wide},
            unfolds=unfolds(self.precision, self.device),
        )


def _colour(values: tuple[float, float, float], image: Image) -> Tensor:
    return torch.tensor(values, dtype=image.dtype, device=image.device).reshape(1, 3, 1, 1)


def precision_of(network: Network) -> Precision:
    """The name of the network's precision."""
    names: tuple[Precision, ...] = ("float32", "bfloat16", "float64")
    return next(name for name in names if str(network.precision) == f"torch.{name}")
