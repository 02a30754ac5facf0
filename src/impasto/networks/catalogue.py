"""The networks by name: opening one is the only place where weights, means and architecture meet."""

from pathlib import Path

from impasto.errors import NetworkError, WeightsError, nearest
from impasto.files import bundled
from impasto.machine import Precision, give_back_freed_memory
from impasto.networks.means import load_means, normalise
from impasto.networks.network import Network, Padding, Pooling
from impasto.networks.vgg import vgg
from impasto.networks.weights import load_weights

NETWORKS = {
    "vgg16": "VGG-16 as trained (Simonyan & Zisserman 2014), 13 convolutions, bundled",
    "vgg16-normalised": "the same, rescaled so that every filter's mean activation is 1 (Gatys et al. 2015), bundled",
}


def open_network(
    name: str = "vgg16-normalised",
    *,
    weights: Path | None = None,
    means: Path | None = None,
    pooling: Pooling = "max",
    padding: Padding = "zero",
    precision: Precision = "auto",
    device: str = "auto",
) -> Network:
    """A network ready to be called.

    `weights` is a safetensors file in place of the bundled one; `means` a file of mean activations by which the
    network is rescaled ("vgg16-normalised" has its own). `padding` is the first convolution's: "zero" as trained, or
    "replicate" against dark borders. "auto" is the accelerator and bfloat16 where the hardware has them.

    Raises NetworkError for an unknown name, WeightsError for a file that does not serve, SpecError for the device.
    """
    if name not in NETWORKS:
        raise NetworkError(f"there is no network {name!r}; {nearest(name, NETWORKS)}")
    tensors = load_weights(weights)
    if means is None and weights is not None and name == "vgg16-normalised":
        raise WeightsError("the bundled means are those of the bundled weights; give means for other weights, or vgg16")
    if means is None and name == "vgg16-normalised":
        means = bundled("vgg16-means.safetensors")
    if means is not None:
        tensors = normalise(tensors, load_means(means, tensors))
    network = vgg(name, tensors, pooling=pooling, padding=padding, precision=precision, device=device)
    del tensors
    give_back_freed_memory()
    return network
