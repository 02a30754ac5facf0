"""A frozen convolutional network with named layers, read as far as the deepest layer asked for.

Nothing here is trained, hooked or cached: a network is data, and calling it is one pass over a table of layers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from impasto.errors import ImageError, LayerError, nearest
from impasto.images.image import Image, Size, size_of
from impasto.machine import Precision, unfolds

FeatureMap = Float[Tensor, "1 _channels _height _width"]
Features = dict[str, FeatureMap]
Weights = Mapping[str, Tensor]
Pooling = Literal["max", "average"]
Padding = Literal["zero", "replicate"]
IMAGE = "image"  # the key under which a network returns the picture itself, so that priors are ordinary terms


@dataclass(frozen=True, eq=False)
class Network:
    """A VGG network: its layers' names in order and what each needs.

    `weights` holds "conv1_1.weight" (out, in, 3, 3) and "conv1_1.bias" (out) … in the precision it computes in;
    `mean` is what is subtracted from the picture, RGB in 0 … 255.
    """

    name: str
    layers: tuple[str, ...]
    weights: Weights
    mean: tuple[float, float, float]
    pooling: Pooling = "max"
    padding: Padding = "zero"

    def __call__(self, image: Image, layers: Iterable[str]) -> Features:
        """Feature maps of `layers` in the network's precision; the key "image" gives the picture itself.

        Raises LayerError for an unknown layer, ImageError where the picture is too small for the deepest one.
        """
        asked = set(layers)
        features: Features = {IMAGE: image}
        wanted = {self.canonical(layer) for layer in asked}
        deepest = max((self.index(layer) for layer in wanted - {IMAGE}), default=-1)
        self.require_size(size_of(image), asked)
        maps = self.prepare(image) if deepest >= 0 else image
        for layer in self.layers[: deepest + 1]:
            maps = self.apply(layer, maps, overwrite=f"conv{layer[4:]}" not in wanted)
            if layer in wanted:
                features[layer] = maps
        return {layer: features[self.canonical(layer)] for layer in asked}

    def index(self, layer: str) -> int:
        """Position of a layer in the network. Raises LayerError."""
        return self.layers.index(self.canonical(layer))

    def canonical(self, layer: str) -> str:
        """The papers' name of a layer given by that name or Keras' (block1_conv1, after the ReLU, is relu1_1).

        Raises LayerError for an unknown layer, with the nearest name.
        """
        name = layer.strip().lower()
        block, _, rest = name.partition("_")
        if block.startswith("block") and rest.startswith("conv"):
            name = f"relu{block[5:]}_{rest[4:]}"
        elif block.startswith("block") and rest == "pool":
            name = f"pool{block[5:]}"
        if name != IMAGE and name not in self.layers:
            raise LayerError(f"{self.name} has no layer {layer!r}; {nearest(name, self.layers)}")
        return name

    def stride(self, layer: str) -> int:
        """Pixels of the picture from one position of the layer to the next."""
        if self.canonical(layer) == IMAGE:
            return 1
        return 1 << sum(name.startswith("pool") for name in self.layers[: self.index(layer) + 1])

    def smallest_side(self, layers: Iterable[str]) -> int:
        """The least height and width in pixels that leave the deepest of `layers` one position."""
        return max((self.stride(layer) for layer in layers), default=1)

    def require_size(self, size: Size, layers: Iterable[str]) -> None:
        """Raise ImageError where a picture of `size` has no position left in the deepest of `layers`."""
        layers = list(layers)
        smallest = self.smallest_side(layers)
        if min(size) < smallest:
            deepest = max(layers, key=self.stride)
            raise ImageError(
                f"a picture of {size[1]} × {size[0]} pixels is too small for {deepest}, "
                f"which needs at least {smallest} × {smallest}"
            )

    def bytes_per_pixel(self, layers: Iterable[str], compared: Iterable[str] = ()) -> float:
        """Memory that a pass forward and back to the deepest of `layers` holds at its peak, per pixel, about.

        A map for each ReLU and pooling is kept, and for each convolution read; where the maps themselves are
        `compared`, not their statistics, that takes three more in float32 and the gradient while it is done. Where
        convolutions unfold a map first, each value's nine neighbours stand side by side for as long.
        """
        read = {self.canonical(layer) for layer in layers} - {IMAGE}
        wide = {self.canonical(layer) for layer in compared} - {IMAGE}
        deepest = max((self.index(layer) for layer in read | wide), default=-1)
        item, channels, picture = self.precision.itemsize, 3, 3 * 4.0
        kept = peak = 2 * picture + 3 * item  # the picture, its gradient, and what the first convolution takes
        for layer in self.layers[: deepest + 1]:
            if layer.startswith("conv"):
                unfolded = 9 * channels * item if unfolds(self.precision, self.device) else 0
                peak = max(peak, kept + unfolded / self.stride(layer) ** 2)
                channels = self.weights[f"{layer}.bias"].shape[0]
            if layer in read or not layer.startswith("conv"):
                kept += channels * item / self.stride(layer) ** 2
            peak = max(peak, kept + (layer in wide) * channels * (12 + item) / self.stride(layer) ** 2)
        return peak

    def channels(self, layer: str) -> int:
        """How many filters a layer has; a picture has three colours."""
        if self.canonical(layer) == IMAGE:
            return 3
        convolutions = [name for name in self.layers[: self.index(layer) + 1] if name.startswith("conv")]
        return self.weights[f"{convolutions[-1]}.bias"].shape[0]

    @property
    def device(self) -> torch.device:
        """Where the weights are and the pictures must be."""
        return self.weights["conv1_1.weight"].device

    @property
    def precision(self) -> torch.dtype:
        """The type the convolutions compute in."""
        return self.weights["conv1_1.weight"].dtype

    def prepare(self, image: Image) -> Tensor:
        """The picture as the first convolution takes it: less the mean, in its precision, padded if need be."""
        # Subtracted here and not folded into a bias: the zero padding that follows must mean the mean colour.
        mean = torch.tensor(self.mean, dtype=image.dtype, device=image.device).reshape(1, 3, 1, 1)
        maps = (image * 255 - mean).to(self.precision).contiguous(memory_format=torch.channels_last)
        if self.padding == "replicate":
            maps = functional.pad(maps, (1, 1, 1, 1), mode="replicate")
        return maps

    def apply(self, layer: str, maps: FeatureMap, *, overwrite: bool) -> FeatureMap:
        """One layer. A ReLU may write over the convolution before it: its backward pass does not need that."""
        if layer.startswith("conv"):
            weight, bias = self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"]
            return functional.conv2d(maps, weight, bias, padding=self._zeros_around(layer))
        if layer.startswith("relu"):
            return functional.relu(maps, inplace=overwrite)
        return functional.max_pool2d(maps, 2) if self.pooling == "max" else functional.avg_pool2d(maps, 2)

    def pull_back(self, layer: str, gradient: FeatureMap) -> FeatureMap:
        """The gradient with respect to a convolution's input, from that with respect to its output."""
        return functional.conv_transpose2d(gradient, self.weights[f"{layer}.weight"], padding=self._zeros_around(layer))

    def _zeros_around(self, layer: str) -> int:
        return 0 if layer == self.layers[0] and self.padding == "replicate" else 1


def precision_of(network: Network) -> Precision:
    """The name of what a network computes in."""
    names: tuple[Precision, ...] = ("float32", "bfloat16", "float64")
    return next(name for name in names if str(network.precision) == f"torch.{name}")
