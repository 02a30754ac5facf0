"""Networks by name: the only place that knows the architecture, weights and means of each."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor

from impasto.errors import NetworkError, WeightsError, nearest
from impasto.files import bundled, sha256
from impasto.machine import Precision, give_back_freed_memory
from impasto.networks.means import load_means, normalise
from impasto.networks.network import Network, Padding, Pooling
from impasto.networks.vgg import VGG16, Architecture, vgg
from impasto.networks.weights import read_tensors, require_hash


@dataclass(frozen=True)
class Entry:
    """A network of the catalogue: its layers, its bundled weights with their hash, and its mean activations, if any.

    `showcase` names the convolutions that a page shows first.
    """

    about: str
    architecture: Architecture
    weights: str
    sha256: str
    showcase: tuple[str, ...]
    means: str | None = None

    def files(self, weights: Path | None = None, means: Path | None = None) -> dict[str, Path]:
        """The network's files, as "weights" and "means": the files given, or else the bundled ones.

        Raises WeightsError if weights are given without means for a network with bundled means.
        """
        if means is None and weights is not None and self.means is not None:
            raise WeightsError(
                "the bundled means belong to the bundled weights; with other weights give means too, or use vgg16"
            )
        if means is None and self.means is not None:
            means = bundled(self.means)
        return {"weights": weights or bundled(self.weights), **({} if means is None else {"means": means})}

    def load_weights(self, path: Path | None = None) -> dict[str, Tensor]:
        """The weights, float32, for RGB in 0 … 255 minus mean; see `Architecture.pick`.

        None means the bundled file, whose hash is checked. Raises WeightsError: missing, damaged, or of other layers.
        """
        file = path or bundled(self.weights)
        tensors, _ = read_tensors(file, "weights")
        if path is None:
            require_hash(file, self.sha256)
        return self.architecture.pick(tensors, file)

    def weights_sha256(self, path: Path | None = None) -> str:
        """The hash of the weights: of the file at `path`, or the known hash of the bundled file."""
        return sha256(path) if path else self.sha256


PLAIN = "vgg16"
NORMALISED = "vgg16-normalised"
_PLAIN = Entry(
    "VGG-16 as trained (Simonyan & Zisserman 2014), 13 convolutions, bundled",
    architecture=VGG16,
    weights="vgg16.safetensors",
    sha256="e099bc3558c249c0dac46c6ebc9964215f1332afda87b4c6e75e87ed7a3aa619",
    showcase=("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
)
NETWORKS = {
    PLAIN: _PLAIN,
    NORMALISED: Entry(
        "the same, rescaled so that every filter's mean activation is 1 (Gatys et al. 2015), bundled",
        architecture=_PLAIN.architecture,
        weights=_PLAIN.weights,
        sha256=_PLAIN.sha256,
        showcase=_PLAIN.showcase,
        means="vgg16-means.safetensors",
    ),
}


def entry(name: str) -> Entry:
    """The entry of that name. Raises NetworkError for an unknown name."""
    if name not in NETWORKS:
        raise NetworkError(f"there is no network {name!r}; {nearest(name, NETWORKS)}")
    return NETWORKS[name]


@cache
def outline(name: str) -> Network:
    """A network without weights, for questions about names and sizes of its layers. Raises NetworkError."""
    return entry(name).architecture.outline(name)


def open_network(
    name: str = NORMALISED,
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
    "replicate" against dark borders. "auto" is the accelerator and bfloat16 if the hardware has them.

    Raises NetworkError for an unknown name, WeightsError for an unusable file, SpecError for an unknown device.
    """
    known = entry(name)
    tensors = known.load_weights(weights)
    files = known.files(weights, means)
    if "means" in files:
        tensors = normalise(tensors, load_means(files["means"], tensors))
    network = vgg(
        name,
        tensors,
        convolutions=known.architecture.convolutions,
        mean=known.architecture.mean,
        pooling=pooling,
        padding=padding,
        precision=precision,
        device=device,
    )
    del tensors
    give_back_freed_memory()
    return network
