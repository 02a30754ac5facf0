"""The statistics of photographs that the parameterisations of units rest on: colours, and amplitudes by frequency.

A picture is described by the logits of its colours, which any number is, so that every parameter gives colours in
range. A linear map makes the three colours of photographs uncorrelated: lightness, and two contrasts of hue.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional

from impasto.errors import ImageError
from impasto.files import bundled
from impasto.images.image import Image, Size

FILE = "spectrum.safetensors"  # made by benchmarks/measure_spectrum.py; see data/WEIGHTS.md
LEAST = 0.02  # colours are kept so far from 0 and 1, where logits have no limit
WINDOW_PX = 128  # side of the windows in which photographs are measured
LOWEST = 2  # frequency, in windows, below which the windows' own shape shows in what is measured
FALL = 1.2  # amplitudes below that frequency grow as f^-1.2, as they do from 2 to 4 in windows
Amplitudes = Float[Tensor, "3 _rows _columns"]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """`mean` (3,) of the logits; `colours` (3, 3), from uncorrelated colours to logits less their mean; `amplitude`
    (3, n + 1, n + 1), the root of the power at vertical and horizontal frequencies 0, 1, … n of 2 n cycles a pixel.
    """

    mean: Tensor
    colours: Tensor
    amplitude: Tensor

    def at(self, size: Size, like: Tensor) -> Amplitudes:
        """The amplitudes for `rfft2` of a picture of that size, for each uncorrelated colour of mean square 1."""
        height, width = size
        rows = torch.fft.fftfreq(height, device=like.device, dtype=like.dtype).abs()[:, None].expand(-1, width // 2 + 1)
        columns = torch.fft.rfftfreq(width, device=like.device, dtype=like.dtype).expand(height, -1)
        frequency = (rows.square() + columns.square()).sqrt().clamp_min(1 / max(size))
        least = LOWEST / (2 * (self.amplitude.shape[-1] - 1))
        closer = (least / frequency).clamp_min(1)  # the lowest frequency measured stands in for those below
        found = self._between(rows * closer, columns * closer) * closer.pow(FALL)
        power = found.square() * _times(size, like)
        scaled: Tensor = found / (power.sum((1, 2), keepdim=True) / (height * width)).sqrt()
        return scaled

    def _between(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The amplitudes at any frequencies, by interpolation between their logarithms."""
        known = self.amplitude.to(rows).clamp_min(1e-6).log()[None]
        places = torch.stack([columns, rows], dim=-1)[None] * 4 - 1  # frequencies 0 … ½ are places -1 … 1
        between = functional.grid_sample(known, places, mode="bilinear", padding_mode="border", align_corners=True)
        return between[0].exp()

    def plain(self, image: Image) -> Image:
        """The uncorrelated colours of a picture."""
        logits = image.clamp(LEAST, 1 - LEAST).logit() - self.mean.to(image)[:, None, None]
        return torch.einsum("ij,njhw->nihw", torch.linalg.inv(self.colours.to(image)), logits)

    def picture(self, plain: Image) -> Image:
        """The picture of uncorrelated colours, in [0, 1]."""
        logits = torch.einsum("ij,njhw->nihw", self.colours.to(plain), plain)
        return (logits + self.mean.to(plain)[:, None, None]).sigmoid()

    def tensors(self) -> dict[str, Tensor]:
        """The spectrum as a file keeps it."""
        return {"mean": self.mean, "colours": self.colours, "amplitude": self.amplitude.half()}


def photographic() -> Spectrum:
    """The spectrum of photographs that comes with impasto."""
    with safe_open(bundled(FILE), framework="pt") as file:
        return spectrum_of({name: file.get_tensor(name).float() for name in ("mean", "colours", "amplitude")})


def spectrum_of(tensors: Mapping[str, Tensor]) -> Spectrum:
    """The spectrum that a file keeps."""
    return Spectrum(tensors["mean"], tensors["colours"], tensors["amplitude"])


def measured(images: Iterable[Image]) -> Spectrum:
    """The spectrum of pictures, in windows of 128 px that overlap by half, each picture of the same weight.

    The windows are Hann's, because the edges of a plain window would count as structure; left and right, and up and
    down, are averaged, as if each picture were there mirrored too. Raises ImageError if a side is below 128 px.
    Source: Welch 1967; after Fel et al. 2023 (MACO, arXiv:2306.06805), section 3. Departs: windows, logits in place of
    colours, and amplitudes that serve any size and proportions.
    """
    count, mean = 0, torch.zeros(3, dtype=torch.float64)
    products = torch.zeros(3, 3, dtype=torch.float64)
    cross = torch.zeros(3, 3, WINDOW_PX, WINDOW_PX // 2 + 1, dtype=torch.complex128)

    for image in images:
        if min(image.shape[2:]) < WINDOW_PX:
            raise ImageError(f"a picture has {min(image.shape[2:])} px; the spectrum takes {WINDOW_PX} px or more")
        logits = image.double().clamp(LEAST, 1 - LEAST).logit()[0]
        waves = _waves(logits)
        cross += torch.einsum("nihw,njhw->ijhw", waves, waves.conj()) / len(waves)
        mean += logits.mean((1, 2))
        products += torch.einsum("ihw,jhw->ij", logits, logits) / logits[0].numel()
        count += 1
    if not count:
        raise ImageError("there is no picture to measure the spectrum of")

    mean, products = mean / count, products / count
    values, vectors = torch.linalg.eigh(products - mean[:, None] * mean)
    colours = (vectors * values.clamp_min(1e-6).sqrt()).flip(1)
    inverse = torch.linalg.inv(colours).to(cross.dtype)
    power = torch.einsum("ik,klhw,il->ihw", inverse, cross / count, inverse).real
    return Spectrum(mean.float(), colours.float(), _mirrored(power).sqrt().float())


def _waves(logits: Tensor) -> Tensor:
    """The Fourier transforms of all windows of a picture (3, height, width): (windows, 3, height, width)."""
    window = torch.hann_window(WINDOW_PX, dtype=torch.float64)
    window = window[:, None] * window
    window = window / window.square().mean().sqrt()
    step = WINDOW_PX // 2
    windows = logits.unfold(1, WINDOW_PX, step).unfold(2, WINDOW_PX, step).flatten(1, 2).transpose(0, 1)
    waves: Tensor = torch.fft.rfft2((windows - windows.mean((2, 3), keepdim=True)) * window, norm="ortho")
    return waves


def _mirrored(power: Tensor) -> Tensor:
    """The power at frequencies from 0 to ½, the mean of both vertical directions; 0 is taken from its neighbours."""
    half = WINDOW_PX // 2
    up, down = power[:, : half + 1], torch.cat([power[:, :1], power[:, half:].flip(1)], dim=1)
    mean = (up + down) / 2
    mean[:, 0, 0] = (mean[:, 0, 1] * mean[:, 1, 0]).sqrt()  # the windows' means are taken off
    return mean


def _times(size: Size, like: Tensor) -> Tensor:
    """How often each coefficient of `rfft2` occurs in the whole transform: twice, but for its edges."""
    count = torch.full((size[1] // 2 + 1,), 2.0, device=like.device, dtype=like.dtype)
    count[0] = 1
    if size[1] % 2 == 0:
        count[-1] = 1
    return count
