"""How two representations of the same shape differ: a scalar that is 0 exactly where they are equal."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Scalar = Float[Tensor, ""]
Distance = Callable[[Tensor, Tensor], Tensor]


def mean_squared_error(found: Tensor, target: Tensor) -> Scalar:
    """Average of the squared differences."""
    return (found - target).square().mean()


def normalised_squared_error(found: Tensor, target: Tensor) -> Scalar:
    """‖a − b‖² / ‖b‖²: the share of the target's energy that is missed, comparable between layers and pictures.

    1 for found = 0. A target that is zero everywhere is compared without normalisation.
    Source: Mahendran & Vedaldi 2015 (arXiv:1412.0035), equation 2.
    """
    energy = target.square().sum()
    return (found - target).square().sum() / (energy if energy > 0 else 1)
