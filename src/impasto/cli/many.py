"""`impasto sweep`, `study` and `batch`: options and help; `series`, `study` and `batch` do the work."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter, validators

from impasto.batch.inputs import find_entries
from impasto.cli.listeners import series_view
from impasto.cli.options import (
    CheckpointSeconds,
    Out,
    Quiet,
    Switch,
    Whole,
    choose_listener,
    locate_spec,
    stoppable,
)
from impasto.cli.runs import run_named
from impasto.cli.streams import print_out
from impasto.errors import SpecError
from impasto.events import Listener, Notice
from impasto.folders.named import settings_with_files
from impasto.folders.places import folder_name
from impasto.folders.specfiles import read_spec
from impasto.study.plan import StudySettings, plan_study
from impasto.tasks.presets import DEFAULT
from impasto.tasks.presets import preset as settings_of
from impasto.tasks.spec import in_force
from impasto.tasks.table import explicit, make_settings, overridden

if TYPE_CHECKING:
    from impasto.batch.processes import Engine, Job

Count = Annotated[Whole | None, Parameter(validator=validators.Number(gte=1, lte=10000))]
RECIPE = "transfer"


def sweep(
    spec: Path,
    /,
    *,
    vary: Annotated[tuple[str, ...], Parameter(negative="")],
    out: Out = None,
    force: Switch = False,
    quiet: Quiet = False,
    json: Switch = False,
) -> None:
    """Run SPEC for every combination of some settings' values, and show the pictures in a grid and on a page.

    impasto sweep spec.toml --vary style_weight=1,3,10 --vary content_layers=relu3_1,relu4_1

    Parameters
    ----------
    spec
        A spec in TOML (as --save-spec writes it), a result of impasto (PNG), or the folder of a run.
    vary
        SETTING=VALUE,VALUE,…; may be given several times. Semicolons separate values
        that contain commas; a single such value ends with one.
    out
        Folder for the runs, by default under runs/; if it holds the same sweep, finished runs are not repeated.
    force
        Make all runs again, and replace the sweep that the folder holds.
    quiet
        Print only errors and the folder's name.
    json
        Print lines of JSON for each run, and one with the results at the end.

    """
    found = read_spec(run_named(spec))
    variations: dict[str, tuple[str, ...]] = {}
    from impasto.series.sweep import parse_variation, run_sweep

    for text in vary:
        name, values = parse_variation(text, found.spec.task)
        if name in variations:
            raise SpecError(f"{name} is varied twice; give all its values in one --vary")
        variations[name] = values
    listener = choose_listener(json, quiet, series_view())
    with stoppable(listener) as stop:
        folder = run_sweep(locate_spec(found), variations, out, force=force, stop=stop, listener=listener)
    if not json:
        print_out(folder)


def study(
    content: Path,
    style: Path,
    /,
    *,
    settings: Annotated[StudySettings, Parameter(name="*")] = StudySettings(),
    out: Out = None,
    force: Switch = False,
    quiet: Quiet = False,
    json: Switch = False,
) -> None:
    """The whole story of two pictures in one page: what layers keep of CONTENT, what style is, and both together.

    The same command continues a study that was stopped or killed; finished parts are not repeated.

    Parameters
    ----------
    content
        Picture file that gives the content.
    style
        Picture file that gives the style.
    settings
        Settings of the study.
    out
        Folder for the study, by default runs/study-CONTENT-STYLE (runs/study-quick-NETWORK-CONTENT-STYLE).
    force
        Make all parts again, and replace the study that the folder holds.
    quiet
        Print only errors and the page's name.
    json
        Print a line of JSON for each part and step, and one with the page at the end.

    """
    from impasto.study.page import STUDY_PAGE
    from impasto.study.run import run_study

    listener = choose_listener(json, quiet, series_view())
    with stoppable(listener) as stop:
        folder = run_study(plan_study(content, style, settings), out, force=force, stop=stop, listener=listener)
    if not json:
        print_out(folder / STUDY_PAGE)


def batch(
    contents: Path,
    /,
    *,
    styles: Path | None = None,
    recipe: str | None = None,
    preset: str = DEFAULT,
    spec: Path | None = None,
    out: Out = None,
    jobs: Annotated[Count, Parameter(alias="-j")] = None,
    cluster: str | None = None,
    checkpoint: CheckpointSeconds = 30.0,
    force: Switch = False,
    quiet: Quiet = False,
    json: Switch = False,
    **settings: str,
) -> None:
    """Run a recipe for every picture in CONTENTS with every picture in STYLES, or for every row of a list.

    impasto batch photos/ --styles paintings/ --size 384 --jobs 2 -o painted

    The same command continues a batch that was stopped or killed; finished runs are not repeated.

    Parameters
    ----------
    contents
        Folder of pictures (with its subfolders), a picture, or a list: CSV or TOML, see docs/batch.md.
    styles
        Folder of style pictures, or one picture; for recipes that take two pictures.
    recipe
        transfer, amalgamate, texture, invert or reconstruct; by default the spec's, or transfer.
    preset
        Named settings: default, fast, best, accurate, or a paper's; see docs/presets.md.
    spec
        Recipe and settings from a spec in TOML, a result of impasto (PNG), or the folder of a run.
    out
        Folder for the runs, by default runs/batch-RECIPE-CONTENTS.
    jobs
        Runs at once, each in a process with part of the threads; by default 1, on a cluster as many as have room there.
    cluster
        Make the runs on a Ray cluster: auto for this machine's, or an address (needs the extra ray).
    checkpoint
        Seconds between a run's checkpoints; 0 writes one only when the run is stopped.
    force
        Make all runs again, and replace the batch that the folder holds.
    quiet
        Print only errors and the page's name.
    json
        Print a line of JSON for each run that ends, and one with the page at the end.
    settings
        Any option of the recipe, with its value (see the recipe's --help): --style-weight 2; --cumulative true.

    """
    from impasto.cli.batches import batch_view

    listener = choose_listener(json, quiet, batch_view())
    with stoppable(listener) as stop:
        chosen = _chosen(recipe, preset, spec, settings)
        entries = find_entries(contents, styles, chosen.task)
        folder = out or Path("runs") / folder_name(f"batch-{chosen.task}", [contents.resolve()])
        if cluster is not None:  # nodes have other working directories
            folder, entries = folder.absolute(), [entry.absolute() for entry in entries]

        from impasto.batch.naming import keep_names
        from impasto.batch.run import make_jobs, open_batch, run_batch

        _name_left_out(contents, styles, listener)
        planned = make_jobs(entries, chosen.task, chosen.values, chosen.preset)
        planned = planned if force else keep_names(planned, folder)

        with _engine(planned, folder, jobs, cluster, checkpoint) as engine:
            left = open_batch(planned, chosen.values, folder, force=force, device=None if cluster is None else "cpu")
            page = run_batch(planned, left, folder, engine, stop=stop, listener=listener)
    if not json:
        print_out(page)


def _name_left_out(contents: Path, styles: Path | None, listener: Listener) -> None:
    """Name the files of both folders that are no pictures."""
    from impasto.images.gathering import pictures_below, words_about

    for folder in (contents, styles):
        if folder is not None and folder.is_dir() and (words := words_about(folder, pictures_below(folder)[1])):
            listener(Notice(words))


class _Chosen(NamedTuple):
    """What all runs of a batch have in common: the task, the settings that were given explicitly, the preset's name."""

    task: str
    values: dict[str, Any]
    preset: str


def _chosen(recipe: str | None, preset: str, spec: Path | None, options: dict[str, str]) -> _Chosen:
    values: dict[str, Any] = {}
    task, name = recipe or RECIPE, preset
    if spec is not None:
        given = locate_spec(read_spec(run_named(spec)), other_pictures=True)
        if recipe not in (None, given.task):
            raise SpecError(f"{spec} is a spec for {given.task}, not for {recipe}; leave --recipe out")
        task, values = given.task, explicit(in_force(given.task, given.settings, given.changes))
        name = given.preset if preset == DEFAULT else preset

    values = overridden(values, explicit(settings_of(task, preset)))
    values = overridden(values, {key.replace("-", "_"): value for key, value in options.items()})
    settings = settings_with_files(make_settings(task, **values), Path.absolute)
    return _Chosen(task, explicit(settings), name)


@contextmanager
def _engine(
    planned: "Sequence[Job]", folder: Path, jobs: int | None, cluster: str | None, checkpoint: float
) -> "Iterator[Engine]":
    import torch

    from impasto.batch.processes import on_this_machine
    from impasto.batch.run import BATCH_FILE
    from impasto.batch.worker import Workplace

    if cluster is None:
        at_once = jobs or 1
        workplace = Workplace(folder, max(1, torch.get_num_threads() // at_once), checkpoint)
        yield partial(on_this_machine, workplace=workplace, workers=at_once)
        return
    from impasto.batch.ray import on_cluster

    workplace = Workplace(folder, planned[0].spec.settings.threads or 1, checkpoint)
    with on_cluster(cluster, workplace, folder / BATCH_FILE, jobs) as engine:
        yield engine
