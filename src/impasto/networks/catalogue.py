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
from impasto.networks.vgg import VGG16, VGG19, Architecture, vgg
from impasto.weights.families import Filters, read_filters
from impasto.weights.sources import kept_at
from impasto.weights.tensors import require_hash


@dataclass(frozen=True)
class Entry:
    """A network of the catalogue: its layers, its bundled weights with their hash, and its mean activations, if any.

    Without bundled weights (None), the user gives a file, or `impasto networks fetch` has put one into its place.
    `showcase` names the convolutions that a page shows first.
    """

    about: str
    architecture: Architecture
    weights: str | None
    sha256: str | None
    showcase: tuple[str, ...]
    means: str | None = None
    fetched: str | None = None

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
        return {"weights": self.weights_file(weights), **({} if means is None else {"means": means})}

    def weights_file(self, path: Path | None = None) -> Path:
        """The file of weights: the one given, the bundled one, or the one that was fetched.

        Raises WeightsError if the network's weights are neither given, bundled nor fetched.
        """
        if path is not None:
            return path
        if self.weights is not None:
            return bundled(self.weights)
        assert self.fetched is not None
        kept = kept_at(self.fetched)
        if not kept.is_file():
            raise WeightsError(
                f"the weights of {self.fetched} are not here; fetch them with `impasto networks fetch {self.fetched}`, "
                "or give a file with --weights"
            )
        return kept

    def filters(self, path: Path | None = None) -> Filters:
        """The weights in float32, for RGB in 0 … 255 minus their mean; the file at `path` may be of any family.

        None means the bundled file, whose hash is checked, or the fetched one. Raises WeightsError: missing, damaged,
        or of other layers.
        """
        file = self.weights_file(path)
        found = read_filters(file, self.architecture.title)
        if path is None and self.sha256 is not None:
            require_hash(file, self.sha256)
        return found

    def load_weights(self, path: Path | None = None) -> dict[str, Tensor]:
        """The tensors of `filters`."""
        return dict(self.filters(path).tensors)

    def weights_sha256(self, path: Path | None = None) -> str:
        """The hash of the weights: the known hash of the bundled file, or that of the file given or fetched."""
        return self.sha256 if path is None and self.sha256 is not None else sha256(self.weights_file(path))


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
    "vgg19": Entry(
        "VGG-19 (Simonyan & Zisserman 2014), 16 convolutions, its weights to be fetched or given",
        architecture=VGG19,
        weights=None,
        sha256=None,
        showcase=_PLAIN.showcase,
        fetched="vgg19",
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

    `weights` is a file in place of the network's own, of any family (see docs/networks.md); `means` a file of mean
    activations by which the network is rescaled ("vgg16-normalised" has its own). `padding` is the first
    convolution's: "zero" as trained, or "replicate" against dark borders. "auto" is the accelerator and bfloat16 if
    the hardware has them.

    Raises NetworkError for an unknown name, WeightsError for an unusable file, SpecError for an unknown device.
    """
    known = entry(name)
    filters = known.filters(weights)
    tensors = dict(filters.tensors)
    files = known.files(weights, means)
    if "means" in files:
        tensors = normalise(tensors, load_means(files["means"], tensors))
    network = vgg(
        name,
        tensors,
        convolutions=known.architecture.convolutions,
        mean=filters.mean,
        pooling=pooling,
        padding=padding,
        precision=precision,
        device=device,
    )
    del tensors, filters
    give_back_freed_memory()
    return network
