"""The command line: a command for each task, whose options are the task's settings."""

import re
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter, UnknownCommandError, UnusedCliTokensError
from cyclopts.completion import detect_shell
from cyclopts.completion.detect import ShellDetectionError
from cyclopts.exceptions import CoercionError, MissingArgumentError, UnknownOptionError
from pydantic import ValidationError

from impasto.cli.finish import blend, enlarge, explore, export
from impasto.cli.groups import FINISH, LOOK, MAKE, MANY, NETWORKS, OPTIONS, UNITS
from impasto.cli.many import batch, study, sweep
from impasto.cli.networks import networks, normalise
from impasto.cli.options import Output, Whole, about_file, locate_spec, split_pictures
from impasto.cli.runs import report, restart, resume, run_named, show, start
from impasto.cli.streams import print_err, print_out
from impasto.cli.studio import studio
from impasto.errors import ImpastoError, OutOfMemoryError, OutputError, SpecError, nearest
from impasto.extras import own_version
from impasto.files import is_text
from impasto.folders.specfiles import read_spec
from impasto.tasks.seeing import CaricatureSettings, DreamSettings, MaximiseSettings
from impasto.tasks.settings import (
    AmalgamateSettings,
    InvertSettings,
    ReconstructSettings,
    Settings,
    TextureSettings,
    TransferSettings,
)
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import make_settings
from impasto.tasks.values import explain

app = App(
    name="impasto",
    help="Look at what a convolutional network keeps of a picture, and paint with it.",
    help_epilogue="A run goes to a new folder under runs/, whose name is printed. Each command has its own --help.",
    version=own_version,
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # `main` reports the interruption
    default_parameter=Parameter(negative_iterable=""),
)
Flat = Parameter(name="*")
Photo = Annotated[Path, Parameter(help="Picture file that gives the content.")]
NUMBERS = {int: "a whole number", float: "a number"}
RESTARTS = "Invert from that many seeds, and show how far apart the pictures are: what the layer does not see."
Painting = Annotated[Path, Parameter(help="Picture file that gives the style.")]


@app.command(group=MAKE, group_parameters=OPTIONS)
def invert(
    photo: Photo,
    /,
    *,
    settings: Annotated[InvertSettings, Flat] = InvertSettings(),
    restarts: Annotated[Whole | None, Parameter(help=RESTARTS, show_default=False)] = None,
    output: Annotated[Output, Flat] = Output(),
) -> None:
    """A natural-looking picture that one layer cannot tell from PHOTO, from white noise."""
    if restarts is None:
        start("invert", [photo], settings, output)
    else:
        restart("invert", restarts, [photo], settings, output)


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


@app.command(group=UNITS, group_parameters=OPTIONS)
def maximise(
    *, settings: Annotated[MaximiseSettings, Flat] = MaximiseSettings(), output: Annotated[Output, Flat] = Output()
) -> None:
    """Pictures to which units of a network answer most strongly: channels, neurons, classes, or a direction."""
    start("maximise", [], settings, output)


@app.command(group=UNITS, group_parameters=OPTIONS)
def caricature(
    photo: Photo,
    /,
    *,
    settings: Annotated[CaricatureSettings, Flat] = CaricatureSettings(),
    output: Annotated[Output, Flat] = Output(),
) -> None:
    """PHOTO with all that one layer sees in it exaggerated, from noise."""
    start("caricature", [photo], settings, output)


@app.command(group=UNITS, group_parameters=OPTIONS)
def dream(
    photo: Photo,
    /,
    *,
    settings: Annotated[DreamSettings, Flat] = DreamSettings(),
    output: Annotated[Output, Flat] = Output(),
) -> None:
    """PHOTO, changed such that one layer sees more and more of everything that the layer sees in PHOTO."""
    start("dream", [photo], settings, output)


@app.command(group=MAKE)
def run(
    spec: Path,
    /,
    *changes: Annotated[str, Parameter(allow_leading_hyphen=True)],
) -> None:
    """Run SPEC, with CHANGES: other pictures, or any options of its task.

    impasto run result.png photo.jpg --seed 3

    Parameters
    ----------
    spec
        A spec in TOML, a result of impasto (PNG), or the folder of a run.
    changes
        Pictures in place of the spec's, then options that override the spec's (see the --help of its task).

    """
    pictures, options = split_pictures(changes)
    given = locate_spec(read_spec(run_named(spec)), other_pictures=bool(pictures))
    words = pictures or [f"./{path}" if str(path).startswith("-") else str(path) for path in given.pictures]
    _, bound, _ = app.parse_args([given.task, *words, *options], exit_on_error=False, print_error=False)
    named = {"settings": make_settings(given.task), "output": Output(), **bound.arguments}
    files = [Path(word) for word in words]
    if named.get("restarts") is not None:
        restart(given.task, named["restarts"], files, named["settings"], named["output"], given)
        return
    start(given.task, files, named["settings"], named["output"], given)


