"""Checks made before anything is written, and one sentence for all errors of memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from impasto.errors import ImageError, OutOfMemoryError
from impasto.images.image import Picture
from impasto.tasks.parts import Part
from impasto.tasks.spec import RunSpec
from impasto.tiles.budget import MemoryPlan

SIZES = ("size", "smallest", "style_scale")  # settings that enlarge pictures


def check(part: Part, plan: MemoryPlan, spec: RunSpec, pictures: list[Picture]) -> None:
    """Raise an error for unknown layers, pictures that are too small, or too little memory even for tiles."""
    objective, network = part.composition.objective, plan.network
    for layer in spec.settings.named_layers:  # also those of a weight of 0, at which results are measured
        network.canonical(layer)
    for path, picture in zip(spec.pictures, pictures, strict=True):
        try:
            network.require_size(picture.size, objective.layers())
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None
    plan.require(part.composition.schedule[-1].size)
    first = part.composition.schedule[0]
    try:
        objective.require(network, first.size)
    except ImageError as error:
        height, width = first.size
        larger = " or ".join(
            f"--{name.replace('_', '-')}" for name in SIZES if name in type(spec.settings).model_fields
        )
        raise ImageError(f"at {width} × {height} px {error}; choose a larger {larger}, or shallower layers") from None


@contextmanager
def sentence_for_memory(size_px: int) -> Iterator[None]:
    """Turn all errors of PyTorch about memory into one OutOfMemoryError, for a result of that long side."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(
            f"there is not enough memory for {size_px} px; try --size {max(16, size_px * 2 // 3)}, "
            "or a smaller --memory, which makes smaller tiles"
        ) from None
