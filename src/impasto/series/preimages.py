"""Many pre-images of one layer: the same inversion from several seeds, and how far apart the pictures are.

What a layer keeps, all pre-images share; what the layer does not see, each has in its own way. Both are measured at the
layer, at the other convolutions, and in pixels.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from impasto.amounts import parse_memory
from impasto.errors import SpecError
from impasto.events import Listener, silent
from impasto.files import save_json
from impasto.folders.names import RESULT
from impasto.folders.places import folder_name
from impasto.images.colours import from_pillow
from impasto.images.files import load_image, load_picture, save_image, to_pillow
from impasto.images.image import Image, Picture, psnr, resize, size_of
from impasto.images.sheets import contact_sheet
from impasto.networks.network import Network
from impasto.networks.steps import Convolution
from impasto.objectives.representations import activations
from impasto.runs.fitting import plan_memory
from impasto.runs.stopping import Stop
from impasto.series.bars import bars
from impasto.series.sweep import run_sweep
from impasto.tasks.parts import network_of
from impasto.tasks.spec import RunSpec, compose, framed
from impasto.tiles.budget import MemoryPlan, limits
from impasto.tiles.reading import Difference, read_once

FIGURE, MEASURES = "preimages.png", "preimages.json"
MOST = 32
AMPLIFIED = 3.0  # the deviation's brightness in the figure


@dataclass(frozen=True)
class Spread:
    """Pre-images at a layer: their error, and how far apart they are, both relative to the norm of the photo's map.

    Each is a root mean square, of all pictures or of all pairs.
    """

    error: float
    apart: float

    @property
    def own(self) -> float:
        """The fraction of the squared error that differs from seed to seed; the rest all pictures have in common.

        1 if the errors of different seeds are independent: then pictures are √2 times as far apart as from the target.
        """
        return self.apart**2 / (2 * self.error**2) if self.error > 0 else 0.0


@dataclass(frozen=True)
class Preimages:
    """Several inversions of one layer: by layer, and in pixels (in units of the range of colours)."""

    layer: str
    seeds: tuple[int, ...]
    layers: Mapping[str, Spread]
    pixels: Spread
    psnr: tuple[float, ...]

    @property
    def content(self) -> dict[str, Any]:
        """The measures as JSON holds them."""
        rows = {**self.layers, "pixels": self.pixels}
        return {
            "layer": self.layer,
            "seeds": list(self.seeds),
            "psnr": [value if math.isfinite(value) else None for value in self.psnr],
            "spread": {
                name: {"error": each.error, "apart": each.apart, "own": each.own} for name, each in rows.items()
            },
        }


def run_restarts(
    spec: RunSpec,
    count: int,
    out: Path | None = None,
    *,
    force: bool = False,
    stop: Stop = None,
    listener: Listener = silent,
) -> Path:
    """Invert one layer from `count` seeds, beginning with the spec's own, and return the folder.

    The folder is that of a sweep over `seed`, by default runs/preimages-PICTURE, and has preimages.png and
    preimages.json in addition. The same call continues after a stop. Raises SpecError for another number than 2 to 32,
    or if the first picture is not noise.
    """
    if not 2 <= count <= MOST:
        raise SpecError(f"{count} restarts were asked for; 2 to {MOST} are allowed")
    if spec.settings.init != "noise":
        raise SpecError(f"restarts differ in their noise alone, and --init is {spec.settings.init}; use --init noise")
    seeds = range(spec.settings.seed, spec.settings.seed + count)
    folder = out or Path("runs") / folder_name("preimages", spec.pictures)
    values = tuple(str(seed) for seed in seeds)
    run_sweep(spec, {"seed": values}, folder, force=force, stop=stop, listener=listener)
    photo = framed(spec, [load_picture(spec.pictures[0])])[0].image
    pictures = [load_image(folder / f"seed={seed}" / RESULT) for seed in seeds]
    found = measure(spec, photo, pictures, seeds)
    save_json(found.content, folder / MEASURES)
    save_image(_figure(found, photo, pictures), folder / FIGURE)
    return folder


def measure(spec: RunSpec, photo: Image, pictures: Sequence[Image], seeds: Iterable[int]) -> Preimages:
    """Measure pre-images of the spec's layer, within its memory; pictures are of one size."""
    network = network_of(spec.settings, "float32")
    (part,) = compose(spec, [Picture(photo)])
    allowed = limits(parse_memory(spec.settings.memory), spec.settings.tile, network.device)
    plan = plan_memory(part.composition, network, allowed, spec.settings)

    target = resize(photo, size_of(pictures[0]))
    layer = network.canonical(part.content_layers[0])
    layers = _spreads(plan, pictures, target, _shown(network, layer, min(size_of(target))))
    pixels = Spread(
        _root(float((picture - target).square().mean()) for picture in pictures),
        _root(float((one - other).square().mean()) for one, other in combinations(pictures, 2)),
    )
    return Preimages(layer, tuple(seeds), layers, pixels, tuple(psnr(picture, target) for picture in pictures))


