"""Parameterisations in which steps of equal length change a picture as photographs vary: in colour and frequency."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.images.image import Image, Size, size_of
from impasto.synthesis.parameterisations import Parameters
from impasto.units.spectrum import Spectrum

TURN = 4.0  # radians of phase for a parameter of 1: a step of 0.05 turns waves by 0.2


@dataclass(frozen=True, eq=False)
class Natural:
    """Fourier coefficients of uncorrelated colours, each divided by its amplitude in photographs.

    Parameters of mean square 1 give a picture with a photograph's contrast. Colours are always in range.
    Source: Olah, Mordvintsev & Schubert 2017 (distill.pub/2017/feature-visualization). Departs: amplitudes and colours
    are measured, where theirs are 1 / frequency and ImageNet's colours.
    """

    spectrum: Spectrum

    def encode(self, image: Image) -> Parameters:
        """Transform, divide, and flatten the real and imaginary parts."""
        waves = torch.fft.rfft2(self.spectrum.plain(image), norm="ortho") / self.spectrum.at(size_of(image), image)
        flat: Tensor = torch.view_as_real(waves).flatten()
        return flat * math.sqrt(2)

    def decode(self, parameters: Parameters, size: Size) -> Image:
        """Transform back."""
        parts = parameters.reshape(1, 3, size[0], size[1] // 2 + 1, 2) / math.sqrt(2)
        waves = torch.view_as_complex(parts) * self.spectrum.at(size, parameters)
        return self.spectrum.picture(torch.fft.irfft2(waves, s=size, norm="ortho"))

    def project(self, parameters: Parameters) -> Parameters:
        """Every vector is admissible."""
        return parameters


@dataclass(frozen=True, eq=False)
class Phases:
    """The phases alone: every picture has the amplitudes of photographs at all frequencies.

    No frequency can take the picture over, so no penalty is needed, even for deep layers.
    `decode(encode(image))` is the image with the amplitudes exchanged.
    Source: Fel et al. 2023 (MACO, arXiv:2306.06805), section 3. Departs: as `Natural`, and pictures of any proportions.
    """

    spectrum: Spectrum

    def encode(self, image: Image) -> Parameters:
        """The phases of the transform, in turns of 4 radians."""
        waves = torch.fft.rfft2(self.spectrum.plain(image), norm="ortho")
        flat: Tensor = waves.angle().flatten() / TURN
        return flat

    def decode(self, parameters: Parameters, size: Size) -> Image:
        """Transform back."""
        angles = TURN * parameters.reshape(1, 3, size[0], size[1] // 2 + 1)
        amplitudes = self.spectrum.at(size, parameters)
        waves = torch.complex(amplitudes * angles.cos(), amplitudes * angles.sin())
        return self.spectrum.picture(torch.fft.irfft2(waves, s=size, norm="ortho"))

    def project(self, parameters: Parameters) -> Parameters:
        """Every vector is admissible."""
        return parameters


@dataclass(frozen=True, eq=False)
class Faint:
    """First pictures: noise with a photograph's statistics, and `contrast` times a photograph's contrast.

    Drawn on the CPU, so that all devices start from the same picture.
    """

    spectrum: Spectrum
    seed: int
    contrast: float

    def __call__(self, size: Size) -> Image:
        """The picture of that size."""
        generator = torch.Generator().manual_seed(self.seed)
        count = 3 * size[0] * (size[1] // 2 + 1) * 2
        drawn = torch.randn(count, generator=generator, dtype=torch.float32, device="cpu")
        return Natural(self.spectrum).decode(self.contrast * drawn, size)
