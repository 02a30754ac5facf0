"""Blocks of a page from the records of runs: pictures, films, curves and tables."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image as PillowImage
from PIL import ImageOps

from impasto.errors import ImageError
from impasto.folders.names import PATCHES, place_of, region_file
from impasto.folders.records import Frame, PartRecord, PictureRecord, RunRecord
from impasto.images.image import Size, size_with_area
from impasto.pages.blocks import (
    LARGE_PX,
    MEDIUM_PX,
    SMALL_PX,
    Cell,
    Figure,
    Film,
    Row,
    Scrubber,
    Slider,
    Table,
    embed,
    figure,
    film,
    open_input,
    spread,
)
from impasto.pages.curves import Curves, term_curves, total_curves
from impasto.pages.words import duration, number, size_words
from impasto.tasks.settings import Settings
from impasto.tasks.spec import in_force
from impasto.tasks.table import TASKS, part_title

MOST_FRAMES = 40  # of a page, divided among its films
COLUMNS = 6
Inputs = Mapping[Path, PillowImage.Image]
MEASURES = ("status", "response", "e", "PSNR", "loss", "steps", "evaluations", "time", "peak memory")

NO_BREAK = "\N{NO-BREAK SPACE}"


def open_inputs(pictures: Sequence[PictureRecord]) -> Inputs:
    """The pictures that runs read, each opened once; pictures that are no longer readable are left out."""
    opened: dict[Path, PillowImage.Image] = {}
    for path in {picture.path: None for picture in pictures if picture.path is not None}:
        try:
            opened[path] = open_input(path)
        except ImageError:  # damaged since the run; the run's own folder is intact
            continue
    return opened


def input_figures(pictures: Sequence[PictureRecord], inputs: Inputs, most_px: int) -> list[Figure]:
    """One figure for each of the pictures that could be opened."""
    found = [_input(picture, inputs, most_px) for picture in pictures]
    return [each for each in found if each is not None]


def _input(picture: PictureRecord, inputs: Inputs, most_px: int) -> Figure | None:
    if picture.path is None or picture.path not in inputs:
        return None
    alt = f"{picture.role}: {picture.given.stem}"
    return embed(inputs[picture.path], alt, most_px=most_px, caption=picture.role, detail=picture.given.name)


def result_figure(
    part: PartRecord, most_px: int, caption: str = "result", detail: str = "", alt: str = ""
) -> Figure | None:
    """The part's picture, or its last frame if it was killed before it saved a picture; None if it has neither."""
    path = part.result or (part.frames[-1].path if part.frames else None)
    alt = alt or f"result {part_title(part.name)}".strip()
    return figure(path, alt, most_px=most_px, caption=caption, detail=detail) if path is not None else None


def region_figures(record: RunRecord) -> list[tuple[str, list[Figure]]]:
    """The photo as seen through each mask, with how the region is painted; last what no mask covers.

    If regions were changed while the run was made, those of the beginning come first, then those of each change, with
    the step from which on they hold.
    """
    spec, found = record.spec, list[tuple[str, list[Figure]]]()
    for step in sorted({change.step for change in spec.changes if "region" in change.settings}):
        settings = in_force(spec.task, spec.settings, spec.changes, step=step)  # tasks with regions have one part
        words = f"from step {step + 1} on"
        found.append((words, _region_figures(record, settings, words, step)))
    first = _region_figures(record, spec.settings, "", None)
    return [("at first" if found else "", first), *found] if first or found else []


def _region_figures(record: RunRecord, settings: Settings, when: str, step: int | None) -> list[Figure]:
    regions = getattr(settings, "region", ())
    named = [*((region.mask.name, region.words) for region in regions), ("the rest", "")] if regions else []
    files = [region_file(record.folder, place, step) for place in range(1, len(named) + 1)]
    return [
        figure(file, f"region {name} {when}".strip(), most_px=MEDIUM_PX, caption=name, detail=words)
        for file, (name, words) in zip(files, named, strict=True)
        if file.is_file()
    ]


