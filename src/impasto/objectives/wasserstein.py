"""The Wasserstein-2 distance between two normal distributions of features."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from impasto.objectives.distances import Scalar

FEW_CHANNELS = 256  # up to here float64 takes at most 5 ms more
MOST_ROUNDING = 2e-5  # of the target's energy; twice float32's measured error


@dataclass(frozen=True)
class Wasserstein:
    """The distance between two normal distributions of features, given by their moments (`mean_and_gram`).

    The squared Wasserstein-2 distance, ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₂^½ Σ₁ Σ₂^½)^½), as a fraction of the
    target's energy E‖f‖²: below 1 for found = 0, because of the blur. Both distributions are blurred by noise with
    `blur` times the mean energy of a channel: directions in which features hardly vary are mostly rounding, and a root
    has no slope at 0.
    Source: Dowson & Landau 1982, equation 4. Departs: the blur; computed by eigenvalues, on the CPU.
    """

    blur: float = 0.1

    def __call__(self, found: Tensor, target: Tensor) -> Scalar:
        """The distance between two distributions, by their moments."""
        return self.to(target)(found)

    def to(self, target: Tensor) -> Callable[[Tensor], Scalar]:
        """The distance to a fixed target, whose root is computed once, in float64."""
        mean, covariance, energy = _normal(target.to("cpu", torch.float64))
        noise = self.blur * energy / len(mean)
        values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
        values = values.clamp_min(0) + noise
        return _Target(mean, vectors * values.sqrt(), energy, noise, values)


@dataclass(frozen=True, eq=False)
class _Target:
    """A normal distribution of features, blurred, all in float64."""

    mean: Tensor
    root: Tensor  # R of R Rᵀ = Σ₂: Rᵀ Σ₁ R has the eigenvalues of Σ₂^½ Σ₁ Σ₂^½
    energy: Tensor
    noise: Tensor
    values: Tensor  # the eigenvalues of Σ₂, the least first

    def __call__(self, found: Tensor) -> Scalar:
        """The distance of a distribution, given by its moments, from the target."""
        here = found.to("cpu", torch.promote_types(found.dtype, self._precision))
        wanted, root, total = (each.to(here.dtype) for each in (self.mean, self.root, self.energy))
        average, spread, _ = _normal(here)
        spread = spread + self.noise.to(here.dtype) * torch.eye(len(average), dtype=here.dtype)
        shared: Tensor = _TraceOfRoot.apply(spread, root, self._least)  # type: ignore[no-untyped-call]
        traces = spread.trace() + self.values.sum().to(here.dtype) - 2 * shared
        squared: Tensor = ((average - wanted).square().sum() + traces) / total
        return squared.to(found)

    @cached_property
    def _least(self) -> float:
        """A lower bound of the eigenvalues of Rᵀ Σ₁ R, up to rounding."""
        return max(float(self.noise * self.values[0]), torch.finfo(torch.float32).tiny)

    @cached_property
    def _precision(self) -> torch.dtype:
        """float64 for up to 256 channels; above, float32 unless its rounding would show.

        Rounding of eigenvalues is relative to the largest eigenvalue. It swamps the roots of the smallest eigenvalues
        if a layer has fewer positions than channels.
        """
        rounding = torch.finfo(torch.float32).eps / 2 * self.values[-1] ** 2 * self.values.reciprocal().norm()
        shows = bool(rounding / self.energy > MOST_ROUNDING)
        return torch.float64 if len(self.mean) <= FEW_CHANNELS or shows else torch.float32


wasserstein_distance = Wasserstein()
"""The squared Wasserstein-2 distance, with the usual blur."""


def _normal(moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, covariance and energy; an energy of 0 counts as 1."""
    energy = moments[1:].trace()
    return moments[0], moments[1:] - torch.outer(moments[0], moments[0]), torch.where(energy > 0, energy, 1)


class _TraceOfRoot(torch.autograd.Function):
    """tr((Rᵀ S R)^½) for a symmetric S; eigenvalues of Rᵀ S R below `least` count as `least`.

    The slope, ½ R (Rᵀ S R)^-½ Rᵀ, uses the same eigenvectors; autograd would need twice as many products.
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
