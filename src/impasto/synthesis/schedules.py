"""Schedules: the sizes of the picture and the number of steps at each."""

from dataclasses import dataclass, replace
from itertools import pairwise

from impasto.errors import SpecError
from impasto.images.image import Size


@dataclass(frozen=True)
class Stage:
    """A number of steps at one size, (height, width) in pixels.

    `history` limits the steps that the optimiser may remember during the stage; None: no limit.
    """

    size: Size
    steps: int
    history: int | None = None


Schedule = tuple[Stage, ...]
LEAST_FACTOR = 1.1  # with less, a small size rounds to the same size
BESIDE_PX = 16384  # what a step costs beside its pixels, as pixels: matrices of 512 × 512, measured on transfer


def single(size: Size, steps: int) -> Schedule:
    """All steps at one size."""
    return (Stage(size, steps),)


def octaves(size: Size, steps: int, *, smallest_px: int = 128, factor: float = 2.0, ratio: float = 0.5) -> Schedule:
    """From a small picture to the full size, each stage `factor` times larger than the one before.

    The longer side of the first stage has at least `smallest_px` pixels. The last stage takes `steps`, and each stage
    takes `ratio` times as many as the one before: strokes form while steps are cheap and are refined at full size.
    Raises SpecError if `factor` is below 1.1, so that rounded sizes always grow, or `ratio` is not above 0.
    """
    if not (factor >= LEAST_FACTOR and ratio > 0):
        raise SpecError(f"octaves need a factor from {LEAST_FACTOR} and a ratio above 0, not {factor} and {ratio}")
    sizes = [size]
    while max(sizes[0]) / factor >= smallest_px and min(sizes[0]) / factor >= 32:
        height, width = sizes[0]
        sizes.insert(0, (round(height / factor), round(width / factor)))
    count = len(sizes)
    return tuple(Stage(each, max(1, round(steps / ratio ** (count - 1 - k)))) for k, each in enumerate(sizes))


def share(schedule: Schedule, stage: int, step: int) -> float:
    """The fraction of all work, in (0, 1], that is done after a step of a stage; both count from 1.

    A step's work is its picture's pixels and a constant, so steps of small pictures count little.
    """
    work = [each.steps * (each.size[0] * each.size[1] + BESIDE_PX) for each in schedule]
    here = work[stage - 1] * min(1.0, step / schedule[stage - 1].steps)
    return (sum(work[: stage - 1]) + here) / sum(work)


def remaining(schedule: Schedule, step: int) -> Schedule:
    """The stages that are not over after `step` steps of them all, and the last one in any case."""
    for number, stage in enumerate(schedule[:-1]):
        step -= stage.steps
        if step < 0:
            return schedule[number:]
    return schedule[-1:]


def split(schedule: Schedule, parts: int) -> Schedule:
    """The schedule with its last stage in several parts of nearly equal steps.

    Each part is a stage: the optimiser starts afresh, and targets that depend on the picture are chosen anew.
    """
    *before, last = schedule
    ends = [last.steps * number // parts for number in range(parts + 1)]
    return (*before, *(replace(last, steps=b - a) for a, b in pairwise(ends) if b > a))
