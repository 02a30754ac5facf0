"""Positions of an even lattice over a feature map, of which a part of the map may hold some."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.images.image import Size
from impasto.networks.steps import FeatureMap


@dataclass(frozen=True)
class Lattice:
    """Every `step`-th row and column of a map of that size, beginning with the first."""

    size: Size
    step: int

    @classmethod
    def over(cls, size: Size, most: int) -> "Lattice":
        """The finest lattice with at most `most` positions."""
        height, width = size
        step = max(1, math.isqrt(height * width // most))
        while -(-height // step) * -(-width // step) > most:
            step += 1
        return cls(size, step)

    @property
    def shape(self) -> Size:
        """Rows and columns of the lattice."""
        return -(-self.size[0] // self.step), -(-self.size[1] // self.step)

    def part(self, top: int, left: int, height: int, width: int) -> tuple[slice, slice]:
        """The lattice's rows and columns within a part of the map that begins at `top` and `left`."""
        rows = slice(-(-top // self.step), -(-(top + height) // self.step))
        return rows, slice(-(-left // self.step), -(-(left + width) // self.step))

    def of(self, maps: Tensor, top: int = 0, left: int = 0) -> Tensor:
        """A view of the lattice's positions in a part of the map (…, height, width) that begins at `top` and `left`."""
        return maps[..., -top % self.step :: self.step, -left % self.step :: self.step]


@dataclass(frozen=True)
class Sampling:
    """From a part of a map to the features at all positions of a lattice (positions, channels): 0 outside the part."""

    lattice: Lattice
    top: int = 0
    left: int = 0

    def __call__(self, features: FeatureMap) -> Tensor:
        """The features at the lattice's positions, in float32 at least."""
        here = self.lattice.of(features[0], self.top, self.left).permute(1, 2, 0)
        kind = torch.promote_types(here.dtype, torch.float32)
        found = here.new_zeros((*self.lattice.shape, here.shape[2]), dtype=kind)
        found[self._part(features)] = here.to(kind)
        return found.flatten(0, 1)

    def pull_back(self, features: FeatureMap, slope: Tensor, onto: FeatureMap | None) -> FeatureMap:
        """The gradient of Σ slope · features at the lattice's positions, added to `onto`."""
        onto = torch.zeros_like(features, memory_format=torch.channels_last) if onto is None else onto
        here = slope.reshape(*self.lattice.shape, -1)[self._part(features)].permute(2, 0, 1)
        self.lattice.of(onto[0], self.top, self.left).add_(here.to(onto.dtype))
        return onto

    def _part(self, features: FeatureMap) -> tuple[slice, slice]:
        return self.lattice.part(self.top, self.left, features.shape[2], features.shape[3])
