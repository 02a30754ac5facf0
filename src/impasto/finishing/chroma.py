"""A photo's colours put back on a painting of it: the painting keeps its lightness, and colours end at its edges.

The photo's chroma is smoothed where the painting's lightness is smooth, and changes where that changes: a guided filter
(He, Sun & Tang 2010), computed at a small size (He & Sun 2015, "Fast guided filter") and applied at full size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from impasto.finishing.bands import ROWS
from impasto.finishing.oklab import from_oklab, to_oklab
from impasto.images.image import Image, Size, resize, size_of, size_with_long_side

GUIDE_PX = 768  # long side of the pictures that the filter is computed from, at most
REACH = 0.01  # of the long side: radius of the filter's boxes
STEP = 0.06  # difference of lightness that counts as an edge


@dataclass(frozen=True, eq=False)
class PutBack:
    """Gives paintings of a photo, of any size, the photo's colours."""

    photo: Image

    def __call__(self, painting: Image) -> Image:
        """The painting (1 3 h w) with its own lightness and the photo's chroma."""
        slopes = self._slopes(painting)
        bands = range(0, painting.shape[2], ROWS)
        return torch.cat([self._band(painting, slopes, top) for top in bands], 2)

    def _slopes(self, painting: Image) -> Tensor:
        """Chroma as a linear function of lightness around each place: two slopes and two offsets (1 4 h w)."""
        size = size_of(painting)
        small = size_with_long_side(size, min(GUIDE_PX, max(size)))
        lightness = to_oklab(resize(painting, small))[:, :1]
        chroma = to_oklab(resize(self.photo.to(painting), small))[:, 1:]
        radius = max(1, round(REACH * max(small)))
        mean, mean_chroma = _box(lightness, radius), _box(chroma, radius)
        variance = _box(lightness.square(), radius) - mean.square()
        slope = (_box(lightness * chroma, radius) - mean * mean_chroma) / (variance + STEP**2)
        return _box(torch.cat([slope, mean_chroma - slope * mean], 1), radius)

    def _band(self, painting: Image, slopes: Tensor, top: int) -> Image:
        lightness = to_oklab(painting[:, :, top : top + ROWS])[:, :1]
        here = _rows(slopes, size_of(painting), top, lightness.shape[2])
        return from_oklab(torch.cat([lightness, here[:, :2] * lightness + here[:, 2:]], 1))


def _box(maps: Tensor, radius: int) -> Tensor:
    """Means over squares of 2·radius + 1 pixels; at borders over the part inside."""
    down = functional.avg_pool2d(maps, (2 * radius + 1, 1), 1, (radius, 0), count_include_pad=False)
    return functional.avg_pool2d(down, (1, 2 * radius + 1), 1, (0, radius), count_include_pad=False)


def _rows(maps: Tensor, size: Size, top: int, count: int) -> Tensor:
    """Some rows of maps as if these were enlarged to `size`, between pixels linearly."""
    factor = maps.shape[2] / size[0]
    at = ((torch.arange(top, top + count, device=maps.device) + 0.5) * factor - 0.5).clamp(0, maps.shape[2] - 1)
    upper = at.floor().long()
    lower = (upper + 1).clamp(max=maps.shape[2] - 1)
    weight = (at - upper)[None, None, :, None].to(maps)
    rows = maps[:, :, upper] * (1 - weight) + maps[:, :, lower] * weight
    return functional.interpolate(rows, (count, size[1]), mode="bilinear", align_corners=False)
