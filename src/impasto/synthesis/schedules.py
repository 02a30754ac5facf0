"""Sizes and steps, as data."""

from dataclasses import dataclass

from impasto.errors import SpecError
from impasto.images.image import Size


@dataclass(frozen=True)
class Stage:
    """So many steps at one size, (height, width) in pixels.

    `history` is the most steps that an optimiser may remember there; None: as many as it likes.
    """

    size: Size
    steps: int
    history: int | None = None


Schedule = tuple[Stage, ...]


def single(size: Size, steps: int) -> Schedule:
    """All steps at one size."""
    return (Stage(size, steps),)


def octaves(size: Size, steps: int, *, smallest_px: int = 128, factor: float = 2.0, share: float = 0.5) -> Schedule:
    """From a small picture to the full size, each stage `factor` times larger than the one before.

    The longer side of the first stage has at least `smallest_px` pixels. The last stage takes `steps`, each earlier
    one 1/share times as many as the next: strokes are laid where steps are cheap, and only refined at full size.
    Raises SpecError for a factor that does not shrink or a share that is not positive.
    """
    if not (factor > 1 and share > 0):
        raise SpecError(f"octaves need a factor above 1 and a share above 0, not {factor} and {share}")
    sizes = [size]
    while max(sizes[0]) / factor >= smallest_px and min(sizes[0]) / factor >= 32:
        height, width = sizes[0]
        sizes.insert(0, (round(height / factor), round(width / factor)))
    count = len(sizes)
    return tuple(Stage(each, max(1, round(steps / share ** (count - 1 - k)))) for k, each in enumerate(sizes))
