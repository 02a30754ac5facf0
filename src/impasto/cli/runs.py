"""The commands that take a spec or a folder, and `start`, which runs any task. PyTorch is imported late."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from impasto.cli.listeners import Progression, series_view
from impasto.cli.options import (
    CheckpointSeconds,
    MovedPictures,
    Output,
    choose_listener,
    explicit_settings,
    locate_spec,
    stoppable,
)
from impasto.cli.streams import print_out, visible
from impasto.errors import OutputError, SpecError
from impasto.files import new_file, write_bytes
from impasto.folders.specfiles import read_spec, relative_to, spec_toml
from impasto.study.plan import StudySettings, plan_study
from impasto.tasks.presets import DEFAULT, preset
from impasto.tasks.settings import Settings
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import TASKS, make_settings


def start(task: str, pictures: Sequence[Path], asked: Settings, output: Output, given: RunSpec | None = None) -> None:
    """Run a task, or only write its spec; see `spec_of`."""
    spec = spec_of(task, pictures, asked, output, given)
    if output.save_spec is not None:
        _save_spec(spec, output.save_spec, force=output.force)
        print_out(output.save_spec)
        return
    from impasto.runs.start import run
    from impasto.runs.tracking import Tracking

    listener = choose_listener(output.json, output.quiet, Progression())
    with stoppable(listener) as stop:
        folder = run(
            spec,
            output.out,
            force=output.force,
            recorders=[Tracking(output.track, quiet=output.json or output.quiet)],
            stop=stop,
            listener=listener,
            mp4=output.mp4,
            checkpoint_seconds=output.checkpoint,
            cluster=output.cluster,
        )
    if not output.json:
        print_out(folder)


def restart(
    task: str, count: int, pictures: Sequence[Path], asked: Settings, output: Output, given: RunSpec | None = None
) -> None:
    """Run a task of one layer from several seeds, and measure how far apart the pictures are."""
    usual = Output()
    for name in ("mp4", "track", "checkpoint", "cluster", "save_spec"):
        if getattr(output, name) != getattr(usual, name):
            raise SpecError(f"--restarts makes several runs and takes no --{name.replace('_', '-')}")
    spec = spec_of(task, pictures, asked, output, given)
    from impasto.series.preimages import run_restarts

    listener = choose_listener(output.json, output.quiet, series_view())
    with stoppable(listener) as stop:
        folder = run_restarts(spec, count, output.out, force=output.force, stop=stop, listener=listener)
    if not output.json:
        print_out(folder)


def spec_of(
    task: str, pictures: Sequence[Path], asked: Settings, output: Output, given: RunSpec | None = None
) -> RunSpec:
    """The spec that was asked for: a preset overrides a given spec, and options override both."""
    values: dict[str, Any] = {} if given is None else explicit_settings(given.settings)
    network = explicit_settings(asked).get("network", values.get("network"))
    known = {} if network is None else {"network": network}
    values |= explicit_settings(preset(task, output.preset, **known)) | explicit_settings(asked)
    name = given.preset if given is not None and output.preset == DEFAULT else output.preset
    changes = () if given is None else given.changes
    settings = make_settings(task, **values)
    return RunSpec(task=task, pictures=tuple(pictures), settings=settings, preset=name, changes=changes)


def resume(
    run: Path,
    /,
    *,
    pictures: MovedPictures = (),
    mp4: Annotated[bool, Parameter(negative="")] = False,
    checkpoint: CheckpointSeconds = 30.0,
    cluster: Annotated[str | None, Parameter(show_default=False)] = None,
    quiet: Annotated[bool, Parameter(negative="", alias="-q")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Continue a run that was interrupted or killed; the result is the same, bit for bit, on the same machine.

    Parameters
    ----------
    run
        Folder of the run. A finished run is left as it is.
    pictures
        Files of the run that were moved, or folders that hold them; the files are found by their hashes.
    mp4
        Write the animation as MP4 too (needs the extra video).
    checkpoint
        Seconds between checkpoints; 0 writes one only when the run is interrupted.
    cluster
        Compute large pictures on a Ray cluster: auto for this machine's, or an address (needs the extra ray).
    quiet
        Print only errors and the folder's name.
    json
        Print a line of JSON for each step, and one with the results at the end.

    """
    from impasto.runs import start as runs

    listener = choose_listener(json, quiet, Progression())
    with stoppable(listener) as stop:
        folder = runs.resume(
            run,
            pictures=pictures,
            stop=stop,
            listener=listener,
            mp4=mp4,
            checkpoint_seconds=checkpoint,
            cluster=cluster,
        )
    if not json:
        print_out(folder)


def sweep(
    spec: Path,
    /,
    *,
    vary: Annotated[tuple[str, ...], Parameter(negative="")],
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="", alias="-q")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run SPEC for every combination of some settings' values, and show the pictures in a grid and on a page.

    impasto sweep spec.toml --vary style_weight=1,3,10 --vary content_layers=relu3_1,relu4_1

    Parameters
    ----------
    spec
        A spec in TOML (as --save-spec writes it), a result of impasto (PNG), or the folder of a run.
    vary
        SETTING=VALUE,VALUE,…; may be given several times. Semicolons separate values that contain commas.
    out
        Folder for the runs, by default under runs/; if it holds the same sweep, finished runs are not repeated.
    force
        Make all runs again, and replace the sweep that the folder holds.
    quiet
        Print only errors and the folder's name.
    json
        Print lines of JSON for each run, and one with the results at the end.

    """
    found = read_spec(spec)
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


def show(file: Path, /, *, toml: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Print the settings in FILE.

    Parameters
    ----------
    file
        A result of impasto (PNG), the folder of a run, or a spec in TOML.
    toml
        Print the settings as TOML, a spec for `impasto run`.

    """
    from rich.console import Console
    from rich.table import Table

    found = read_spec(file)
    if toml:
        print_out(found.toml.rstrip())
        return
    table = Table("", "value", "default", box=None, pad_edge=False, header_style="dim")
    usual = TASKS[found.spec.task].settings()
    table.add_row("task", found.spec.task)
    for picture in found.spec.pictures:
        table.add_row("picture", visible(str(picture)))
    table.add_row("preset", found.spec.preset)
    for name, value in found.spec.settings:
        default = getattr(usual, name)
        changed = value != default
        table.add_row(name, _plain(value), _plain(default) if changed else "", style="bold" if changed else "")
    for name, value in found.provenance.items():
        table.add_row(name, _plain(value), style="dim")
    Console(soft_wrap=True, markup=False, emoji=False, highlight=False).print(table)


def _plain(value: object) -> str:
    return (
        "–" if value is None else visible(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
    )


def _save_spec(spec: RunSpec, file: Path, *, force: bool) -> None:
    if file.exists() and not force:
        raise OutputError(f"{file} exists already; name another file with --save-spec, or replace it with --force")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error.strerror or error}") from None
    content = spec_toml(relative_to(file.parent, spec)).encode()
    with nullcontext() if force else new_file(file):
        write_bytes(file, content)


def study(
    content: Path,
    style: Path,
    /,
    *,
    settings: Annotated[StudySettings, Parameter(name="*")] = StudySettings(),
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="", alias="-q")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
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
