"""Shared by the commands: options for the output, and how pictures, specs and listeners are chosen."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from threading import Event
from typing import Annotated, Any

from cyclopts import Parameter, Token, validators

from impasto.cli import listeners
from impasto.cli.listeners import json_lines, print_failure
from impasto.cli.streams import print_err
from impasto.errors import ImpastoError, OutputError
from impasto.events import Listener
from impasto.extras import TrackerName, own_version
from impasto.folders.specfiles import SpecFile, located
from impasto.runs.stopping import stop_signal
from impasto.tasks.spec import RunSpec


def _as_whole(annotation: Any, tokens: Sequence[Token]) -> int:
    """What is written, as a whole number; the command line's library would round 3.5. Raises ValueError."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is no whole number") from None


Whole = Annotated[int, Parameter(converter=_as_whole)]
MovedPictures = Annotated[tuple[Path, ...], Parameter(negative="", consume_multiple=True, show_default=False)]
Out = Annotated[Path | None, Parameter(alias="-o")]
Switch = Annotated[bool, Parameter(negative="")]  # an option without a value, and without a --no- form
Quiet = Annotated[bool, Parameter(negative="", alias="-q")]
CheckpointSeconds = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1e6))]


@dataclass(frozen=True)
class Output:
    """Where results go and what is printed on the way."""

    out: Out = None
    "Folder for the results, new or empty; by default a new one under runs/."
    force: Switch = False
    "Replace the folder if it holds an earlier run."
    quiet: Quiet = False
    "Print only errors and the folder's name."
    preset: str = "default"
    "Named settings: default, fast, best, accurate, or a paper's; see docs/presets.md. Other options override it."
    json: Switch = False
    "Print a line of JSON for each step, and one with the results at the end."
    mp4: Switch = False
    "Write the animation as MP4 too (needs the extra video)."
    track: Annotated[tuple[TrackerName, ...], Parameter(negative="", show_default=False)] = ()
    "Log the run to wandb, tensorboard or mlflow; may be given several times. See docs/tracking.md."
    checkpoint: CheckpointSeconds = 30.0
    "Seconds between checkpoints for `impasto resume`; 0 writes one only when the run is interrupted."
    cluster: Annotated[str | None, Parameter(show_default=False)] = None
    "Compute large pictures on a Ray cluster: auto for this machine's, or an address (needs the extra ray)."
    save_spec: Annotated[Path | None, Parameter(show_default=False)] = None
    "Write pictures and settings to this file, for `impasto run`, and do nothing else."


def split_pictures(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before the first option, and the rest."""
    pictures = list(takewhile(lambda word: not word.startswith("-"), words))
    return pictures, list(words[len(pictures) :])


def locate_spec(found: SpecFile, *, other_pictures: bool = False) -> RunSpec:
    """The spec with its files as found now; a line on standard error names each change since the run."""
    if other_pictures:
        return located(replace(found, spec=found.spec.model_copy(update={"pictures": ()})))[0]
    spec, changed = located(found)
    versions = {"impasto": _public(own_version()), "torch": _public(version("torch"))}
    other = [
        f"that run was made with {name} {found.provenance[name]}, this is {now}"
        for name, now in versions.items()
        if _public(str(found.provenance.get(name, now))) != now
    ]
    for sentence in [*changed, *other]:
        print_err(f"impasto: {sentence}; the result may differ")
    return spec


def _public(number: str) -> str:
    """A version without its build (+cpu, +cu130), which not all packages of PyTorch name."""
    return number.partition("+")[0]


def choose_listener(json: bool, quiet: bool, otherwise: Listener) -> Listener:
    """The listener for --json, for --quiet, or else the command's own."""
    return json_lines if json else listeners.quiet if quiet else otherwise


@contextmanager
def stoppable(listener: Listener) -> Iterator[Event]:
    """The first Ctrl-C, SIGTERM or SIGHUP sets the event. With --json, an error is reported as an event as well."""
    try:
        with stop_signal(listener) as stop:
            yield stop
    except ImpastoError as error:
        if listener is json_lines:
            print_failure(error)
        raise
    except OSError as error:
        if listener is json_lines:
            print_failure(OutputError(about_file(error)))
        raise


def about_file(error: OSError) -> str:
    """The system's complaint about a file or folder as a sentence, for which no better one is known."""
    name = error.filename if error.filename2 is None else error.filename2
    said = error.strerror or str(error) or type(error).__name__
    return said if name is None else f"{os.fsdecode(name) if isinstance(name, bytes) else name} cannot be used: {said}"
