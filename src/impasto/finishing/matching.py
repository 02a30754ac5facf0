"""One picture's colours given to another: means and covariances in Oklab made equal, or lightness alone."""

import torch
from torch import Tensor

from impasto.finishing.bands import bands, in_bands
from impasto.finishing.oklab import from_oklab, to_oklab
from impasto.images.image import Alpha, Image

LEAST = 1e-5  # added to variances, so that a plain colour has a spread; a third of a level of 8 bits, squared
MOST_GAIN = 3.0  # by which a spread of colours may grow: noise of a grey picture must not become colour
COLOURLESS = 0.01  # root mean square of the chroma below which a picture counts as grey


def matched(image: Image, reference: Image, visible: Alpha | None = None, own: Alpha | None = None) -> Image:
    """The image with its colours changed by one linear map, so that mean and covariance are the reference's in Oklab.

    Pixels of the reference count as much as they are `visible`, those of the image as much as `own` says; by default
    all count alike.
    Of all such maps this one changes colours least. Source: Pitié & Kokaram 2007, "The linear Monge-Kantorovitch linear
    colour mapping". Departs: Oklab in place of CIELAB; no spread grows more than MOST_GAIN times.
    """
    (mean, spread), (wanted_mean, wanted_spread) = moments(image, own), moments(reference, visible)
    root = _power(spread, 0.5)
    change = _power(spread, -0.5) @ _power(root @ wanted_spread @ root, 0.5) @ _power(spread, -0.5)
    gains, directions = torch.linalg.eigh(change)
    change = directions * gains.clamp(max=MOST_GAIN) @ directions.T

    def mapped(lab: Tensor) -> Tensor:
        moved = torch.einsum("ij,njhw->nihw", change, lab.double() - _column(mean)) + _column(wanted_mean)
        return moved.to(lab)

    return in_bands(lambda rows: from_oklab(mapped(to_oklab(rows))), image)


def lightness_matched(image: Image, reference: Image, visible: Alpha | None = None, own: Alpha | None = None) -> Image:
    """The image in grey; its lightness has the mean and the spread of the reference's. Pixels count as for `matched`.

    Source: Gatys et al. 2016 (arXiv:1606.05897), "Preserving Color in Neural Artistic Style Transfer", section 3.2.
    Departs: Oklab's lightness in place of YIQ's luminance.
    """
    (mean, spread), (wanted_mean, wanted_spread) = moments(image, own), moments(reference, visible)
    gain = float((wanted_spread[0, 0] / spread[0, 0]).sqrt().clamp(max=MOST_GAIN))

    def moved(rows: Image) -> Image:
        return _grey(gain * (to_oklab(rows)[:, :1] - float(mean[0])) + float(wanted_mean[0]))

    return in_bands(moved, image)


def grey(image: Image) -> Image:
    """The image without chroma; its lightness in Oklab stays."""
    return in_bands(lambda rows: _grey(to_oklab(rows)[:, :1]), image)


def moments(image: Image, visible: Alpha | None = None) -> tuple[Tensor, Tensor]:
    """Mean (3) and covariance (3 × 3) of a picture's colours in Oklab, in float64; `visible` weights pixels."""
    total, squares = torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    for rows, *shown in bands(image) if visible is None else bands(image, visible):
        lab = to_oklab(rows)[0].flatten(1).double().cpu()
        seen = lab * shown[0][0].flatten(1).double().cpu() if shown else lab
        total, squares = total + seen.sum(1), squares + seen @ lab.T
    count = image.shape[2] * image.shape[3] if visible is None else float(visible.double().sum())
    mean = total / count
    return mean, squares / count - torch.outer(mean, mean) + LEAST * torch.eye(3, dtype=torch.float64)


def is_grey(image: Image, visible: Alpha | None = None) -> bool:
    """Whether a picture has no colours to speak of, where it is `visible`."""
    mean, spread = moments(image, visible)
    return float((mean[1:].square() + spread.diagonal()[1:] - LEAST).sum()) < COLOURLESS**2


def _grey(lightness: Tensor) -> Image:
    return from_oklab(torch.cat([lightness, torch.zeros_like(lightness), torch.zeros_like(lightness)], 1))


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    power: Tensor = vectors * values.clamp(min=1e-12).pow(exponent) @ vectors.T
    return power


def _column(numbers: Tensor) -> Tensor:
    return numbers[None, :, None, None]