def patch_figures(record: RunRecord) -> list[Figure]:
    """For each unit its picture, and the photos that the unit answers to most; empty if there are no photos."""
    figures: list[Figure | None] = []
    names = record.planned
    for part in record.parts:
        if (file := place_of(record.folder, names, part.name) / PATCHES).is_file():
            words = part_title(part.name) or "the picture"
            figures.append(result_figure(part, MEDIUM_PX, words, _response(part)))
            figures.append(figure(file, f"photos for {words}", most_px=LARGE_PX, caption="photos, strongest first"))
    return [each for each in figures if each is not None]


def _response(part: PartRecord) -> str:
    reached = None if part.summary is None else part.summary.metrics.response
    return "" if reached is None else f"response {number(reached)}"


def sliders(record: RunRecord, inputs: Inputs, most_px: int) -> list[Slider]:
    """A slider between content and result for each part, if the task has a content."""
    if not TASKS[record.spec.task].has_content:
        return []
    results = [result_figure(part, most_px, part_title(part.name) or "result") for part in record.parts]
    saved = [result for result in results if result is not None]
    sides = {max(result.width, result.height) for result in saved}
    path, size = record.pictures[0].path, record.spec.settings.print
    if size is not None and path is not None and path in inputs:  # the run has cropped the content
        inputs = {**inputs, path: _cropped(inputs[path], size.size)}
    before = {side: _input(record.pictures[0], inputs, side) for side in sides}
    pairs = [(before[max(result.width, result.height)], result) for result in saved]
    return [Slider(content, result) for content, result in pairs if content is not None]


def _cropped(picture: PillowImage.Image, size: Size) -> PillowImage.Image:
    """The middle of a picture in the proportions of `size`, (height, width)."""
    shown = size_with_area(size, float(picture.width * picture.height))
    return ImageOps.fit(picture, (shown[1], shown[0]))


