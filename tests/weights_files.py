"""Files of a VGG network's weights as other programs write them, made with those programs' own libraries."""

from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import onnx
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from torch import Tensor, nn
from torch.nn import functional

from impasto.weights.layout import IMAGENET_DEVIATION, convolution_names, vgg_layers

Tensors = Mapping[str, Tensor]  # "conv1_1.weight" … for RGB in 0 … 255 minus a mean


def narrow(blocks: tuple[int, ...], width: int = 6, seed: int = 0) -> dict[str, Tensor]:
    """Random weights of few channels; their mean activations fall from 30 to 1 for noise in 0 … 255 minus grey."""
    generator, found = torch.Generator().manual_seed(seed), dict[str, Tensor]()
    maps = 255 * torch.rand(1, 3, 64, 64, generator=generator) - 127
    aims = iter(30 ** torch.linspace(1, 0, sum(blocks)))
    for name in vgg_layers(blocks):
        if name.startswith("pool"):
            maps = functional.max_pool2d(maps, 2)
        elif name.startswith("conv"):
            kernel = torch.randn(width, maps.shape[1], 3, 3, generator=generator)
            scale = next(aims) / functional.conv2d(maps, kernel, padding=1).relu().mean()
            bias = 0.1 * torch.rand(width, generator=generator)
            maps = functional.conv2d(maps, scale * kernel, bias, padding=1).relu()
            found |= {f"{name}.weight": scale * kernel, f"{name}.bias": bias}
    return found


def bgr(tensors: Tensors) -> dict[str, Tensor]:
    return {**tensors, "conv1_1.weight": tensors["conv1_1.weight"].flip(1)}


def standardised(tensors: Tensors) -> dict[str, Tensor]:
    deviation = torch.tensor(IMAGENET_DEVIATION, dtype=torch.float64).reshape(1, 3, 1, 1)
    return {**tensors, "conv1_1.weight": (tensors["conv1_1.weight"].double() * 255 * deviation).float()}


def torchvision_names(blocks: tuple[int, ...]) -> dict[str, str]:
    """conv1_1 → features.0, conv1_2 → features.2 …: torch's own modules, counted."""
    return {name: f"features.{index}" for index, name in enumerate(vgg_layers(blocks)) if name.startswith("conv")}


def save_torch(tensors: Tensors, blocks: tuple[int, ...], path: Path, *, legacy: bool = False) -> None:
    names = torchvision_names(blocks)
    state = {f"{names[key.partition('.')[0]]}.{key.partition('.')[2]}": tensor for key, tensor in tensors.items()}
    state |= {"classifier.0.weight": torch.ones(5, 4), "classifier.0.bias": torch.ones(5)}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)


def save_torchvision(tensors: Tensors, blocks: tuple[int, ...], path: Path) -> None:
    save_torch(standardised(tensors), blocks, path)


def save_caffe_in_torch(tensors: Tensors, blocks: tuple[int, ...], path: Path) -> None:
    """As J. Johnson's vgg19-d01eb7cb.pth: torchvision's names, Caffe's colours, the file format of 2017."""
    save_torch(bgr(tensors), blocks, path, legacy=True)


def save_keras(tensors: Tensors, blocks: tuple[int, ...], path: Path) -> None:
    """As Keras Applications' files: groups in alphabetical order, arrays "block1_conv1_W_1:0"."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"input_1"]
        for name in convolution_names(blocks):
            layer = f"block{name[4]}_conv{name[6]}"
            group = file.create_group(layer)
            group[f"{layer}_W_1:0"] = bgr(tensors)[f"{name}.weight"].permute(2, 3, 1, 0).numpy()
            group[f"{layer}_b_1:0"] = tensors[f"{name}.bias"].numpy()
        file["predictions/predictions_W_1:0"] = np.ones((4, 5), np.float32)


def save_keras3(tensors: Tensors, blocks: tuple[int, ...], path: Path) -> None:
    """As `model.save_weights("….weights.h5")` of Keras 3: layers/conv2d, layers/conv2d_1 …, with vars/0, vars/1."""
    with h5py.File(path, "w") as file:
        for number, name in enumerate(convolution_names(blocks)):
            group = file.create_group(f"layers/conv2d{f'_{number}' if number else ''}/vars")
            group["0"] = bgr(tensors)[f"{name}.weight"].permute(2, 3, 1, 0).numpy()
            group["1"] = tensors[f"{name}.bias"].numpy()
        file["layers/dense/vars/0"] = np.ones((4, 5), np.float32)
        file["optimizer/vars/0"] = np.ones((3, 3, 1, 1), np.float32)


def save_onnx(tensors: Tensors, blocks: tuple[int, ...], path: Path, *, raw: bool = True) -> None:
    """As `torch.onnx.export` of torchvision's network; initialisers stand in another order than the nodes."""
    nodes, stored, last = [], [], "input"
    for name in vgg_layers(blocks):
        if name.startswith("conv"):
            inputs = [last, f"{name}_w", f"{name}_b"]
            for key, tensor in zip(inputs[1:], ("weight", "bias"), strict=True):
                values = standardised(tensors)[f"{name}.{tensor}"].numpy()
                content = values.tobytes() if raw else values.flatten()
                stored.append(onnx.helper.make_tensor(key, 1, values.shape, content, raw=raw))
            nodes.append(onnx.helper.make_node("Conv", inputs, [name], pads=[1, 1, 1, 1]))
        elif name.startswith("relu"):
            nodes.append(onnx.helper.make_node("Relu", [last], [name]))
        else:
            nodes.append(onnx.helper.make_node("MaxPool", [last], [name], kernel_shape=[2, 2], strides=[2, 2]))
        last = name
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "vgg", [value("input", 1, (1, 3, 32, 32))], [value(last, 1, ("n", "c", "h", "w"))], stored[::-1]
    )
    model = onnx.helper.make_model(graph)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def save_onnx_values(tensors: Tensors, blocks: tuple[int, ...], path: Path) -> None:
    save_onnx(tensors, blocks, path, raw=False)


