"""A picture divided into regions: how much each region has of each pixel, and with what it is painted."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from impasto.errors import ImageError, SpecError
from impasto.images.files import load_picture
from impasto.images.image import Image, Picture, Size, size_of, size_with_long_side, stretch
from impasto.images.masks import load_mask
from impasto.objectives.weightmaps import WeightMap, stretched
from impasto.tasks.regions import Region

LEAST_REST = 0.01  # of the picture: less is what is left between masks that should meet
LEAST_LEFT = 0.1  # of the largest value of a mask: less is only the soft edge of another one
OVERLAP = 0.01  # of the picture: soft edges overlap a little, masks that overlap more deserve a word
DARK = 0.15  # brightness outside of a region, in the picture that shows the region
TELLING = 0.02  # relative difference of proportions that can be seen


@dataclass(frozen=True, eq=False)
class Area:
    """A part of the picture that is painted in one way: its name, its share of each pixel, and how it is painted.

    `painting` is None if the area has the run's own paintings; `file` is where it was read. `source` weights the
    painting. `strokes` is their size, `along` whether they run along the photo's lines; None if as in the rest.
    """

    name: str
    share: Tensor  # (1, 1, height, width), from 0 to 1
    painting: Picture | None = None
    source: WeightMap | None = None
    strength: float = 1.0
    strokes: float | None = None
    along: bool | None = None
    detail: float = 1.0
    file: Path | None = None

    @property
    def where(self) -> WeightMap | None:
        """The area as weights of positions; None if it is the whole picture."""
        return None if bool((self.share == 1).all()) else WeightMap(self.share)

    @property
    def is_painted_apart(self) -> bool:
        """Whether the area has a painting, strokes, or a part of the painting of its own."""
        own = self.painting, self.strokes, self.along, self.source
        return any(each is not None for each in own)


@dataclass(frozen=True, eq=False)
class Division:
    """A picture divided into areas that are painted, and perhaps one that stays; at each pixel the shares add up to 1.

    `rest` is the share that no mask covers, None if there is none. `shares` are those of the masks in the order given.
    `notes` are sentences that the user should read.
    """

    areas: tuple[Area, ...] = ()
    rest: Tensor | None = None
    kept: Tensor | None = None
    shares: tuple[Tensor, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def painted(self) -> list[Area]:
        """The areas that have statistics of their own, first the rest with all areas that are painted like the rest.

        Those differ in strength and detail alone. Were their statistics taken apart, a face would have to hold all
        colours of the painting by itself.
        """
        like_rest = [area.share * area.strength for area in self.areas if not area.is_painted_apart]
        together = [*([] if self.rest is None else [self.rest]), *like_rest]
        common = [Area("", torch.stack(together).sum(0))] if together else []
        areas = [*common, *(area for area in self.areas if area.is_painted_apart)]
        return [area for area in areas if bool((area.share > 0).any())]

    @property
    def paintings(self) -> dict[Path, Picture]:
        """The paintings that areas have of their own, by their files."""
        return {area.file: area.painting for area in self.areas if area.file and area.painting}

    @property
    def detail(self) -> Tensor | None:
        """How much the photo's detail counts at each pixel; None if it counts the same everywhere."""
        if all(area.detail == 1 for area in self.areas):
            return None
        counts = [area.share * (area.detail - 1) for area in self.areas]
        return (1 + torch.stack(counts).sum(0)).clamp_min(0)


def divide(regions: Sequence[Region], photo: Image, long_side_px: int, before: Size | None = None) -> Division:
    """The division of a photo by masks, whose files are read; for a result of that long side.

    Masks are stretched over the photo. If the photo is the middle of one that had the size `before`, masks are of that
    one, and cropped as it was; only a mask in the proportions of the middle is of the middle. A region that is left as
    it is comes before all others; the others share what they have in common. What is left is the rest. Raises
    ImageError if a file cannot be read or a region is empty, SpecError if a mask is given twice.
    """
    if not regions:
        return Division()
    masks = [load_mask(*region.mask) for region in regions]
    notes = [*_words_on_sizes(regions, masks, size_of(photo), before)]
    masks = [_middle(mask, size_of(photo), before, region) for region, mask in zip(regions, masks, strict=True)]
    size = _working_size(photo, masks, long_side_px)
    masks = [stretched(mask, size).clamp(0, 1) for mask in masks]
    notes += _words_on_overlaps(masks)

    shares, names = _shared(masks, [region.is_photo for region in regions]), _names(regions)
    for region, share, mask in zip(regions, shares, masks, strict=True):
        if not float(share.max()) > LEAST_LEFT * float(mask.max()):
            raise ImageError(f"nothing is left of the region {region.mask}: other masks cover all of it")

    kept = [share for region, share in zip(regions, shares, strict=True) if region.is_photo]
    pairs = zip(regions, names, shares, strict=True)
    areas = tuple(_area(region, name, share) for region, name, share in pairs if not region.is_photo)

    left = (1 - torch.stack(shares).sum(0)).clamp_(0, 1)
    rest = left if float(left.mean()) >= LEAST_REST else None
    if rest is None and all(area.painting is not None for area in areas):
        notes.append("the masks cover the whole picture, so nothing is painted in the style given without a mask")
    return Division(areas, rest, torch.stack(kept).sum(0).clamp_(0, 1) if kept else None, tuple(shares), tuple(notes))


