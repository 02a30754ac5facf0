"""`impasto networks check`: whether weights answer a photograph as a trained network does, and if not, what is wrong.

Two marks of a trained network are looked for. The last convolution answers a photograph with a mean activation of about
1 (see `trial.py`), so a wrong range of colours shows. And the first kernels see blue least: the norm of those for red
is 1.13 times that of those for blue in VGG-16, 1.37 times in SqueezeNet 1.1, 1.22 times in EfficientNet-Lite0, so a
swapped order shows. The second mark needs no picture; pictures tell the order in only four cases of five.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.images.image import Image, resize, size_of
from impasto.weights.families import ABOUT, Filters
from impasto.weights.layout import BLOCKS
from impasto.weights.trial import SURE, USUAL, answers

SIDE_PX = 224  # the pictures that VGG networks were trained on
STANDARD = 58.0  # a colour in 0 … 255 over a standardised one: 255 times ImageNet's mean deviation
SWAPPED = 0.95  # of blue's norm; below it, red is weaker than in any of the networks above


@dataclass(frozen=True)
class Findings:
    """What was found: facts, and problems, each a sentence; no problems if the weights serve."""

    facts: tuple[str, ...]
    problems: tuple[str, ...]


def check(filters: Filters, photo: Image) -> Findings:
    """Facts and problems of a network's weights, from their answers to a photograph of any size in [0, 1]."""
    blocks = BLOCKS[filters.title]
    chain = [
        (tensor, filters.tensors[f"{key.partition('.')[0]}.bias"])
        for key, tensor in filters.tensors.items()
        if key.endswith("weight")
    ]
    prepared = 255 * _small(photo) - torch.tensor(filters.mean).reshape(1, 3, 1, 1)
    own, faint, bright = (answers(prepared * factor, chain, blocks) for factor in (1, 1 / STANDARD, STANDARD))
    red, blue = _strength(chain[0][0])

    count = sum(tensor.numel() for tensor in filters.tensors.values())
    facts = (
        f"{filters.title}, {sum(blocks)} convolutions, {count:,} numbers",
        f"written for {ABOUT[filters.family]}; mean colour {', '.join(f'{value:.4g}' for value in filters.mean)}",
        f"mean activations after each ReLU: {', '.join(f'{value:.3g}' for value in own)}",
        f"norm of the first kernels, red over blue: {red / max(blue, 1e-12):.2f}",
    )
    problems = [_dead(chain), _range(own[-1], faint[-1], bright[-1]), _order(red, blue)]
    return Findings(facts, tuple(problem for problem in problems if problem is not None))


def _small(photo: Image) -> Image:
    """The photograph with a long side of SIDE_PX, and no side below 32 px."""
    height, width = size_of(photo)
    scale = SIDE_PX / max(height, width)
    return resize(photo, (max(32, round(height * scale)), max(32, round(width * scale))))


def _strength(kernels: Tensor) -> tuple[float, float]:
    """The norms of the first kernels' weights for red and for blue."""
    red, _, blue = kernels.double().square().sum((0, 2, 3)).sqrt().tolist()
    return red, blue


def _dead(chain: list[tuple[Tensor, Tensor]]) -> str | None:
    empty = [number for number, (kernel, _) in enumerate(chain, start=1) if not kernel.any()]
    if not empty:
        return None
    return f"the kernels of convolution {', '.join(map(str, empty))} are all 0: the file is damaged or was never filled"


def _range(own: float, faint: float, bright: float) -> str | None:
    """A sentence if another range of colours gives a more usual answer, or none gives one."""
    far, *others = (abs(math.log(value)) if 0 < value < math.inf else math.inf for value in (own, faint, bright))
    if far <= USUAL and far < min(others) + SURE:
        return None
    if min(others) > USUAL:
        return f"the last mean activation is {own:.3g}, where trained networks have about 1: are the weights trained?"
    wider, family = ("0 … 1", "torchvision") if others[0] < others[1] else ("0 … 255", "caffe")
    return (
        f"the range of colours is wrong: the last mean activation is {own:.3g}, and would be about 1 for colours in "
        f"{wider}; convert the original file with --family {family}"
    )


def _order(red: float, blue: float) -> str | None:
    if red >= SWAPPED * blue:
        return None
    return (
        f"red and blue seem to be swapped: the first kernels see red {red / blue:.2f} times as strongly as blue, where "
        "trained networks have more than 1; convert the original file with another --family"
    )
