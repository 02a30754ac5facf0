"""VGG networks: the table of their layers, the mean of their pictures, and the hash of the bundled weights."""

from collections.abc import Iterable

import torch

from impasto.machine import Precision, find_device, find_precision
from impasto.networks.network import Network, Padding, Pooling, Weights

CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3)}


def vgg_layers(convolutions: Iterable[int]) -> tuple[str, ...]:
    """The papers' layer names in order: conv1_1, relu1_1, conv1_2, relu1_2, pool1, conv2_1 …

    Source: Simonyan & Zisserman 2014 (arXiv:1409.1556), table 1; `convolutions` are those of each block.
    """
    names: list[str] = []
    for block, count in enumerate(convolutions, start=1):
        for number in range(1, count + 1):
            names += [f"conv{block}_{number}", f"relu{block}_{number}"]
        names.append(f"pool{block}")
    return tuple(names)


def vgg(
    name: str,
    weights: Weights,
    *,
    convolutions: Iterable[int] = CONVOLUTIONS["vgg16"],
    mean: tuple[float, float, float] = (123.68, 116.779, 103.939),
    pooling: Pooling = "max",
    padding: Padding = "zero",
    precision: Precision = "auto",
    device: str = "auto",
) -> Network:
    """A VGG network from its weights, ready on a device in a precision; weights take no gradients."""
    target = find_device(device)
    dtype = find_precision(precision, target)
    ready = {
        key: tensor.to(target, dtype, memory_format=torch.channels_last if tensor.ndim == 4 else torch.preserve_format)
        for key, tensor in weights.items()
    }
    return Network(name, vgg_layers(convolutions), ready, mean, pooling, padding)


VGG16_SHA256 = "e099bc3558c249c0dac46c6ebc9964215f1332afda87b4c6e75e87ed7a3aa619"
