"""Whether a run can work, found out before anything is written, and one sentence where memory is short after all."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from impasto.errors import ImageError, OutOfMemoryError
from impasto.images import Picture
from impasto.metrics import free_memory
from impasto.networks import Network
from impasto.objectives import Match
from impasto.parts import Part
from impasto.representations import Representation, activations
from impasto.specs import RunSpec, Settings


def check(part: Part, network: Network, spec: RunSpec, pictures: list[Picture]) -> None:
    """Fail before anything is written: unknown layers, pictures too small, no memory for the first stage."""
    layers = layers_read(part)
    for path, picture in zip(spec.pictures, pictures, strict=True):
        try:
            network.require_size(picture.size, layers)
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None
    _require_memory(part, network, spec.settings)
    first = part.composition.schedule[0]
    try:
        part.composition.objective.bind(network, first.size)
    except ImageError as error:
        height, width = first.size
        sizes = [name for name in ("size", "smallest", "style_scale") if name in type(spec.settings).model_fields]
        larger = " or ".join(f"--{name.replace('_', '-')}" for name in sizes)
        raise ImageError(f"at {width} × {height} px {error}; choose a larger {larger}, or shallower layers") from None


def _require_memory(part: Part, network: Network, settings: Settings) -> None:
    """Refuse what cannot fit, before the system ends the program without a word."""
    height, width = part.composition.schedule[-1].size
    vectors = 12 + (0 if settings.optimiser == "adam" else 2 * settings.history)  # of the picture's size, float32
    needed = (
        height * width * (network.bytes_per_pixel(layers_read(part), layers_read(part, activations)) + 12 * vectors)
    )
    free = free_memory(network.device)
    if needed > free:
        fitting = max(1, int(settings.size * (0.9 * free / needed) ** 0.5))
        raise OutOfMemoryError(
            f"a result of {width} × {height} px needs about {needed / 1e9:.1f} GB of memory, "
            f"{free / 1e9:.1f} GB are free; --size {fitting} would fit"
        )


def layers_read(part: Part, represent: Representation | None = None) -> list[str]:
    """Those that the terms read, all or those of one representation."""
    terms = [term for term in part.composition.objective.terms if isinstance(term, Match)]
    return [layer for term in terms if represent in (None, term.represent) for layer in term.layers]


@contextmanager
def sentence_for_memory(settings: Settings) -> Iterator[None]:
    """Turn the several ways in which PyTorch says that memory is short into one."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(
            f"there is not enough memory for {settings.size} px; try --size {max(16, settings.size * 2 // 3)}"
        ) from None