app.command(resume, group=LOOK)
app.command(sweep, group=MANY)
app.command(show, group=LOOK)
app.command(report, group=LOOK)
app.command(studio, group=LOOK)
app.command(study, group=MANY)
app.command(explore, group=MAKE, group_parameters=OPTIONS)
app.command(enlarge, group=FINISH)
app.command(blend, group=FINISH)
app.command(export, group=FINISH)
app.command(batch, group=MANY)
app.command(normalise, group=NETWORKS)
app.command(networks)


@app.command(name="--install-completion")
def install_completion(*, shell: Literal["bash", "zsh", "fish"] | None = None) -> None:
    """Let the shell complete commands and options: writes a file for it, and a line into its start-up file.

    Parameters
    ----------
    shell
        By default the shell that is running.

    """
    try:
        print_out(app.install_completion(shell=shell or detect_shell(), add_to_startup=True))
    except ShellDetectionError:
        raise SpecError("the shell that is running cannot be found; name it with --shell bash, zsh or fish") from None
    except OSError as error:
        raise OutputError(f"the completion cannot be written: {error}") from None
    print_err("a new shell completes commands and options")


def _sentence(error: CycloptsError) -> str:
    """The error of a command line in one sentence, without boxes and links."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        return explain(cause, Settings)
    if isinstance(error, UnusedCliTokensError) and list(error.command_chain or ()) == [*networks.name]:
        word = next(iter(error.unused_tokens or ()), "")
        return f"there is no command 'networks {word}'; {nearest(word, [name for name in networks if name[0] != '-'])}"
    if isinstance(error, UnusedCliTokensError):
        return f"unexpected argument {' '.join(error.unused_tokens or ())!r}: this command takes fewer arguments"
    if isinstance(error, UnknownCommandError):
        word = next(iter(error.unused_tokens or ()), "")
        return f"there is no command {word!r}; {nearest(word, [name for name in app if not name.startswith('-')])}"
    if isinstance(error, UnknownOptionError) and _comes_late(option := error.token.keyword or error.token.value, error):
        return f"{option} comes after --, which ends the options; give {option} before --"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return _missing(error.argument.name, " ".join(error.command_chain or ()), error.root_input_tokens or ())
    if isinstance(error, CoercionError) and error.target_type in NUMBERS and error.token and error.argument:
        return f"{error.argument.name} is {error.token.value!r}; it must be {NUMBERS[error.target_type]}"
    if isinstance(error, CoercionError) or error.msg is None:
        return " ".join(str(error).split())
    return str(error.msg)


def _missing(name: str, command: str, words: Sequence[str]) -> str:
    """What a command lacks: an option's value, or a word or an option without which the command says nothing."""
    if name in words:
        following = " ".join(words[words.index(name) + 1 :][:1])
        if re.match(r"-\d", following):
            return f"{name} has no value; if {following} is the value, write {name}={following}"
        return f"{name} has no value; write a value after {name}"
    return f"impasto {command} needs {name}; see impasto {command} --help"


def _comes_late(option: str, error: CycloptsError) -> bool:
    """Whether the first -- on the command line comes before the option."""
    words = error.root_input_tokens or ()
    return "--" in takewhile(lambda word: not word.startswith(option), words)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code: 0, or the code of the error (see `impasto.errors`)."""
    words = sys.argv[1:] if arguments is None else arguments
    if not all(is_text(word) for word in words):
        sys.exit(_fail("a file's name contains bytes that are not text; rename the file", SpecError.exit_code))
    try:
        app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        sys.exit(_fail(_sentence(error), SpecError.exit_code))
    except ValidationError as error:
        sys.exit(_fail(explain(error, RunSpec), SpecError.exit_code))
    except ImpastoError as error:
        sys.exit(_fail(str(error), error.exit_code))
    except OSError as error:  # names of 300 letters, folders that may not be read, and whatever else a disk can say
        sys.exit(_fail(about_file(error), OutputError.exit_code))
    except MemoryError:
        sys.exit(_fail("there is not enough memory", OutOfMemoryError.exit_code))
    except KeyboardInterrupt:
        sys.exit(_fail("stopped", 130))


def _fail(sentence: str, code: int) -> int:
    print_err(f"impasto: {sentence}")
    return code
