"""Nearest neighbours: at each position the feature of the style that is most like the photo's there.

Statistics say which features a painting has, and must put all of them somewhere; neighbours say what belongs where: a
sky is painted as the painting's sky. How a feature is chosen is told in `impasto.matching`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from impasto.images.image import Image, Size, resize, size_of
from impasto.matching.banks import Bank
from impasto.matching.lines import SHAPES, STROKES, Grain, following, lines
from impasto.matching.places import Links, Piece, Places, Read, Sample, evenly, samples
from impasto.networks.network import Network
from impasto.networks.steps import FeatureMap
from impasto.objectives.criterion import BoundTerm, Readings, Wish
from impasto.objectives.distances import cosine_error, distance_to
from impasto.objectives.representations import Pointwise, Representation, activations, directions_from
from impasto.objectives.weightmaps import PositionWeights, WeightMap, coarsest_first, weighted_by

BANK = 16384  # the most positions of all styles together that are kept: matching takes time in proportion
SAMPLE = 2048  # positions of the photo for which prices are found
PASSES = 4  # over every second position, in which choices come to agree
WIDE = 4  # bytes of a number in float32
FIDELITY = 2 / 3  # of the photo in the picture that asks; the rest is the result so far; docs/decisions/0058


@dataclass(frozen=True, eq=False)
class Chosen:
    """A target put together from a bank: `rows` (1, 1, height, width) has the row of `bank` for each position.

    `bank` is (positions, channels). A row number takes 4 bytes where a feature takes hundreds.
    """

    bank: Tensor
    rows: Tensor

    def maps(self, rows: Tensor | None = None) -> FeatureMap:
        """The target's feature map (1, channels, height, width), or the part of it that has these rows of the bank."""
        rows = self.rows if rows is None else rows
        return self.bank[rows[0, 0].long()].permute(2, 0, 1)[None]


@dataclass(frozen=True, eq=False)
class Choice:
    """The target at a layer, and what is compared with it by `cosine_error`: the directions from the style's mean."""

    target: Chosen
    represent: Representation


class Style(NamedTuple):
    """A picture to take features from, the fraction of the result that it should take up, and the region that counts.

    `where`, stretched over the picture, weights its parts; None if all count alike.
    """

    image: Image
    fraction: float
    where: WeightMap | None = None


