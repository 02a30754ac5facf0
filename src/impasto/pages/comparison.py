"""The page that shows several runs side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from impasto.errors import ImageError, RunFolderError
from impasto.folders.records import RunRecord, read_run
from impasto.pages.blocks import LARGE_PX, MEDIUM_PX, Cell, Figure, Row, Slider, Table
from impasto.pages.credits import network_credits, picture_credits
from impasto.pages.curves import one_term_curves, total_curves
from impasto.pages.rendering import render, save_page
from impasto.pages.run_page import about_run
from impasto.pages.sections import input_figures, measured, measures_table, open_inputs, result_figure, scrubber
from impasto.tasks.table import part_title


def write_comparison(folders: Sequence[Path], out: Path, pictures: Sequence[Path] = ()) -> Path:
    """Write a page of several runs side by side; `pictures` and errors as for `write_report`."""
    return save_page(comparison_page([read_run(folder, pictures) for folder in folders]), out)


def comparison_page(records: Sequence[RunRecord]) -> str:
    """The page of several runs, with shared axes. Raises RunFolderError if a picture in a folder is damaged."""
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
            networks=network_credits(records),
            credits=picture_credits([picture for record in records for picture in record.pictures]),
        )
    except ImageError as error:
        raise RunFolderError(f"a run's folder is damaged: {error}") from None


def unique_names(records: Sequence[RunRecord]) -> list[str]:
    """The names of the runs' folders, or the whole path if two folders have the same name."""
    names = [record.name for record in records]
    return [name if names.count(name) == 1 else str(record.folder) for name, record in zip(names, records, strict=True)]


def differences(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """The settings, pictures and versions that differ between runs, by name: each run's value, or a dash."""
    tables = [_facts(record) for record in records]
    keys = dict.fromkeys(key for table in tables for key in table)
    values = {key: [table.get(key, "–") for table in tables] for key in keys}
    return {key: each for key, each in values.items() if len(set(each)) > 1}


def _facts(record: RunRecord) -> dict[str, str]:
    pictures = {picture.role: picture.given.stem for picture in record.pictures}
    settings = record.spec.settings.model_dump(mode="json", exclude_none=True)
    versions = ("impasto", "torch", "device", "weights_sha256")
    known = {name: str(record.provenance.get(name, "–")) for name in versions}
    return {"task": record.spec.task, **pictures, **{key: str(value) for key, value in settings.items()}, **known}


def _comparison_grid(
    names: Sequence[str], records: Sequence[RunRecord], differing: Mapping[str, Sequence[str]]
) -> list[Row]:
    """A row for each part's name: the results of all runs that have this part, with their differences below."""
    rows = []
    for title in dict.fromkeys(part.name for record in records for part in record.parts):
        figures = []
        for index, (name, record) in enumerate(zip(names, records, strict=True)):
            lines = [f"{key}: {values[index]}" for key, values in differing.items() if values[index] != "–"]
            for part in (part for part in record.parts if part.name == title):
                result = result_figure(part, MEDIUM_PX, name, "\n".join([*lines, measured(part)]))
                figures += [result] if result is not None else []
        rows.append(Row(part_title(title), "", tuple(figures)))
    return rows


def _comparison_slider(names: Sequence[str], records: Sequence[RunRecord]) -> list[Slider]:
    """A slider if there are two runs of one picture each, with the same proportions."""
    if len(records) != 2 or any(len(record.planned) > 1 for record in records):
        return []
    first, second = (
        result_figure(record.parts[0], LARGE_PX, name) for name, record in zip(names, records, strict=True)
    )
    if first is None or second is None or abs(first.width * second.height / first.height / second.width - 1) > 0.02:
        return []
    return [Slider(first, second)]


def _shared_inputs(records: Sequence[RunRecord]) -> list[Figure]:
    """Each picture that any of the runs read, once."""
    pictures = list({picture.path: picture for record in records for picture in record.pictures}.values())
    return input_figures(pictures, open_inputs(pictures), MEDIUM_PX)
