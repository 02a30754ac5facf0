"""Blocks of a page from what a run's folder holds: its pictures, films, curves and tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image as PillowImage

from impasto.errors import ImageError
from impasto.folders.records import Frame, PartRecord, PictureRecord, RunRecord
from impasto.pages.blocks import (
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
from impasto.tasks.table import TASKS, part_title

MOST_FRAMES = 40  # of a page; its films share them
COLUMNS = 6
Inputs = Mapping[Path, PillowImage.Image]
MEASURES = ("status", "e", "PSNR", "loss", "steps", "evaluations", "time", "peak memory")


def open_inputs(pictures: Sequence[PictureRecord]) -> Inputs:
    """The pictures that runs read, each opened once, as far as they are still there."""
    opened: dict[Path, PillowImage.Image] = {}
    for path in {picture.path: None for picture in pictures if picture.path is not None}:
        try:
            opened[path] = open_input(path)
        except ImageError:  # damaged since; the run's own folder is not to blame
            continue
    return opened


def input_figures(pictures: Sequence[PictureRecord], inputs: Inputs, most_px: int) -> list[Figure]:
    """One figure for each of the pictures that could be opened."""
    return [made for each in pictures if (made := _input(each, inputs, most_px)) is not None]


def _input(picture: PictureRecord, inputs: Inputs, most_px: int) -> Figure | None:
    if picture.path is None or picture.path not in inputs:
        return None
    alt = f"{picture.role}: {picture.given.stem}"
    return embed(inputs[picture.path], alt, most_px=most_px, caption=picture.role, detail=picture.given.name)


def result_figure(
    part: PartRecord, most_px: int, caption: str = "result", detail: str = "", alt: str = ""
) -> Figure | None:
    """The part's picture, or the last on its way where it was killed before there was one."""
    path = part.result or (part.frames[-1].path if part.frames else None)
    alt = alt or f"result {part_title(part.name)}".strip()
    return figure(path, alt, most_px=most_px, caption=caption, detail=detail) if path is not None else None


def sliders(record: RunRecord, inputs: Inputs, most_px: int) -> list[Slider]:
    """Content and result one over the other, for each part of a task that has a content."""
    if not TASKS[record.spec.task].has_content:
        return []
    results = [result_figure(part, most_px, part_title(part.name) or "result") for part in record.parts]
    shown = [result for result in results if result is not None]
    sides = {max(result.width, result.height) for result in shown}
    before = {side: _input(record.pictures[0], inputs, side) for side in sides}
    pairs = [(before[max(result.width, result.height)], result) for result in shown]
    return [Slider(content, result) for content, result in pairs if content is not None]


