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
    Out,
    Output,
    Quiet,
    Switch,
    choose_listener,
    stoppable,
)
from impasto.cli.streams import print_out, visible
from impasto.errors import OutputError, SpecError
from impasto.files import new_file, write_bytes
from impasto.folders.specfiles import read_spec, relative_to, spec_toml
from impasto.tasks.presets import DEFAULT, preset
from impasto.tasks.settings import Settings
from impasto.tasks.spec import RunSpec, in_order, overruled
from impasto.tasks.table import TASKS, explicit, make_settings, overridden


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
    values: dict[str, Any] = {} if given is None else explicit(given.settings)
    network = explicit(asked).get("network", values.get("network"))
    known = {} if network is None else {"network": network}
    later = overridden(explicit(preset(task, output.preset, **known)), explicit(asked))
    values = overridden(values, later)
    name = given.preset if given is not None and output.preset == DEFAULT else output.preset
    changes = () if given is None else overruled(given.changes, later)
    settings = make_settings(task, **values)
    return RunSpec(task=task, pictures=tuple(pictures), settings=settings, preset=name, changes=changes)


def run_named(name: Path) -> Path:
    """What a name means: a candidate's folder for SHEET#5, else the path itself. Raises RunFolderError."""
    if "#" not in name.name:
        return name
    from impasto.sequels.sources import folder_of

    return folder_of(name)


def resume(
    run: Path,
    /,
    *,
    pictures: MovedPictures = (),
    mp4: Switch = False,
    checkpoint: CheckpointSeconds = 30.0,
    cluster: Annotated[str | None, Parameter(show_default=False)] = None,
    quiet: Quiet = False,
    json: Switch = False,
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
            run_named(run),
            pictures=pictures,
            stop=stop,
            listener=listener,
            mp4=mp4,
            checkpoint_seconds=checkpoint,
            cluster=cluster,
        )
    if not json:
        print_out(folder)


def show(file: Path, /, *, toml: Switch = False) -> None:
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

    kept = read_spec(run_named(file))
    if toml:
        print_out(kept.toml.rstrip())
        return
    table = Table("", "value", "default", box=None, pad_edge=False, header_style="dim")
    usual = TASKS[kept.spec.task].settings()
    table.add_row("task", kept.spec.task)
    for picture in kept.spec.pictures:
        table.add_row("picture", visible(str(picture)))
    table.add_row("preset", kept.spec.preset)
    for name, value in kept.spec.settings:
        default = getattr(usual, name)
        changed = value != default
        table.add_row(name, _plain(value), _plain(default) if changed else "", style="bold" if changed else "")
    for change in in_order(kept.spec.task, kept.spec.settings, kept.spec.changes):
        for name, value in change.settings.items():
            since = f"from step {change.step + 1}{f' of {change.part}' if change.part else ''} on"
            table.add_row(name, _plain(value), since, style="bold")
    for name, value in kept.provenance.items():
        table.add_row(name, _plain(value), style="dim")
    Console(soft_wrap=True, markup=False, emoji=False, highlight=False).print(table)


def report(
    run: Path,
    /,
    *runs: Path,
    out: Out = None,
    force: Switch = False,
    pictures: MovedPictures = (),
) -> None:
    """A page that shows what RUN did, or several runs side by side: one HTML file that opens without a network.

    Parameters
    ----------
    run
        Folder of a run.
    runs
        More folders to compare with the first.
    out
        File to write, by default report.html in the folder of the run, or comparison.html here for several.
    force
        Replace the file if it exists; the page in a run's own folder is always rewritten.
    pictures
        Pictures of the runs that were moved, or folders that hold them; the files are found by their hashes.

    """
    from impasto.pages.comparison import write_comparison
    from impasto.pages.run_page import write_report

    if out is None and runs:
        out = Path("comparison.html")
    if out is not None and out.exists() and not force:
        raise OutputError(f"{out} exists already; name another file with --out, or replace it with --force")
    if out is not None and runs:
        print_out(write_comparison([run_named(each) for each in (run, *runs)], out, pictures))
    else:
        print_out(write_report(run_named(run), out, pictures))


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
