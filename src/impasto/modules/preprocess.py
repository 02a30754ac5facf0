"""The preparation of a picture for a network's first layer, as data, and the usual ways by name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from impasto.errors import SpecError, nearest
from impasto.images.image import Image, Size, size_of

Order = Literal["rgb", "bgr"]
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey: ITU-R BT.601, as Pillow converts


@dataclass(frozen=True)
class Preprocess:
    """Preparation of a picture, RGB in [0, 1], for the first layer: (scale · picture - mean) / std.

    `mean` and `std` have a number for each channel that the network takes, in the network's `order`, or one number for
    all channels. A network of 3 `channels` takes colours; any other number of channels takes the grey picture in each.

    `size` (height, width), or one number for both, is the only size that the network takes: each picture is resized to
    that size first. Else a picture whose sides are no multiples of `multiple` is resized to the nearest multiples.
    Then `padding` pixels are added on each side, each a copy of the nearest pixel.

    Raises SpecError for numbers that fit no network.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] | None = None
    scale: float = 1.0
    order: Order = "rgb"
    channels: int = 3
    size: Size | None = None
    multiple: int = 1
    padding: int = 0

    def __init__(
        self,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] | None = None,
        scale: float = 1.0,
        order: Order = "rgb",
        channels: int = 3,
        size: int | Sequence[int] | None = None,
        multiple: int = 1,
        padding: int = 0,
    ) -> None:
        """Check the numbers; a single number stands for all channels or both sides."""
        numbers = {
            "mean": _numbers(mean),
            "std": None if std is None else _numbers(std),
            "scale": float(scale),
            "order": order,
            "channels": channels,
            "size": None if size is None else _sides(size),
            "multiple": multiple,
            "padding": padding,
        }
        for name, value in numbers.items():
            object.__setattr__(self, name, value)
        if wrong := self._wrong():
            raise SpecError(f"this preprocessing cannot be: {wrong}")

    def __call__(self, image: Image, precision: torch.dtype) -> Tensor:
        """The picture as the first layer takes it, in that precision, channels innermost."""
        # The mean is not folded into the first bias, because zeros that a convolution pads with stand for the mean.
        maps = self._resized(self._in_channels(image)) * self.scale - _for_channels(self.mean, image)
        if self.std is not None:
            maps = maps / _for_channels(self.std, image)
        maps = maps.to(precision).contiguous(memory_format=torch.channels_last)
        return functional.pad(maps, (self.padding,) * 4, mode="replicate") if self.padding else maps

    def taken(self, size: Size) -> Size:
        """The size at which the network takes a picture of that size, without the padding."""
        if self.size is not None:
            return self.size
        height, width = (max(1, round(side / self.multiple)) * self.multiple for side in size)
        return height, width

    def as_data(self) -> dict[str, Any]:
        """What differs from a picture that is taken as it is, as plain values: for run.toml."""
        plain = Preprocess()
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        changed = {name: value for name, value in values.items() if value != getattr(plain, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in changed.items()}

    def words(self) -> str:
        """The preparation in words: "RGB in 0 … 255, minus 123.68, 116.779, 103.939"."""
        colours = self.order.upper() if self.channels == 3 else f"grey in {self.channels} channels"
        said = [f"{colours} in 0 … {self.scale:g}" if self.channels != 1 else f"grey in 0 … {self.scale:g}"]
        if any(self.mean):
            said.append(f"minus {_listed(self.mean)}")
        if self.std is not None:
            said.append(f"divided by {_listed(self.std)}")
        if self.size is not None:
            said.append(f"resized to {self.size[1]} × {self.size[0]}")
        elif self.multiple > 1:
            said.append(f"sides resized to multiples of {self.multiple}")
        return ", ".join(said)

    def _in_channels(self, image: Image) -> Tensor:
        if self.channels == 3:
            return image if self.order == "rgb" else image.flip(1)
        grey = (image * _for_channels(LUMA, image)).sum(1, keepdim=True)
        return grey.expand(-1, self.channels, -1, -1)

    def _resized(self, maps: Tensor) -> Tensor:
        size = self.taken(size_of(maps))
        if size == size_of(maps):
            return maps
        return functional.interpolate(maps, size=size, mode="bilinear", antialias=True, align_corners=False)

    def _wrong(self) -> str | None:
        """What cannot be, with what is allowed; None if all is well."""
        for name, given in (("mean", self.mean), ("std", self.std or (1.0,))):
            if len(given) not in (1, self.channels):
                return f"{name} has {len(given)} numbers for {self.channels} channels; give one, or one for each"
            if not all(map(math.isfinite, given)):
                return f"{name} is {_listed(given)}; all must be finite numbers"
        if self.std is not None and not all(value > 0 for value in self.std):
            return f"std is {_listed(self.std)}; all must be above 0"
        if not (math.isfinite(self.scale) and self.scale > 0):
            return f"scale is {self.scale}; it must be above 0, 1 or 255 for instance"
        if self.order not in ("rgb", "bgr"):
            return f"order is {self.order!r}; it must be rgb or bgr"
        if self.channels < 1 or self.multiple < 1 or self.padding < 0:
            return "channels and multiple must be at least 1, and padding at least 0"
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            return f"size is {self.size}; give height and width in pixels, or one number for both"
        return None


def _numbers(given: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in given) if isinstance(given, Sequence) else (float(given),)


def _sides(given: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(given) if isinstance(given, Sequence) else (given, given)


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _for_channels(values: tuple[float, ...], image: Tensor) -> Tensor:
    return torch.tensor(values, dtype=image.dtype, device=image.device).reshape(1, -1, 1, 1)


PREPROCESSES: Mapping[str, Preprocess] = {
    # https://docs.pytorch.org/vision/stable/models.html: the mean and deviation of ImageNet's colours.
    "imagenet": Preprocess((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # Caffe's models, among them Oxford's VGG: BGR in 0 … 255 minus ImageNet's mean colour.
    "caffe": Preprocess((103.939, 116.779, 123.68), scale=255.0, order="bgr"),
    # TensorFlow's models, and many transformers: from -1 to 1.
    "half": Preprocess(0.5, 0.5),
    # https://github.com/openai/CLIP, clip/clip.py: the mean and deviation of CLIP's colours.
    "clip": Preprocess((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "none": Preprocess(),
}


def preprocess_named(name: str) -> Preprocess:
    """The preprocessing of that name. Raises SpecError for an unknown name."""
    if name not in PREPROCESSES:
        raise SpecError(f"there is no preprocessing {name!r}; {nearest(name, PREPROCESSES)}")
    return PREPROCESSES[name]
