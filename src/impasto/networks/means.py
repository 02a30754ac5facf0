"""Mean activations of a network over many pictures, and the joint rescaling that makes each of them 1.

Rectified linear units commute with positive scaling. So dividing a filter's output by its mean activation and
multiplying the next layer's weights for that output by the same number leaves the network's function unchanged.
Source: Gatys, Ecker & Bethge 2015 (arXiv:1508.06576), footnote 1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from impasto.errors import ImageError, NetworkError, WeightsError
from impasto.files import write_bytes
from impasto.images.image import Image, Size
from impasto.networks.network import Network, Weights
from impasto.weights.tensors import read_tensors

SQUASHED: Size = (224, 224)  # the size VGG was trained at
DEAD = 1e-6  # of the layer's median mean activation


@dataclass(frozen=True, eq=False)
class Means:
    """Mean activation of every filter after the ReLU, by convolution ("conv1_1": (64,) …), and where they come from."""

    by_layer: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def dead_filters(self) -> list[tuple[str, int]]:
        """Filters that (almost) never fire, as (layer, index); they keep their scale."""
        return [
            (layer, int(index))
            for layer, means in self.by_layer.items()
            for index in torch.nonzero(means <= DEAD * means.median()).flatten()
        ]

    def scales(self, layer: str) -> Tensor:
        """The divisors of the layer's filters: the means, or 1 for a dead filter."""
        means = self.by_layer[layer].double()
        return torch.where(means > DEAD * means.median(), means, torch.ones_like(means))


@torch.no_grad()
def mean_activations(network: Network, images: Iterable[Image]) -> Means:
    """Average each filter's rectified response over all positions of all images; each image has the same weight.

    Images are taken one by one and not kept, so there may be any number. Raises ImageError if there is none,
    NetworkError if the layers do not form a chain.
    """
    _require_chain(network)
    rectified = {layer: after for layer in network.layers if (after := network.rectified(layer)) is not None}
    layers = list(rectified.values())
    sums: dict[str, Tensor] = {}
    count = 0
    for image in images:
        features = network(image.to(network.device), layers)
        for layer in layers:
            mean = features[layer].double().mean((0, 2, 3)).cpu()
            sums[layer] = sums[layer] + mean if layer in sums else mean
        count += 1
    if count == 0:
        raise ImageError("there is no readable picture to average over")
    by_layer = {layer: sums[after] / count for layer, after in rectified.items()}
    return Means(by_layer, {"network": network.name, **network.variant, "pictures": str(count)})


def _require_chain(network: Network) -> None:
    """Raise NetworkError if a layer reads several maps, whose filters cannot be rescaled independently."""
    joined = [layer.name for layer in network.layers.values() if len(layer.reads) > 1]
    if joined:
        raise NetworkError(
            f"{network.name} cannot be normalised by mean activations: {joined[0]} reads several maps; use "
            "`normalise_network`, which lets such maps share their scales"
        )


def normalise(weights: Weights, means: Means) -> dict[str, Tensor]:
    """Rescale jointly, W ← W · m_prev / m and b ← b / m, so that every live filter has mean activation 1.

    With ReLU and max or average pooling, the rescaled network's features are exactly the plain ones over the means.
    """
    rescaled: dict[str, Tensor] = {}
    previous = torch.ones(3, dtype=torch.float64)
    for layer in means.by_layer:
        scales = means.scales(layer)
        weight = weights[f"{layer}.weight"]
        factors = previous.reshape(1, -1, 1, 1) / scales.reshape(-1, 1, 1, 1)
        rescaled[f"{layer}.weight"] = (weight.double() * factors).to(weight.dtype)
        rescaled[f"{layer}.bias"] = (weights[f"{layer}.bias"].double() / scales).to(weight.dtype)
        previous = scales
    return rescaled


def save_means(means: Means, path: Path) -> None:
    """Write the means as a safetensors file of float32 vectors, with their metadata."""
    tensors = {layer: values.float().contiguous() for layer, values in means.by_layer.items()}
    write_bytes(path, save(tensors, dict(means.metadata)))


def load_means(path: Path, weights: Weights) -> Means:
    """Read a file of `save_means` and check that it matches the weights. Raises WeightsError."""
    tensors, metadata = read_tensors(path, "mean activations")
    by_layer: dict[str, Tensor] = {}
    for key, bias in weights.items():
        layer, _, kind = key.partition(".")
        if kind != "bias":
            continue
        if layer not in tensors or tensors[layer].shape != bias.shape:
            raise WeightsError(f"{path} does not hold this network's mean activations: {layer} is missing or differs")
        if (tensors[layer] < 0).any():
            raise WeightsError(f"{path} has negative means for {layer}; they must be taken after the ReLU")
        by_layer[layer] = tensors[layer]
    return Means(dict(sorted(by_layer.items())), metadata)
