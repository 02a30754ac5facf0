"""Small modules with the traps that are met in the field, one in each."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """A residual block as torchvision writes it: one rectifier in place for two calls, and `+=`."""

    def __init__(self, taken: int, given: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(taken, given, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(given)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(given, given, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(given)
        self.downsample = None
        if stride > 1 or taken != given:
            self.downsample = nn.Sequential(nn.Conv2d(taken, given, 1, stride, bias=False), nn.BatchNorm2d(given))

    def forward(self, maps: Tensor) -> Tensor:
        found = self.relu(self.bn1(self.conv1(maps)))
        found = self.bn2(self.conv2(found))
        found += maps if self.downsample is None else self.downsample(maps)
        return self.relu(found)


class Residual(nn.Module):
    """A small residual network, ending in a classifier."""

    def __init__(self, taken: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(taken, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = Block(8, 8, 1)
        self.layer2 = Block(8, 12, 2)
        self.layer3 = Block(12, 16, 2)
        self.fc = nn.Linear(16, 10)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(image))))))
        return self.fc(maps.mean((2, 3)))


class Fire(nn.Module):
    """Few channels, then many, by kernels of 1 × 1 and 3 × 3 side by side; names and order as in torchvision."""

    def __init__(self, taken: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze, self.squeeze_activation = nn.Conv2d(taken, squeezed, 1), nn.ReLU(inplace=True)
        self.expand1x1, self.expand1x1_activation = nn.Conv2d(squeezed, expanded, 1), nn.ReLU(inplace=True)
        self.expand3x3, self.expand3x3_activation = nn.Conv2d(squeezed, expanded, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.squeeze_activation(self.squeeze(maps))
        parts = self.expand1x1_activation(self.expand1x1(maps)), self.expand3x3_activation(self.expand3x3(maps))
        return torch.cat(parts, 1)


class Squeeze(nn.Module):
    """A small network of SqueezeNet's kind: no zeros around the first maps, and poolings that reach over the edge."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(6, 3, 4), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(8, 4, 5),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Conv2d(10, 7, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1))
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image)).flatten(1)


class SqueezeNet11(Squeeze):
    """SqueezeNet 1.1 with the layers of torchvision's, whose first layers have 64 channels and whose classes are 1,000.

    Source: Iandola et al. 2016 (arXiv:1602.07360).
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(64, 16, 64), Fire(128, 16, 64), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(128, 32, 128), Fire(256, 32, 128), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
        )  # fmt: skip
        self.classifier[1] = nn.Conv2d(512, 1000, 1)


class Tied(nn.Module):
    """One convolution under two names, called by both."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.second = self.first

    def forward(self, image: Tensor) -> Tensor:
        return self.second(self.first(image).tanh())


class Tuples(nn.Module):
    """A layer that gives a tuple, one that gives a table, and one whose tuple holds one tensor."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            maps = self.conv(image)
            return maps.sin(), maps.cos()

    class Table(nn.Module):
        def forward(self, maps: Tensor) -> dict[str, Any]:
            return {"state": maps * 2, "count": 3}

    class Lone(nn.Module):
        def forward(self, maps: Tensor) -> tuple[Tensor, None]:
            return maps.tanh(), None

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.table, self.lone = self.Pair(), self.Table(), self.Lone()

    def forward(self, image: Tensor) -> Tensor:
        first, second = self.pair(image)
        return self.lone(self.table(first + second)["state"])[0]


class Swallows(nn.Module):
    """A module that catches all exceptions of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.late_calls = 0

    def forward(self, image: Tensor) -> Tensor:
        try:
            maps = self.first(image)
        except Exception:
            maps = image.new_zeros(1, 4, *image.shape[2:])
        self.late_calls += 1
        return self.second(maps)


class Draws(nn.Module):
    """A module that draws random numbers, also in eval mode, and counts its calls in a buffer."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, image: Tensor) -> Tensor:
        self.count += 1
        maps = self.conv(image)
        return self.drop(maps + torch.randn(maps.shape, dtype=maps.dtype))


class Branches(nn.Module):
    """Control flow by the picture's shape and values, and tensors made in the call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.conv(image)
        if float(maps.detach().sum()) > 1e30 or image.shape[2] < 0:
            return maps
        return self.other(maps + torch.arange(maps.shape[3], dtype=maps.dtype))


class Transformer(nn.Module):
    """A vision transformer: patches by a convolution, prefix tokens, positions resampled to any size."""

    def __init__(self, prefix: int = 1, patch: int = 8, width: int = 12, side: int = 0, first: bool = False) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.prefix = nn.Parameter(torch.randn(1, prefix, width))
        self.positions = nn.Parameter(torch.randn(1, width, 4, 4))
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(width, 2, 16, batch_first=not first) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)
        self.side, self.tokens_first = side, first

    def forward(self, image: Tensor) -> Tensor:
        if self.side:
            assert image.shape[2:] == (self.side, self.side), f"pictures of {self.side} × {self.side} only"
        maps = self.embed(image)
        maps = maps + functional.interpolate(self.positions, size=maps.shape[2:], mode="bilinear")
        tokens = torch.cat([self.prefix, maps.flatten(2).transpose(1, 2)], dim=1)
        if self.tokens_first:
            tokens = tokens.transpose(0, 1)
        for block in self.blocks:
            tokens = block(tokens)
        if self.tokens_first:
            tokens = tokens.transpose(0, 1)
        return self.head(self.norm(tokens).mean(1))


class ChannelsLast(nn.Module):
    """Maps with channels last between two convolutions, as in ConvNeXt and Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.mix = nn.Conv2d(3, 6, 4, 4), nn.LayerNorm(6), nn.Linear(6, 9)
        self.windows = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        maps = self.mix(self.norm(self.stem(image).permute(0, 2, 3, 1)))
        seen = self.windows(maps.reshape(-1, maps.shape[2], maps.shape[3]))
        return seen.mean((0, 1))


class Attention(nn.Module):
    """Maps of attention: heads × positions × positions, which are no map of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.softmax = nn.Conv2d(3, 4, 16, 16), nn.Softmax(-1)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.embed(image).flatten(2)
        return self.softmax((tokens.transpose(1, 2) @ tokens)[:, None])


class Flattened(nn.Module):
    """A classifier that takes pictures of 28 × 28 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(4 * 14 * 14, 10)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.features(image)
        return self.head(maps.view(maps.shape[0], -1))


def scrambled(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 with statistics and biases away from 0 and 1, in train mode."""
    torch.manual_seed(seed)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            assert each.running_mean is not None
            assert each.running_var is not None
            each.running_mean.normal_()
            each.running_var.uniform_(0.5, 2)
            nn.init.normal_(each.bias)
    return module.double().train()
