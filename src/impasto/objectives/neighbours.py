"""Nearest neighbours: at each position the feature of the style that is most like the photo's there.

Statistics say which features a painting has, and must put all of them somewhere; neighbours say what belongs where: a
sky is painted as the painting's sky. Prices see to it that no part of the style is used too often, and places beside
each other rather take features that are beside each other in the style: whole strokes, not single dots.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from impasto.images.image import Image, Size, resize, size_of
from impasto.networks.network import Network
from impasto.networks.passes import read
from impasto.networks.steps import FeatureMap
from impasto.objectives.criterion import BoundTerm
from impasto.objectives.distances import CosineError, distance_to
from impasto.objectives.moments import wide
from impasto.objectives.representations import Pointwise, activations
from impasto.objectives.similarity import Lattice, Links

BANK = 16384  # the most positions of all styles together that are kept: matching takes time in proportion
SAMPLE = 2048  # positions of the photo for which prices are found
ROUNDS = 60  # of prices; more change little
AGREEMENT = 0.1  # of cosine, for each of the four neighbours that a choice continues; docs/decisions/0044
PASSES = 8  # over every second position, in which choices come to agree
CHUNK = 1024  # positions matched at once: with the bank about 70 MB
WIDE = 4  # bytes of a number in float32
FIDELITY = 0.75  # of the photo in the picture that asks; the rest is the result so far


class Piece(NamedTuple):
    """A part of a feature map: the layer, the position of its first row and column, and the features."""

    layer: str
    top: int
    left: int
    maps: FeatureMap


Read = Callable[[Image, Collection[str]], Iterator[Piece]]  # a picture's feature maps, whole or in pieces


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
    """The target at a layer, and the error of a picture from it."""

    target: Chosen
    distance: CosineError


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Σ over layers of weight · mean over positions of 1 − cos(f − m, t − m), f the picture's features.

    m is the mean of the styles' features, t the feature whose cosine with the asking picture's feature, plus a price,
    is the largest; both are centred by the mean of their picture. The asking picture is the photo, in later stages
    (`seeing`) ¾ of the photo and ¼ of the picture so far. Then each position may take, in place of its own choice, the
    feature that continues a neighbour's: each neighbour with which a choice agrees counts as much as 0.1 of cosine.
    Targets are fixed while a stage lasts. `styles` are pictures with the fractions of the result that they should take
    up; `framing` gives their sizes.

    Sources: Kolkin et al. 2022 (Neural Neighbor Style Transfer, arXiv:2203.13215), replacement and query; Houdard et
    al. 2021 (GOTEX, arXiv:2007.03408), semi-discrete transport, whose dual variables are the prices. Departs: layers
    are matched one by one in their own resolution, the cosine is of centred features, prices are found on samples.
    Choices that continue their neighbours': Ashikhmin 2001 (Synthesizing Natural Textures), with a score in place of a
    fixed order.
    """

    name: str
    photo: Image
    styles: tuple[tuple[Image, float], ...]
    layers: Mapping[str, float]
    framing: Callable[[Size, Size], Size]
    current: Image | None = None
    represent: Pointwise = activations

    def seeing(self, image: Image) -> "Neighbours":
        """The same term for a stage that begins with this picture."""
        return replace(self, current=image)

    def framed(self, size: Size) -> list[Image]:
        """The styles as they are read for a canvas of that size."""
        return [resize(style, self.framing(size_of(style), size)) for style, _ in self.styles]

    def matching_bytes(self, network: Network, size: Size) -> float:
        """About how many bytes matching takes at its peak: all banks, and the sampled positions' cosines twice."""
        banks, cosines = 0.0, 0.0
        for layer in self.layers:
            positions = min(BANK, size[0] * size[1] / network.stride(layer) ** 2)
            banks += positions * network.channels(layer) * (WIDE + network.precision.itemsize)
            cosines = max(cosines, positions * min(SAMPLE, positions) * 2 * WIDE)
        return banks + cosines

    def require(self, network: Network, size: Size) -> None:
        """Raise ImageError if a framed style is too small for a layer, LayerError for an unknown one."""
        for style, _ in self.styles:
            network.require_size(self.framing(size_of(style), size), self.layers)

    def weights(self) -> dict[str, float]:
        """The weight of each layer, by the name of its loss."""
        return {f"{self.name}/{layer}": weight for layer, weight in self.layers.items()}

    def bind(self, network: Network, size: Size) -> list[BoundTerm]:
        """Match at this size, reading pictures whole."""
        self.require(network, size)

        @cache  # the picture that asks is looked at several times
        def whole(image: Image, layers: tuple[str, ...]) -> list[Piece]:
            return [Piece(layer, 0, 0, maps) for layer, maps in read(network, image, layers)]

        def pieces(image: Image, layers: Collection[str]) -> Iterator[Piece]:
            return iter(whole(image, tuple(layers)))

        choices = self.choose(network, size, pieces)
        return [
            BoundTerm(f"{self.name}/{layer}", canonical, self.layers[layer], self.represent, loss)
            for layer, choice in choices.items()
            for canonical in [network.canonical(layer)]
            for loss in [distance_to(choice.distance, self.represent(choice.target.maps()))]
        ]

    @torch.no_grad()
    def choose(self, network: Network, size: Size, pieces: Read) -> dict[str, Choice]:
        """The target at each layer for a canvas of that size; `pieces` reads pictures, whole or in tiles."""
        strides = {network.canonical(layer): network.stride(layer) for layer in self.layers}
        asking = self._asking(size).to(network.device)
        banks = self._banks(strides, pieces, self.framed(size), asking)
        rows = {
            layer: asking.new_empty((1, 1, *_positions(size, strides[layer])), dtype=torch.int32) for layer in banks
        }
        for piece in pieces(asking, strides):
            height, width = size_of(piece.maps)
            found = banks[piece.layer].nearest(piece.maps[0].flatten(1).T).reshape(height, width)
            rows[piece.layer][0, 0, piece.top : piece.top + height, piece.left : piece.left + width] = found
        for number in range(PASSES):
            for piece in pieces(asking, strides):
                banks[piece.layer].agree(rows[piece.layer][0, 0], piece, number % 2)
        found_at = {layer: Choice(Chosen(bank.features, rows[layer]), bank.distance) for layer, bank in banks.items()}
        return {layer: found_at[network.canonical(layer)] for layer in self.layers}

    def _banks(self, strides: Mapping[str, int], pieces: Read, styles: list[Image], asking: Image) -> dict[str, "Bank"]:
        """The bank of each layer: the styles' features, as they are matched to the picture that asks."""
        sampled = _on_lattice(pieces, asking, strides, SAMPLE)
        features = [_on_lattice(pieces, style.to(asking.device), strides, self._most) for style in styles]
        fractions = [fraction for _, fraction in self.styles]
        banks = {}
        for layer, stride in strides.items():
            lattices = [Lattice.over(_positions(size_of(style), stride), self._most) for style in styles]
            bank = Bank.of([each[layer] for each in features], fractions, sampled[layer])
            banks[layer] = replace(bank, links=Links.of(lattices).to(asking.device))
        return banks

    def _asking(self, size: Size) -> Image:
        photo = resize(self.photo, size)
        if self.current is None:
            return photo
        return FIDELITY * photo.to(self.current) + (1 - FIDELITY) * resize(self.current, size)

    @property
    def _most(self) -> int:
        return BANK // len(self.styles)


