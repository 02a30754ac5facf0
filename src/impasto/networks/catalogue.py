"""Networks by name: the only place that knows the architecture, weights and means of each."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from impasto.errors import NetworkError, SpecError, WeightsError, nearest
from impasto.files import bundled, sha256
from impasto.machine import Precision, find_device, find_precision, give_back_freed_memory
from impasto.modules.factories import make
from impasto.modules.names import file_of, is_name_of_module, with_file
from impasto.modules.preprocess import Preprocess, preprocess_named
from impasto.modules.states import digest, load_state, untrain, untrained_tensors
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
    means: str | None = None
    fetched: str | None = None
    showcase: tuple[str, ...] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")

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
)
NETWORKS = {
    PLAIN: _PLAIN,
    NORMALISED: Entry(
        "the same, rescaled so that every filter's mean activation is 1 (Gatys et al. 2015), bundled",
        architecture=_PLAIN.architecture,
        weights=_PLAIN.weights,
        sha256=_PLAIN.sha256,
        means="vgg16-means.safetensors",
    ),
    "vgg19": Entry(
        "VGG-19 (Simonyan & Zisserman 2014), 16 convolutions, its weights to be fetched or given",
        architecture=VGG19,
        weights=None,
        sha256=None,
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


@dataclass(frozen=True)
class Choice:
    """One choice of a network as data: all that is needed to open the network, also on another machine.

    `network` is a name of the catalogue, or leads to a module (see `impasto.modules.factories`). The other fields are
    those of `open_network`.
    """

    network: str = NORMALISED
    weights: Path | None = None
    means: Path | None = None
    pooling: Pooling = "max"
    padding: Padding = "zero"
    device: str = "auto"
    preprocess: str | None = None
    random_weights: int | None = None

    @property
    def is_built_in(self) -> bool:
        """Whether the network is one of the catalogue, and no module."""
        return not is_name_of_module(self.network)

    def open(self, precision: Precision) -> Network:
        """The network in a precision. Raises as `open_network`."""
        return self._built_in(precision) if self.is_built_in else self._module(precision)

    def looked_at(self) -> Network:
        """The network for questions about its layers: a module's weights may be missing. Raises as `open`."""
        if self.is_built_in:
            return self.open("float32")
        made = self._made()
        return made if isinstance(made, Network) else Network.from_module(*made[:2], name=self.network)

    def files(self) -> dict[str, Path]:
        """The files that the network is read from, as "weights", "means" and "network". Raises as `open`."""
        if self.is_built_in:
            return {} if self.random_weights is not None else entry(self.network).files(self.weights, self.means)
        given = {"network": file_of(self.network), "weights": self.weights}
        return {what: path for what, path in given.items() if path is not None}

    def with_absolute_files(self) -> "Choice":
        """The same choice from any working directory."""
        file = None if self.is_built_in else file_of(self.network)
        return replace(
            self,
            network=self.network if file is None else with_file(self.network, file.absolute()),
            weights=self.weights and self.weights.absolute(),
            means=self.means and self.means.absolute(),
        )

    def hashes(self, network: Network) -> dict[str, str]:
        """What tells this network from others, for run.toml: SHA-256 of the weights, and of the network's file."""
        if self.random_weights is not None and self.is_built_in:
            return {"weights_sha256": f"none: untrained, seed {self.random_weights}"}
        if self.is_built_in:
            return {"weights_sha256": entry(self.network).weights_sha256(self.weights)}
        file, module = file_of(self.network), network.computation.module
        own = {} if file is None else {"network_sha256": sha256(file)}
        return own | ({} if module is None else {"weights_sha256": digest(module)})

    def _built_in(self, precision: Precision) -> Network:
        known = entry(self.network)
        if self.preprocess is not None:
            raise SpecError(f"{self.network} has its own preprocessing; leave out --preprocess {self.preprocess}")
        tensors, mean = self._untrained(known) if self.random_weights is not None else self._trained(known)
        network = vgg(
            self.network,
            tensors,
            convolutions=known.architecture.convolutions,
            mean=mean,
            pooling=self.pooling,
            padding=self.padding,
            precision=precision,
            device=self.device,
        )
        del tensors
        give_back_freed_memory()
        return network

    def _trained(self, known: Entry) -> "tuple[dict[str, Tensor], tuple[float, float, float]]":
        """The weights, rescaled if there are means, and the mean colour."""
        filters, files = known.filters(self.weights), known.files(self.weights, self.means)
        if "means" not in files:
            return dict(filters.tensors), filters.mean
        return normalise(dict(filters.tensors), load_means(files["means"], filters.tensors)), filters.mean

    def _untrained(self, known: Entry) -> "tuple[dict[str, Tensor], tuple[float, float, float]]":
        """The same of a network before training."""
        if known.means is not None or self.means is not None or self.weights is not None:
            raise SpecError(
                "--random-weights gives an untrained network, which has no file of weights and no means; choose "
                f"--network {PLAIN} without --weights and --means"
            )
        assert self.random_weights is not None
        return untrained_tensors(known.architecture.empty(), self.random_weights), known.architecture.mean

    def _module(self, precision: Precision) -> Network:
        """The network of a module; the factory may also return a whole `Network`, which is taken as it is."""
        made = self._made()
        if isinstance(made, Network):
            return made
        module, preprocess, missing = made
        if self.weights is not None and self.random_weights is not None:
            raise SpecError("--random-weights gives an untrained network; leave out --weights, or --random-weights")
        if self.weights is not None:
            load_state(module, self.weights, self.network)
        elif self.random_weights is not None:
            untrain(module, preprocess, self.random_weights, self.network)
        elif missing is not None:
            raise WeightsError(
                f"there are no weights for {self.network}: give a file with --weights, or an untrained network with "
                f"--random-weights 0; they are looked for in {missing}"
            )
        target = find_device(self.device)
        if not (isinstance(module, torch.jit.ScriptModule) or any(value.is_meta for value in module.parameters())):
            module = module.to(target, find_precision("float32" if precision == "auto" else precision, target))
        return Network.from_module(module, preprocess, name=self.network)

    def _made(self) -> "Network | tuple[nn.Module, Preprocess, str | None]":
        """The whole network that a factory returns, or a module, its preprocessing, and where weights are missing."""
        changed = {"--means": self.means, "--pooling average": self.pooling != "max" or None}
        for option in [option for option, value in changed.items() if value is not None]:
            raise SpecError(f"{option} is for networks of the catalogue, not for {self.network}; leave {option} out")
        made = make(self.network)
        if isinstance(made.thing, Network):
            return self._as_made(made.thing)
        if not isinstance(made.thing, nn.Module):
            kind = type(made.thing).__name__
            raise NetworkError(f"{self.network} gives {kind}, no torch.nn.Module; write a function that returns one")
        preprocess = made.preprocess or preprocess_named("imagenet")
        if self.preprocess is not None:
            named = preprocess_named(self.preprocess)
            preprocess = replace(named, size=preprocess.size, multiple=preprocess.multiple)
        return made.thing, preprocess, made.missing

    def _as_made(self, network: Network) -> Network:
        given = {"--weights": self.weights, "--preprocess": self.preprocess, "--random-weights": self.random_weights}
        for option in [option for option, value in given.items() if value is not None]:
            raise SpecError(f"{self.network} returns a whole network; leave out {option}, or return the module alone")
        return replace(network, name=self.network)


def open_network(
    name: str = NORMALISED,
    *,
    weights: Path | None = None,
    means: Path | None = None,
    pooling: Pooling = "max",
    padding: Padding = "zero",
    precision: Precision = "auto",
    device: str = "auto",
    preprocess: str | None = None,
    random_weights: int | None = None,
) -> Network:
    """A network ready to be called: of the catalogue, or a module, by "file.py:factory" or "package.module:factory".

    "torchvision:NAME" and "timm:NAME" are modules of these packages, with weights from their own caches.

    `weights` is a file in place of the network's own, of any family (see docs/networks.md); `means` a file of mean
    activations by which the network is rescaled ("vgg16-normalised" has its own). `padding` is the first
    convolution's: "zero" as trained, or "replicate" against dark borders. "auto" is the accelerator and bfloat16 if
    the hardware has them; for a module, float32. `preprocess` names the preprocessing of a module, by default
    "imagenet". `random_weights` is the seed of an untrained network.

    Raises NetworkError for an unknown name, WeightsError for an unusable file, SpecError for an unknown device.
    """
    choice = Choice(name, weights, means, pooling, padding, device, preprocess, random_weights)
    return choice.open(precision)