class Seen(NamedTuple):
    """A style as it is read, and the places of each layer whose features are taken."""

    style: Image
    places: Mapping[str, Places]

    @property
    def turned(self) -> "Seen":
        """The same after a quarter turn."""
        return Seen(_turned(self.style), {layer: each.turned for layer, each in self.places.items()})


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Σ over layers of weight · mean over positions of 1 − cos(f − m, t − m), f the picture's features.

    m is the mean of the styles' features, t the feature whose cosine with the asking picture's feature, plus a price,
    is the largest; both are centred by the mean of their picture. The asking picture is the photo, in later stages
    (`seeing`) ⅔ of the photo and ⅓ of the picture so far. Then each position may take, in place of its own choice, the
    feature that continues a neighbour's: each neighbour with which a choice agrees counts as much as 0.1 of cosine.
    Targets are fixed while a stage lasts. `framing` gives the sizes at which styles are read.

    If `along` is above 0, strokes follow the photo's lines: to each cosine is added `along` · c₁ · c₂ · cos 2(θ₁ − θ₂),
    with the angles θ of lines in photo and style, and how clear these lines are, c in [0, 1]; each style may be used as
    it is and after a quarter turn.

    `where` weights the positions of the picture: a region takes its targets, and pays its prices, by itself.

    Sources: Kolkin et al. 2022 (Neural Neighbor Style Transfer, arXiv:2203.13215), replacement and query; Houdard et
    al. 2021 (GOTEX, arXiv:2007.03408), semi-discrete transport, whose dual variables are the prices. Departs: layers
    are matched one by one in their own resolution, the cosine is of centred features, prices are found on samples, and
    the asking picture has ⅔ of the photo in place of ¾.
    Choices that continue their neighbours': Ashikhmin 2001 (Synthesizing Natural Textures), with a score in place of a
    fixed order.
    """

    name: str
    photo: Image
    styles: tuple[Style, ...]
    layers: Mapping[str, float]
    framing: Callable[[Size, Size], Size]
    where: WeightMap | None = None
    along: float = 0.0
    current: Image | None = None
    represent: Pointwise = activations

    def seeing(self, image: Image) -> "Neighbours":
        """The same term for a stage that begins with this picture."""
        return replace(self, current=image)

    def framed(self, size: Size) -> list[Image]:
        """The styles as they are read for a canvas of that size."""
        sizes = self.framed_sizes(size)
        return [resize(style.image, framed) for style, framed in zip(self.styles, sizes, strict=True)]

    def framed_sizes(self, size: Size) -> list[Size]:
        """The sizes at which the styles are read for a canvas of that size."""
        return [self.framing(size_of(style.image), size) for style in self.styles]

    def matching_bytes(self, network: Network, size: Size) -> float:
        """About how many bytes matching takes at its peak: all banks, and the sampled positions' cosines twice."""
        banks, cosines, copies = 0.0, 0.0, 2 if self.along else 1
        for layer in self.layers:
            positions = copies * min(BANK, len(self.styles) * size[0] * size[1] / network.stride(layer) ** 2)
            banks += positions * network.channels(layer) * (WIDE + network.precision.itemsize)
            cosines = max(cosines, positions * min(SAMPLE, positions / copies) * 2 * WIDE)
        return banks + cosines

    def require(self, network: Network, size: Size) -> None:
        """Raise ImageError if a framed style or a region is too small for a layer, LayerError for an unknown one."""
        layers = coarsest_first(network, self.layers)
        if self.where is not None:
            for layer in layers:
                self.where.require(size, layer, f"the part of the picture for {self.name}")
        for style, framed in zip(self.styles, self.framed_sizes(size), strict=True):
            network.require_size(framed, self.layers)
            if style.where is not None:
                for layer in layers:
                    style.where.require(framed, layer, f"the part of the painting that counts for {self.name}")

    def weights(self) -> dict[str, float]:
        """The weight of each layer, by the name of its loss."""
        return {f"{self.name}/{layer}": weight for layer, weight in self.layers.items()}

    def wishes(self, network: Network, size: Size) -> list[Wish]:
        """What `bind` reads, but for the picture that asks."""
        styles = self.framed(size)
        turned = map(_turned, styles) if self.along else ()
        return [Wish(style.to(network.device), self.layers) for style in (*styles, *turned)]

    def bind(self, network: Network, size: Size, readings: Readings | None = None) -> list[BoundTerm]:
        """Match at this size, reading pictures whole."""
        self.require(network, size)
        maps_of = readings or Readings(network)

        @cache  # the picture that asks is looked at several times
        def whole(image: Image, layers: tuple[str, ...]) -> list[Piece]:
            return [Piece(layer, 0, 0, maps) for layer, maps in maps_of(image, layers).items()]

        def pieces(image: Image, layers: Collection[str]) -> Iterator[Piece]:
            return iter(whole(image, tuple(layers)))

        return [
            BoundTerm(f"{self.name}/{layer}", network.canonical(layer), self.layers[layer], represent, loss)
            for layer, choice in self.choose(network, size, pieces).items()
            for target, represent in [(choice.target, choice.represent)]
            for loss in [distance_to(cosine_error, represent(target.maps()))]
        ]

    @torch.no_grad()
    def choose(self, network: Network, size: Size, pieces: Read) -> dict[str, Choice]:
        """The target at each layer for a canvas of that size; `pieces` reads pictures, whole or in tiles."""
        layers = {network.canonical(layer): network.layer(layer) for layer in self.layers}
        asking, where = self._asking(size).to(network.device), self.where
        weights = (
            {} if where is None else {name: where.at(size, layer, network.device) for name, layer in layers.items()}
        )
        shapes = {name: layer.positions(size) for name, layer in layers.items()}
        levels = {name: each.levels for name, each in weights.items()}
        taken = {name: evenly([(shape, levels.get(name))], SAMPLE)[0] for name, shape in shapes.items()}
        asked = self._with_lines(pieces, self.photo, SHAPES, shapes)
        banks = self._banks(network, size, pieces, samples(asked, asking, taken))
        rows: dict[str, Tensor] = {}
        for name, top, left, maps in asked(asking, layers):
            if name not in rows:
                rows[name] = asking.new_zeros((1, 1, *shapes[name]), dtype=torch.int32)
            window = slice(top, top + maps.shape[2]), slice(left, left + maps.shape[3])
            rows[name][0, 0][window] = banks[name].matched(maps, levels[name][window] if levels else None)
        for number in range(PASSES):
            for piece in asked(asking, layers):
                banks[piece.layer].agree(rows[piece.layer][0, 0], piece, number % 2, levels.get(piece.layer))
        found = {
            name: Choice(Chosen(bank.features, rows[name]), self._compared(bank, weights.get(name)))
            for name, bank in banks.items()
        }
        return {layer: found[network.canonical(layer)] for layer in self.layers}

    def _banks(self, network: Network, size: Size, pieces: Read, asking: Mapping[str, Sample]) -> dict[str, Bank]:
        """The bank of each layer of which there is a sample of the asking picture."""
        seen, read = self._seen(network, size, asking), list[dict[str, Sample]]()
        for style, places in seen:
            shapes = {name: each.size for name, each in places.items()}
            read.append(samples(self._with_lines(pieces, style, STROKES, shapes), style, places))
        fractions = [style.fraction for style in self.styles]
        return {
            name: Bank.of([each[name] for each in read], fractions, sample, links, network.channels(name))
            for name, sample in asking.items()
            for links in [Links.of([places[name] for _, places in seen])]
        }

    def _seen(self, network: Network, size: Size, layers: Collection[str]) -> list[Seen]:
        """Each style as it is read; if strokes follow lines, all of them once more after a quarter turn."""
        images, places = self.framed(size), dict[str, list[Places]]()
        for layer in map(network.layer, layers):
            shapes = [layer.positions(size_of(image)) for image in images]
            levels = [
                None if style.where is None else style.where.inside(size_of(image), layer, network.device).core
                for style, image in zip(self.styles, images, strict=True)
            ]
            places[layer.name] = evenly(list(zip(shapes, levels, strict=True)), BANK)
        seen = [
            Seen(image.to(network.device), {layer: found[number] for layer, found in places.items()})
            for number, image in enumerate(images)
        ]
        return [*seen, *(each.turned for each in seen)] if self.along else seen

    def _with_lines(self, pieces: Read, image: Image, grain: Grain, shapes: Mapping[str, Size]) -> Read:
        """Reads as `pieces` does, with the lines of `image` after each feature if strokes should follow lines."""
        return following(pieces, self.along**0.5 * lines(image, grain), shapes) if self.along else pieces

    def _compared(self, bank: Bank, weights: PositionWeights | None) -> Representation:
        """What is compared with the target: directions from the styles' mean, weighted by position if asked."""
        compared = directions_from(bank.mean.cpu())
        return compared if weights is None else weighted_by(compared, weights, self.name)

    def _asking(self, size: Size) -> Image:
        photo = resize(self.photo, size)
        if self.current is None:
            return photo
        return FIDELITY * photo.to(self.current) + (1 - FIDELITY) * resize(self.current, size)


def _turned(image: Image) -> Image:
    """The picture after a quarter turn, anticlockwise."""
    return torch.rot90(image, dims=(2, 3))
