"""The Wasserstein-2 distance between two normal distributions of features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from impasto.objectives.distances import Scalar

FEW_CHANNELS = 256  # for which float64 takes 5 ms more at most
MOST_ROUNDING = 2e-5  # of the target's energy; twice what float32 was seen to do there


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
        return self.to(target)(found)

    def to(self, target: Tensor) -> Callable[[Tensor], Scalar]:
        """The distance to a target whose root is taken once, in float64.

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