@dataclass(frozen=True, eq=False)
class Bank:
    """Features of the styles (positions, channels), with what is needed to match features of a picture to them."""

    features: Tensor
    directions: Tensor  # of the features, centred by their mean, each of length 1
    prices: Tensor
    centre: Tensor  # of the picture that asks
    distance: CosineError
    links: Links | None = None

    @classmethod
    def of(cls, styles: list[Tensor], fractions: list[float], sampled: Tensor) -> "Bank":
        """The bank of some styles' features, with prices found from features sampled of the picture that asks."""
        features = torch.cat(styles)
        mean, centre = wide(features).mean(0), wide(sampled).mean(0)
        directions = _directions(features, mean)
        each = [mean.new_full((len(style),), part / len(style)) for style, part in zip(styles, fractions, strict=True)]
        shares = torch.cat(each)
        prices = _prices(_directions(sampled, centre), directions, shares)
        return cls(features, directions, prices, centre, CosineError(mean.cpu()))

    def nearest(self, rows: Tensor) -> Tensor:
        """The row of the bank for each of these features of the asking picture (positions, channels)."""
        return torch.cat(
            [
                torch.addmm(self.prices, _directions(chunk, self.centre), self.directions.T).argmax(1)
                for chunk in torch.split(rows, CHUNK)
            ]
        )

    def agree(self, chosen: Tensor, piece: Piece, parity: int) -> None:
        """Let half of the piece's positions, a chessboard's, take rows that continue their neighbours', in `chosen`.

        `chosen` (height, width) is of the whole map. The other half stays, so the order of pieces does not matter.
        """
        assert self.links is not None
        height, width = size_of(piece.maps)
        down, across = torch.arange(height) + piece.top, torch.arange(width) + piece.left
        y, x = ((down[:, None] // self.links.step + across // self.links.step) % 2 == parity).nonzero().T
        for there, aside in zip(y.to(chosen.device).split(CHUNK), x.to(chosen.device).split(CHUNK), strict=True):
            asked = _directions(piece.maps[0][:, there, aside].T, self.centre)
            place = there + piece.top, aside + piece.left
            chosen[place] = self._best(asked, chosen[place].long(), self.links.wishes(chosen, *place)).to(chosen)

    def _best(self, asked: Tensor, own: Tensor, wishes: Tensor) -> Tensor:
        """Of each position's own row and its neighbours' wishes the row with the best cosine, price and agreement."""
        options = torch.cat([own[None], wishes])
        agreement = (options[:, None] == wishes).sum(1)
        cosines = torch.stack([(self.directions[each] * asked).sum(1) + self.prices[each] for each in options])
        scores = (cosines + AGREEMENT * agreement).masked_fill(options < 0, -torch.inf)
        return options.gather(0, scores.argmax(0)[None])[0]


def _prices(asking: Tensor, directions: Tensor, shares: Tensor) -> Tensor:
    """A price for each direction, added to its cosine, so that each is chosen about as often as its share says.

    The price of a direction that is chosen too often falls, that of one chosen too seldom rises, by less each round.
    """
    cosines, prices = asking @ directions.T, torch.zeros_like(shares)
    for number in range(ROUNDS):
        chosen = (cosines + prices).argmax(1)
        used = torch.bincount(chosen, minlength=len(directions)).to(prices) / len(asking)
        prices += (1 - number / ROUNDS) * (shares - used)
    return prices


def _directions(rows: Tensor, centre: Tensor) -> Tensor:
    return torch.nn.functional.normalize(wide(rows) - centre, dim=1)


def _positions(size: Size, stride: int) -> Size:
    return size[0] // stride, size[1] // stride


def _on_lattice(pieces: Read, image: Image, strides: Mapping[str, int], most: int) -> dict[str, Tensor]:
    """The features (positions, channels) of each layer at positions of an even lattice, at most `most` of them."""
    grids: dict[str, Tensor] = {}
    for layer, top, left, maps in pieces(image, strides):
        lattice = Lattice.over(_positions(size_of(image), strides[layer]), most)
        if layer not in grids:
            grids[layer] = maps.new_empty((*lattice.shape, maps.shape[1]))
        here = lattice.of(maps[0], top, left).permute(1, 2, 0)
        grids[layer][lattice.part(top, left, *size_of(maps))] = here
    return {layer: grid.flatten(0, 1) for layer, grid in grids.items()}
