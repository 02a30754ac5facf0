"""The pieces of compositions that show units: views for the settings, first pictures, and sizes that grow."""

from dataclasses import dataclass

from impasto.images.image import Image, Size, resize, size_of
from impasto.synthesis.composition import Views
from impasto.units.views import Seen, Shifted


def views(
    seed: int, *, shift_px: float, turn: float = 0.0, zoom: float = 1.0, closest: float = 1.0
) -> Views | None:
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
        return (resize(photo, size) + resize(image - resize(photo, size_of(image)), size)).clamp(0, 1)
