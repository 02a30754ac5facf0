"""The direction of a feature from a centre: what a cosine compares."""

from torch import Tensor
from torch.nn import functional

from impasto.networks.passes import wide

LEAST_LENGTH = 1e-12  # of a feature that has a direction


def directions(features: Tensor, centre: Tensor) -> Tensor:
    """The direction of each feature from `centre` (channels,), a vector of length 1, in float32 or float64.

    Features are rows (positions, channels) or a map (1, channels, height, width); directions have the same shape.
    """
    return functional.normalize(apart(features, centre), dim=1, eps=LEAST_LENGTH)


def apart(features: Tensor, centre: Tensor) -> Tensor:
    """The features less `centre` (channels,), in float32 or float64; rows or a map, as for `directions`."""
    found = wide(features)
    return found - centre.to(found).reshape(-1, *[1] * (found.ndim - 2))
