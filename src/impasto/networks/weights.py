"""Where a network's weights come from: the bundled file, checked by its hash, or a file of the user's."""

from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from impasto.errors import WeightsError
from impasto.files import bundled, sha256
from impasto.networks.vgg import CONVOLUTIONS, VGG16_SHA256, vgg_layers


@cache
def _bundled_is_whole(path: Path, modified: float) -> bool:
    return sha256(path) == VGG16_SHA256


def load_weights(path: Path | None = None) -> dict[str, Tensor]:
    """VGG-16's weights, float32, for RGB in 0 … 255 minus mean: "conv1_1.weight" (out, in, 3, 3), "conv1_1.bias" (out).

    None means the bundled file, whose hash is checked. Raises WeightsError: missing, damaged, or another network's.
    """
    file = path or bundled("vgg16.safetensors")
    tensors, _ = read_tensors(file, "weights")
    if path is None and not _bundled_is_whole(file, file.stat().st_mtime):
        raise WeightsError(f"the bundled weights {file} are damaged (wrong SHA-256); install impasto again")
    channels = 3
    layers = [layer for layer in vgg_layers(CONVOLUTIONS["vgg16"]) if layer.startswith("conv")]
    for layer in layers:
        weight, bias = tensors.get(f"{layer}.weight"), tensors.get(f"{layer}.bias")
        if weight is None or bias is None or weight.shape[1:] != (channels, 3, 3) or bias.shape != weight.shape[:1]:
            raise WeightsError(f"{file} is not a file of VGG-16's weights: {layer} is missing or has another shape")
        channels = weight.shape[0]
    # A classifier that the file may hold as well is left out.
    return {f"{layer}.{kind}": tensors[f"{layer}.{kind}"].float() for layer in layers for kind in ("weight", "bias")}


def read_tensors(path: Path, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file and its metadata; `what` says in an error what the file should hold."""
    if not path.is_file():
        raise WeightsError(f"there is no file of {what} at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} cannot be read as a file of {what}: {error}") from None
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise WeightsError(f"{path} is damaged: some of its numbers are not finite")
    return tensors, metadata