def counting(painting: Picture, source: WeightMap | None = None, name: str = "style") -> WeightMap | None:
    """The part of a painting that counts: what can be seen, and of that what a mask shows; None if all does.

    The mask is of the whole painting, before its transparent margins were cropped. Raises ImageError, with the `name`
    of the term, if nothing counts.
    """
    shown, mask = painting.seen, None if source is None else source.weights
    least = 0.0 if mask is None else LEAST_LEFT * float(mask.max())
    if mask is not None and painting.before is not None:
        mask = painting.over(stretched(mask, painting.before))
    if mask is not None:
        shown = mask if shown is None else shown * stretched(mask, painting.size)
    if shown is None:
        return None
    if not float(shown.max()) > least:
        raise ImageError(f"nothing of the painting counts for {name}: its mask, given as from, shows transparent parts")
    return WeightMap(shown)


def views(division: Division, photo: Image) -> Iterator[Image]:
    """For each region the photo as seen through its mask: bright inside, dark outside; last the rest, if there is."""
    shares = [*division.shares, *([] if division.rest is None else [division.rest])]
    for share in shares:
        yield photo * (DARK + (1 - DARK) * stretched(share, size_of(photo)))


def _area(region: Region, name: str, share: Tensor) -> Area:
    file, mask = region.painting, region.source
    painting = None if file is None else load_picture(file).visible(file)
    source = None if mask is None else WeightMap(load_mask(*mask))
    return Area(name, share, painting, source, region.strength, region.strokes, region.along, region.detail, file)


def _middle(mask: Tensor, photo: Size, before: Size | None, region: Region) -> Tensor:
    """The part of a mask that lies over the photo, which is the middle of one of the size `before`."""
    if before is None or _is_of_middle(mask, photo, before):
        return mask
    (height, width), shares = size_of(mask), [kept / whole for kept, whole in zip(photo, before, strict=True)]
    tall, wide = max(1, round(height * shares[0])), max(1, round(width * shares[1]))
    top, left = (height - tall) // 2, (width - wide) // 2
    middle = mask[:, :, top : top + tall, left : left + wide]
    if not float(middle.max()) > LEAST_LEFT * float(mask.max()):
        raise ImageError(
            f"nothing is left of the region {region.mask}: the photo is cropped for the print, and all of it is cut off"
        )
    return middle


def _is_of_middle(mask: Tensor, photo: Size, before: Size) -> bool:
    """Whether a mask has the proportions of the photo, rather than those that it had before it was cropped."""
    off = stretch(size_of(mask), photo)
    return off <= TELLING and off < stretch(size_of(mask), before)


def _working_size(photo: Image, masks: Sequence[Tensor], long_side_px: int) -> Size:
    """The result's size, unless all masks are smaller."""
    largest = max(max(size_of(mask)) for mask in masks)
    return size_with_long_side(size_of(photo), min(long_side_px, largest))


def _shared(masks: Sequence[Tensor], kept: Sequence[bool]) -> list[Tensor]:
    """What each region has of each pixel: those that are kept come first, and a sum above 1 is shared in proportion."""
    free = torch.ones_like(masks[0])
    shares: dict[int, Tensor] = {}
    for first in (True, False):
        numbers = [number for number, each in enumerate(kept) if each is first]
        if not numbers:
            continue
        total = torch.stack([masks[number] for number in numbers]).sum(0)
        scale = torch.where(total > 1, 1 / total.clamp_min(1), 1.0)
        shares |= {number: masks[number] * scale * free for number in numbers}
        free = free * (1 - (total * scale).clamp_max(1))
    return [shares[number] for number in range(len(masks))]


def _names(regions: Sequence[Region]) -> list[str]:
    """A name for each region, for losses: its mask's in letters that trackers take, numbered if several have it."""
    if len({region.mask for region in regions}) < len(regions):
        twice = next(region.mask for region in regions if [each.mask for each in regions].count(region.mask) > 1)
        raise SpecError(f"the mask {twice} is given twice; give each region once")
    names: list[str] = []
    for region in regions:
        name, number = " ".join(re.findall(r"[\w.-]+", region.mask.name)) or "region", 1
        while (name if number == 1 else f"{name} {number}") in names:
            number += 1
        names.append(name if number == 1 else f"{name} {number}")
    return names


def _words_on_sizes(
    regions: Sequence[Region], masks: Sequence[Tensor], photo: Size, before: Size | None
) -> Iterator[str]:
    """A sentence for each mask whose size is not that of the photo as it was given."""
    whole = before or photo
    for region, mask in zip(regions, masks, strict=True):
        height, width = size_of(mask)
        if (height, width) == whole:
            continue
        if before is not None and _is_of_middle(mask, photo, before):
            done = "scaled over the part of the photo that is printed"
        elif stretch((height, width), whole) <= TELLING:
            done = "scaled"
        else:
            done = "stretched over the photo, whose proportions are others"
        yield (
            f"the mask {region.mask} has {width} × {height} px, the photo {whole[1]} × {whole[0]}: the mask is {done}"
        )


def _words_on_overlaps(masks: Sequence[Tensor]) -> Iterator[str]:
    """A sentence if masks overlap by more than soft edges do."""
    common = float((torch.stack(list(masks)).sum(0) - 1).clamp_min(0).mean())
    if common > OVERLAP:
        yield (
            f"masks overlap on {common:.0%} of the picture: regions that are left as they are come first, the others "
            "share it"
        )
