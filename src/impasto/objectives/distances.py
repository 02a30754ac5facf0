"""Distances between two representations of the same shape: a scalar that is 0 exactly if they are equal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Scalar = Float[Tensor, ""]
Distance = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SquaredError:
    """Σ (found − target)² / scale(target), which can be computed tile by tile.

    `scale` is a sum over the target's elements, so the scale of the whole is the sum of its tiles' scales. The error
    of the whole is the sum of its tiles' errors, each divided by the scale of the whole (see `scaled`).
    """

    scale: Callable[[Tensor], Tensor]

    def __call__(self, found: Tensor, target: Tensor) -> Scalar:
        """The error of the whole."""
        return self.scaled(found, target, self.scale(target))

    def scaled(self, found: Tensor, target: Tensor, scale: Tensor) -> Scalar:
        """The contribution of these elements to an error whose whole target has `scale`; a scale of 0 counts as 1."""
        error = functional.mse_loss(found, target, reduction="sum")
        return torch.div(error, scale if scale > 0 else 1)


@dataclass(frozen=True, eq=False)
class CosineError:
    """Mean over positions of 1 − cos(found − centre, target − centre): 0 for equal directions, 2 for opposite ones.

    `centre` (channels,) is fixed. The error sees directions alone, so a second term should see how large features are.
    Can be computed tile by tile as `SquaredError`; the scale is the number of positions.
    """

    centre: Tensor

    def __call__(self, found: Tensor, target: Tensor) -> Scalar:
        """The error of the whole."""
        return self.to(target)(found)

    def to(self, target: Tensor) -> Callable[[Tensor], Scalar]:
        """The error from a fixed target, whose directions are computed once."""
        wanted, scale = self._directions(target), self.scale(target)
        return lambda found: self._sum(found, wanted) / scale

    def scale(self, target: Tensor) -> Scalar:
        """The target's number of positions."""
        return torch.tensor(float(target.shape[-2] * target.shape[-1]), device=target.device)

    def scaled(self, found: Tensor, target: Tensor, scale: Tensor) -> Scalar:
        """The contribution of these positions to an error whose whole target has `scale`."""
        return self._sum(found, self._directions(target)) / scale

    def _sum(self, found: Tensor, wanted: Tensor) -> Scalar:
        total: Scalar = (1 - (self._directions(found) * wanted).sum(1)).sum()
        return total

    def _directions(self, maps: Tensor) -> Tensor:
        return functional.normalize(maps - self.centre.to(maps)[:, None, None], dim=1)


Summed = SquaredError | CosineError  # distances of maps that are sums over positions


def count(target: Tensor) -> Scalar:
    """The target's number of elements."""
    return target.new_tensor(float(target.numel()))


def energy(target: Tensor) -> Scalar:
    """Sum of the target's squares."""
    squares: Scalar = torch.linalg.vector_norm(target).square()
    return squares


mean_squared_error = SquaredError(count)
"""Average of the squared differences."""
normalised_squared_error = SquaredError(energy)
"""‖a − b‖² / ‖b‖²: the error as a fraction of the target's energy, comparable between layers and pictures.

1 for found = 0. A target that is zero everywhere is compared without normalisation.
Source: Mahendran & Vedaldi 2015 (arXiv:1412.0035), equation 2.
"""


@runtime_checkable
class Prepares(Protocol):
    """A distance with work that depends on the target alone, and is done once for each target."""

    def to(self, target: Tensor) -> Callable[[Tensor], Tensor]:
        """The distance to that target."""


def distance_to(distance: Distance, target: Tensor) -> Callable[[Tensor], Tensor]:
    """The distance to a fixed target."""
    return distance.to(target) if isinstance(distance, Prepares) else lambda found: distance(found, target)
