"""Files of weights, whatever program wrote them: recognised by their first bytes, and read without running code.

safetensors, PyTorch (.pth), Keras (.h5, .weights.h5), ONNX and Caffe (.caffemodel).
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from impasto.errors import WeightsError
from impasto.extras import import_extra
from impasto.weights.protobuf import Blob, MessageError, read_caffe, read_onnx
from impasto.weights.tensors import read_tensors

Kind = Literal["safetensors", "PyTorch", "Keras", "ONNX", "Caffe"]
HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # as PyTorch writes since 1.6, and before
DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, eq=False)
class Contents:
    """The tensors of a file, by the layer that owns them, and the file's metadata; layers are in the file's order."""

    path: Path
    kind: Kind
    layers: tuple[Blob, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_contents(path: Path) -> Contents:
    """Read a file of weights of any kind. Raises WeightsError: missing, of no known kind, cut off, or with code."""
    if not path.is_file():
        raise WeightsError(f"there is no file of weights at {path}")
    with path.open("rb") as file:
        first = file.read(16)
    if not first:
        raise WeightsError(f"{path} cannot be read as a file of weights: the file is empty")
    if first.startswith(HDF5):
        return Contents(path, "Keras", _read_keras(path))
    if first.startswith((ZIP, PICKLE)):
        return Contents(path, "PyTorch", _read_torch(path))
    if first[8:9] == b"{":
        tensors, metadata = read_tensors(path, "weights")
        return Contents(path, "safetensors", _by_owner(tensors), metadata)
    if first.lstrip()[:1] == b"<":
        raise WeightsError(f"{path} is a web page, not weights: the server sent a page in place of the file")
    return _read_messages(path)


def _read_messages(path: Path) -> Contents:
    reasons = list[str]()
    order: list[tuple[Kind, object]] = [("Caffe", read_caffe), ("ONNX", read_onnx)]
    for kind, read in order if path.suffix != ".onnx" else reversed(order):
        try:
            layers = read_caffe(path) if read is read_caffe else read_onnx(path)
        except MessageError as error:
            reasons.append(f"{kind}: {error}")
            continue
        if layers:
            return Contents(path, kind, tuple(layers))
    raise WeightsError(
        f"{path} cannot be read as a file of weights: this is no safetensors, PyTorch, Keras, ONNX or Caffe file, or "
        f"the file is cut off" + (f" ({'; '.join(reasons)})" if reasons else "")
    )


def _read_torch(path: Path) -> tuple[Blob, ...]:
    """The tensors of a state dict, also inside "state_dict" or "model". Only tensors are unpickled, never code."""
    if not _is_torch(path):
        raise WeightsError(f"{path} cannot be read as a file of weights: this is a zip file, but not PyTorch's")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path} cannot be read as a file of weights: the pickle is cut off, or holds more than tensors, which is "
            "never run; save the network's state_dict() alone"
        ) from None
    except Exception as error:  # whatever a reader makes of a damaged file
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} cannot be read as a file of weights: {why}") from None
    for name in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"{path} holds a {type(found).__name__}, not tensors by name; save a state_dict()")
    return _by_owner({str(name): tensor for name, tensor in found.items()})


def _is_torch(path: Path) -> bool:
    """Whether a zip file holds what PyTorch writes; True for a file that is no zip file, or a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except Exception:  # a damaged one: PyTorch's own reader says what is wrong
        return True


def _read_keras(path: Path) -> tuple[Blob, ...]:
    """All arrays of an HDF5 file that stand in groups of the same name or number, in natural order."""
    h5py = import_extra("h5py", f"the file {path.name}", "keras")
    found = dict[str, list[Tensor]]()

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and "optimizer" not in name and item.dtype.kind == "f":
            owner = re.sub(r"/vars$", "", name.rpartition("/")[0])
            found.setdefault(owner, []).append(torch.from_numpy(item[()].astype("float32")))

    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
    except Exception as error:  # whatever a reader makes of a damaged file
        raise WeightsError(f"{path} cannot be read as a file of weights: {error}") from None
    return tuple(Blob(name, tuple(found[name])) for name in sorted(found, key=natural))


def _by_owner(tensors: Mapping[str, Tensor]) -> tuple[Blob, ...]:
    """Tensors "features.0.weight", "features.0.bias" … by their layer, "features.0"; batch norms by themselves."""
    found = dict[str, list[Tensor]]()
    for name, tensor in tensors.items():
        if name.endswith("running_mean"):
            found[name] = []
        else:
            found.setdefault(name.rpartition(".")[0] or name, []).append(tensor)
    return tuple(Blob(name, tuple(found[name])) for name in sorted(found, key=natural))


def natural(name: str) -> list[str | int]:
    """A key that sorts numbers in names by their size: layer 2 before layer 10."""
    return [int(part) if part.isdigit() else part for part in DIGITS.split(name)]
