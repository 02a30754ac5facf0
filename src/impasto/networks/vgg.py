"""VGG networks: their layers by the papers' names, and the mean colour of the pictures they were trained on."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from impasto.errors import SpecError, nearest
from impasto.machine import Precision, find_device, find_precision
from impasto.modules.preprocess import Preprocess
from impasto.networks.layers import PICTURE, Layer, convolution, pool, rectifier
from impasto.networks.network import Network, Padding, Pooling, Weights
from impasto.networks.steps import AveragePool, Convolution, MaxPool, Step
from impasto.weights.layout import BLOCKS, CAFFE_MEAN, convolution_names, vgg_layers

WIDTHS = (64, 128, 256, 512, 512)  # channels of each block; source: table 1
POOLINGS: dict[Pooling, MaxPool | AveragePool] = {"max": MaxPool(), "average": AveragePool()}


@dataclass(frozen=True)
class Architecture:
    """A VGG network without weights: how many convolutions each block has, and the mean colour, RGB in 0 … 255.

    Source: Simonyan & Zisserman 2014 (arXiv:1409.1556), table 1.
    """

    title: str = "VGG-16"
    convolutions: tuple[int, ...] = BLOCKS["VGG-16"]
    mean: tuple[float, float, float] = CAFFE_MEAN
    note: str = "Keras' names are taken too: block1_conv1 is relu1_1, after the ReLU"

    @property
    def layers(self) -> tuple[str, ...]:
        """The papers' names of all layers, in order."""
        return vgg_layers(self.convolutions)

    def empty(self) -> dict[str, Tensor]:
        """Tensors of the shapes of the weights, without values, on the device "meta"."""
        shapes, before = dict[str, Tensor](), 3
        for layer in convolution_names(self.convolutions):
            width = WIDTHS[int(layer.removeprefix("conv")[0]) - 1]
            shapes[f"{layer}.weight"] = torch.empty(width, before, 3, 3, device="meta")
            shapes[f"{layer}.bias"] = torch.empty(width, device="meta")
            before = width
        return shapes

    def outline(self, name: str) -> Network:
        """The network without weights: its layers' names and sizes, with one filter in each."""
        shapes: dict[str, Tensor] = {}
        for layer in convolution_names(self.convolutions):
            shapes |= {f"{layer}.weight": torch.empty(1, 3 if not shapes else 1, 3, 3), f"{layer}.bias": torch.empty(1)}
        return vgg(name, shapes, convolutions=self.convolutions, mean=self.mean, precision="float32", device="cpu")


VGG16 = Architecture()
VGG19 = Architecture("VGG-19", BLOCKS["VGG-19"])


def keras_names(layers: Iterable[str]) -> dict[str, str]:
    """Keras' names of the layers. A convolution of Keras includes the ReLU, so block1_conv1 is relu1_1.

    Source: https://keras.io/api/applications/vgg/.
    """
    own = {re.sub(r"relu(\d+)_(\d+)", r"block\1_conv\2", re.sub(r"pool(\d+)", r"block\1_pool", n)): n for n in layers}
    return {alias: name for alias, name in own.items() if alias != name}


def vgg(
    name: str,
    weights: Weights,
    *,
    convolutions: Iterable[int] = VGG16.convolutions,
    mean: tuple[float, float, float] = VGG16.mean,
    pooling: Pooling = "max",
    padding: Padding = "zero",
    precision: Precision = "auto",
    device: str = "auto",
) -> Network:
    """A VGG network from its weights, ready on a device in a precision; weights take no gradients.

    `weights` holds "conv1_1.weight" (out, in, 3, 3) and "conv1_1.bias" (out) … `padding` is the first convolution's.
    """
    for what, given, known in (("pooling", pooling, POOLINGS), ("padding", padding, get_args(Padding))):
        if given not in known:
            raise SpecError(f"there is no {what} {given!r}; {nearest(given, known)}")
    target = find_device(device)
    dtype = find_precision(precision, target)
    ready = {
        key: tensor.to(target, dtype, memory_format=torch.channels_last if tensor.ndim == 4 else torch.preserve_format)
        for key, tensor in weights.items()
    }
    layers = _chain(vgg_layers(convolutions), ready, POOLINGS[pooling])
    if padding == "replicate":
        layers |= {layer.name: _without_padding(layer) for layer in layers.values() if PICTURE.name in layer.reads}
    return Network(
        name,
        layers,
        Preprocess(mean, scale=255.0, padding=int(padding == "replicate")),
        target,
        dtype,
        aliases=keras_names(layers),
        variant={"pooling": pooling, "padding": padding},
    )


def in_precision(network: Network, precision: torch.dtype) -> Network:
    """A network of `vgg` with its weights in another precision; the network itself if it has that precision."""
    if network.precision == precision:
        return network
    layers = {name: replace(layer, step=_in_precision(layer.step, precision)) for name, layer in network.layers.items()}
    return replace(network, layers=layers, precision=precision)


def _in_precision(step: Step, precision: torch.dtype) -> Step:
    if not isinstance(step, Convolution):
        return step
    return replace(step, weight=step.weight.to(precision), bias=None if step.bias is None else step.bias.to(precision))


def _chain(names: Iterable[str], weights: Weights, pooling: MaxPool | AveragePool) -> dict[str, Layer]:
    layers, last = dict[str, Layer](), PICTURE
    for name in names:
        if name.startswith("conv"):
            last = convolution(name, last, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)
        elif name.startswith("relu"):
            last = rectifier(name, last)
        else:
            last = pool(name, last, pooling)
        layers[name] = last
    return layers


def _without_padding(layer: Layer) -> Layer:
    """The convolution without padding, for pictures that are padded beforehand."""
    assert isinstance(layer.step, Convolution)
    return replace(layer, step=replace(layer.step, padding=0))
