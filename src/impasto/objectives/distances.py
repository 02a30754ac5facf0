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


def count(target: Tensor) -> Scalar:
    """The target's number of elements."""
    return target.new_tensor(float(target.numel()))


def twice_the_positions(target: Tensor) -> Scalar:
    """Twice the number of the target's positions."""
    positions = target.shape[-2] * target.shape[-1]
    return torch.tensor(2.0 * positions, dtype=torch.float32, device=target.device)  # whatever the host's default is


def energy(target: Tensor) -> Scalar:
    """Sum of the target's squares."""
    squares: Scalar = torch.linalg.vector_norm(target).square()
    return squares


mean_squared_error = SquaredError(count)
"""Average of the squared differences."""
cosine_error = SquaredError(twice_the_positions)
"""Mean over positions of 1 − cosine, for maps of directions (see `directions_from`): half their squared difference.

0 for equal directions, 2 for opposite ones; the lengths of features are not seen.
"""
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
