"""An objective at one size with its targets fixed: losses and gradient of the whole picture in one pass.

Each picture that targets come from is read once for all terms.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from impasto.gradients import end
from impasto.images.image import Image, wrapped
from impasto.networks.layers import IMAGE
from impasto.networks.network import Features, Network
from impasto.networks.passes import backward, forward
from impasto.objectives.representations import Representation

Losses = dict[str, float]


class BoundTerm(NamedTuple):
    """One summand at one size: weight · loss(represent(feature map of the layer)), the layer by its canonical name."""

    name: str
    layer: str
    weight: float
    represent: Representation
    loss: Callable[[Tensor], Tensor]


class Wish(NamedTuple):
    """A picture as a term reads it, and the layers that the term wants."""

    image: Image
    layers: Collection[str]


@dataclass(eq=False)
class _Shared:
    """A picture, the layers that all its readers want together, how many readers are left, and the maps for them."""

    image: Image
    layers: set[str]
    readers: int = 1
    maps: Features = field(default_factory=dict)

    def read(self, network: Network, layers: Iterable[str]) -> Features:
        """The maps of some of the layers; all are kept until the last reader has read the picture."""
        maps = self.maps or network(self.image, self.layers)
        self.readers -= 1
        self.maps = maps if self.readers > 0 else {}
        return {layer: maps[layer] for layer in layers}


@dataclass(frozen=True, eq=False)
class Readings:
    """Reads pictures whole, and once for all wishes with an equal picture, which need not be the same tensor."""

    network: Network
    shared: tuple[_Shared, ...] = ()

    @classmethod
    def of(cls, network: Network, wishes: Iterable[Wish]) -> "Readings":
        """Readings that keep the maps of each picture until all its wishes are met."""
        readings = cls(network)
        for image, layers in wishes:
            names, same = set(map(network.canonical, layers)), readings._same(image)
            if same is None:
                readings = cls(network, (*readings.shared, _Shared(image, names)))
            else:
                same.layers |= names
                same.readers += 1
        return readings

    def __call__(self, image: Image, layers: Iterable[str]) -> Features:
        """The maps of a picture at these layers; nothing is kept of a picture or a layer that nobody wished for."""
        names, same = {layer: self.network.canonical(layer) for layer in layers}, self._same(image)
        if same is None or not same.layers.issuperset(names.values()):
            return self.network(image, names)
        maps = same.read(self.network, names.values())
        return {layer: maps[name] for layer, name in names.items()}

    def _same(self, image: Image) -> _Shared | None:
        return next((each for each in self.shared if torch.equal(each.image, image)), None)


@runtime_checkable
class Criterion(Protocol):
    """The objective at one size, its targets fixed."""

    def losses(self, image: Image) -> Losses:
        """Each weighted term by name."""

    def losses_and_gradient(self, image: Image) -> tuple[Losses, Image]:
        """Each weighted term by name, and the gradient of their sum with respect to the image."""


@dataclass(frozen=True, eq=False)
class WholeCriterion:
    """A criterion that reads the whole picture in one pass forward and one back."""

    network: Network
    terms: tuple[BoundTerm, ...]

    def losses(self, image: Image) -> Losses:
        """Each weighted term by name."""
        with torch.no_grad():
            features = self.network(image, {term.layer for term in self.terms})
            values = [term.weight * term.loss(term.represent(features[term.layer])) for term in self.terms]
        return read_out([term.name for term in self.terms], values)

    def losses_and_gradient(self, image: Image) -> tuple[Losses, Image]:
        """Each weighted term by name, and the gradient of their sum, contiguous and of the image's shape."""
        values: dict[int, Tensor] = {}

        def visit(layer: str, features: Tensor, gradient: Tensor | None) -> Tensor:
            here = [number for number, term in enumerate(self.terms) if term.layer == layer]
            for represent in dict.fromkeys(self.terms[number].represent for number in here):  # once for all its terms
                numbers = [number for number in here if self.terms[number].represent == represent]
                found, slope = values_and_slope([self.terms[number] for number in numbers], represent(features))
                values.update(zip(numbers, found, strict=True))
                gradient = represent.pull_back(features, slope, gradient)
            assert gradient is not None
            return gradient

        image = image.detach()
        gradient = backward(forward(self.network, image, {term.layer for term in self.terms}), visit)
        if any(term.layer == IMAGE for term in self.terms):
            gradient = visit(IMAGE, image, gradient)
        losses = read_out([term.name for term in self.terms], [values[number] for number in range(len(self.terms))])
        return losses, gradient.contiguous()


@dataclass(frozen=True, eq=False)
class WrappedCriterion:
    """A criterion of a picture that is repeated beyond its edges, as tiles on a floor: what it likes has no seam.

    `inside` reads the picture with `around_px` pixels added on each side, which are those of the opposite side.
    """

    inside: Criterion
    around_px: int

    def losses(self, image: Image) -> Losses:
        """Each weighted term by name."""
        return self.inside.losses(wrapped(image.detach(), self.around_px, self.around_px))

    def losses_and_gradient(self, image: Image) -> tuple[Losses, Image]:
        """Each weighted term by name, and the gradient of their sum: added up wherever a pixel is repeated."""
        with torch.enable_grad():
            variable = image.detach().requires_grad_()
            repeated = wrapped(variable, self.around_px, self.around_px)
            losses, slope = self.inside.losses_and_gradient(repeated.detach())
            (gradient,) = torch.autograd.grad(end(repeated, slope), variable)
        return losses, gradient


def values_and_slope(terms: Sequence[BoundTerm], found: Tensor) -> tuple[list[Tensor], Tensor]:
    """Each term's weighted loss of one representation, and the gradient of their sum with respect to `found`."""
    with torch.enable_grad():
        variable = found.detach().requires_grad_()
        values = [term.weight * term.loss(variable) for term in terms]
        (slope,) = torch.autograd.grad(torch.stack(values).sum(), variable)
    return [value.detach() for value in values], slope


def read_out(names: Sequence[str], values: Sequence[Tensor]) -> Losses:
    """Losses by name; losses of the same name are added."""
    numbers = torch.stack(list(values)).tolist()  # one wait for the device, for any number of terms
    losses: Losses = {}
    for name, number in zip(names, numbers, strict=True):
        losses[name] = losses.get(name, 0.0) + number
    return losses
