"""The numbers that are optimised, and how they make a picture: one flat vector of about unit scale."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from impasto.images.image import Image, Size

Parameters = Float[Tensor, " _count"]


@runtime_checkable
class Parameterisation(Protocol):
    """A change of variables: `decode(encode(image))` is the image, and `decode` is differentiable."""

    def encode(self, image: Image) -> Parameters:
        """The parameters of an image."""

    def decode(self, parameters: Parameters, size: Size) -> Image:
        """The image of parameters."""

    def project(self, parameters: Parameters) -> Parameters:
        """The nearest admissible parameters."""


@dataclass(frozen=True)
class Pixels:
    """The pixels themselves, kept in [0, 1]."""

    def encode(self, image: Image) -> Parameters:
        """Flatten."""
        return image.flatten()

    def decode(self, parameters: Parameters, size: Size) -> Image:
        """Reshape."""
        return parameters.reshape(1, 3, *size)

    def project(self, parameters: Parameters) -> Parameters:
        """Clip to [0, 1]."""
        return parameters.clamp(0, 1)


@dataclass(frozen=True)
class Fourier:
    """Fourier coefficients, each divided by frequency^-exponent: an image's natural spectrum becomes flat.

    Neighbouring pixels of a natural picture are correlated; these coefficients are not, so steps of equal length
    change large shapes as much as fine grain. Values may leave [0, 1]: add the `out_of_range` prior.
    Source: Olah, Mordvintsev & Schubert 2017 (distill.pub/2017/feature-visualization).
    Departs: no colour decorrelation, and exponent ½ because 1 inverts a layer less well.
    """

    exponent: float = 0.5

    def encode(self, image: Image) -> Parameters:
        """Transform and flatten the real and imaginary parts."""
        height, width = image.shape[-2:]
        spectrum = torch.fft.rfft2(image - 0.5, norm="ortho") / self._spectrum((height, width), image)
        flat: Tensor = torch.view_as_real(spectrum).flatten()
        return flat

    def decode(self, parameters: Parameters, size: Size) -> Image:
        """Transform back."""
        height, width = size
        coefficients = torch.view_as_complex(parameters.reshape(1, 3, height, width // 2 + 1, 2))
        spectrum = coefficients * self._spectrum(size, parameters)
        image: Tensor = torch.fft.irfft2(spectrum, s=size, norm="ortho") + 0.5
        return image

    def project(self, parameters: Parameters) -> Parameters:
        """Every vector is admissible."""
        return parameters

    def _spectrum(self, size: Size, like: Tensor) -> Tensor:
        """Amplitudes by frequency, of mean square 1, so that steps change the picture as much as steps of pixels."""
        rows = torch.fft.fftfreq(size[0], device=like.device, dtype=like.dtype)[:, None]
        columns = torch.fft.rfftfreq(size[1], device=like.device, dtype=like.dtype)[None]
        frequency = (rows.square() + columns.square()).sqrt().clamp_min(1 / max(size))
        amplitude = frequency.pow(-self.exponent)
        scaled: Tensor = amplitude / amplitude.square().mean().sqrt()
        return scaled
