"""A sheet of small candidates for one painted photo: presets × strengths × strokes, each an ordinary run.

`impasto enlarge SHEET#5` paints a candidate large.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

from impasto.errors import RunFolderError, SpecError
from impasto.events import Listener, SeriesDone, silent
from impasto.folders.named import PICTURES, Hashes
from impasto.folders.names import RESULT, SHEET, SHEET_FILE
from impasto.folders.places import folder_name
from impasto.folders.specfiles import spec_toml
from impasto.images.colours import from_pillow
from impasto.images.files import load_picture, save_image, to_pillow
from impasto.images.sheets import contact_sheet
from impasto.pages.comparison import write_comparison
from impasto.runs.recorders import Recorder
from impasto.runs.stopping import Stop
from impasto.series.sweep import COMPARISON, Cell, Series, paint_cells
from impasto.tasks.presets import preset
from impasto.tasks.settings import TransferSettings
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import explicit
from impasto.tasks.values import MOST_SCALE, SMALL_PX, validated

MOST = 16
ALONG = "along"  # in place of a size of strokes


@dataclass(frozen=True)
class Choices:
    """What candidates differ in: presets, and weights and sizes of strokes as multiples of the preset's own.

    In place of a size, strokes may be ALONG the photo's lines, in the preset's size. Raises SpecError for fewer than 2
    or more than MOST combinations, or a number that is not above 0.
    """

    presets: tuple[str, ...] = ("default",)
    strengths: tuple[float, ...] = (0.3, 1.0, 3.0)
    strokes: tuple[float | str, ...] = (0.6, 1.0, 1.6)

    def __post_init__(self) -> None:
        count = len(self.presets) * len(self.strengths) * len(self.strokes)
        if not 2 <= count <= MOST:
            raise SpecError(
                f"a sheet has 2 to {MOST} candidates, not {count}; give other presets, strengths or strokes"
            )
        numbers = (*self.strengths, *(each for each in self.strokes if each != ALONG))
        if wrong := [number for number in numbers if isinstance(number, str) or not 0 < number < float("inf")]:
            raise SpecError(
                f"{_text(wrong[0])} is neither a strength nor a size of strokes; both are numbers above 0, and strokes "
                f"may be {ALONG!r}"
            )
        for listed in (self.presets, self.strengths, self.strokes):
            if len(set(listed)) < len(listed):
                twice = next(each for each in listed if listed.count(each) > 1)
                raise SpecError(f"{_text(twice)} is given twice; give each preset, strength and stroke once")


def candidates(pictures: Sequence[Path], choices: Choices, settings: TransferSettings | None = None) -> list[Cell]:
    """The candidates in the order of their numbers, strokes varying fastest; explicit `settings` override presets.

    Raises SpecError for an unknown preset, for a print's size, and for strokes along lines in a preset that matches
    no neighbours.
    """
    asked: dict[str, Any] = {} if settings is None else explicit(settings)
    if "print" in asked:
        raise SpecError("candidates are small; give --print to impasto enlarge, which paints one of them large")
    cells = []
    for number, (name, strength, stroke) in enumerate(
        product(choices.presets, choices.strengths, choices.strokes), start=1
    ):
        own = preset("transfer", name, **{"size": SMALL_PX, "frames": 0, **asked})
        assert isinstance(own, TransferSettings)
        if stroke == ALONG and not own.neighbours:
            raise SpecError(f"the preset {name} matches no neighbours, so its strokes cannot run along; leave one out")
        varied: dict[str, Any] = {"style_weight": own.style_weight * strength}
        varied |= {"strokes": ALONG} if isinstance(stroke, str) else {"style_scale": own.style_scale * stroke}
        if varied.get("style_scale", 0) > MOST_SCALE:
            raise SpecError(f"strokes are {_text(stroke)}; {MOST_SCALE / own.style_scale:g} is the most")
        chosen = validated(TransferSettings, **{**explicit(own), **varied})
        spec = RunSpec(task="transfer", pictures=tuple(pictures), settings=chosen, preset=name)
        first = (("preset", name),) if len(choices.presets) > 1 else ()
        values = (*first, ("strength", f"{strength:g}"), ("strokes", _text(stroke)))
        cells.append(Cell(values, spec, f"{number:02}"))
    return cells


def explore(
    pictures: Sequence[Path],
    choices: Choices | None = None,
    settings: TransferSettings | None = None,
    out: Path | None = None,
    *,
    force: bool = False,
    stop: Stop = None,
    listener: Listener = silent,
    recorders: Sequence[Recorder] = (),
) -> Path:
    """Paint the candidates for a photo and its styles, and return the folder, by default runs/explore-PICTURES.

    The folder has sheet.png, comparison.html and a run for each candidate: 01, 02 … Candidates are at most SMALL_PX
    large unless `settings` name a size. The same call continues after a stop; candidates that are there are not
    painted again, and with `force` the folder starts afresh. `stop`, `listener` and `recorders` are as for `run`; the
    recorders receive one candidate after the other.
    """
    cells = candidates(pictures, choices or Choices(), settings)
    folder = out or Path("runs") / folder_name("explore", pictures)
    varied = [{"preset": cell.spec.preset, **dict(cell.values)} for cell in cells]

    def about(hashes: Hashes) -> str:
        known = {"provenance": {PICTURES: [hashes[path] for path in pictures], "candidates": varied}}
        return spec_toml(cells[0].spec, known)

    series = Series(folder, SHEET_FILE, about, lambda done: _save_sheet(cells, done, folder))
    paint_cells(cells, series, force=force, stop=stop, listener=listener, recorders=recorders)
    listener(SeriesDone(folder, folder / COMPARISON, folder / SHEET))
    return folder


def candidate(sheet: Path, number: str) -> Path:
    """The folder of a sheet's candidate. Raises RunFolderError if there is no such sheet or candidate."""
    if not (sheet / SHEET_FILE).is_file():
        raise RunFolderError(f"{sheet} is not the folder of a sheet, as impasto explore makes it")
    there = sorted(path.parent.name for path in sheet.glob(f"[0-9][0-9]/{RESULT}"))
    name = f"{int(number):02}" if number.isdecimal() else number
    if name not in there:
        listed = ", ".join(f"#{int(each)}" for each in there) or "none yet"
        raise RunFolderError(f"{sheet} has no candidate #{number}; its candidates are {listed}")
    return sheet / name


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _save_sheet(cells: Sequence[Cell], done: Sequence[Cell], folder: Path) -> None:
    """The numbered sheet of the candidates that are done, and the page that compares them."""
    pictures = [
        (f"#{int(cell.name)}  {cell.words}", to_pillow(load_picture(folder / cell.name / RESULT).on_white))
        for cell in done
    ]
    names = " and ".join(path.stem for path in cells[0].spec.pictures[1:])
    title = f"{cells[0].spec.pictures[0].stem}, in the style of {names}"
    sheet = contact_sheet(pictures, columns=min(ceil(len(cells) ** 0.5), len(done)), title=title)
    save_image(from_pillow(sheet), folder / SHEET)
    if len(done) > 1:
        write_comparison([folder / cell.name for cell in done], folder / COMPARISON)
