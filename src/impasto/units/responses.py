"""What can be made large in a layer: the answer of a channel, of a neuron, along a direction, or of the whole layer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from impasto.errors import SpecError
from impasto.images.image import Image, Size, resize, size_of, size_with_long_side
from impasto.networks.network import Network
from impasto.networks.passes import wide
from impasto.networks.steps import AveragePool, MaxPool, RectifiedAveragePool, RectifiedMaxPool, Rectifier
from impasto.objectives.representations import MeanOverPositions, Representation, WholeMap
from impasto.units.answers import energy, usual, variation

Places = Callable[[Tensor], Tensor]  # from a map (1, channels, height, width) to responses (1, height, width)
LEAST_COSINE = 0.1  # a direction's answer keeps a gradient where the map points elsewhere; Lucid's value
RECTIFIED, POOLED = (Rectifier, RectifiedMaxPool, RectifiedAveragePool), (MaxPool, AveragePool)
SILENT = 0.05  # the largest response of a unit that is said to be silent; pictures that succeed reach more than 1
REFERENCE_PX = 224  # long side at which a photo's direction is read


@dataclass(frozen=True)
class Channel:
    """The mean of a channel over all positions, or, with `middle`, its answer at the middle position alone.

    In units of the layer's variation over noise (see `variation`).
    """

    index: int
    middle: bool = False

    @property
    def represent(self) -> Representation:
        """The response without its unit."""
        return self._in(1.0)

    def require(self, network: Network, layer: str) -> None:
        """Raise SpecError if the layer has no such channel."""
        count = network.channels(layer)
        if not 0 <= self.index < count:
            raise SpecError(
                f"{layer} of {network.name} has {count} channels, 0 to {count - 1}; there is no channel {self.index}"
            )

    def read_at(self, network: Network, layer: str) -> str:
        """The layer before a rectifier: a unit that is silent has no gradient after it."""
        return unrectified(network, layer)

    def at(self, network: Network, layer: str, size: Size) -> Representation:
        """The response in units of the layer's variation."""
        return self._in(variation(network, layer))

    def places(self, network: Network, layer: str) -> Places:
        """The response of each position."""
        return partial(_of_channel, index=self.index, unit=variation(network, layer))

    def _in(self, unit: float) -> Representation:
        places = partial(_of_channel, index=self.index, unit=unit)
        return WholeMap(partial(_middle, places=places)) if self.middle else MeanOverPositions(_Mean(places))


@dataclass(frozen=True, eq=False)
class Direction:
    """The mean over positions of v · F times its cosine with v, for a direction v of the layer's channels.

    `towards` is the direction (channels,), or a photo (1, 3, height, width): then the direction leads from what the
    layer usually answers to what it answers to the photo, and F is taken from there too. In units of the layer's
    variation.
    Source: Olah et al. 2018 (distill.pub/2018/building-blocks), the cosine as in Lucid's `cossim_pow`.
    """

    towards: Tensor
    name: str = "the direction"

    @property
    def represent(self) -> Representation:
        """The response's kind."""
        return MeanOverPositions(_Mean(partial(_along, direction=torch.ones(1), centre=torch.zeros(()), unit=1.0)))

    def require(self, network: Network, layer: str) -> None:
        """Raise SpecError unless there is one number for each channel; ImageError if the photo is too small."""
        if self.towards.ndim == 4:
            network.require_size(self._photo_size, [layer])
            return
        count = network.channels(layer)
        if len(self.towards) != count:
            raise SpecError(
                f"{self.name} has {len(self.towards)} numbers, but {layer} has {count} channels; give one each"
            )

    def read_at(self, network: Network, layer: str) -> str:
        """The layer before a rectifier."""
        return unrectified(network, layer)

    def at(self, network: Network, layer: str, size: Size) -> Representation:
        """The response in units of the layer's variation."""
        return MeanOverPositions(_Mean(self.places(network, layer)))

    def places(self, network: Network, layer: str) -> Places:
        """The response of each position."""
        centre = torch.zeros(()) if self.towards.ndim == 1 else usual(network, layer)
        direction = self.towards if self.towards.ndim == 1 else self._of_photo(network, layer) - centre
        direction = direction / direction.norm().clamp_min(1e-30)
        return partial(_along, direction=direction, centre=centre, unit=variation(network, layer))

    @property
    def _photo_size(self) -> Size:
        size = size_of(self.towards)
        return size_with_long_side(size, min(REFERENCE_PX, max(size)))

    def _of_photo(self, network: Network, layer: str) -> Tensor:
        photo: Image = resize(self.towards, self._photo_size).to(network.device)
        with torch.no_grad():
            return wide(network(photo, [layer])[layer])[0].mean((1, 2))


