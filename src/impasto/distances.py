"""How two representations of the same shape differ: a scalar that is 0 exactly where they are equal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

FEW_CHANNELS = 256  # for which float64 takes 5 ms more at most
MOST_ROUNDING = 2e-5  # of the target's energy; twice what float32 was seen to do there

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


@runtime_checkable
class Aimable(Protocol):
    """A distance that does once what depends on the target alone."""

    def aimed_at(self, target: Tensor) -> Callable[[Tensor], Tensor]:
        """The distance from that target."""


def aim(distance: Distance, target: Tensor) -> Callable[[Tensor], Tensor]:
    """The distance from a fixed target."""
    return distance.aimed_at(target) if isinstance(distance, Aimable) else lambda found: distance(found, target)


@dataclass(frozen=True)
class Wasserstein:
    """How far one normal distribution of features is from another, of which `mean_and_gram` gives the moments.

    The squared Wasserstein-2 distance, ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₂^½ Σ₁ Σ₂^½)^½), as a share of the target's energy
    E‖f‖²: about 1 for found = 0. Both distributions are blurred by noise with `blur` times the mean energy of a
    channel, because directions in which features hardly vary are mostly rounding, and their roots have no slope at 0.
    Source: Dowson & Landau 1982, equation 4. Departs: the blur; by eigenvalues, on the processor.
    """

    blur: float = 0.1

    def __call__(self, found: Tensor, target: Tensor) -> Scalar:
        """The distance of two pairs of moments."""
        return self.aimed_at(target)(found)

    def aimed_at(self, target: Tensor) -> Callable[[Tensor], Scalar]:
        """The distance from a target whose root is taken once, in float64.

        So is what is found where channels are few. Where they are many it is in float32 like the statistics, unless
        rounding of the eigenvalues, which is a share of the largest, would show in the roots of the smallest: where a
        layer has fewer positions than channels.
        """
        mean, covariance, energy = _normal(target.to("cpu", torch.float64))
        noise = self.blur * energy / len(mean)
        values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
        values = values.clamp_min(0) + noise
        root = vectors * values.sqrt()  # R of R Rᵀ = Σ₂: Rᵀ Σ₁ R has the eigenvalues of Σ₂^½ Σ₁ Σ₂^½
        least = max(float(noise * values[0]), torch.finfo(torch.float32).tiny)  # what these are, but for rounding
        rounding = torch.finfo(torch.float32).eps / 2 * values[-1] ** 2 * values.reciprocal().norm() / energy
        precise = torch.float64 if len(mean) <= FEW_CHANNELS or rounding > MOST_ROUNDING else torch.float32

        def distance(found: Tensor) -> Scalar:
            here = found.to("cpu", torch.promote_types(found.dtype, precise))
            wanted, across, total = (each.to(here.dtype) for each in (mean, root, energy))
            average, spread, _ = _normal(here)
            spread = spread + noise.to(here.dtype) * torch.eye(len(average), dtype=here.dtype)
            shared: Tensor = _TraceOfRoot.apply(spread, across, least)  # type: ignore[no-untyped-call]
            traces = spread.trace() + values.sum().to(here.dtype) - 2 * shared
            squared: Tensor = ((average - wanted).square().sum() + traces) / total
            return squared.to(found)

        return distance


wasserstein_distance = Wasserstein()
"""The squared Wasserstein-2 distance, with the usual blur."""


def _normal(moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, covariance and energy; an energy of 0 counts as 1."""
    energy = moments[1:].trace()
    return moments[0], moments[1:] - torch.outer(moments[0], moments[0]), torch.where(energy > 0, energy, 1)


class _TraceOfRoot(torch.autograd.Function):
    """tr((Rᵀ S R)^½) for a symmetric S, where the product's eigenvalues are not below `least`.

    The slope, ½ R (Rᵀ S R)^-½ Rᵀ, comes with the same eigenvectors; autograd would take twice as many products.
    """

    @staticmethod
    def forward(ctx: Any, spread: Tensor, root: Tensor, least: float) -> Tensor:
        squares, vectors = torch.linalg.eigh(root.T @ spread @ root)
        values = squares.clamp_min(least).sqrt()
        half = root @ (vectors * (2 * values).rsqrt())
        ctx.save_for_backward(half @ half.T)
        total: Tensor = values.sum()
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slopes[0] * slope, None, None
