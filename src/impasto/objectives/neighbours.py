"""Nearest neighbours: at each position the feature of the style that is most like the photo's there.

Statistics say which features a painting has, and must put all of them somewhere; neighbours say what belongs where: a
sky is painted as the painting's sky. Prices see to it that no part of the style is used too often, and places beside
each other rather take features that are beside each other in the style: whole strokes, not single dots.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from impasto.images.image import Image, Size, resize, size_of
from impasto.networks.network import Network
from impasto.networks.steps import FeatureMap
from impasto.objectives.criterion import BoundTerm, Readings, Wish
from impasto.objectives.distances import cosine_error, distance_to
from impasto.objectives.moments import wide
from impasto.objectives.representations import Pointwise, Representation, activations, directions, directions_from
from impasto.objectives.similarity import Links, Piece, Places, Read, Sample, samples
from impasto.objectives.weightmaps import PositionWeights, WeightMap, weighted_by

BANK = 16384  # the most positions of all styles together that are kept: matching takes time in proportion
SAMPLE = 2048  # positions of the photo for which prices are found
ROUNDS = 60  # of prices; more change little
LIKELY = 64  # directions with the best cosines, looked at first in each round
AGREEMENT = 0.1  # of cosine, for each of the four neighbours that a choice continues; docs/decisions/0044
PASSES = 4  # over every second position, in which choices come to agree
STYLE_RATE = 0.1  # of the price that all features of a style share
CHUNK = 1024  # positions matched at once: with the bank about 70 MB
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


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Σ over layers of weight · mean over positions of 1 − cos(f − m, t − m), f the picture's features.

    m is the mean of the styles' features, t the feature whose cosine with the asking picture's feature, plus a price,
    is the largest; both are centred by the mean of their picture. The asking picture is the photo, in later stages
    (`seeing`) ⅔ of the photo and ⅓ of the picture so far. Then each position may take, in place of its own choice, the
    feature that continues a neighbour's: each neighbour with which a choice agrees counts as much as 0.1 of cosine.
    Targets are fixed while a stage lasts. `styles` are pictures with the fractions of the result that they should take
    up; `framing` gives their sizes.

    `where` weights the positions of the picture: a region takes its targets, and pays its prices, by itself. Of the
    styles only the region `reference_where`, stretched over each of them, is used.

    Sources: Kolkin et al. 2022 (Neural Neighbor Style Transfer, arXiv:2203.13215), replacement and query; Houdard et
    al. 2021 (GOTEX, arXiv:2007.03408), semi-discrete transport, whose dual variables are the prices. Departs: layers
    are matched one by one in their own resolution, the cosine is of centred features, prices are found on samples, and
    the asking picture has ⅔ of the photo in place of ¾.
    Choices that continue their neighbours': Ashikhmin 2001 (Synthesizing Natural Textures), with a score in place of a
    fixed order.
    """

    name: str
    photo: Image
    styles: tuple[tuple[Image, float], ...]
    layers: Mapping[str, float]
    framing: Callable[[Size, Size], Size]
    where: WeightMap | None = None
    reference_where: WeightMap | None = None
    current: Image | None = None
    represent: Pointwise = activations

    def seeing(self, image: Image) -> "Neighbours":
        """The same term for a stage that begins with this picture."""
        return replace(self, current=image)

    def framed(self, size: Size) -> list[Image]:
        """The styles as they are read for a canvas of that size."""
        return [resize(style, framed) for (style, _), framed in zip(self.styles, self.framed_sizes(size), strict=True)]

    def framed_sizes(self, size: Size) -> list[Size]:
        """The sizes at which the styles are read for a canvas of that size."""
        return [self.framing(size_of(style), size) for style, _ in self.styles]

    def matching_bytes(self, network: Network, size: Size) -> float:
        """About how many bytes matching takes at its peak: all banks, and the sampled positions' cosines twice."""
        banks, cosines = 0.0, 0.0
        for layer in self.layers:
            positions = min(BANK, size[0] * size[1] / network.stride(layer) ** 2)
            banks += positions * network.channels(layer) * (WIDE + network.precision.itemsize)
            cosines = max(cosines, positions * min(SAMPLE, positions) * 2 * WIDE)
        return banks + cosines

    def require(self, network: Network, size: Size) -> None:
        """Raise ImageError if a framed style or a region is too small for a layer, LayerError for an unknown one."""
        for framed in self.framed_sizes(size):
            network.require_size(framed, self.layers)
            for layer in map(network.layer, self.layers):
                if self.where is not None:
                    self.where.require(size, layer, self.name)
                if self.reference_where is not None:
                    self.reference_where.require(framed, layer, f"{self.name}'s picture")

    def weights(self) -> dict[str, float]:
        """The weight of each layer, by the name of its loss."""
        return {f"{self.name}/{layer}": weight for layer, weight in self.layers.items()}

    def wishes(self, network: Network, size: Size) -> list[Wish]:
        """What `bind` reads, but for the picture that asks."""
        return [Wish(style.to(network.device), self.layers) for style in self.framed(size)]

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
        taken = {name: Places.of(shape, levels.get(name), SAMPLE) for name, shape in shapes.items()}
        banks = self._banks(network, size, pieces, samples(pieces, asking, taken))
        rows: dict[str, Tensor] = {}
        for name, top, left, maps in pieces(asking, layers):
            if name not in rows:
                rows[name] = asking.new_zeros((1, 1, *shapes[name]), dtype=torch.int32)
            window = slice(top, top + maps.shape[2]), slice(left, left + maps.shape[3])
            rows[name][0, 0][window] = banks[name].matched(maps, levels[name][window] if levels else None)
        for number in range(PASSES):
            for piece in pieces(asking, layers):
                banks[piece.layer].agree(rows[piece.layer][0, 0], piece, number % 2, levels.get(piece.layer))
        found = {
            name: Choice(Chosen(bank.features, rows[name]), self._compared(bank, weights.get(name)))
            for name, bank in banks.items()
        }
        return {layer: found[network.canonical(layer)] for layer in self.layers}

    def _banks(self, network: Network, size: Size, pieces: Read, asking: Mapping[str, Sample]) -> dict[str, "Bank"]:
        """The bank of each layer of which there is a sample of the asking picture."""
        most, styles = BANK // len(self.styles), list[dict[str, Sample]]()
        places: dict[str, list[Places]] = {name: [] for name in asking}
        for style in self.framed(size):
            framed = size_of(style)
            for layer in map(network.layer, asking):
                of = self.reference_where
                levels = None if of is None else of.inside(framed, layer, network.device).core
                places[layer.name].append(Places.of(layer.positions(framed), levels, most))
            taken = {name: each[-1] for name, each in places.items()}
            styles.append(samples(pieces, style.to(network.device), taken))
        fractions = [fraction for _, fraction in self.styles]
        return {
            name: Bank.of([style[name] for style in styles], fractions, sample, Links.of(places[name]))
            for name, sample in asking.items()
        }

    def _compared(self, bank: "Bank", weights: PositionWeights | None) -> Representation:
        """What is compared with the target: directions from the styles' mean, weighted by position if asked."""
        compared = directions_from(bank.mean.cpu())
        return compared if weights is None else weighted_by(compared, weights, self.name)

    def _asking(self, size: Size) -> Image:
        photo = resize(self.photo, size)
        if self.current is None:
            return photo
        return FIDELITY * photo.to(self.current) + (1 - FIDELITY) * resize(self.current, size)


