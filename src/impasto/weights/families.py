"""From a file of any family to weights in one convention: names, order of axes, order of colours, and range.

The convention is RGB in 0 … 255 minus a mean colour, kernels as (out, in, height, width). Families differ in all four;
what a file's names and shapes do not tell is told by a trial (`trial.py`), and never guessed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from impasto.errors import WeightsError
from impasto.weights.containers import Contents, read_contents
from impasto.weights.layout import (
    BLOCKS,
    CAFFE_MEAN,
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    Colour,
    Family,
    convolution_at,
    convolution_names,
)
from impasto.weights.sources import known_family
from impasto.weights.tensors import is_finite
from impasto.weights.trial import takes_bytes

POSITION = re.compile(r"(?:^|[./_])(?:conv|block)(\d)_(?:conv)?(\d)(?=$|[./_])")
ABOUT: Mapping[Family, str] = {
    "impasto": "RGB in 0 … 255 minus a mean",
    "caffe": "BGR in 0 … 255 minus a mean, as Caffe, Keras and the authors have it",
    "torchvision": "RGB in 0 … 1, minus a mean, over a deviation, as torchvision has it",
}


class Filter(NamedTuple):
    """A convolution's kernel (out, in, height, width) and its bias (out), None if there is none."""

    name: str
    kernel: Tensor
    bias: Tensor | None


@dataclass(frozen=True, eq=False)
class Filters:
    """Weights of a VGG network for RGB in 0 … 255 minus `mean`: "conv1_1.weight", "conv1_1.bias" … in float32.

    `family` is the convention that the file had.
    """

    title: str
    tensors: Mapping[str, Tensor]
    mean: Colour
    family: Family

    @property
    def metadata(self) -> dict[str, str]:
        """What a file of these weights says of itself."""
        return {"network": self.title, "mean": " ".join(f"{value:g}" for value in self.mean), "family": self.family}


def read_filters(path: Path, title: str | None = None, family: Family | None = None) -> Filters:
    """The weights of a VGG network from a file of any family; without a `title`, of whichever network it is.

    `family` overrides the recognition. Raises WeightsError: not readable, of another network, or not to be recognised.
    """
    contents = read_contents(path)
    found = _filters(contents)
    title = title or _title_of(found, path)
    chain = _in_order(found, title, path)
    if not all(is_finite(tensor) for each in chain for tensor in each[1:] if tensor is not None):
        raise WeightsError(f"{path} is damaged: some of its numbers are not finite")
    family = family or _family_of(contents, chain, title)
    first, mean = chain[0], CAFFE_MEAN
    match family:
        case "impasto":
            mean = _mean_in(contents)
        case "caffe":
            chain[0] = first._replace(kernel=first.kernel.flip(1))
        case "torchvision":
            deviation = torch.tensor(IMAGENET_DEVIATION, dtype=torch.float64).reshape(1, 3, 1, 1)
            chain[0] = first._replace(kernel=(first.kernel.double() / (255 * deviation)).float())
            mean = tuple(255 * value for value in IMAGENET_MEAN)  # type: ignore[assignment]
    tensors: dict[str, Tensor] = {}
    for each in chain:
        assert each.bias is not None
        tensors |= {f"{each.name}.weight": each.kernel.float().contiguous(), f"{each.name}.bias": each.bias.float()}
    return Filters(title, tensors, mean, family)


def _filters(contents: Contents) -> list[Filter]:
    """The convolutions with kernels of 3 × 3, in the file's order; a classifier is left out."""
    for layer in contents.layers:
        if layer.name.endswith("running_mean") or len(layer.tensors) == 4:
            raise WeightsError(
                f"{contents.path} has batch normalisation ({layer.name}), which VGG-16 and VGG-19 have not; give the "
                "weights of a network without"
            )
    found = list[Filter]()
    for name, tensors in contents.layers:
        kernel = next((tensor for tensor in tensors if tensor.ndim == 4), None)
        if kernel is None:
            continue
        if contents.kind == "Keras":
            kernel = _out_of_keras(kernel, contents.path)
        if kernel.shape[2:] == (3, 3):
            bias = next((tensor.flatten() for tensor in tensors if tensor.ndim < 4), None)
            found.append(Filter(name, kernel, bias))
    return found


def _out_of_keras(kernel: Tensor, path: Path) -> Tensor:
    """Keras keeps kernels as (height, width, in, out). Those of Theano were flipped, and nothing in them says so."""
    if kernel.shape[:2] != (3, 3) and kernel.shape[2:] == (3, 3):
        raise WeightsError(f"{path} has kernels in Theano's order, which may be flipped; give the file for TensorFlow")
    return kernel.permute(3, 2, 0, 1)


def _title_of(found: Sequence[Filter], path: Path) -> str:
    for title, blocks in BLOCKS.items():
        if len(found) == sum(blocks):
            return title
    known = ", ".join(f"{title} has {sum(blocks)}" for title, blocks in BLOCKS.items())
    raise WeightsError(f"{path} has {len(found)} convolutions of 3 × 3; {known}")


def _in_order(found: Sequence[Filter], title: str, path: Path) -> list[Filter]:
    """The convolutions by the papers' names, from names that tell the place, or else from the file's order."""
    names = convolution_names(BLOCKS[title])
    places = [POSITION.search(each.name) for each in found]
    if any(places):
        by_name = {convolution_at(at[1], at[2]): each for at, each in zip(places, found, strict=True) if at}
        more = [name for name in by_name if name not in names]
        if more:
            raise WeightsError(f"{path} is not a file of {title}'s weights: {title} has no {more[0]}")
    else:
        if found and len(found) != len(names):
            raise WeightsError(
                f"{path} is not a file of {title}'s weights: the file has {len(found)} convolutions of 3 × 3, and "
                f"{title} has {len(names)}"
            )
        by_name = dict(zip(names, found, strict=False))
    channels, chain = 3, list[Filter]()
    for name in names:
        each = by_name.get(name)
        if each is None or each.bias is None or each.kernel.shape[1] != channels or len(each.bias) != len(each.kernel):
            raise WeightsError(f"{path} is not a file of {title}'s weights: {name} is missing or has another shape")
        channels = each.kernel.shape[0]
        chain.append(each._replace(name=name))
    return chain


def _family_of(contents: Contents, chain: Sequence[Filter], title: str) -> Family:
    """The convention of a file: Caffe's and Keras' have one each; files of PyTorch and ONNX are tried."""
    own_first = convolution_names(BLOCKS[title])[0]
    if contents.kind == "safetensors" and any(layer.name == own_first for layer in contents.layers):
        return "impasto"
    if contents.kind in ("Caffe", "Keras"):
        return "caffe"
    published = known_family(contents.path)
    if published is not None:
        return published
    known = takes_bytes([(each.kernel, each.bias) for each in chain], BLOCKS[title])
    if known is None:
        raise WeightsError(
            f"{contents.path} does not tell its range of colours: neither 0 … 255 nor 0 … 1 gives usual activations; "
            "convert the file with `impasto networks convert --family caffe` or `--family torchvision`"
        )
    return "caffe" if known else "torchvision"


def _mean_in(contents: Contents) -> Colour:
    text = contents.metadata.get("mean")
    if text is None:
        return CAFFE_MEAN
    try:
        red, green, blue = (float(value) for value in text.split())
    except ValueError:
        raise WeightsError(f"{contents.path} is damaged: the mean colour in its metadata is {text!r}") from None
    return red, green, blue
