"""The terms of an objective: a match of one picture with another, and a prior; bound to a network and a size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from impasto.images.image import Image, Size, resize, size_of
from impasto.networks.layers import IMAGE
from impasto.networks.network import Network
from impasto.objectives.criterion import BoundTerm, Readings, Wish
from impasto.objectives.distances import Distance, distance_to, normalised_squared_error
from impasto.objectives.representations import (
    Pointwise,
    Representation,
    activations,
)
from impasto.objectives.weightmaps import WeightMap, coarsest_first, weighted_by

Represents = Mapping[str, Representation]  # by layer
Framing = Callable[[Size, Size], Size]  # from the sizes of reference and canvas to the framed reference's size


@dataclass(frozen=True, eq=False)
class Match:
    """One line of a paper: Σ over layers of weight · distance(represent(image), represent(reference)).

    `framing` gives the size to which the reference is resized, from the reference's own size and the canvas's.
    `where` weights the positions of the image, and `reference_where` those of the reference, if statistics are
    compared. Maps that are compared in place have one weight for each position of both.
    """

    name: str
    reference: Image
    layers: Mapping[str, float]
    represent: Representation
    framing: Framing
    distance: Distance = normalised_squared_error
    where: WeightMap | None = None
    reference_where: WeightMap | None = None

    def framed_size(self, size: Size) -> Size:
        """The size to which the reference is resized for a canvas of that size."""
        return self.framing(size_of(self.reference), size)

    def framed(self, size: Size) -> Image:
        """The reference as it is compared with a canvas of that size."""
        return resize(self.reference, self.framed_size(size))

    def require(self, network: Network, size: Size) -> None:
        """Raise ImageError if the framed reference is too small for a layer, LayerError for an unknown one."""
        network.require_size(self.framed_size(size), self.layers)
        for layer in coarsest_first(network, self.layers):
            if self.where is not None:
                self.where.require(size, layer, f"the part of the picture for {self.name}")
            if self.reference_where is not None:
                self.reference_where.require(
                    self.framed_size(size), layer, f"the part of the painting that counts for {self.name}"
                )

    def represents(self, network: Network, size: Size, bases: Represents | None = None) -> dict[str, Representation]:
        """What is kept of each layer of a canvas of that size: the representation, weighted by position if asked.

        `bases` are the representations as `fitted`.
        """
        bases = bases or dict.fromkeys(self.layers, self.represent)
        if self.where is None:
            return dict(bases)
        at = {layer: self.where.at(size, network.layer(layer), network.device) for layer in self.layers}
        return {layer: weighted_by(bases[layer], weights, self.name) for layer, weights in at.items()}

    def reference_represents(
        self, network: Network, size: Size, bases: Represents | None = None
    ) -> dict[str, Representation]:
        """What is kept of each layer of the reference, framed for a canvas of that size, if it is statistics."""
        bases = bases or dict.fromkeys(self.layers, self.represent)
        if self.reference_where is None:
            return dict(bases)
        framed, region = self.framed_size(size), self.reference_where
        at = {layer: region.inside(framed, network.layer(layer), network.device) for layer in self.layers}
        return {layer: weighted_by(bases[layer], weights, self.name) for layer, weights in at.items()}

    def fitted(self, found: Mapping[str, Tensor]) -> dict[str, Representation]:
        """Each layer's representation, fitted to what was found in the reference (see `Representation.fitted`)."""
        return {layer: self.represent.fitted(value) for layer, value in found.items()}

    def wishes(self, network: Network, size: Size) -> list[Wish]:
        """What `bind` reads."""
        return [Wish(self.framed(size).to(network.device), self.layers)]

    def bind(self, network: Network, size: Size, readings: Readings | None = None) -> list[BoundTerm]:
        """Fix the targets: the reference's representations at this size."""
        self.require(network, size)
        in_place = isinstance(self.represent, Pointwise)
        theirs = self.represents(network, size) if in_place else self.reference_represents(network, size)
        with torch.no_grad():
            ((reference, layers),) = self.wishes(network, size)
            features = (readings or Readings(network))(reference, layers)
            found = {layer: theirs[layer](features[layer]) for layer in self.layers}
            fitted = self.fitted(found)
            changed = [layer for layer, base in fitted.items() if base is not self.represent]
            if changed:
                theirs = self.reference_represents(network, size, fitted)
            targets = found | {layer: theirs[layer](features[layer]) for layer in changed}
        represents = self.represents(network, size, fitted)
        return [
            BoundTerm(
                f"{self.name}/{layer}",
                network.canonical(layer),
                weight,
                represents[layer],
                distance_to(self.distance, targets[layer]),
            )
            for layer, weight in self.layers.items()
        ]

    def weights(self) -> dict[str, float]:
        """The weight of each layer, by the name of its loss."""
        return {f"{self.name}/{layer}": weight for layer, weight in self.layers.items()}


@runtime_checkable
class Response(Protocol):
    """What is to be large in a layer's map: the answer of a channel, say."""

    @property
    def represent(self) -> Representation:
        """A representation of the kind of the response's own, which tells how memory is needed."""

    def require(self, network: Network, layer: str) -> None:
        """Raise SpecError if the layer has no such response; nothing is computed."""

    def read_at(self, network: Network, layer: str) -> str:
        """The canonical name of the layer in which the response is read, for the sake of its gradient."""

    def at(self, network: Network, layer: str, size: Size) -> Representation:
        """The response in a layer's map of a picture of that size, in units that compare between layers."""


@dataclass(frozen=True, eq=False)
class Towards:
    """Responses that should be large, without a reference: Σ over layers of -weight · response(image)."""

    name: str
    layers: Mapping[str, float]
    response: Response

    @property
    def represent(self) -> Representation:
        """A representation of the response's kind."""
        return self.response.represent

    def require(self, network: Network, size: Size) -> None:
        """Raise SpecError or LayerError if a layer has no such response."""
        for layer in self.layers:
            self.response.require(network, network.canonical(layer))

    def bind(self, network: Network, size: Size) -> list[BoundTerm]:
        """The responses at this size."""
        self.require(network, size)
        read = {layer: self.response.read_at(network, network.canonical(layer)) for layer in self.layers}
        return [
            BoundTerm(
                f"{self.name}/{layer}", read[layer], weight, self.response.at(network, read[layer], size), negated
            )
            for layer, weight in self.layers.items()
        ]

    def weights(self) -> dict[str, float]:
        """The weight of each layer, by the name of its loss."""
        return {f"{self.name}/{layer}": weight for layer, weight in self.layers.items()}


def negated(found: Tensor) -> Tensor:
    """The loss of what should be large."""
    return -found.sum()


@dataclass(frozen=True, eq=False)
class Prior:
    """A penalty on the image itself.

    If the penalty is a mean over pixels, set `reach_px` to the number of rows below a pixel that its term reads (1 for
    total variation, 0 for a pointwise penalty): large pictures are then evaluated in strips. None: whole picture.
    """

    name: str
    weight: float
    penalty: Callable[[Image], Tensor]
    reach_px: int | None = None

    def require(self, network: Network, size: Size) -> None:
        """Nothing: no picture is too small for a prior."""

    def bind(self, network: Network, size: Size) -> list[BoundTerm]:
        """The prior itself as a term: it has no target, and is the same at every size."""
        return [BoundTerm(self.name, IMAGE, self.weight, activations, self.penalty)]

    def weights(self) -> dict[str, float]:
        """The prior's weight, by the name of its loss."""
        return {self.name: self.weight}
