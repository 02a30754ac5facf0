"""A sweep: a run for each combination of settings, a grid of the pictures, and a page that compares the runs."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

from impasto.errors import DivergedError, ImpastoError, InterruptedRunError, SpecError, nearest
from impasto.events import Listener, MemberBegun, SeriesDone, silent
from impasto.folders.named import PICTURES, Hashes, hash_files
from impasto.folders.names import RESULT, hashed_name, plain_name
from impasto.folders.owners import Ownership
from impasto.folders.places import folder_name, trace
from impasto.folders.specfiles import spec_toml
from impasto.images.colours import from_pillow
from impasto.images.files import load_picture, save_image, to_pillow
from impasto.images.sheets import contact_sheet
from impasto.pages.comparison import write_comparison
from impasto.runs.recorders import Recorder
from impasto.runs.stopping import Stop, go_on_unless
from impasto.series.members import check_all, finished, make_run, networks_for, require_no_other
from impasto.series.places import is_free, taken
from impasto.tasks.spec import RunSpec, overruled
from impasto.tasks.table import TASKS, explicit, make_settings, overridden

SWEEP_FILE, GRID, COMPARISON = "sweep.toml", "grid.png", "comparison.html"
MOST_CELLS = 1000
Variations = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Cell:
    """One combination of values, by setting, the spec of its run, and the name of the run's folder."""

    values: tuple[tuple[str, str], ...]
    spec: RunSpec
    name: str

    @property
    def text(self) -> str:
        """The combination as it is written."""
        return _text(self.values)

    @property
    def words(self) -> str:
        """The combination in words."""
        return ", ".join(f"{key} {value}" for key, value in self.values)


def parse_variation(text: str, task: str) -> tuple[str, tuple[str, ...]]:
    """A setting and its values from "style_weight=1,3,10"; values that contain commas are separated by semicolons.

    Dashes may stand for underscores, and `layer` for `layers`. Raises SpecError.
    """
    key, equals, listed = text.partition("=")
    name = key.strip().lstrip("-").replace("-", "_")
    fields = TASKS[task].settings.model_fields
    if name not in fields and f"{name}s" in fields:
        name = f"{name}s"
    if name not in fields:
        raise SpecError(f"there is no setting {key.strip()!r} to vary; {nearest(name, fields)}")
    values = tuple(value.strip() for value in listed.split(";" if ";" in listed else ",") if value.strip())
    if not equals or not values:
        raise SpecError(f"{text!r} has no values; write for instance {name}=1,3,10")
    if len(set(values)) < len(values):
        raise SpecError(f"{text!r} has a value twice; give each value once")
    return name, values


def make_cells(spec: RunSpec, variations: Variations) -> list[Cell]:
    """All combinations, the last setting varying fastest. Raises SpecError for a value that a setting cannot take."""
    if not variations:
        raise SpecError("nothing varies; give --vary SETTING=VALUE,VALUE")
    cells = []
    for combination in product(*variations.values()):
        chosen = dict(zip(variations, combination, strict=True))
        settings = make_settings(spec.task, **overridden(explicit(spec.settings), chosen))
        values = tuple(chosen.items())
        new = {"settings": settings, "changes": overruled(spec.changes, chosen)}
        cells.append(Cell(values, spec.model_copy(update=new), _name(_text(values))))
    if len(cells) > MOST_CELLS:
        raise SpecError(f"{len(cells)} runs are too many: {MOST_CELLS} are allowed; give fewer values")
    called = Counter(cell.name.casefold() for cell in cells)  # some file systems do not tell a.png from A.png
    return [cell if called[cell.name.casefold()] == 1 else replace(cell, name=hashed_name(cell.text)) for cell in cells]


def _text(values: Sequence[tuple[str, str]]) -> str:
    return ",".join(f"{key}={value}" for key, value in values)


def _name(text: str) -> str:
    """The text as a folder's name; with its hash if letters had to change, so that no other text has the same name."""
    return text if plain_name(text) == text else hashed_name(text)


