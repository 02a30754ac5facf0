"""Files of tensors, read and checked: weights and mean activations."""

from functools import cache
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from impasto.errors import WeightsError
from impasto.files import sha256


@cache
def _hash_of(path: Path, modified: float) -> str:
    return sha256(path)


def require_hash(path: Path, expected: str) -> None:
    """Raise WeightsError unless the bundled file at `path` has that SHA-256. Each file is hashed once in a process."""
    if _hash_of(path, path.stat().st_mtime) != expected:
        raise WeightsError(f"the bundled weights {path} are damaged (wrong SHA-256); install impasto again")


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite: their sum says so in a tenth of the time, unless the sum is too large."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def read_tensors(path: Path, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file and its metadata; `what` names the expected content in errors."""
    if not path.is_file():
        raise WeightsError(f"there is no file of {what} at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} cannot be read as a file of {what}: {error}") from None
    if not all(is_finite(tensor) for tensor in tensors.values()):
        raise WeightsError(f"{path} is damaged: some of its numbers are not finite")
    return tensors, metadata
