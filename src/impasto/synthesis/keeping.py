"""A region that stays as a photo has it, whatever the parameters are."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from impasto.images.image import Image, Size, resize, size_of
from impasto.objectives.weightmaps import stretched
from impasto.synthesis.composition import Finish
from impasto.synthesis.parameterisations import Parameterisation, Parameters


@dataclass(frozen=True, eq=False)
class Keeping:
    """Another parameterisation whose picture has a photo laid over it: opaque where `where` is 1, absent where it is 0.

    The network sees the photo there, so that the paint beside it fits; at soft edges both are mixed. Both the photo and
    `where` (1, 1, height, width), in [0, 1], are stretched over the picture.
    """

    inner: Parameterisation
    photo: Image
    where: Tensor
    _ready: dict[tuple[Size, torch.device, torch.dtype], tuple[Image, Tensor]] = field(default_factory=dict, init=False)

    def encode(self, image: Image) -> Parameters:
        """The inner parameters of an image."""
        return self.inner.encode(image)

    def decode(self, parameters: Parameters, size: Size) -> Image:
        """The inner image, with the photo over it."""
        image = self.inner.decode(parameters, size)
        return torch.lerp(image, *self._at(image))

    def project(self, parameters: Parameters) -> Parameters:
        """The nearest admissible inner parameters."""
        return self.inner.project(parameters)

    def _at(self, image: Image) -> tuple[Image, Tensor]:
        """The photo and its opacity, made once for each size; those of earlier sizes are forgotten."""
        key = (size_of(image), image.device, image.dtype)
        if key not in self._ready:
            self._ready.clear()
            self._ready[key] = _stretched_over(self.photo, self.where, image)
        return self._ready[key]


@dataclass(frozen=True, eq=False)
class KeepingLast:
    """Another finish, which changes colours everywhere, with a photo laid over its picture as by `Keeping`."""

    inner: Finish
    photo: Image
    where: Tensor

    def __call__(self, image: Image) -> Image:
        """The finished image, with the photo over it."""
        image = self.inner(image)
        return torch.lerp(image, *_stretched_over(self.photo, self.where, image))


def _stretched_over(photo: Image, where: Tensor, image: Image) -> tuple[Image, Tensor]:
    """A photo and its opacity, in the size of an image."""
    size = size_of(image)
    return resize(photo, size).to(image), stretched(where, size).to(image)
