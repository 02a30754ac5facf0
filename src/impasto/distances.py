"""How two representations of the same shape differ: a scalar that is 0 exactly where they are equal."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Scalar = Float[Tensor, ""]
Distance = Callable[[Tensor, Tensor], Tensor]


def mean_squared_error(found: Tensor, target: Tensor) -> Scalar:
    """Average of the squared differences."""
    return functional.mse_loss(found, target)


def normalised_squared_error(found: Tensor, target: Tensor) -> Scalar:
    """‖a − b‖² / ‖b‖²: the share of the target's energy that is missed, comparable between layers and pictures.

    1 for found = 0. A target that is zero everywhere is compared without normalisation.
    Source: Mahendran & Vedaldi 2015 (arXiv:1412.0035), equation 2.
    """
    energy = torch.linalg.vector_norm(target).square()
    return functional.mse_loss(found, target, reduction="sum") / (energy if energy > 0 else 1)
