"""A bank of a painting's features, and which of them is most like a feature of the photo.

Prices see to it that no part of the painting is used too often, and places beside each other rather take features that
are beside each other in the painting: whole strokes, not single dots.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.images.image import size_of
from impasto.matching.directions import directions
from impasto.matching.places import Links, Piece, Sample
from impasto.networks.passes import wide
from impasto.networks.steps import FeatureMap

ROUNDS = 60  # of prices; more change little
LIKELY = 64  # directions with the best cosines, looked at first in each round
AGREEMENT = 0.1  # of cosine, for each of the four neighbours that a choice continues; docs/decisions/0044
STYLE_RATE = 0.1  # of the price that all features of a style share
CHUNK = 1024  # positions matched at once: with the bank about 70 MB


@dataclass(frozen=True, eq=False)
class Bank:
    """Features of the styles (positions, channels), with what is needed to match features of a picture to them.

    Rows that are compared may have more columns than there are channels: where lines run, see `impasto.matching.lines`.
    """

    features: Tensor
    directions: Tensor  # of the features, centred by their mean, each of length 1, and columns beyond the channels
    prices: Tensor
    mean: Tensor  # of the styles
    centre: Tensor  # of the picture that asks
    links: Links

    @classmethod
    def of(
        cls, styles: Sequence[Sample], fractions: Sequence[float], asking: Sample, links: Links, channels: int
    ) -> "Bank":
        """The bank of some styles' features, with prices found from a sample of the picture that asks.

        Each style is to be used as often as its fraction says, and its features in proportion to their counts. If there
        are several times as many styles as fractions, all after the first are copies: the same places of the same
        styles, seen differently. A place has one price, whichever copy of it is used.
        """
        rows = torch.cat([style.rows for style in styles])
        shares = torch.cat([part * style.fractions for style, part in zip(styles, fractions, strict=False)])
        features, copies = rows[:, :channels], len(styles) // len(fractions)
        counts = shares.repeat(copies)
        mean = counts @ wide(features) / counts.sum()
        centre = asking.fractions @ wide(asking.rows[:, :channels])
        found = _compared(rows, mean)
        numbers = torch.cat([torch.full((len(style.rows),), at) for at, style in enumerate(styles[: len(fractions)])])
        prices = _prices(_compared(asking.rows, centre), asking.counts, found, shares, numbers.to(shares.device))
        return cls(features, found, prices.repeat(copies), mean, centre, links.to(features.device))

    def nearest(self, rows: Tensor) -> Tensor:
        """The row of the bank for each of these features of the asking picture (positions, channels)."""
        return torch.addmm(self.prices, _compared(rows, self.centre), self.directions.T).argmax(1)

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
            asked, place = _compared(piece.maps[0][:, y, x].T, self.centre), (y + piece.top, x + piece.left)
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


def _compared(rows: Tensor, centre: Tensor) -> Tensor:
    """The direction of each feature from the centre, followed by the columns that the centre lacks, as they are."""
    channels = len(centre)
    found = directions(rows[:, :channels], centre)
    return found if rows.shape[1] == channels else torch.cat([found, rows[:, channels:].to(found)], 1)


def _prices(asking: Tensor, counts: Tensor, bank: Tensor, shares: Tensor, styles: Tensor) -> Tensor:
    """A price for each place of a bank, added to its cosine: each is chosen about as often as its share says.

    `counts` says how much each asking direction counts, `styles` has the number of the style of each place. A bank with
    several copies of all places has them one after the other. The price of a place that is chosen too often falls, that
    of one chosen too seldom rises, and so do the prices of all places of a style, by less each round.

    Prices are small beside the differences of cosines, so the choice is nearly always among the `LIKELY` best cosines.
    All directions are looked at only where an unlikely one with the highest price could still be the choice.
    """
    cosines, prices, copies = asking @ bank.T, torch.zeros_like(shares), len(bank) // len(shares)
    likely = cosines.topk(min(LIKELY, len(bank)), sorted=False).indices.sort().values
    close, likely_places = cosines.gather(1, likely), likely % len(shares)
    unlikely = close.amin(1)  # no other direction has a better cosine
    wanted = torch.bincount(styles, shares)
    for number in range(ROUNDS):
        best, place = (close + prices[likely_places]).max(1)
        chosen = likely.gather(1, place[:, None])[:, 0]
        doubtful = (best <= unlikely + prices.max()).nonzero()[:, 0]
        chosen[doubtful] = (cosines[doubtful] + prices.repeat(copies)).argmax(1)
        used = torch.bincount(chosen % len(shares), counts, minlength=len(shares)) / counts.sum()
        apart = wanted - torch.bincount(styles, used)
        prices += (1 - number / ROUNDS) * (shares - used + STYLE_RATE * apart[styles])
    return prices