@dataclass(frozen=True, eq=False)
class Bank:
    """Features of the styles (positions, channels), with what is needed to match features of a picture to them."""

    features: Tensor
    directions: Tensor  # of the features, centred by their mean, each of length 1
    prices: Tensor
    mean: Tensor  # of the styles
    centre: Tensor  # of the picture that asks
    links: Links

    @classmethod
    def of(cls, styles: Sequence[Sample], fractions: Sequence[float], asking: Sample, links: Links) -> "Bank":
        """The bank of some styles' features, with prices found from a sample of the picture that asks.

        Each style is to be used as often as its fraction says, and its features in proportion to their counts.
        """
        features = torch.cat([style.rows for style in styles])
        shares = torch.cat([part * style.fractions for style, part in zip(styles, fractions, strict=True)])
        mean, centre = shares @ wide(features) / shares.sum(), asking.fractions @ wide(asking.rows)
        found = directions(features, mean)
        numbers = torch.cat([torch.full((len(style.rows),), number) for number, style in enumerate(styles)])
        prices = _prices(directions(asking.rows, centre), asking.counts, found, shares, numbers.to(shares.device))
        return cls(features, found, prices, mean, centre, links.to(features.device))

    def nearest(self, rows: Tensor) -> Tensor:
        """The row of the bank for each of these features of the asking picture (positions, channels)."""
        return torch.addmm(self.prices, directions(rows, self.centre), self.directions.T).argmax(1)

    def matched(self, maps: FeatureMap, levels: Tensor | None) -> Tensor:
        """The rows of the bank (height, width) for a part of a feature map; 0 at positions whose level is 0."""
        height, width = size_of(maps)
        features = maps[0].flatten(1).T
        numbers = torch.arange(len(features)) if levels is None else levels.flatten().nonzero()[:, 0]
        found = features.new_zeros(len(features), dtype=torch.int32)
        for some in torch.split(numbers.to(maps.device), CHUNK):
            found[some] = self.nearest(features[some]).to(found)
        return found.reshape(height, width)

    def agree(self, chosen: Tensor, piece: Piece, parity: int, levels: Tensor | None = None) -> None:
        """Let half of the piece's positions, a chessboard's, take rows that continue their neighbours', in `chosen`.

        `chosen` and `levels` (height, width) are of the whole map; positions whose level is 0 do not take part. The
        other half stays, so the order of pieces does not matter.
        """
        (height, width), device = size_of(piece.maps), chosen.device
        down, across = (torch.arange(n, device=device) + at for n, at in ((height, piece.top), (width, piece.left)))
        taking_part = (down[:, None] // self.links.step + across // self.links.step) % 2 == parity
        if levels is not None:
            taking_part &= levels[piece.top : piece.top + height, piece.left : piece.left + width].to(device) > 0
        for y, x in (places.T for places in torch.split(taking_part.nonzero(), CHUNK)):
            asked, place = directions(piece.maps[0][:, y, x].T, self.centre), (y + piece.top, x + piece.left)
            chosen[place] = self._best(asked, chosen[place].long(), self.links.wishes(chosen, *place, levels)).to(
                chosen
            )

    def _best(self, asked: Tensor, own: Tensor, wishes: Tensor) -> Tensor:
        """Of each position's own row and its neighbours' wishes the row with the best cosine, price and agreement."""
        options = torch.cat([own[None], wishes])
        agreement = (options[:, None] == wishes).sum(1)
        cosines = torch.stack([(self.directions[each] * asked).sum(1) + self.prices[each] for each in options])
        scores = (cosines + AGREEMENT * agreement).masked_fill(options < 0, -torch.inf)
        return options.gather(0, scores.argmax(0)[None])[0]


def _prices(asking: Tensor, counts: Tensor, bank: Tensor, shares: Tensor, styles: Tensor) -> Tensor:
    """A price for each direction of a bank, added to its cosine: each is chosen about as often as its share says.

    `counts` says how much each asking direction counts, `styles` has the number of the style of each direction. The
    price of a direction that is chosen too often falls, that of one chosen too seldom rises, and so do the prices of
    all directions of a style, by less each round.

    Prices are small beside the differences of cosines, so the choice is nearly always among the `LIKELY` best cosines.
    All directions are looked at only where an unlikely one with the highest price could still be the choice.
    """
    cosines, prices = asking @ bank.T, torch.zeros_like(shares)
    likely = cosines.topk(min(LIKELY, len(bank)), sorted=False).indices.sort().values
    close = cosines.gather(1, likely)
    unlikely = close.amin(1)  # no other direction has a better cosine
    wanted = torch.bincount(styles, shares)
    for number in range(ROUNDS):
        best, place = (close + prices[likely]).max(1)
        chosen = likely.gather(1, place[:, None])[:, 0]
        doubtful = (best <= unlikely + prices.max()).nonzero()[:, 0]
        chosen[doubtful] = (cosines[doubtful] + prices).argmax(1)
        used = torch.bincount(chosen, counts, minlength=len(bank)) / counts.sum()
        apart = wanted - torch.bincount(styles, used)
        prices += (1 - number / ROUNDS) * (shares - used + STYLE_RATE * apart[styles])
    return prices
