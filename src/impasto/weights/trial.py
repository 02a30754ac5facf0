"""A trial of weights whose file does not tell the range of colours that they take: 0 … 255, or standardised.

The last convolution of a trained VGG network answers photographs with a mean activation of about 1 after the ReLU,
whichever range the network was trained on: the classifier behind it starts from the same small weights. The wrong range
changes that answer some sixty times. VGG-16 as trained answers the picture of this trial with 0.9; standardised
pictures, with 0.08, as little as no picture at all; and 58 times too bright ones, with 50.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from impasto.images.image import Image
from impasto.images.noise import dead_leaves
from impasto.weights.layout import CAFFE_MEAN, IMAGENET_DEVIATION, IMAGENET_MEAN

SIDE = 96
SURE = math.log(2)  # by how much nearer to 1 the better of the two answers must be, as a logarithm
USUAL = math.log(12)  # how far from 1 an answer may be, as a logarithm

Convolutions = Sequence[tuple[Tensor, Tensor | None]]


def takes_bytes(convolutions: Convolutions, blocks: Sequence[int]) -> bool | None:
    """Whether the weights take colours in 0 … 255 minus a mean (True), or standardised ones (False); None if unclear.

    `convolutions` are kernels (out, in, 3, 3) and biases in order, `blocks` how many of them each block has.
    """
    generator = torch.Generator().manual_seed(0)
    picture = dead_leaves(SIDE, generator)
    bright = 255 * picture - _colour(CAFFE_MEAN)
    standard = (picture - _colour(IMAGENET_MEAN)) / _colour(IMAGENET_DEVIATION)
    far = [_from_one(answers(each, convolutions, blocks)[-1]) for each in (bright, standard)]
    if min(far) > USUAL or abs(far[0] - far[1]) < SURE:
        return None
    return far[0] < far[1]


@torch.no_grad()
def answers(prepared: Image, convolutions: Convolutions, blocks: Sequence[int]) -> list[float]:
    """The mean activation after the ReLU of each convolution, for a picture as the first convolution takes it."""
    maps, found, left = prepared, list[float](), iter(convolutions)
    for block, count in enumerate(blocks):
        if block:
            maps = functional.max_pool2d(maps, 2)
        for _ in range(count):
            kernel, bias = next(left)
            bias = None if bias is None else bias.float()
            maps = functional.relu(functional.conv2d(maps, kernel.float(), bias, padding=1))
            found.append(float(maps.mean()))
    return found


def _from_one(answer: float) -> float:
    return abs(math.log(answer)) if 0 < answer < math.inf else math.inf


def _colour(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).reshape(1, 3, 1, 1)
