"""The command line: a command for each task. Its options are the tasks' settings; it adds no behaviour of its own."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter, UnknownCommandError, UnusedCliTokensError
from cyclopts.exceptions import CoercionError
from pydantic import ValidationError

from impasto.cli.batch import batch
from impasto.cli.completion import installs_completion
from impasto.cli.groups import LOOK, MAKE, MANY, NETWORKS, OPTIONS
from impasto.cli.listeners import bar_over, is_live, print_err, print_out
from impasto.cli.options import Output, located_or_told, split_pictures
from impasto.cli.runs import resume, show, start, sweep
from impasto.cli.study import study
from impasto.errors import ImpastoError, OutputError, SpecError, nearest
from impasto.extras import own_version
from impasto.files import is_text
from impasto.folders.specfiles import read_spec
from impasto.tasks.settings import (
    AmalgamateSettings,
    InvertSettings,
    ReconstructSettings,
    Settings,
    TextureSettings,
    TransferSettings,
    explain,
)
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import make_settings
from impasto.waiting import wait_briefly

app = App(
    name="impasto",
    help="Look at what a convolutional network keeps of a picture, and paint with it.",
    help_epilogue="Results go to a new folder under runs/, whose name is printed. Each command has its own --help.",
    version=own_version,
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # `main` says what became of it
)
Flat = Parameter(name="*")
Photo = Annotated[Path, Parameter(help="Picture file whose content is meant.")]
Painting = Annotated[Path, Parameter(help="Picture file whose style is meant.")]


@app.command(group=MAKE, group_parameters=OPTIONS)
def invert(
    photo: Photo,
    /,
    *,
    settings: Annotated[InvertSettings, Flat] = InvertSettings(),
    output: Annotated[Output, Flat] = Output(),
) -> None:
    """A natural-looking picture that one layer cannot tell from PHOTO, from white noise."""
    start("invert", [photo], settings, output)


@app.command(group=MAKE, group_parameters=OPTIONS)
def reconstruct(
    photo: Photo,
    /,
    *,
    settings: Annotated[ReconstructSettings, Flat] = ReconstructSettings(),
    output: Annotated[Output, Flat] = Output(),
) -> None:
    """What each of several layers keeps of PHOTO: the same activations, from white noise."""
    start("reconstruct", [photo], settings, output)


@app.command(group=MAKE, group_parameters=OPTIONS)
def amalgamate(
    content: Photo,
    style: Painting,
    /,
    *,
    settings: Annotated[AmalgamateSettings, Flat] = AmalgamateSettings(),
    output: Annotated[Output, Flat] = Output(),
) -> None:
    """Imprint CONTENT on STYLE, layer by layer: start from STYLE and ask only for CONTENT's activations."""
    start("amalgamate", [content, style], settings, output)


@app.command(group=MAKE, group_parameters=OPTIONS)
def texture(
    style: Painting,
    /,
    *,
    settings: Annotated[TextureSettings, Flat] = TextureSettings(),
    output: Annotated[Output, Flat] = Output(),
) -> None:
    """A texture with the statistics of STYLE and none of its arrangement, from white noise."""
    start("texture", [style], settings, output)


@app.command(group=MAKE, group_parameters=OPTIONS)
def transfer(
    content: Photo,
    style: Painting,
    /,
    *styles: Painting,
    settings: Annotated[TransferSettings, Flat] = TransferSettings(),
    output: Annotated[Output, Flat] = Output(),
) -> None:
    """Paint CONTENT in the style of STYLE, or of several pictures together."""
    start("transfer", [content, style, *styles], settings, output)


@app.command(group=MAKE)
def run(
    spec: Path,
    /,
    *changes: Annotated[str, Parameter(allow_leading_hyphen=True)],
) -> None:
    """Do what SPEC says, and what the CHANGES after it say otherwise: other pictures, any options of its task.

    impasto run result.png photo.jpg --seed 3

    Parameters
    ----------
    spec
        A spec in TOML, a result of impasto (PNG), or the folder of a run.
    changes
        Pictures in place of the spec's, then options of the spec's task (see its own --help), which win.

    """
    pictures, options = split_pictures(changes)
    given = located_or_told(read_spec(spec), other_pictures=bool(pictures))
    words = pictures or [f"./{path}" if str(path).startswith("-") else str(path) for path in given.pictures]
    _, bound, _ = app.parse_args([given.task, *words, *options], exit_on_error=False, print_error=False)
    named = {"settings": make_settings(given.task), "output": Output(), **bound.arguments}
    start(given.task, [Path(word) for word in words], named["settings"], named["output"], given)


