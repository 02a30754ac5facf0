"""How two representations of the same shape differ: a scalar that is 0 exactly where they are equal."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Scalar = Float[Tensor, ""]
Distance = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SquaredError:
    """Σ (found − target)² / scale(target), which can be taken in parts.

    `scale` is a sum over the target's elements: that of the whole is the sum of its parts', and so is the error, once
    each part is divided by the scale of the whole (see `share`).
    """

    scale: Callable[[Tensor], Tensor]

    def __call__(self, found: Tensor, target: Tensor) -> Scalar:
        """The error of the whole."""
        return self.share(found, target, self.scale(target))

    def share(self, found: Tensor, target: Tensor, scale: Tensor) -> Scalar:
        """A part's share of the error; a scale of 0 counts as 1."""
        error = functional.mse_loss(found, target, reduction="sum")
        return torch.div(error, scale if scale > 0 else 1)


def count(target: Tensor) -> Scalar:
    """How many numbers the target has."""
    return target.new_tensor(float(target.numel()))


def energy(target: Tensor) -> Scalar:
    """Sum of the target's squares."""
    squares: Scalar = torch.linalg.vector_norm(target).square()
    return squares


mean_squared_error = SquaredError(count)
"""Average of the squared differences."""

normalised_squared_error = SquaredError(energy)
"""‖a − b‖² / ‖b‖²: the share of the target's energy that is missed, comparable between layers and pictures.

1 for found = 0. A target that is zero everywhere is compared without normalisation.
Source: Mahendran & Vedaldi 2015 (arXiv:1412.0035), equation 2.
"""


def wasserstein_distance(found: Tensor, target: Tensor, blur: float = 0.1) -> Scalar:
    """How far one normal distribution of features is from another, of which `mean_and_gram` gives the moments.

    The squared Wasserstein-2 distance, ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₂^½ Σ₁ Σ₂^½)^½), as a share of the target's energy
    E‖f‖²: about 1 for found = 0. Both distributions are blurred by noise with `blur` times the mean energy of a
    channel, because directions in which features hardly vary are mostly rounding, and their roots have no slope at 0.
    Source: Dowson & Landau 1982, equation 4. Departs: the blur; by eigenvalues in float64 on the processor, where
    small ones are not lost.
    """
    first, second = (moments.to("cpu", torch.float64) for moments in (found, target))
    total = second[1:].trace()
    total = total if total > 0 else torch.ones_like(total)
    noise = blur * total / second.shape[1] * torch.eye(second.shape[1], dtype=torch.float64)
    (mean, covariance), (wanted, other) = ((m[0], m[1:] - torch.outer(m[0], m[0]) + noise) for m in (first, second))
    root = torch.linalg.cholesky((other + other.T) / 2)  # L of L Lᵀ = Σ₂: Lᵀ Σ₁ L has the eigenvalues of Σ₂^½ Σ₁ Σ₂^½
    squares = torch.linalg.eigvalsh(root.T @ (covariance + covariance.T) @ root / 2)
    shared = squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt().sum()  # rounding may leave some below 0
    squared: Tensor = (mean - wanted).square().sum() + covariance.trace() + other.trace() - 2 * shared
    return (squared / total).to(found)
