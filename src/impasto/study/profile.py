"""Mean activation of each filter on a few pictures, before and after the network is normalised."""

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from impasto.errors import ImpastoError
from impasto.images.image import Image, resize
from impasto.networks.catalogue import NORMALISED, PLAIN, entry, open_network
from impasto.networks.joint import normalise_module
from impasto.networks.means import SQUASHED, load_means, mean_activations
from impasto.networks.network import Network


class LayerProfile(BaseModel):
    """Mean activation after the ReLU of each filter of a layer, in the layer's own order.

    `photographs` are the means by which the network was divided; `before` and `after` are those of the given pictures.
    A network that is read as it is has `before` alone.
    """

    model_config = ConfigDict(frozen=True)

    photographs: tuple[float, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


class Profile(BaseModel):
    """All layers, and the relative difference between the plain network and the normalised one, scaled back.

    For a network that is read as it is, `words` say what it is and whether it could be normalised exactly.
    """

    model_config = ConfigDict(frozen=True)

    layers: dict[str, LayerProfile]
    difference: float = 0.0
    words: str = ""


def measure_profile(images: Sequence[Image], device: str = "auto") -> Profile:
    """Run the pictures through both networks in float32, at the size at which the bundled means were measured."""
    squashed = [resize(image, SQUASHED) for image in images]
    means = load_means(entry(NORMALISED).files()["means"], entry(NORMALISED).load_weights())
    before, after = (
        mean_activations(open_network(name, precision="float32", device=device), squashed).by_layer
        for name in (PLAIN, NORMALISED)
    )
    differences = [
        float((after[layer] * means.scales(layer) - before[layer]).norm() / before[layer].norm()) for layer in before
    ]
    return Profile(
        layers={
            layer: LayerProfile(
                photographs=_rounded(means.by_layer[layer].tolist()),
                before=_rounded(before[layer].tolist()),
                after=_rounded(after[layer].tolist()),
            )
            for layer in before
        },
        difference=max(differences),
    )


@torch.no_grad()
def measure_layers(network: Network, layers: Sequence[str], images: Sequence[Image]) -> Profile:
    """Mean activation above 0 of each filter of these layers, for a network that is read as it is."""
    squashed = [resize(image, SQUASHED).to(network.device) for image in images]
    sums: dict[str, Tensor] = {}
    for image in squashed:
        for layer, maps in network(image, layers).items():
            sums[layer] = sums.get(layer, torch.zeros(())) + maps.double().relu().mean((0, 2, 3)).cpu()
    found = {layer: _rounded((total / len(squashed)).tolist()) for layer, total in sums.items()}
    return Profile(
        layers={layer: LayerProfile(photographs=(), before=values, after=()) for layer, values in found.items()},
        words=_whether_normalised(network, squashed),
    )


def _whether_normalised(network: Network, images: Sequence[Image]) -> str:
    """Whether the network could be normalised exactly, in a sentence."""
    module = network.computation.module
    if module is None:
        return "This study reads the network as it is."
    try:
        found = normalise_module(module, [network.preprocess(image, network.precision) for image in images])
    except (ImpastoError, RuntimeError) as error:
        return f"This network cannot be normalised exactly: {str(error).splitlines()[0]}."
    return f"This study reads the network as it is. It could be normalised exactly: {found.words}."


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(f"{value:.4g}") for value in values)
