"""How good a result is, measured on the picture as it is saved."""

import math
import re
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from impasto.images import Image, Size, size_of
from impasto.networks import FeatureMap, Network
from impasto.passes import read
from impasto.tile_passes import Key, Statistics
from impasto.tiles import Window, cut


class Difference(NamedTuple):
    """Of two feature maps: Σ (found − target)², Σ target², and how many numbers they have."""

    missed: float
    energy: float
    numbers: int

    @property
    def error(self) -> float:
        """Normalised: ‖found − target‖ / ‖target‖."""
        return math.sqrt(self.missed) / max(math.sqrt(self.energy), 1e-30)


@torch.no_grad()
def read_once(
    network: Network,
    image: Image,
    keys: Collection[Key] = (),
    core: Size | None = None,
    *,
    reference: Image | None = None,
    layers: Collection[str] = (),
) -> tuple[Statistics, dict[str, Difference]]:
    """A picture's statistics, and at `layers` (canonical names) its differences from a reference of the same size.

    Each picture is read in one pass, in tiles that own at most `core` (height, width), by default whole.
    """
    size, every = size_of(image), {*layers, *(layer for layer, _ in keys)}
    network.require_size(size, every)
    whole, statistics = Window(0, size[0], 0, size[1]), Statistics()
    sums = {layer: Difference(0.0, 0.0, 0) for layer in layers}
    for tile in cut(size, core or size, network, every) if every else ():
        targets: dict[str, FeatureMap] = {}
        if reference is not None:
            for layer, maps in read(network, tile.crop.of(reference), layers):
                targets[layer] = tile.inside.of(maps, network.stride(layer)).clone()
        for layer, maps in read(network, tile.crop.of(image), every):
            stride = network.stride(layer)
            own = tile.inside.of(maps, stride)
            if layer in targets:
                aim, so_far = targets.pop(layer), sums[layer]
                missed, energy = float((own - aim).norm()) ** 2, float(aim.norm()) ** 2
                sums[layer] = Difference(so_far.missed + missed, so_far.energy + energy, so_far.numbers + aim.numel())
            for key in keys:
                if key[0] == layer:
                    share = key[1](own) * (tile.core.positions(stride) / whole.positions(stride))
                    statistics[key] = statistics[key] + share if key in statistics else share
    return statistics, sums


def feature_error(
    network: Network, image: Image, reference: Image, layers: Iterable[str], core: Size | None = None
) -> dict[str, float]:
    """Normalised error e = ‖Φ(x) − Φ₀‖ / ‖Φ₀‖ per layer, for images of equal size; 0 is perfect, 1 is an empty code.

    Give it a float32 network. Large pictures can be read in tiles that own at most `core` (height, width).
    Source: Mahendran & Vedaldi 2016 (arXiv:1512.02017), whose figures are this square root.
    """
    names = {layer: network.canonical(layer) for layer in layers}
    there, aim = image.to(network.device), reference.to(network.device)
    _, differences = read_once(network, there, (), core, reference=aim, layers=set(names.values()))
    return {layer: differences[name].error for layer, name in names.items()}


def psnr(image: Image, reference: Image) -> float:
    """Peak signal-to-noise ratio in dB, for images of equal size in [0, 1]; infinite where they are equal."""
    error = float((image.cpu() - reference.cpu()).square().mean())
    return 10 * math.log10(1 / error) if error > 0 else math.inf


def free_memory(device: torch.device) -> float:
    """Bytes that can still be had on the device; for those that do not say, no bound."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available) if device.type == "cpu" else math.inf


def peak_memory_mb(device: torch.device) -> float:
    """The most memory in use so far in MB: on the accelerator where there is one, else by the whole process."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    if sys.platform == "win32":
        return round(psutil.Process().memory_info().peak_wset / 1e6, 1)
    status = Path("/proc/self/status")  # unlike what getrusage says it is not the parent's where that was larger
    if status.exists() and (found := re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)):
        return round(int(found[1]) * 1024 / 1e6, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)
