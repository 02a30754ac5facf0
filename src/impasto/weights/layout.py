"""The layouts of VGG networks: how many convolutions each block has, and the names of the layers in the papers.

Source: Simonyan & Zisserman 2014 (arXiv:1409.1556), table 1, columns D and E.
"""

from collections.abc import Iterable
from typing import Literal

BLOCKS = {"VGG-16": (2, 2, 3, 3, 3), "VGG-19": (2, 2, 4, 4, 4)}
Colour = tuple[float, float, float]
Family = Literal["impasto", "caffe", "torchvision"]  # the conventions of colours; see `families.py`

CAFFE_MEAN: Colour = (123.68, 116.779, 103.939)  # RGB in 0 … 255; Simonyan & Zisserman's own
# torchvision's, for RGB in 0 … 1: https://docs.pytorch.org/vision/stable/models.html
IMAGENET_MEAN: Colour = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION: Colour = (0.229, 0.224, 0.225)


def vgg_layers(convolutions: Iterable[int]) -> tuple[str, ...]:
    """The papers' layer names in order: conv1_1, relu1_1, conv1_2, relu1_2, pool1, conv2_1 …

    `convolutions` are those of each block.
    """
    names: list[str] = []
    for block, count in enumerate(convolutions, start=1):
        for number in range(1, count + 1):
            names += [f"conv{block}_{number}", f"relu{block}_{number}"]
        names.append(f"pool{block}")
    return tuple(names)


def convolution_at(block: str, number: str) -> str:
    """The name of a block's convolution of that number, both counted from 1."""
    return f"conv{block}_{number}"


def convolution_names(convolutions: Iterable[int]) -> tuple[str, ...]:
    """The names of the convolutions, the layers that have weights."""
    return tuple(name for name in vgg_layers(convolutions) if name.startswith("conv"))
