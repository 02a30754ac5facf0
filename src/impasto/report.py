"""Run folders -> one self-contained page: of one run, or of several side by side."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import ExifTags
from PIL import Image as PillowImage

from impasto.errors import ImageError, RunFolderError
from impasto.images import open_picture
from impasto.pages import (
    LARGE_PX,
    MEDIUM_PX,
    Cell,
    Figure,
    Row,
    Slider,
    Table,
    one_term_curves,
    render,
    save_page,
    total_curves,
)
from impasto.records import PictureRecord, RunRecord, read_run, repeat_command
from impasto.sections import (
    grid_row,
    input_figures,
    measured,
    measures_table,
    open_inputs,
    part_title,
    result_figure,
    run_curves,
    scrubber,
    sliders,
    terms_table,
    tiles,
)
from impasto.specs import TASKS
from impasto.weights import VGG16_SHA256

PAGE = "report.html"


def write_report(folder: Path, out: Path | None = None) -> Path:
    """The page of one run, by default report.html in its folder, which it replaces. Returns where it is.

    Raises RunFolderError where the folder is missing or damaged, OutputError where the page cannot be written.
    """
    return save_page(run_page(read_run(folder)), out or folder / PAGE)


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """A page of several runs side by side; raises as `write_report`."""
    return save_page(comparison_page([read_run(folder) for folder in folders]), out)


def add_page(folder: Path) -> None:
    """What a run does at its end: a page that cannot be made is said in a sentence and costs nothing else."""
    try:
        write_report(folder)
    except Exception as error:  # whatever it is, the pictures are worth more
        print(f"{folder / PAGE} is not written: {error or type(error).__name__}", file=sys.stderr)


def run_page(record: RunRecord) -> str:
    """The page of one run. Raises RunFolderError where a picture in its folder is damaged."""
    try:
        several = len(record.planned) > 1
        inputs, most_px = open_inputs(record.pictures), MEDIUM_PX if several else LARGE_PX
        return render(
            "run.html",
            record=record,
            title=title(record),
            several=several,
            inputs=input_figures(record.pictures, inputs, most_px),
            result=None if several else result_figure(record.parts[0], LARGE_PX),
            missing=[each for each in record.pictures if each.path not in inputs],
            sliders=sliders(record, inputs, most_px),
            scrubber=scrubber([record], MEDIUM_PX if several else 384),
            grid=[grid_row(part) for part in record.parts] if several else [],
            curves=run_curves(record),
            terms=terms_table(record),
            measures=measures_table([("", record)]) if several else None,
            tiles=[] if several else tiles(record.parts[0]),
            about=about_run(record),
        )
    except ImageError as error:
        raise RunFolderError(f"{record.folder} is damaged: {error}") from None


def comparison_page(records: Sequence[RunRecord]) -> str:
    """The page of several runs on the same axes. Raises RunFolderError where a picture in a folder is damaged."""
    names = unique_names(records)
    differing = differences(records)
    runs = {
        f"{name} {part.name}".strip(): part.lines
        for name, record in zip(names, records, strict=True)
        for part in record.parts
    }
    terms = dict.fromkeys(term for lines in runs.values() for line in lines for term in line.losses)
    try:
        return render(
            "compare.html",
            title=f"{len(records)} runs side by side",
            records=list(zip(names, records, strict=True)),
            grid=_comparison_grid(names, records, differing),
            sliders=_comparison_slider(names, records),
            inputs=_shared_inputs(records),
            scrubber=scrubber(records, MEDIUM_PX, names),
            curves=total_curves("Total loss", runs) if terms else None,
            term_curves=[one_term_curves(term, term, runs) for term in terms] if len(terms) > 1 else [],
            differing=Table(("", *names), tuple((Cell(key), *map(Cell, values)) for key, values in differing.items())),
            measures=measures_table(list(zip(names, records, strict=True))),
            about=[(name, about_run(record)) for name, record in zip(names, records, strict=True)],
        )
    except ImageError as error:
        raise RunFolderError(f"a run's folder is damaged: {error}") from None


# Words ---------------------------------------------------------------------------------------------------------------


def title(record: RunRecord) -> str:
    """What the run is about."""
    first, *others = [path.stem.replace("-", " ").replace("_", " ") for path in record.spec.pictures]
    match record.spec.task:
        case "transfer":
            return f"{first}, in the style of {' and '.join(others)}"
        case "amalgamate":
            return f"{first}, imprinted on {others[0]}"
        case "texture":
            return f"The texture of {first}"
        case "invert":
            return f"What {getattr(record.spec.settings, 'layer', 'a layer')} keeps of {first}"
    return f"What each layer keeps of {first}"


def unique_names(records: Sequence[RunRecord]) -> list[str]:
    """The folders' names, or their whole paths where two are the same."""
    names = [record.name for record in records]
    return [name if names.count(name) == 1 else str(record.folder) for name, record in zip(names, records, strict=True)]


