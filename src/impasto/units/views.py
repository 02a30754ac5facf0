"""Views: the picture slightly shifted, turned and enlarged anew in each evaluation.

A pattern that a unit answers to only in one exact place does not survive the views, so none is made.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from impasto.images.image import Image
from impasto.synthesis.composition import Look


@dataclass(frozen=True)
class Seen:
    """What the network sees in place of the picture: view `number` is drawn from the seed and the number alone.

    `shift_px` is the largest shift each way, `turn` the largest angle in degrees; the picture is enlarged by a factor
    from 1 / `zoom` to `zoom`. `closest` above 1 shows parts: the factor goes up to `closest` times that, and the part
    may lie anywhere in the picture. Beyond its edges the picture is continued by mid grey.
    Source: Olah, Mordvintsev & Schubert 2017; `closest` as in Fel et al. 2023 (arXiv:2306.06805). Departs: all in one
    resampling.
    """

    seed: int = 0
    shift_px: float = 12.0
    turn: float = 8.0
    zoom: float = 1.1
    closest: float = 1.0

    def __call__(self, number: int) -> Look:
        """View `number`, which gives pictures of the picture's own size."""
        return partial(self._seen, number)

    def _seen(self, number: int, image: Image) -> Image:
        """The view, resampled on the CPU: the gradients of accelerators differ from time to time."""
        generator = torch.Generator().manual_seed(hash_of(self.seed, number))
        drawn = torch.rand(5, generator=generator, dtype=torch.float64, device="cpu").mul(2).sub(1).tolist()
        height, width = image.shape[2:]
        factor = self.zoom ** drawn[0] * self.closest ** ((drawn[1] + 1) / 2)
        angle = math.radians(self.turn * drawn[2])
        room = max(0.0, 1 - 1 / factor) if self.closest > 1 else 0.0  # how far the middle of a part may lie outside
        down, across = (
            2 * self.shift_px / side * value + room * value
            for side, value in zip((height, width), drawn[3:], strict=True)
        )
        cosine, sine, ratio = math.cos(angle) / factor, math.sin(angle) / factor, height / width
        matrix = torch.tensor([[cosine, -sine * ratio, across], [sine / ratio, cosine, down]], dtype=torch.float64)
        return _resampled(image.cpu(), matrix).to(image.device)


@dataclass(frozen=True)
class Shifted:
    """Views that only shift the picture, as if it were repeated beyond its edges: nothing is resampled or lost."""

    seed: int = 0
    shift_px: int = 32

    def __call__(self, number: int) -> Look:
        """View `number`."""
        generator = torch.Generator().manual_seed(hash_of(self.seed, number))
        shifts = torch.randint(-self.shift_px, self.shift_px + 1, (2,), generator=generator, device="cpu").tolist()
        return lambda image: image.roll(shifts, (2, 3))


def hash_of(seed: int, number: int) -> int:
    """A seed for each pair of numbers, unrelated to those of other pairs. Source: SplitMix64 (Steele et al. 2014)."""
    mixed = (seed + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
    return (mixed ^ (mixed >> 31)) % 2**63


def _resampled(image: Image, matrix: Tensor) -> Image:
    """The picture read at the places that the matrix gives for a regular grid from -1 to 1; mid grey outside."""
    grid = functional.affine_grid(matrix.to(image)[None], list(image.shape), align_corners=False)
    return functional.grid_sample(image - 0.5, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + 0.5
