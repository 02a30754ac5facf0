"""Checkpoints: files to resume a run from, written whole or not at all, and verified when they are read.

A checkpoint is one safetensors file: the tensors of a `State`, and in the metadata everything else as JSON with a
SHA-256 over both. Reading a checkpoint never executes code.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from impasto.errors import RunFolderError
from impasto.files import write_bytes
from impasto.folders.names import FOLDER
from impasto.synthesis.descent import Descent
from impasto.synthesis.loop import Iterate, State

KEPT = 2  # the newest, and the one before in case the newest is damaged
FORMAT = "impasto checkpoint 1"
TENSOR = "$tensor"
TYPES = {torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL"}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The progress of a run: the current part (counted from 0), its loop's state, and its seconds so far.

    `fingerprint` identifies the run's spec; a state cannot be used with another spec.
    """

    fingerprint: str
    part: int
    seconds: float
    state: State

    @property
    def step(self) -> int:
        """The step after which the checkpoint was taken, over all stages."""
        return self.state.steps + self.state.descent.step

    @property
    def evaluations(self) -> int:
        """Forward and backward passes up to the checkpoint."""
        return self.state.evaluations + self.state.descent.evaluations


class Checkpoints:
    """A recorder that saves a part's progress every `every_seconds`; 0: only when `save` is called.

    If writing is slow, as with very large pictures, checkpoints are written less often: they take at most a tenth of
    the time. `files` are flushed to disk first, so that after a power failure none of them is behind the checkpoint.
    `up_to_date` is true if no step has been taken since the newest checkpoint, or at all: a stop would lose no step.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        part: int,
        every_seconds: float,
        *,
        before: float = 0.0,
        files: Iterable[Path] = (),
    ) -> None:
        self._fingerprint = fingerprint
        self._folder, self._part, self._every, self._files = folder / FOLDER, part, every_seconds, tuple(files)
        self._last = time.monotonic()
        self._start = self._last - before
        self._took = 0.0
        self.up_to_date = True

    def record(self, iterate: Iterate) -> None:
        """Save if a checkpoint is due."""
        self.up_to_date = False
        if self._every and time.monotonic() - self._last >= max(self._every, 10 * self._took):
            self.save(iterate)

    def save(self, iterate: Iterate) -> None:
        """Write a checkpoint, then remove all but the newest. Raises OutputError."""
        begun = time.monotonic()
        for file in self._files:
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
        checkpoint = Checkpoint(self._fingerprint, self._part, time.monotonic() - self._start, iterate.state())
        self._folder.mkdir(exist_ok=True)
        write_checkpoint(checkpoint, self._folder / f"{self._part:03}-{checkpoint.step:07}.safetensors")
        for path in checkpoint_files(self._folder)[KEPT:]:
            path.unlink()
        self._last = time.monotonic()
        self._took = self._last - begun
        self.up_to_date = True

    def close(self) -> None:
        """Nothing is left to do."""


def checkpoint_files(folder: Path, part: int | None = None) -> list[Path]:
    """The checkpoints of one part, or of all parts, newest first."""
    return sorted(folder.glob("*.safetensors" if part is None else f"{part:03}-*.safetensors"), reverse=True)


def newest_checkpoint(folder: Path, part: int, device: torch.device) -> tuple[Checkpoint | None, list[Path]]:
    """The newest readable checkpoint of a part of a run, or None, and the paths of newer ones that are damaged."""
    damaged: list[Path] = []
    for path in checkpoint_files(folder / FOLDER, part):
        try:
            return read_checkpoint(path, device), damaged
        except RunFolderError:
            damaged.append(path)
    return None, damaged


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the file whole or not at all, flushed to disk. Raises OutputError."""
    tensors: dict[str, Tensor] = {}
    plain = json.dumps(_pack(checkpoint, tensors, {}))
    metadata = {"format": FORMAT, "state": plain, "sha256": _checksum(plain, tensors)}
    write_bytes(path, *_safetensors(tensors, metadata))


def _safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """The file's parts: its header, then the tensors' own memory; the library would copy them all first.

    Source: the format's description in the safetensors library; as there, wide types come first, so all are aligned.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts: list[bytes | memoryview] = []
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda each: (-each[1].element_size(), each[0])):
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        if tensor.numel():
            parts.append(memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *parts]


def read_checkpoint(path: Path, device: torch.device | None = None) -> Checkpoint:
    """Read and verify a checkpoint. Raises RunFolderError if the file is damaged or has another version's format."""
    try:
        with path.open("rb") as file:
            metadata, tensors = _read(file, path.stat().st_size)
        if metadata["format"] != FORMAT or metadata["sha256"] != _checksum(metadata["state"], tensors):
            raise ValueError
        tree = _unpack(json.loads(metadata["state"]), {key: tensor.to(device) for key, tensor in tensors.items()})
        state = tree.pop("state")
        return Checkpoint(**tree, state=State(**{**state, "descent": Descent(**state["descent"])}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RunFolderError(f"{path} is damaged") from None


def _read(file: BufferedReader, size: int) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file of `size` bytes, as `_safetensors` wrote them. Raises ValueError and others.

    The safetensors library would map the file into memory: unaligned tensors, whose sums PyTorch may round
    differently, or one more copy of each.
    """
    begin = 8 + (length := int.from_bytes(file.read(8), "little"))
    if begin > size:
        raise ValueError
    header = json.loads(file.read(length))
    metadata: dict[str, str] = header.pop("__metadata__")
    types, tensors = {name: kind for kind, name in TYPES.items()}, {}
    for name, about in sorted(header.items(), key=lambda each: each[1]["data_offsets"][0]):
        kind, shape = types[about["dtype"]], about["shape"]
        end = begin + math.prod(shape) * kind.itemsize
        offsets = [8 + length + offset for offset in about["data_offsets"]]
        if [begin, end] != offsets or end > size or min(shape, default=0) < 0:
            raise ValueError
        tensors[name] = torch.empty(shape, dtype=kind)
        if end > begin and file.readinto(tensors[name].reshape(-1).view(torch.uint8).numpy().data) != end - begin:
            raise ValueError
        begin = end
    if begin != size:
        raise ValueError
    return metadata, tensors


def _pack(value: Any, tensors: dict[str, Tensor], names: dict[tuple[int, ...], str]) -> Any:
    """The value as JSON data, with tensors replaced by their names and put into `tensors`, each once."""
    if isinstance(value, Tensor):
        identity = (value.data_ptr(), *value.shape, *value.stride())
        name = names.setdefault(identity, str(len(names)))
        tensors[name] = value.detach().cpu().contiguous()
        return {TENSOR: name}
    if isinstance(value, Mapping):
        return {key: _pack(each, tensors, names) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(each, tensors, names) for each in value]
    if isinstance(value, (Checkpoint, State, Descent)):
        return {each.name: _pack(getattr(value, each.name), tensors, names) for each in fields(value)}
    return value


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        return tensors[value[TENSOR]] if TENSOR in value else {key: _unpack(v, tensors) for key, v in value.items()}
    return [_unpack(each, tensors) for each in value] if isinstance(value, list) else value


def _checksum(plain: str, tensors: Mapping[str, Tensor]) -> str:
    checksum = hashlib.sha256(plain.encode())
    for name, tensor in sorted(tensors.items()):
        checksum.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        checksum.update(tensor.numpy().data)
    return checksum.hexdigest()
