"""The page of one run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from impasto.errors import ImageError, RunFolderError
from impasto.events import Listener, PageFailed
from impasto.folders.names import PAGE
from impasto.folders.records import RunRecord, read_run
from impasto.pages.blocks import LARGE_PX, MEDIUM_PX, Cell, Table, text_table
from impasto.pages.credits import network_credits, picture_credits
from impasto.pages.rendering import render, save_page
from impasto.pages.sections import (
    badges,
    grid_row,
    input_figures,
    measures_table,
    open_inputs,
    patch_figures,
    region_figures,
    result_figure,
    run_curves,
    scrubber,
    sliders,
    terms_table,
)
from impasto.pages.words import listed, repeat_command
from impasto.tasks.spec import in_order
from impasto.tasks.table import TASKS


def write_report(folder: str | Path, out: str | Path | None = None, pictures: Sequence[Path] = ()) -> Path:
    """Write the page of one run, by default to report.html in its folder, and return the path of the page.

    `pictures` are files and folders in which pictures that were moved are found by their hashes.
    Raises RunFolderError if the folder is missing or damaged, OutputError if the page cannot be written.
    """
    return save_page(run_page(read_run(folder, pictures)), Path(out or Path(folder) / PAGE))


def add_page(folder: Path, listener: Listener) -> None:
    """Write the page at the end of a run; a failure is reported to the listener and does not end the run."""
    try:
        write_report(folder)
    except Exception as error:  # the pictures are worth more than the page
        listener(PageFailed(folder / PAGE, str(error) or type(error).__name__))


def run_page(record: RunRecord) -> str:
    """The page of one run. Raises RunFolderError if a picture in its folder is damaged."""
    try:
        several = len(record.planned) > 1
        inputs, most_px = open_inputs(record.pictures), MEDIUM_PX if several else LARGE_PX
        return render(
            "run.html",
            record=record,
            title=title(record),
            formula=TASKS[record.spec.task].formula(record.spec.settings, _names(record)),
            several=several,
            inputs=input_figures(record.pictures, inputs, most_px),
            result=None if several else result_figure(record.parts[0], LARGE_PX),
            regions=region_figures(record),
            changes=changes_table(record),
            patches=patch_figures(record),
            each=TASKS[record.spec.task].each,
            missing=[each for each in record.pictures if each.path not in inputs],
            sliders=sliders(record, inputs, most_px),
            scrubber=scrubber([record], MEDIUM_PX if several else 384),
            grid=[grid_row(part) for part in record.parts] if several else [],
            curves=run_curves(record),
            terms=terms_table(record),
            measures=measures_table([("", record)]) if several else None,
            badges=[] if several else badges(record.parts[0]),
            about=about_run(record),
            networks=network_credits([record]),
            credits=picture_credits(record.pictures),
        )
    except ImageError as error:
        raise RunFolderError(f"{record.folder} is damaged: {error}") from None


def changes_table(record: RunRecord) -> Table | None:
    """What was changed while the run was made, and from which step on; None if nothing was."""
    spec = record.spec
    if not spec.changes:
        return None
    rows = [
        (f"{change.part} step {change.step + 1}".strip(), name, listed(value))
        for change in in_order(spec.task, spec.settings, spec.changes)
        for name, value in change.settings.items()
    ]
    return text_table(("from", "setting", "value"), rows)


def title(record: RunRecord) -> str:
    """The title of a run's page."""
    return TASKS[record.spec.task].title(record.spec.settings, _names(record))


def _names(record: RunRecord) -> list[str]:
    """The pictures' names in words."""
    return [path.stem.replace("-", " ").replace("_", " ") for path in record.spec.pictures]


def about_run(record: RunRecord) -> dict[str, Any]:
    """The command, settings, versions and hashes of a run, for the end of a page."""
    usual = TASKS[record.spec.task].usual_settings(record.spec.settings.network)
    settings = record.spec.settings.model_dump(mode="json", exclude_none=True)
    rows = [(Cell(key), Cell(str(value)), Cell(str(usual.get(key, "–")))) for key, value in settings.items()]
    flat = {key: listed(value) for key, value in record.provenance.items()}
    return {
        "command": repeat_command(record),
        "toml": record.toml,
        "settings": Table(("setting", "value", "default"), tuple(rows)),
        "provenance": Table(("", ""), tuple((Cell(key), Cell(value)) for key, value in flat.items())),
    }