def scrubber(
    records: Sequence[RunRecord], most_px: int, names: Sequence[str] = ("",), most_frames: int = MOST_FRAMES
) -> Scrubber | None:
    """The pictures on the way of all parts of all runs, moved through together; None where none were kept."""
    films: list[Film] = []
    count = sum(len(record.parts) for record in records)
    for name, record in zip(names, records, strict=True):
        for part in record.parts:
            frames = spread(part.frames, max(8, most_frames // count))
            if frames:
                words = f"{name} {part_title(part.name)}".strip()
                labels = [frame_label(part, frame) for frame in frames]
                alt = f"{words or record.spec.task} on the way"
                films.append(film(words, alt, frames, labels, most_px=min(most_px, 384 if count < 3 else 256)))
    return Scrubber(tuple(films)) if films else None


def frame_label(part: PartRecord, frame: Frame) -> str:
    """Step, size, and the loss of the picture where it is known: a line's losses are of the picture before it."""
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
    """A part's pictures from the first to the last."""
    shown = []
    for frame in spread(part.frames, COLUMNS):
        alt = f"{part_title(part.name)} after step {frame.step}"
        shown.append(figure(frame.path, alt, most_px=SMALL_PX, caption=f"step {frame.step}"))
    if not shown and (result := result_figure(part, SMALL_PX)) is not None:
        shown.append(result)
    return Row(part_title(part.name), measured(part), tuple(shown))


def run_curves(record: RunRecord) -> list[Curves]:
    """The curves of the terms; for several parts their totals together first. None where no step was taken."""
    if not any(part.lines for part in record.parts):
        return []
    if len(record.planned) == 1:
        return [term_curves("Loss, term by term", record.parts[0].lines)]
    totals = total_curves("Total loss, layer by layer", {part_title(part.name): part.lines for part in record.parts})
    several = [part for part in record.parts if part.lines and len(part.lines[-1].losses) > 1]
    return [totals, *(term_curves(part_title(part.name), part.lines) for part in several)]


def terms_table(record: RunRecord) -> Table:
    """Each term's layer, weight, first and last loss, and its share of the last."""
    rows = []
    for part in record.parts:
        last = part.summary.losses if part.summary is not None else {**part.lines[-1].losses}
        weights = part.summary.weights if part.summary is not None else {}
        total = _total(last)
        for term, loss in last.items():
            name, _, layer = term.partition("/")
            share = loss / total if loss is not None and total else None
            first = part.lines[0].losses.get(term) if part.lines else None
            percent = f"{share:.0%}" if share is not None else "–"
            shown = [Cell(part_title(part.name))] if len(record.planned) > 1 else []
            shown += [Cell(name), Cell(layer or "the picture"), Cell(number(weights.get(term))), Cell(percent, share)]
            rows.append((*shown, Cell(number(loss)), Cell(number(first))))
    head = ("term", "layer", "weight", "share of the loss", "last loss", "first loss")
    return Table((("picture", *head) if len(record.planned) > 1 else head), tuple(rows))


def measures_table(runs: Sequence[tuple[str, RunRecord]]) -> Table:
    """What was measured, a row for each part of each run; what applies to none of them is left out."""
    measures = {
        f"{name} {part_title(part.name)}".strip(): _measures(part) for name, record in runs for part in record.parts
    }
    columns = [key for key in MEASURES if any(each[key] != "–" for each in measures.values())]
    rows = [(Cell(words), *(Cell(each[key]) for key in columns)) for words, each in measures.items()]
    return Table(("", *columns), tuple(rows))


def _measures(part: PartRecord) -> dict[str, str]:
    """By MEASURES: of the saved picture, or where the run was killed of the last step."""
    if part.summary is None:
        last = part.lines[-1]
        words = [number(last.total), str(last.step), str(last.evaluations), duration(last.seconds)]
        return dict(zip(MEASURES, [part.status, "–", "–", *words, "–"], strict=True))
    summary = part.summary
    errors = summary.metrics.feature_error.items()
    words = [
        summary.status,
        ", ".join(f"{number(error)} at {layer}" for layer, error in errors) or "–",
        _decibels(summary.metrics.psnr),
        number(_total(summary.losses)),
        str(summary.steps),
        str(summary.evaluations),
        duration(summary.seconds),
        f"{summary.peak_memory_mb:.0f} MB",
    ]
    return dict(zip(MEASURES, words, strict=True))


def tiles(part: PartRecord) -> list[tuple[str, str]]:
    """The same for a single picture, without what does not apply."""
    errors = part.summary.metrics.feature_error if part.summary is not None else {}
    tiles = [(f"e at {layer}", number(e)) for layer, e in errors.items()]
    return tiles + [
        (key, value) for key, value in _measures(part).items() if key not in ("e", "status") and value != "–"
    ]


def measured(part: PartRecord) -> str:
    """What was measured of a part, in a line."""
    measures = _measures(part)
    shown = [f"{key} {measures[key]}" for key in ("e", "PSNR", "loss") if measures[key] != "–"]
    return ", ".join([*shown, measures["time"]])


def _decibels(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} dB"


def _total(losses: Mapping[str, float | None]) -> float | None:
    known = [loss for loss in losses.values() if loss is not None]
    return sum(known) if len(known) == len(losses) else None
