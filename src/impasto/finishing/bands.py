"""Large pictures in bands of rows, so that what is computed beside them stays small."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

ROWS = 256  # of a picture that are computed at a time


def bands(*maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same rows of each of the maps (…, height, width), from the first to the last."""
    return zip(*(torch.split(each, ROWS, -2) for each in maps), strict=True)


def in_bands(change: Callable[..., Tensor], *maps: Tensor) -> Tensor:
    """What `change` makes of the maps, computed band by band."""
    return torch.cat([change(*rows) for rows in bands(*maps)], -2)
