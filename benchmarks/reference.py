"""The reference: neural style transfer as usually implemented, for comparison only.

The standard Gram objective (Gatys et al. 2016 with Johnson's weights): content relu4_2, weight 5; style relu1_1 …
relu5_1, weight 100 each; Gram matrices divided by channels · positions; mean squared errors; no smoothness; plain
VGG-16; pixels in 0 … 255 minus mean; from the content picture; everything float32. It is optimised by PyTorch's own
L-BFGS with a strong Wolfe line search on pixels divided by 100: without a line search the first steps are chaotic.

The reference shares only the file of weights with impasto, and nothing here is slow on purpose.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

MEAN = torch.tensor([123.68, 116.779, 103.939]).reshape(1, 3, 1, 1)
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
CONTENT_WEIGHT, STYLE_WEIGHT = 5.0, 100.0
BLOCKS = (2, 2, 3, 3, 3)


def load(path: Path, long_side_px: int) -> Tensor:
    """A picture as (1, 3, height, width) in 0 … 255."""
    picture = Image.open(path).convert("RGB")
    factor = long_side_px / max(picture.size)
    picture = picture.resize((int(picture.width * factor), int(picture.height * factor)), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(picture).astype(np.float32)).permute(2, 0, 1)[None].contiguous()


def vgg16(weights: Path, deepest: str = "relu5_1") -> nn.ModuleDict:
    """The layers up to `deepest` by name, float32, without gradients of the weights."""
    tensors = load_file(weights)
    layers = nn.ModuleDict()
    for block, count in enumerate(BLOCKS, start=1):
        for number in range(1, count + 1):
            weight = tensors[f"conv{block}_{number}.weight"].float()
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            convolution.weight.data.copy_(weight)
            convolution.bias.data.copy_(tensors[f"conv{block}_{number}.bias"].float())  # type: ignore[union-attr]
            layers[f"conv{block}_{number}"] = convolution
            layers[f"relu{block}_{number}"] = nn.ReLU(inplace=True)
            if f"relu{block}_{number}" == deepest:
                return layers.requires_grad_(False)
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    return layers.requires_grad_(False)


def gram(features: Tensor) -> Tensor:
    rows = features.flatten(2)[0]
    return rows @ rows.T / rows.numel()


@dataclass(frozen=True, eq=False)
class Objective:
    """The loss of a picture in 0 … 255, with its targets."""

    network: nn.ModuleDict
    content: Tensor
    grams: dict[str, Tensor]
    style_weight: float = STYLE_WEIGHT

    @classmethod
    def of(cls, network: nn.ModuleDict, content: Tensor, style: Tensor) -> "Objective":
        with torch.no_grad():
            found = read(network, style)
            return cls(
                network,
                read(network, content)[CONTENT_LAYER],
                {layer: gram(found[layer]) for layer in STYLE_LAYERS},
            )

    def __call__(self, picture: Tensor) -> Tensor:
        features = read(self.network, picture)
        loss = CONTENT_WEIGHT * functional.mse_loss(features[CONTENT_LAYER], self.content)
        for layer, target in self.grams.items():
            loss = loss + self.style_weight * functional.mse_loss(gram(features[layer]), target)
        return loss


def read(network: nn.ModuleDict, picture: Tensor) -> dict[str, Tensor]:
    features = {}
    maps = picture - MEAN
    for name, layer in network.items():
        maps = layer(maps)
        features[name] = maps
    return features


def saved(picture: Tensor) -> Tensor:
    """The picture as read back from an 8-bit file."""
    return picture.detach().clamp(0, 255).round()


@dataclass(frozen=True, eq=False)
class Point:
    """Evaluations and seconds so far, the loss of the variable, and the picture."""

    evaluations: int
    seconds: float
    loss: float
    picture: Tensor


def optimise(objective: Objective, start: Tensor, evaluations: int) -> Iterator[Point]:
    """Yield a point for each evaluation."""
    variable = (start / 100).requires_grad_()
    optimiser = torch.optim.LBFGS(
        [variable],
        max_iter=evaluations,
        max_eval=evaluations,
        history_size=100,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    points: list[Point] = []
    begin = time.perf_counter()

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = objective(variable * 100)
        loss.backward()  # type: ignore[no-untyped-call]
        points.append(Point(len(points) + 1, time.perf_counter() - begin, loss.item(), variable.detach().clone() * 100))
        return loss

    optimiser.step(closure)
    yield from points