def scrubber(
    records: Sequence[RunRecord], most_px: int, names: Sequence[str] = ("",), most_frames: int = MOST_FRAMES
) -> Scrubber | None:
    """A film of each part of all runs, moved together; None if no frames were kept."""
    films: list[Film] = []
    count = sum(len(record.parts) for record in records)
    for name, record in zip(names, records, strict=True):
        for part in record.parts:
            frames = spread(part.frames, max(8, most_frames // count))
            if frames:
                words = f"{name} {part_title(part.name)}".strip()
                labels = [frame_label(part, frame) for frame in frames]
                alt = f"progress of {words or record.spec.task}"
                films.append(film(words, alt, frames, labels, most_px=min(most_px, 384 if count < 3 else 256)))
    return Scrubber(tuple(films)) if films else None


def frame_label(part: PartRecord, frame: Frame) -> str:
    """Step, size, and the picture's loss if known: the losses of a line are of the picture before its step."""
    if not part.lines:
        return f"step {frame.step}"
    lines = {line.step: line for line in part.lines}
    here, after = lines.get(frame.step, part.lines[0]), lines.get(frame.step + 1)
    words = [f"step {frame.step} of {here.steps}", size_words(here.size)]
    if after is not None and (after.stage == here.stage or frame.step == 0):
        words.append(f"loss {number(after.total)}")
    elif after is None and part.summary is not None:
        words.append(f"loss {number(_total(part.summary.losses))}")
    return " · ".join(words)


def grid_row(part: PartRecord) -> Row:
    """A row of a part's frames from the first to the last."""
    figures = []
    for frame in spread(part.frames, COLUMNS):
        alt = f"{part_title(part.name)} after step {frame.step}"
        figures.append(figure(frame.path, alt, most_px=SMALL_PX, caption=f"step {frame.step}"))
    if not figures and (result := result_figure(part, SMALL_PX)) is not None:
        figures.append(result)
    return Row(part_title(part.name), measured(part), tuple(figures))


def run_curves(record: RunRecord) -> list[Curves]:
    """The curves of each part's terms; if there are several parts, first their totals together. Empty without steps."""
    if not any(part.lines for part in record.parts):
        return []
    if len(record.planned) == 1:
        return [term_curves("Loss, term by term", record.parts[0].lines)]
    each = TASKS[record.spec.task].each
    totals = total_curves(f"Total loss, {each} by {each}", {part_title(part.name): part.lines for part in record.parts})
    several = [part for part in record.parts if part.lines and len(part.lines[-1].losses) > 1]
    return [totals, *(term_curves(part_title(part.name), part.lines) for part in several)]


def terms_table(record: RunRecord) -> Table:
    """A row for each term: layer, weight, percentage of the last loss, last and first loss."""
    several = len(record.planned) > 1
    rows = []
    for part in record.parts:
        title = [Cell(part_title(part.name))] if several else []
        rows += [(*title, *cells) for cells in _terms(part)]
    head = ("term", "layer", "weight", "share of the loss", "last loss", "first loss")
    return Table(("picture", *head) if several else head, tuple(rows))


def _terms(part: PartRecord) -> Iterator[tuple[Cell, ...]]:
    last = part.summary.losses if part.summary is not None else {**part.lines[-1].losses}
    weights = part.summary.weights if part.summary is not None else {}
    total = _total(last)
    for term, loss in last.items():
        name, _, layer = term.partition("/")
        fraction = loss / total if loss is not None and total else None
        percent = Cell(f"{fraction:.0%}" if fraction is not None else "–", fraction)
        first = part.lines[0].losses.get(term) if part.lines else None
        words = [name, layer or "the picture", number(weights.get(term))]
        yield (*map(Cell, words), percent, Cell(number(loss)), Cell(number(first)))


def measures_table(runs: Sequence[tuple[str, RunRecord]]) -> Table:
    """The measures, a row for each part of each run; measures that no part has are left out."""
    measures = {
        f"{name} {part_title(part.name)}".strip(): _measures(part) for name, record in runs for part in record.parts
    }
    columns = [key for key in MEASURES if any(each[key] != "–" for each in measures.values())]
    rows = [(Cell(words), *(Cell(each[key]) for key in columns)) for words, each in measures.items()]
    return Table(("", *columns), tuple(rows))


def _measures(part: PartRecord) -> dict[str, str]:
    """The measures of the saved picture; of the last step if the run was killed."""
    if part.summary is None:
        last = part.lines[-1]
        words = [number(last.total), str(last.step), str(last.evaluations), duration(last.seconds)]
        return dict(zip(MEASURES, [part.status, "–", "–", "–", *words, "–"], strict=True))
    summary = part.summary
    errors = summary.metrics.feature_error.items()
    words = [
        summary.status,
        number(summary.metrics.response),
        ", ".join(f"{number(error)} at {layer}" for layer, error in errors) or "–",
        _decibels(summary.metrics.psnr),
        number(_total(summary.losses)),
        str(summary.steps),
        str(summary.evaluations),
        duration(summary.seconds),
        f"{summary.peak_memory_mb:.0f} MB",
    ]
    return dict(zip(MEASURES, words, strict=True))


def badges(part: PartRecord) -> list[tuple[str, str]]:
    """The measures of a run of one picture, as names and values."""
    errors = part.summary.metrics.feature_error if part.summary is not None else {}
    others = {key: value for key, value in _measures(part).items() if key not in ("e", "status") and value != "–"}
    return [*((f"e at {layer}", number(error)) for layer, error in errors.items()), *others.items()]


def measured(part: PartRecord) -> str:
    """The measures of a part in one line."""
    measures = _measures(part)
    known = [f"{key} {measures[key]}" for key in ("response", "e", "PSNR", "loss") if measures[key] != "–"]
    line = ", ".join([*known, measures["time"]])
    return re.sub(r"(?<=\d) (?=(dB|s|min|h)\b)", NO_BREAK, line)  # on a narrow screen no unit stands alone


def _decibels(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} dB"


def _total(losses: Mapping[str, float | None]) -> float | None:
    known = [loss for loss in losses.values() if loss is not None]
    return sum(known) if len(known) == len(losses) else None