app.command(resume, group=LOOK)
app.command(sweep, group=MANY)
app.command(show, group=LOOK)
app.command(study, group=MANY)
app.command(batch, group=MANY)


@app.command(group=LOOK)
def report(
    run: Path,
    /,
    *runs: Path,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """A page that shows what RUN did, or several runs side by side: one HTML file that opens without a network.

    Parameters
    ----------
    run
        Folder of a run.
    runs
        More folders, to be compared with the first.
    out
        File to write, by default report.html in the folder of the run, or comparison.html here for several.
    force
        Replace the file if it exists; the page in a run's own folder is always made anew.

    """
    from impasto.pages.comparison import write_comparison
    from impasto.pages.run_page import write_report

    if out is None and runs:
        out = Path("comparison.html")
    if out is not None and out.exists() and not force:
        raise OutputError(f"{out} exists already; name another file with --out, or replace it with --force")
    print_out(write_comparison([run, *runs], out) if out is not None and runs else write_report(run, out))


@app.command(group=NETWORKS)
def normalise(
    folder: Path,
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    weights: Path | None = None,
    pooling: Literal["max", "average"] = "max",
    padding: Literal["zero", "replicate"] = "zero",
    device: str = "auto",
    force: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Mean activations of VGG-16 over all pictures in FOLDER, for `--means`.

    Parameters
    ----------
    folder
        Pictures, in folders below it too; files that cannot be read are named and skipped.
    out
        File to write, ending in .safetensors.
    weights
        Weights (safetensors) in place of the bundled ones.
    pooling
        How the network pools while it is measured.
    padding
        Padding of the first convolution while it is measured.
    device
        auto, cpu, cuda, cuda:1, mps …
    force
        Replace the file if it exists.
    quiet
        Say nothing but errors and the file's name.

    """
    from impasto.networks.calibration import calibrate

    found = calibrate(
        folder,
        out,
        weights=weights,
        pooling=pooling,
        padding=padding,
        device=device,
        force=force,
        watch=iter if quiet or not is_live() else bar_over,
    )
    for path in found.unreadable:
        _say(f"skipped {path}: not a picture that can be read", quiet)
    dead = found.means.dead_filters()
    for layer in dict.fromkeys(layer for layer, _ in dead):
        indices = [str(index) for where, index in dead if where == layer]
        _say(f"{layer}: {len(indices)} dead filters keep their scale ({', '.join(indices)})", quiet)
    _say(f"pictures averaged: {found.pictures}, files skipped: {len(found.unreadable)}", quiet)
    print_out(out)


@app.command(group=NETWORKS)
def networks() -> None:
    """List the networks and their layers."""
    from impasto.networks import catalogue

    for name, entry in catalogue.NETWORKS.items():
        print_out(f"{name}: {entry.about}")
    for architecture in dict.fromkeys(entry.architecture for entry in catalogue.NETWORKS.values()):
        print_out(f"layers: {', '.join(architecture.layers)}")
        print_out(architecture.note)


app.command(installs_completion(app), name="--install-completion")


def _say(words: str, quiet: bool) -> None:
    if not quiet:
        print_err(words)


def _sentence(error: CycloptsError) -> str:
    """What was wrong with the command's words, without frames and links."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        return explain(cause, Settings)
    if isinstance(error, UnusedCliTokensError):
        return f"nothing is done with {' '.join(error.unused_tokens or ())!r}; this command takes fewer pictures"
    if isinstance(error, UnknownCommandError):
        word = next(iter(error.unused_tokens or ()), "")
        return f"there is no command {word!r}; {nearest(word, [name for name in app if not name.startswith('-')])}"
    if isinstance(error, CoercionError) or error.msg is None:
        return " ".join(str(error).split())
    return str(error.msg)


def program() -> None:
    """The program `impasto`. Unlike `main`, which a host may call, it sets variables of this process (see waiting)."""
    wait_briefly()
    main()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the program with its exit code: 0, or that of the error (see `impasto.errors`)."""
    words = sys.argv[1:] if arguments is None else arguments
    if not all(is_text(word) for word in words):
        sys.exit(_fail("a file's name holds bytes that are no text; rename it", SpecError.exit_code))
    try:
        app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        sys.exit(_fail(_sentence(error), SpecError.exit_code))
    except ValidationError as error:
        sys.exit(_fail(explain(error, RunSpec), SpecError.exit_code))
    except ImpastoError as error:
        sys.exit(_fail(str(error), error.exit_code))
    except KeyboardInterrupt:
        sys.exit(_fail("stopped", 130))


def _fail(sentence: str, code: int) -> int:
    print_err(f"impasto: {sentence}")
    return code