def save_caffe(tensors: Tensors, blocks: tuple[int, ...], path: Path, *, old: bool = True) -> None:
    """As Caffe writes a network; `old` is the format of 2014, in which the authors' files are."""
    network = _caffe()["NetParameter"](name="VGG")
    rows = network.layers if old else network.layer
    rows.add(name="data")
    for name in convolution_names(blocks):
        layer = rows.add(name=name)
        for key in ("weight", "bias"):
            values = bgr(tensors)[f"{name}.{key}"]
            blob = layer.blobs.add(data=values.flatten().tolist())
            if old:
                shape = (1,) * (4 - values.ndim) + tuple(values.shape)
                blob.num, blob.channels, blob.height, blob.width = shape
            else:
                blob.shape.dim.extend(values.shape)
    path.write_bytes(network.SerializeToString())


def save_new_caffe(tensors: Tensors, blocks: tuple[int, ...], path: Path) -> None:
    save_caffe(tensors, blocks, path, old=False)


def _caffe() -> dict[str, type]:
    """The messages of caffe.proto that hold weights, as Google's library makes them."""
    proto = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    kind = descriptor_pb2.FieldDescriptorProto

    def message(name: str, *fields: tuple[str, int, int, bool, str]) -> None:
        one = proto.message_type.add(name=name)
        for label, number, of, repeated, inner in fields:
            added = one.field.add(name=label, number=number, type=of, label=3 if repeated else 1)
            if inner:
                added.type_name = f".caffe.{inner}"
            elif repeated and of != kind.TYPE_STRING:
                added.options.packed = True

    message("BlobShape", ("dim", 1, kind.TYPE_INT64, True, ""))
    message(
        "BlobProto",
        *(
            (name, number, kind.TYPE_INT32, False, "")
            for number, name in enumerate(("num", "channels", "height", "width"), 1)
        ),
        ("data", 5, kind.TYPE_FLOAT, True, ""),
        ("shape", 7, kind.TYPE_MESSAGE, False, "BlobShape"),
    )
    message("V1", ("name", 4, kind.TYPE_STRING, False, ""), ("blobs", 6, kind.TYPE_MESSAGE, True, "BlobProto"))
    message("V2", ("name", 1, kind.TYPE_STRING, False, ""), ("blobs", 7, kind.TYPE_MESSAGE, True, "BlobProto"))
    message(
        "NetParameter",
        ("name", 1, kind.TYPE_STRING, False, ""),
        ("layers", 2, kind.TYPE_MESSAGE, True, "V1"),
        ("layer", 100, kind.TYPE_MESSAGE, True, "V2"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))
        for name in ("BlobShape", "BlobProto", "V1", "V2", "NetParameter")
    }


Writer = Callable[[Tensors, tuple[int, ...], Path], None]
WRITERS: dict[str, tuple[Writer, str]] = {  # the file's ending and its writer; the convention that must be recognised
    "torchvision.pth": (save_torchvision, "torchvision"),
    "caffe.pth": (save_caffe_in_torch, "caffe"),
    "keras.h5": (save_keras, "caffe"),
    "keras.weights.h5": (save_keras3, "caffe"),
    "raw.onnx": (save_onnx, "torchvision"),
    "values.onnx": (save_onnx_values, "torchvision"),
    "old.caffemodel": (save_caffe, "caffe"),
    "new.caffemodel": (save_new_caffe, "caffe"),
}


def modules(tensors: Tensors, blocks: tuple[int, ...]) -> nn.Sequential:
    """The network as torch's own modules, for colours in 0 … 255 minus a mean."""
    stack = nn.Sequential()
    for name in vgg_layers(blocks):
        if name.startswith("conv"):
            out, into = tensors[f"{name}.weight"].shape[:2]
            stack.append(nn.Conv2d(into, out, 3, padding=1))
            stack[-1].load_state_dict({key: tensors[f"{name}.{key}"] for key in ("weight", "bias")})
        else:
            stack.append(nn.ReLU() if name.startswith("relu") else nn.MaxPool2d(2))
    return stack