def run_sweep(
    spec: RunSpec,
    variations: Variations,
    out: Path | None = None,
    *,
    force: bool = False,
    stop: Stop = None,
    listener: Listener = silent,
) -> Path:
    """Make the runs that are missing and return the folder, by default runs/sweep-TASK-PICTURES.

    Finished runs are kept, also if values are added later; grid.png and comparison.html show the combinations asked
    for. If a run diverges, the others are made and its error is raised at the end. A stop ends the sweep; the same
    call continues it. With `force` the folder of a sweep starts afresh. `stop` and `listener` are as for `run`.
    """
    cells = make_cells(spec, variations)
    folder = out or Path("runs") / folder_name(f"sweep-{spec.task}", spec.pictures)

    def about(hashes: Hashes) -> str:
        return spec_toml(spec, {"provenance": {PICTURES: [hashes[path] for path in spec.pictures]}})

    series = Series(folder, SWEEP_FILE, about, lambda done: _save_overview(done, variations, folder))
    paint_cells(cells, series, force=force, stop=stop, listener=listener)
    listener(SeriesDone(folder, folder / COMPARISON, folder / GRID))
    return folder


@dataclass(frozen=True)
class Series:
    """Where the runs of cells go: the folder, its file, the file's text by the files' hashes, and what shows them.

    `show` is called with the cells that are done, if there are any.
    """

    folder: Path
    file: str
    about: Callable[[Hashes], str]
    show: Callable[[Sequence[Cell]], None]


def paint_cells(
    cells: Sequence[Cell],
    series: Series,
    *,
    force: bool,
    stop: Stop,
    listener: Listener,
    recorders: Sequence[Recorder] = (),
) -> None:
    """Make the runs of cells of the same pictures that are missing, and show all that are done.

    If a run diverges, the others are made and its error is raised at the end.
    """
    folder, file, paths = series.folder, series.file, cells[0].spec.pictures
    networks = networks_for(cell.spec for cell in cells)
    pictures = {path: load_picture(path) for path in paths}
    hashes = hash_files(cell.spec for cell in cells)

    def is_done(cell: Cell) -> bool:
        return finished(cell.spec, folder / cell.name, hashes) is not None

    about, before = series.about(hashes), trace(folder, file)
    fresh = is_free(folder, file, about, [cell.spec for cell in cells], force=force)
    if not fresh:
        require_no_other(((cell.spec, folder / cell.name) for cell in cells), hashes)
    left = [cell for cell in cells if fresh or not is_done(cell)]
    check_all([pair for cell, pair in zip(cells, networks, strict=True) if cell in left], pictures)

    with taken(folder, file, about, fresh=fresh, before=before) as ownership:
        make = partial(make_run, hashes=hashes, stop=stop, listener=listener, recorders=recorders)
        diverged = _make_left(cells, left, ownership, make, stop, listener)
        if done := [cell for cell in cells if is_done(cell)]:
            series.show(done)
    if diverged:
        raise diverged[0]


def _make_left(
    cells: Sequence[Cell],
    left: Sequence[Cell],
    ownership: Ownership,
    make: Callable[[RunSpec, Path], None],
    stop: Stop,
    listener: Listener,
) -> list[DivergedError]:
    """Make the cells that are left; return the errors of those that diverge. Raises any other ImpastoError."""
    folder, diverged = ownership.folder, list[DivergedError]()
    for number, cell in enumerate(cells, start=1):
        if cell not in left:
            continue
        try:
            go_on_unless(stop)
            ownership.require()
            listener(MemberBegun(number, len(cells), cell.name, cell.words))
            make(cell.spec, folder / cell.name)
        except DivergedError as error:
            diverged.append(error)
        except (ImpastoError, KeyboardInterrupt) as error:
            words = "stopped" if isinstance(error, KeyboardInterrupt) else str(error)
            kind = type(error) if isinstance(error, ImpastoError) else InterruptedRunError
            raise kind(f"{words}; the same command continues in {folder}") from None
    return diverged


def _save_overview(cells: Sequence[Cell], variations: Variations, folder: Path) -> None:
    """Write the grid, whose columns are the values of the last setting, and the page that compares the runs."""
    shown = [to_pillow(load_picture(folder / cell.name / RESULT).on_white) for cell in cells]
    pictures = [(cell.words.replace(", ", "\n"), picture) for cell, picture in zip(cells, shown, strict=True)]
    columns = len(list(variations.values())[-1])
    sheet = contact_sheet(
        pictures, columns=min(columns, len(pictures)), title=f"{cells[0].spec.task}: {', '.join(variations)}"
    )
    save_image(from_pillow(sheet), folder / GRID)
    if len(cells) > 1:
        write_comparison([folder / cell.name for cell in cells], folder / COMPARISON)
