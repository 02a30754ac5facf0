"""Exact joint normalisation of any network with rectifiers: mean activations become 1, and the function stays.

Where branches are added, the channels that meet share a scale, the mean of theirs; only inside the branches is each
mean exactly 1. The exactness of each rescaled network is measured in float64.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from impasto.errors import ImageError, NetworkError
from impasto.images.image import Image
from impasto.networks.layers import IMAGE, Layer
from impasto.networks.means import DEAD, Means
from impasto.networks.network import Network
from impasto.networks.steps import Add, AveragePool, Concatenate, Convolution, MaxPool, Rectifier
from impasto.scaling.planner import plan
from impasto.scaling.rescaling import require_exact, rescale
from impasto.scaling.tracing import maps_of, traced
from impasto.scaling.variables import FIXED, Plan

EXACT = 1e-9  # the largest relative difference between the two networks in float64


@dataclass(frozen=True, eq=False)
class Normalised:
    """A normalised network: its modules, rectifiers that share scales, dead channels as (rectifier, index), its error.

    `scales` are the divisors of each rectifier's channels. `error` is the largest relative difference, over all
    rectifiers and the output, between the network and the normalised one times its scales, in float64.
    """

    module: fx.GraphModule
    groups: tuple[tuple[str, ...], ...]
    scales: Mapping[str, Tensor]
    dead: tuple[tuple[str, int], ...]
    error: float

    @property
    def words(self) -> str:
        """What a person should know of it, in one sentence."""
        tied = [group for group in self.groups if len(group) > 1]
        channels = sum(len(scale) for scale in self.scales.values())
        shared = f", {len(tied)} of them of layers whose maps are added" if tied else ""
        return (
            f"{len(self.groups)} groups of scales{shared}; {channels} channels, {len(self.dead)} of them dead; "
            f"the function is the same to {self.error:.1e} (float64)"
        )


def normalise_module(module: nn.Module, pictures: Iterable[Tensor]) -> Normalised:
    """Normalise a module by its mean activations over pictures, (1, channels, height, width), as the module takes them.

    The module itself is left as it is. The result has its parameters' type. Raises ImageError without pictures;
    NetworkError if the module has no fixed graph, or if an operation in it, which is named, forbids the rescaling.
    """
    graph, first = traced(module), None
    sums, count = dict[str, Tensor](), 0
    found: Plan | None = None
    for picture in pictures:
        if found is None:
            first, found = picture.double(), plan(graph, picture)

        def add(name: str, maps: Tensor, rectifiers: tuple[str, ...] = found.rectifiers) -> None:
            if name in rectifiers:
                mean = maps.mean(tuple(range(2, maps.ndim))) if maps.ndim > 2 else maps
                sums[name] = sums.get(name, torch.zeros_like(mean[0])) + mean[0]

        maps_of(graph, picture.double(), add)
        count += 1
    if found is None or first is None:
        raise ImageError("there is no picture to average over")
    result = apply_means(found, {name: total / count for name, total in sums.items()}, first)
    kinds = [parameter.dtype for parameter in module.parameters()]
    result.module.to(kinds[0] if kinds else torch.float32)
    return result


def apply_means(found: Plan, means: Mapping[str, Tensor], picture: Tensor) -> Normalised:
    """Normalise a plan's graph by its rectifiers' mean activations, and measure the error for a picture in float64."""
    before = _read(found, picture)
    scales, dead = _scales(found, means)
    if all(scale == 1 for scale in scales.values()):
        raise NetworkError("the network has no rectified linear unit whose scale is free, so nothing can be normalised")
    require_exact(found, scales)

    def scale(variables: Iterable[int]) -> Tensor:
        return torch.tensor([scales.get(found.variables.find(one), 1.0) for one in variables], dtype=torch.float64)

    rescale(found, scale)
    after = _read(found, picture)
    error = max(_difference(after[name], before[name], scale(found.channels.get(name, [FIXED]))) for name in before)
    if not error <= EXACT:
        raise NetworkError(f"the network cannot be normalised exactly: the result differs by {error:.1e} in float64")
    divisors = {name: scale(found.channels[name]) for name in found.rectifiers}
    return Normalised(found.graph, tuple(found.groups()), divisors, dead, error)


def _read(found: Plan, picture: Tensor) -> dict[str, Tensor]:
    """The maps of all rectifiers and of the output."""
    kept: dict[str, Tensor] = {}
    wanted = {*found.rectifiers, "output"}
    maps_of(found.graph, picture, lambda name, maps: kept.update({name: maps.clone()} if name in wanted else {}))
    return kept


def _scales(found: Plan, means: Mapping[str, Tensor]) -> tuple[dict[int, float], tuple[tuple[str, int], ...]]:
    """The divisor of each variable, the mean of its channels' means; and the channels that (almost) never fire."""
    members, dead = dict[int, list[float]](), list[tuple[str, int]]()
    for name in found.rectifiers:
        least = DEAD * float(means[name].median())
        for index, (variable, mean) in enumerate(zip(found.channels[name], means[name].tolist(), strict=True)):
            if mean <= least:
                dead.append((name, index))
            elif (root := found.variables.find(variable)) != FIXED:
                members.setdefault(root, []).append(mean)
    return {root: sum(each) / len(each) for root, each in members.items()}, tuple(dead)