@dataclass(frozen=True)
class Everything:
    """The mean square of the whole map, in units of that of noise: all that the layer sees already, it sees more.

    Source: Mordvintsev, Olah & Tyka 2015 (DeepDream).
    """

    @property
    def represent(self) -> Representation:
        """The response without its unit."""
        return MeanOverPositions(partial(_mean_square, unit=1.0))

    def require(self, network: Network, layer: str) -> None:
        """Nothing: every layer has this response."""

    def read_at(self, network: Network, layer: str) -> str:
        """The layer itself."""
        return layer

    def at(self, network: Network, layer: str, size: Size) -> Representation:
        """The response in units of that of noise."""
        return MeanOverPositions(partial(_mean_square, unit=energy(network, layer)))


@dataclass(frozen=True)
class Exaggeration:
    """-mean of F · F₀ · cos(F, F₀)^power over positions, relative to the photo's mean square: a caricature's distance.

    -1 for the photo itself; lower if its features are there, but larger. A mistake of direction counts more with a
    larger `power`. The cosine is the true one, and at least 0.1, so that no position is without gradient.
    Source: Lucid's recipe for caricatures (Olah et al. 2018). Departs: Lucid's cosine is off by a constant.
    """

    power: float = 2.0

    def __call__(self, found: Tensor, target: Tensor) -> Tensor:
        """The distance of two maps."""
        dot, own, theirs = (found * target).sum(1), found.norm(dim=1), target.norm(dim=1)
        cosine = dot / (own * theirs).clamp_min(1e-12)
        energy_ = theirs.square().mean()
        loss: Tensor = -(dot * cosine.clamp_min(LEAST_COSINE) ** self.power).mean() / energy_.clamp_min(1e-30)
        return loss


def unrectified(network: Network, layer: str) -> str:
    """The layer before a rectifier, also if poolings follow the rectifier; the layer itself if there is none."""
    here, rectified = layer, False
    while isinstance((found := network.layer(here)).step, (*RECTIFIED, *POOLED)) and any(map(network.has, found.reads)):
        here, rectified = found.reads[0], rectified or isinstance(found.step, RECTIFIED)
    return here if rectified else layer


@dataclass(frozen=True, eq=False)
class Unit:
    """A response in a layer, as a part of a run shows it."""

    layer: str
    response: Channel | Direction

    def key(self, network: Network, size: Size) -> tuple[str, Representation]:
        """The layer by its canonical name, and the response in its map, in units of the layer's variation."""
        own = network.canonical(self.layer)
        return own, self.response.at(network, own, size)

    def silence(self, network: Network, reached: float) -> str | None:
        """What a person can do if the picture that is made reached (almost) no response; None if it reached one."""
        if reached > SILENT:
            return None
        own = network.canonical(self.layer)
        remedy = "begin with more noise (--noise 1) or take more steps"
        if self.response.read_at(network, own) == own:  # the rectifier of this layer, if any, is not known
            remedy = f"if {own} ends with an activation function, name the layer before the function; else {remedy}"
        return f"the unit in {own} stays silent, with a response of {reached:.2f}: {remedy}"


@dataclass(frozen=True)
class _Mean:
    """The mean over positions of the response of each."""

    places: Places

    def __call__(self, features: Tensor) -> Tensor:
        return self.places(features).mean((1, 2))


def _middle(features: Tensor, places: Places) -> Tensor:
    """The response of the middle position."""
    row, column = features.shape[2] // 2, features.shape[3] // 2
    return places(features[:, :, row : row + 1, column : column + 1]).flatten()


def _of_channel(features: Tensor, index: int, unit: float) -> Tensor:
    return wide(features[:, index]) / unit


def _along(features: Tensor, direction: Tensor, centre: Tensor, unit: float) -> Tensor:
    maps = wide(features) - centre.to(features.device)[..., None, None]
    dot = torch.einsum("nchw,c->nhw", maps, direction.to(maps))
    cosine = dot / maps.norm(dim=1).clamp_min(1e-12)
    found: Tensor = dot * cosine.clamp_min(LEAST_COSINE) / unit
    return found


def _mean_square(features: Tensor, unit: float) -> Tensor:
    return wide(features).square().mean((1, 2, 3))[None, 0] / unit
