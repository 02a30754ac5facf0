"""Weights in files of Caffe and ONNX: the few fields of protocol buffers that hold them, read without other packages.

A message is a series of fields, each a number and a value; https://protobuf.dev/programming-guides/encoding/ has the
encoding. The numbers of the fields are those of `caffe.proto` and of `onnx.proto`. Nothing in such a file is run.
"""

import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ONNX_TYPES: dict[int, type[np.generic]] = {1: np.float32, 10: np.float16, 11: np.float64}  # TensorProto.DataType
# The field of a tensor's values where they are not raw bytes.
ONNX_VALUES: dict[int, tuple[int, type[np.generic]]] = {1: (4, np.float32), 11: (10, np.float64)}


class Blob(NamedTuple):
    """A layer's name and its tensors in order: a convolution's kernel, then its bias."""

    name: str
    tensors: tuple[Tensor, ...]


class MessageError(ValueError):
    """The bytes are not the message that was expected."""


def fields(message: memoryview) -> Iterator[tuple[int, "int | memoryview"]]:
    """Each field's number and value: a number, or bytes that are not copied. Raises MessageError."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                value, at = _varint(message, at)
                yield key >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(message, at)
            case 5:
                size = 4
            case kind:
                raise MessageError(f"there is no field of kind {kind}")
        if size > end - at:
            raise MessageError("the file ends within a field")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number written 7 bits a byte, least first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise MessageError("the file ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise MessageError("a number is too long")


def _inner(message: memoryview, number: int) -> Iterator[memoryview]:
    """The messages in the fields of that number."""
    for key, value in fields(message):
        if key == number and isinstance(value, memoryview):
            yield value


def _text(message: memoryview, number: int) -> str:
    return next((bytes(value).decode("utf-8", "replace") for value in _inner(message, number)), "")


def _numbers(message: memoryview, number: int) -> list[int]:
    """Whole numbers of a repeated field, written one by one or packed together."""
    found = list[int]()
    for key, value in fields(message):
        if key != number:
            continue
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            one, at = _varint(value, at)
            found.append(one)
    return found


def read_caffe(path: Path) -> list[Blob]:
    """The layers of a .caffemodel that have tensors, in order, of either format (`layers` and `layer`)."""
    found = list[Blob]()
    with _Opened(path) as content:
        for key, value in fields(content):
            if not isinstance(value, memoryview) or key not in (2, 100):
                continue
            name, blobs = (4, 6) if key == 2 else (1, 7)  # V1LayerParameter, LayerParameter
            tensors = tuple(_caffe_tensor(blob) for blob in _inner(value, blobs))
            if tensors:
                found.append(Blob(_text(value, name), tensors))
    return found


def _caffe_tensor(blob: memoryview) -> Tensor:
    """A BlobProto: its shape as one list, or in old files as four numbers, of which leading ones are left out."""
    shape, old, values = list[int](), dict[int, int](), list[np.ndarray]()
    for key, value in fields(blob):
        if isinstance(value, int):
            old[key] = value
        elif key == 7:
            shape = _numbers(value, 1)
        elif key in (5, 8):
            values.append(_array(value, np.float32 if key == 5 else np.float64))
    if not shape:
        shape = [old.get(number, 1) for number in (1, 2, 3, 4)]
        while len(shape) > 1 and shape[0] == 1:
            shape = shape[1:]
    return _shaped(np.concatenate(values) if values else np.empty(0, np.float32), shape)


def read_onnx(path: Path) -> list[Blob]:
    """The convolutions of an ONNX file in the order of its nodes, and the kinds of its other nodes that have weights.

    A name is that of the kernel. Raises MessageError also if the tensors are kept in another file.
    """
    with _Opened(path) as content:
        graph = next(_inner(content, 7), None)
        if graph is None:
            raise MessageError("it has no graph")
        stored = {_text(each, 8): each for each in _inner(graph, 5)}
        found = list[Blob]()
        for node in _inner(graph, 1):
            inputs = [bytes(name).decode("utf-8", "replace") for name in _inner(node, 1)]
            own = [name for name in inputs if name in stored]
            kind = _text(node, 4)
            if own and kind == "Conv":
                found.append(Blob(own[0], tuple(_onnx_tensor(stored[name]) for name in own)))
            elif own and kind == "BatchNormalization":
                found.append(Blob(f"{own[0]}.running_mean", ()))
    return found


def _onnx_tensor(tensor: memoryview) -> Tensor:
    kind = next(iter(_numbers(tensor, 2)), 0)
    if kind not in ONNX_TYPES:
        raise MessageError(f"a tensor has numbers of kind {kind}")
    if any(_inner(tensor, 13)):
        raise MessageError("its tensors are kept in another file; save the model as one file")
    raw = next(_inner(tensor, 9), None)
    number, plain = ONNX_VALUES.get(kind, (0, np.float32))
    values = [_array(raw, ONNX_TYPES[kind])] if raw is not None else [_array(v, plain) for v in _inner(tensor, number)]
    return _shaped(np.concatenate(values) if values else np.empty(0, np.float32), _numbers(tensor, 1))


def _array(content: memoryview, kind: type[np.generic]) -> np.ndarray:
    if len(content) % np.dtype(kind).itemsize:
        raise MessageError("a tensor ends within a number")
    return np.frombuffer(content, np.dtype(kind).newbyteorder("<"))


def _shaped(values: np.ndarray, shape: list[int]) -> Tensor:
    if math.prod(shape) != values.size:
        raise MessageError(f"a tensor of shape {tuple(shape)} has {values.size} numbers")
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


class _Opened:
    """A file's bytes, mapped and not read, while they are in use."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def __enter__(self) -> memoryview:
        return memoryview(self._map)

    def __exit__(self, *_: object) -> None:
        self._file.close()  # the map is closed once nobody holds a piece of it