def _difference(after: Tensor, before: Tensor, scale: Tensor) -> float:
    """The relative difference of maps, the normalised ones times their scales."""
    if before.ndim > 1 and len(scale) == before.shape[1]:
        after = after * scale.reshape(1, -1, *(1,) * (before.ndim - 2))
    size = float(before.norm())
    return float((after - before).norm()) / size if size else float(after.norm())


class _Layers(nn.Module):
    """The layers of a network as torch's own modules, which can be traced; layers keep their names, "." as "_"."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        super().__init__()
        self.reads = {name: layer.reads for name, layer in layers.items()}
        self.joins = {name: layer.step for name, layer in layers.items() if isinstance(layer.step, Add | Concatenate)}
        for name, layer in layers.items():
            if name not in self.joins:
                self.add_module(name.replace(".", "_"), _module(layer))

    def forward(self, picture: Any) -> Any:
        """The map of the last layer; a stand-in without numbers gives a stand-in, while the graph is traced."""
        maps, last = {IMAGE: picture}, picture
        for name, reads in self.reads.items():
            inputs = [maps[read] for read in reads]
            match self.joins.get(name):
                case None:
                    last = self.get_submodule(name.replace(".", "_"))(*inputs)
                case Concatenate():
                    last = torch.cat(inputs, 1)
                case _:
                    last = inputs[0]
                    for more in inputs[1:]:
                        last = last + more
            maps[name] = last
        return last


def _module(layer: Layer) -> nn.Module:
    match layer.step:
        case Convolution() as step:
            out, into, kernel, _ = step.weight.shape
            module = nn.Conv2d(into, out, kernel, step.stride, step.padding, bias=step.bias is not None)
            module.weight = nn.Parameter(step.weight.detach().cpu().float(), requires_grad=False)
            if step.bias is not None:
                module.bias = nn.Parameter(step.bias.detach().cpu().float(), requires_grad=False)
            return module
        case Rectifier():
            return nn.ReLU()
        case MaxPool():
            return nn.MaxPool2d(2)
        case AveragePool():
            return nn.AvgPool2d(2)
        case other:
            raise NetworkError(f"{layer.name} ({type(other).__name__}) cannot be normalised")


def as_module(network: Network) -> nn.Module:
    """A network of layers as a module that takes prepared pictures, in float32 on the processor."""
    return _Layers(network.layers)


def normalise_network(network: Network, images: Iterable[Image]) -> tuple[Network, Normalised]:
    """Normalise a network of layers, with branches or without, by its mean activations over images; see `Normalised`.

    The network that is returned differs from the one given in its convolutions' weights alone. Raises ImageError
    without images, NetworkError if the network cannot be normalised exactly.
    """
    prepared = (network.preprocess(image.cpu(), torch.float64) for image in images)
    found = normalise_module(as_module(network), prepared)
    layers = {name: _with_weights(layer, found.module, network) for name, layer in network.layers.items()}
    return replace(network, layers=layers, variant={**network.variant, "normalised": "jointly"}), found


def _with_weights(layer: Layer, module: fx.GraphModule, network: Network) -> Layer:
    """The layer with the weights that its module has."""
    if not isinstance(layer.step, Convolution):
        return layer
    own = module.get_submodule(layer.name.replace(".", "_"))
    assert isinstance(own, nn.Conv2d)
    weight = own.weight.to(network.device, network.precision).contiguous(memory_format=torch.channels_last)
    bias = None if own.bias is None else own.bias.to(network.device, network.precision)
    return replace(layer, step=replace(layer.step, weight=weight, bias=bias))


def verify(network: Network, means: Means, image: Image) -> Normalised:
    """What normalising a network by these means gives, and how exact the result is for a picture in float64."""
    graph = traced(as_module(network))
    picture = network.preprocess(image.cpu(), torch.float64).double()
    after = {network.rectified(layer): values.double() for layer, values in means.by_layer.items()}
    return apply_means(plan(graph, picture), {name: after[name] for name in after if name is not None}, picture)
