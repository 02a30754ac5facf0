"""Mean activation of each filter on a few pictures, before and after the network is normalised."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from impasto.images.image import Image, resize
from impasto.networks.catalogue import NORMALISED, PLAIN, entry, open_network
from impasto.networks.means import SQUASHED, load_means, mean_activations


class LayerProfile(BaseModel):
    """Mean activation after the ReLU of each filter of a layer, in the layer's own order.

    `photographs` are the means by which the network was divided; `before` and `after` are those of the given pictures.
    """

    model_config = ConfigDict(frozen=True)

    photographs: tuple[float, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


class Profile(BaseModel):
    """All layers, and the relative difference between the plain network and the normalised one, scaled back."""

    model_config = ConfigDict(frozen=True)

    layers: dict[str, LayerProfile]
    difference: float


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


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(f"{value:.4g}") for value in values)
