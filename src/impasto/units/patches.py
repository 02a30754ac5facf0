"""Which of many photos a unit answers to most strongly, and which part of each the answer comes from."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from impasto.errors import ImageError
from impasto.images.files import load_image
from impasto.images.gathering import pictures_below
from impasto.images.image import Image, resize, size_of, size_with_long_side
from impasto.networks.network import Network
from impasto.networks.passes import backward, forward
from impasto.units.responses import Unit

SHARE = 0.95  # of the gradient's energy along each axis lies in a patch; the rest is a faint rim
LEAST_PX = 24  # side of a patch, so that something is to be seen
PIECE = 0.15  # added on each side, of a patch's length


@dataclass(frozen=True, eq=False)
class Patch:
    """A part of a photo, `response` of the position that answers most, in the unit's own measure, and the file."""

    file: Path
    response: float
    image: Image


@dataclass(frozen=True)
class Album:
    """The photos in a folder and its subfolders, of which the `count` strongest are shown, read at `long_side_px`."""

    folder: Path
    count: int
    long_side_px: int

    def files(self) -> list[Path]:
        """The photos. Raises ImageError if there are none."""
        if not self.folder.is_dir():
            raise ImageError(f"{self.folder} is not a folder of photos")
        files, _ = pictures_below(self.folder)
        if not files:
            raise ImageError(f"{self.folder} has no photo; name a folder with pictures")
        return files


def strongest(network: Network, units: Iterable[Unit], files: Iterable[Path], album: Album) -> dict[Unit, list[Patch]]:
    """For each unit the photos that it answers to most, strongest first, one patch of each photo.

    `files` are those of the album, perhaps watched while they are read. Photos are as large as the pictures with which
    they are compared; each is opened once, and once more if it is among the strongest. Files that cannot be read, or
    are too small, are left out. Raises ImageError if none is left.
    """
    units = list(units)
    answers = {unit: _answer(network, unit) for unit in units}
    layers = {network.canonical(unit.layer) for unit in units}
    best: dict[Unit, list[tuple[float, int, Path]]] = {unit: [] for unit in units}

    for number, (file, image) in enumerate(_readable(files, network, units, album.long_side_px)):
        with torch.no_grad():
            features = network(image, layers)
            found = {unit: float(answers[unit](features[network.canonical(unit.layer)]).max()) for unit in units}
        for unit, value in found.items():
            heapq.heappush(best[unit], (value, -number, file))
            if len(best[unit]) > album.count:
                heapq.heappop(best[unit])

    if not all(best.values()):
        raise ImageError("none of the photos can be read, or all are too small for the layer")

    def patch(unit: Unit, file: Path, value: float) -> Patch:
        photo = _opened(file, album.long_side_px).to(network.device)
        return Patch(file, value, _patch(network, unit, answers[unit], photo))

    return {unit: [patch(unit, file, value) for value, _, file in sorted(best[unit], reverse=True)] for unit in units}


def _answer(network: Network, unit: Unit) -> Callable[[Tensor], Tensor]:
    return unit.response.places(network, network.canonical(unit.layer))


def _opened(file: Path, long_side_px: int) -> Image:
    image = load_image(file)
    return resize(image, size_with_long_side(size_of(image), long_side_px))


def _readable(
    files: Iterable[Path], network: Network, units: list[Unit], long_side_px: int
) -> Iterator[tuple[Path, Image]]:
    for file in files:
        try:
            image = _opened(file, long_side_px)
            network.require_size(size_of(image), [unit.layer for unit in units])
        except ImageError:
            continue
        yield file, image.to(network.device)


def _patch(network: Network, unit: Unit, answer: Callable[[Tensor], Tensor], image: Image) -> Image:
    """The part of the image that the strongest position's answer comes from: where its gradient is."""
    layer = network.canonical(unit.layer)

    def visit(name: str, features: Tensor, gradient: Tensor | None) -> Tensor:
        with torch.enable_grad():
            variable = features.detach().requires_grad_()
            (slope,) = torch.autograd.grad(answer(variable).max(), variable)
        return torch.empty_like(features, memory_format=torch.channels_last).copy_(slope)

    energy = backward(forward(network, image, {layer}), visit).square().sum((0, 1))
    rows, columns = _extent(energy.sum(1)), _extent(energy.sum(0))
    return image[:, :, rows, columns].cpu()


def _extent(energy: Tensor) -> slice:
    """The shortest span around the middle of the energy that holds `SHARE` of it, made a little wider."""
    length, total = len(energy), float(energy.sum())
    if not total > 0:
        return slice(0, length)
    below = energy.double().cumsum(0) / energy.double().sum()
    first, last = int((below < (1 - SHARE) / 2).sum()), int((below < (1 + SHARE) / 2).sum())
    wider = max(PIECE * (last - first), (LEAST_PX - (last - first)) / 2)
    return slice(max(0, round(first - wider)), min(length, round(last + 1 + wider)))
