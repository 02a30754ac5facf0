"""How good a result is, measured on the picture as it is saved."""

import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil
import torch

from impasto.images import Image, Size, size_of
from impasto.networks import Network
from impasto.passes import read
from impasto.tiles import cut


@torch.no_grad()
def feature_error(
    network: Network, image: Image, reference: Image, layers: Iterable[str], core: Size | None = None
) -> dict[str, float]:
    """Normalised error e = ‖Φ(x) − Φ₀‖ / ‖Φ₀‖ per layer, for images of equal size; 0 is perfect, 1 is an empty code.

    Give it a float32 network. Large pictures can be read in tiles that own at most `core` (height, width).
    Source: Mahendran & Vedaldi 2016 (arXiv:1512.02017), whose figures are this square root.
    """
    names = {layer: network.canonical(layer) for layer in layers}
    network.require_size(size_of(image), names)
    pictures = image.to(network.device), reference.to(network.device)
    missed, energy = dict.fromkeys(names.values(), 0.0), dict.fromkeys(names.values(), 0.0)
    for tile in cut(size_of(image), core or size_of(image), network, names.values()):
        both = zip(*(read(network, tile.crop.of(picture), names.values()) for picture in pictures), strict=True)
        for (layer, found), (_, target) in both:
            own, aim = (tile.inside.of(maps, network.stride(layer)) for maps in (found, target))
            missed[layer] += float((own - aim).norm()) ** 2
            energy[layer] += float(aim.norm()) ** 2
    return {layer: missed[name] ** 0.5 / max(energy[name] ** 0.5, 1e-30) for layer, name in names.items()}


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
