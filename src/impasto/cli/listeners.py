"""The command line's listeners: they print events for people, for programs, or only the errors.

Nothing else in the package prints. The words go to the standard streams (see `impasto.cli.streams`).
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, track

from impasto.cli.streams import print_err, print_out
from impasto.errors import ImpastoError
from impasto.events import (
    BatchBegun,
    BatchRunAgain,
    BatchRunEnded,
    Compared,
    Event,
    Listener,
    MemberBegun,
    MemoryPlanned,
    PartBegun,
    PartEnded,
    RunDone,
    SeriesDone,
    Step,
    StopAsked,
    Trouble,
)


def is_live() -> bool:
    """Whether standard error is a terminal that can redraw a line; TERM=dumb says that it cannot."""
    return sys.stderr is not None and sys.stderr.isatty() and Console(stderr=True).is_interactive


# For people ----------------------------------------------------------------------------------------------------------


def quiet(event: Event) -> None:
    """Print only what went wrong, and the answer to a signal."""
    match event:
        case StopAsked():
            print_err(event.words)
        case Trouble():
            print_err(f"impasto: {event.words}")


def sentences(event: Event) -> None:
    """Print every sentence on standard error."""
    match event:
        case StopAsked() | MemberBegun():
            print_err(event.words)
        case _ if event.words:
            print_err(f"impasto: {event.words}")


class Progression:
    """A live bar for each part on a terminal, about ten lines for each part elsewhere, and every sentence."""

    def __init__(self) -> None:
        self._steps: Bar | PlainLines | None = None

    def __call__(self, event: Event) -> None:
        """Show the event."""
        match event:
            case PartBegun():
                self._steps = (Bar if is_live() else PlainLines)(event)
            case Step() if self._steps is not None:
                self._steps.step(event)
            case PartEnded() if self._steps is not None:
                self._steps.end()
                self._steps = None
            case _:
                sentences(event)


class Bar:
    """A live progress bar on standard error: step, loss, speed at the present size, and time left."""

    def __init__(self, begun: PartBegun) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[step]}"),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[speed]}", style="dim"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._progress.start()
        steps = f"{begun.step}/{begun.steps}"
        self._task = self._progress.add_task(begun.title, total=1.0, step=steps, loss="–", speed="")
        self._stage: Step | None = None  # the first step at the present size

    def step(self, step: Step) -> None:
        """Advance the bar."""
        if self._stage is None or self._stage.stage != step.stage:
            self._stage = step
        steps, speed = f"{step.step}/{step.steps}", _speed(self._stage, step)
        self._progress.update(self._task, completed=step.done, step=steps, loss=f"{step.total:.4g}", speed=speed)

    def end(self) -> None:
        """Stop updating the bar."""
        self._progress.stop()


def _speed(first: Step, last: Step) -> str:
    """Steps a second from one step to another, or seconds a step."""
    steps, seconds = last.step - first.step, max(last.seconds - first.seconds, 1e-9)
    if not steps:
        return ""
    return f"{steps / seconds:.1f} steps/s" if steps >= seconds else f"{seconds / steps:.1f} s/step"


class PlainLines:
    """About ten lines in all, for a standard error that is not a terminal."""

    def __init__(self, begun: PartBegun) -> None:
        self._title, self._every = begun.title, max(1, begun.steps // 10)

    def step(self, step: Step) -> None:
        """Print a line after each tenth of the steps."""
        if step.step % self._every == 0 or step.step == step.steps:
            print_err(
                f"{self._title}: step {step.step}/{step.steps}, loss {step.total:.4g}, "
                f"{step.step / max(step.seconds, 1e-9):.1f} steps/s, {step.seconds_left:.0f} s left"
            )

    def end(self) -> None:
        """Do nothing: the last line is printed already."""


def bar_over(files: Sequence[Path]) -> Iterable[Path]:
    """Iterate over the files, with a bar on standard error."""
    return track(files, "pictures", console=Console(stderr=True))


def series_view() -> Listener:
    """For a sweep or a study: live bars on a terminal, a line for each run in a log."""
    return Progression() if is_live() else _without_steps


def _without_steps(event: Event) -> None:
    if not isinstance(event, MemoryPlanned):
        sentences(event)


# For programs --------------------------------------------------------------------------------------------------------


def json_lines(event: Event) -> None:
    """Print events for programs as lines of JSON on standard output, other sentences on standard error."""
    line = _line(event)
    if line is not None:
        print_json(line)
    elif not isinstance(event, MemoryPlanned):
        sentences(event)


def print_json(line: dict[str, object]) -> None:
    """Print a line of JSON on standard output, flushed."""
    print_out(json.dumps(line))


def print_failure(error: ImpastoError) -> None:
    """Print the error that ended the command, as a line of JSON."""
    print_json({"event": "failed", "error": str(error), "exit_code": error.exit_code})


def _line(event: Event) -> dict[str, object] | None:
    match event:
        case Step():
            return {"event": "step", **event.line()}
        case RunDone():
            return {"event": "done", "folder": str(event.folder), "result": str(event.result), "parts": event.parts}
        case MemberBegun():
            named = {"part": event.number, "parts": event.count, "name": event.name}
            return {"event": "part", **named, "words": event.about}
        case SeriesDone():
            grid = {} if event.grid is None else {"grid": str(event.grid)}
            return {"event": "done", "folder": str(event.folder), **grid, "page": str(event.page)}
        case Compared():
            return {"event": "compared", "folder": str(event.folder), "ssim": event.ssim, "same": event.same}
        case BatchBegun():
            return {"event": "batch", "runs": event.runs, "done": event.done}
        case BatchRunEnded():
            error = event.error
            failed = {} if error is None else {"error": str(error), "exit_code": getattr(error, "exit_code", 1)}
            line = {"event": "run", "run": event.number, "runs": event.runs, "name": event.name}
            return {**line, "status": "failed" if failed else "done", "seconds": event.seconds, **failed}
        case BatchRunAgain():
            return {"event": "again", "name": event.name, "words": event.reason}
    return None