def differences(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """What is not the same in all runs, by name: each run's value, a dash where it has none."""
    tables = [_facts(record) for record in records]
    keys = dict.fromkeys(key for table in tables for key in table)
    values = {key: [table.get(key, "–") for table in tables] for key in keys}
    return {key: each for key, each in values.items() if len(set(each)) > 1}


def _facts(record: RunRecord) -> dict[str, str]:
    pictures = {picture.role: picture.given.stem for picture in record.pictures}
    settings = record.spec.settings.model_dump(mode="json", exclude_none=True)
    settled = {name: str(record.provenance.get(name, "–")) for name in ("impasto", "torch", "device", "weights_sha256")}
    return {"task": record.spec.task, **pictures, **{key: str(value) for key, value in settings.items()}, **settled}


def about_run(record: RunRecord) -> dict[str, Any]:
    """Settings, versions, hashes and the command, for the end of a page."""
    usual = TASKS[record.spec.task]().model_dump(mode="json", exclude_none=True)
    settings = record.spec.settings.model_dump(mode="json", exclude_none=True)
    rows = [(Cell(key), Cell(str(value)), Cell(str(usual.get(key, "–")))) for key, value in settings.items()]
    flat = {key: ", ".join(map(str, v)) if isinstance(v, list) else str(v) for key, v in record.provenance.items()}
    return {
        "command": repeat_command(record),
        "toml": record.toml,
        "settings": Table(("setting", "value", "default"), tuple(rows)),
        "provenance": Table(("", ""), tuple((Cell(key), Cell(value)) for key, value in flat.items())),
        "bundled_weights": record.provenance.get("weights_sha256") == VGG16_SHA256,
        "weights_sha256": str(record.provenance.get("weights_sha256", "unknown")),
        "credits": [words for picture in record.pictures if (words := credit(picture))],
    }


def credit(picture: PictureRecord) -> str:
    """A picture's name, and what its own file says of author and rights."""
    words = [f"{picture.role.capitalize()}: {picture.given.name}"]
    if picture.path is not None:
        try:
            with open_picture(picture.path) as file:
                exif = file.getexif()
        except OSError:  # not to be read any more: its name is all there is to say
            exif = PillowImage.Exif()
        words += [str(exif[tag]).strip() for tag in (ExifTags.Base.Artist, ExifTags.Base.Copyright) if tag in exif]
    return ", ".join(word for word in words if word)


# Several runs --------------------------------------------------------------------------------------------------------
def _comparison_grid(
    names: Sequence[str], records: Sequence[RunRecord], differing: Mapping[str, Sequence[str]]
) -> list[Row]:
    """A row for each part's name, in it each run that has such a part, with what differs under it."""
    parts = dict.fromkeys(part.name for record in records for part in record.parts)
    rows = []
    for wanted in parts:
        shown = []
        for index, (name, record) in enumerate(zip(names, records, strict=True)):
            for part in (part for part in record.parts if part.name == wanted):
                lines = [f"{key}: {values[index]}" for key, values in differing.items() if values[index] != "–"]
                made = result_figure(part, MEDIUM_PX, name, "\n".join([*lines, measured(part)]))
                shown += [made] if made is not None else []
        rows.append(Row(part_title(wanted), "", tuple(shown)))
    return rows


def _comparison_slider(names: Sequence[str], records: Sequence[RunRecord]) -> list[Slider]:
    """Two runs of one picture each and of the same proportions, one over the other."""
    if len(records) != 2 or any(len(record.planned) > 1 for record in records):
        return []
    first, second = (
        result_figure(record.parts[0], LARGE_PX, name) for name, record in zip(names, records, strict=True)
    )
    if first is None or second is None or abs(first.width * second.height / first.height / second.width - 1) > 0.02:
        return []
    return [Slider(first, second)]


def _shared_inputs(records: Sequence[RunRecord]) -> list[Figure]:
    """Every picture that any of the runs read, once."""
    pictures = list({picture.path: picture for record in records for picture in record.pictures}.values())
    return input_figures(pictures, open_inputs(pictures), MEDIUM_PX)
