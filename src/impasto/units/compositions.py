"""The pieces of compositions that show units: views, a direction from a file, and pictures that grow on a photo."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor
from torch.nn import functional

from impasto.errors import ImageError, WeightsError
from impasto.images.files import load_image
from impasto.images.image import Image, Size, resize, size_of
from impasto.synthesis.composition import Views
from impasto.units.views import Seen, Shifted


def views(seed: int, *, shift_px: float, turn: float = 0.0, zoom: float = 1.0, closest: float = 1.0) -> Views | None:
    """Views that change with each evaluation; None if all of them would show the picture as it is."""
    if turn == 0 and zoom == 1 and closest == 1:
        return Shifted(seed, round(shift_px)) if shift_px >= 1 else None
    return Seen(seed, shift_px, turn, zoom, closest)


@dataclass(frozen=True, eq=False)
class OnTopOf:
    """Enlarges what was painted on a photo, and puts it onto the photo at the larger size, whose detail stays."""

    photo: Image

    def __call__(self, image: Image, size: Size) -> Image:
        """The picture at another size."""
        if size_of(image) == size:
            return image
        photo = self.photo.to(image)
        painted = image - resize(photo, size_of(image))  # signed, so that it is not clipped to [0, 1]
        larger = functional.interpolate(painted, size=size, mode="bicubic", antialias=True, align_corners=False)
        return (resize(photo, size) + larger).clamp(0, 1)


def read_direction(file: Path) -> Tensor:
    """A direction's numbers (channels,), or a photo (1, 3, height, width), from a file.

    Raises ImageError or WeightsError if the file is neither a picture nor one vector in a safetensors file.
    """
    if file.suffix.lower() != ".safetensors":
        try:
            return load_image(file)
        except ImageError as error:
            raise ImageError(f"the direction is no picture and no safetensors file: {error}") from None
    try:
        tensors = list(load(file.read_bytes()).values())
    except FileNotFoundError:
        raise WeightsError(f"there is no file {file}") from None
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{file} cannot be read as a direction: {error}") from None
    if len(tensors) != 1 or tensors[0].ndim != 1 or not tensors[0].isfinite().all() or not tensors[0].any():
        raise WeightsError(
            f"{file} holds no direction; save one vector with a finite number for each channel, not all 0"
        )
    return tensors[0].float()