def _spreads(plan: MemoryPlan, pictures: Sequence[Image], target: Image, layers: Sequence[str]) -> dict[str, Spread]:
    """The spread at each layer; all distances are relative to the norm of the target's map there."""
    errors = [_differences(plan, picture, target, layers) for picture in pictures]
    apart = [_differences(plan, one, other, layers) for one, other in combinations(pictures, 2)]
    energy = {name: max(errors[0][name].energy, 1e-30) for name in layers}
    return {
        name: Spread(
            _root(found[name].missed / energy[name] for found in errors),
            _root(found[name].missed / energy[name] for found in apart),
        )
        for name in layers
    }


def _shown(network: Network, layer: str, side: int) -> list[str]:
    """The convolutions and the inverted layer, in order, as far as a picture of that side reaches."""
    named = [each.name for each in network.layers.values() if isinstance(each.step, Convolution) or each.name == layer]
    return [name for name in named if network.smallest_side([name]) <= side]


def _differences(plan: MemoryPlan, picture: Image, reference: Image, layers: Sequence[str]) -> dict[str, Difference]:
    """How the pictures' maps differ at each layer."""
    device, core = plan.network.device, plan.core(size_of(picture), history=0)
    keys = [(name, activations) for name in layers]
    _, found = read_once(plan.network, picture.to(device), core=core, reference=reference.to(device), compared=keys)
    return {name: found[key] for name, key in zip(layers, keys, strict=True)}


def _root(squares: Iterable[float]) -> float:
    values = list(squares)
    return math.sqrt(sum(values) / len(values))


def _figure(found: Preimages, photo: Image, pictures: Sequence[Image]) -> Image:
    """The photo, all pre-images, their mean, their deviation, and bars for each layer, on one sheet."""
    stack = torch.cat(list(pictures))
    mean, deviation = stack.mean(0, keepdim=True), stack.std(0, keepdim=True)
    shown = [("the photo", resize(photo, size_of(pictures[0])))]
    shown += [
        (f"seed {seed}\n{decibels:.1f} dB", picture)
        for seed, decibels, picture in zip(found.seeds, found.psnr, pictures, strict=True)
    ]
    shown += [
        (f"mean of the {len(pictures)}\n{psnr(mean, shown[0][1]):.1f} dB", mean),
        (f"where they differ\ndeviation, {AMPLIFIED:g} times as bright", (AMPLIFIED * deviation).clamp(0, 1)),
    ]
    chart = bars({name: {"error": each.error, "apart": each.apart} for name, each in found.layers.items()})
    sheet = [(caption, to_pillow(picture)) for caption, picture in shown]
    sheet.append(
        ("distance from the photo, and from one another\nroot mean square, relative to the photo's map", chart)
    )
    title = f"{len(pictures)} pre-images of {found.layer}"
    return from_pillow(contact_sheet(sheet, columns=min(5, len(sheet)), title=title))
