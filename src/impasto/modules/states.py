"""The weights of a module: read from a file, and told apart by a hash."""

import hashlib
from pathlib import Path

import torch
from torch import nn

from impasto.errors import WeightsError


def load_state(module: nn.Module, file: Path, name: str) -> None:
    """Put the weights of a file into a module: safetensors, or a state that `torch.save` wrote; no code is run.

    Raises WeightsError if the file is missing, damaged, or of another network.
    """
    state = _read_state(file)
    own = module.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    other = [key for key in own if key in state and tuple(state[key].shape) != tuple(own[key].shape)]
    if missing or other:
        first = missing[0] if missing else other[0]
        raise WeightsError(
            f"{file} is not a file of {name}'s weights: {first} {'is missing' if missing else 'has another shape'}"
        )
    wrong = [key for key in own if key in state and not bool(torch.isfinite(state[key].float()).all())]
    if wrong:
        raise WeightsError(f"{file} is damaged: some of the numbers of {wrong[0]} are not finite")
    module.load_state_dict({key: state[key] for key in own if key in state}, strict=False)


def _read_state(file: Path) -> dict[str, torch.Tensor]:
    if not file.is_file():
        raise WeightsError(f"there is no file of weights at {file}")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        read = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{file} cannot be read as weights: {said}") from None
    for key in ("state_dict", "model"):
        if isinstance(read, dict) and isinstance(read.get(key), dict):
            read = read[key]
    if not isinstance(read, dict) or not all(isinstance(value, torch.Tensor) for value in read.values()):
        raise WeightsError(f"{file} holds no table of tensors; save the module's state_dict()")
    return read


def digest(module: nn.Module) -> str:
    """SHA-256 of all weights and buffers of a module, with their names and types."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, torch.Tensor):
            found.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
            found.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
