"""A batch on the screen: live bars on a terminal, a line for each run in a log."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from impasto.cli.listeners import is_live, sentences
from impasto.cli.streams import print_err
from impasto.events import BatchBegun, BatchEnded, BatchRunAgain, BatchRunEnded, BatchRunning, Event, Listener
from impasto.folders.names import METRICS
from impasto.folders.records import last_line

MOST_LINES = 8  # bars of runs at once


def batch_lines(event: Event) -> None:
    """Print a line on standard error for each run that has ended."""
    match event:
        case BatchBegun():
            if event.done:
                print_err(f"{event.done} of {event.runs} runs are done already")
        case BatchRunEnded():
            words = f"done, {event.seconds or 0:.1f} s" if event.error is None else f"not done: {event.error}"
            print_err(f"{event.number}/{event.runs} {event.name}: {words}")
        case BatchRunAgain():
            print_err(event.words)
        case _:
            sentences(event)


class LiveBatch:
    """A bar for the batch, and one for each run under way, read from the runs' folders."""

    def __init__(self) -> None:
        self._out, self._failed = Path(), 0
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[words]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bars: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        """Show the event."""
        match event:
            case BatchBegun():
                self._out = event.folder
                self._whole = self._progress.add_task("runs", total=event.runs, completed=event.done, words="")
                self._progress.start()
            case BatchRunEnded():
                self._ended(event)
            case BatchRunAgain():
                self._progress.console.print(event.words, markup=False, highlight=False)
            case BatchRunning():
                self._look(event.names)
            case BatchEnded():
                for name in list(self._bars):
                    self._remove(name)
                self._progress.stop()
            case _:
                sentences(event)

    def _ended(self, event: BatchRunEnded) -> None:
        """Advance the bar; a failure stays on the screen."""
        if event.error is not None:
            self._failed += 1
            self._progress.console.print(f"{event.name}: {event.error}", markup=False, highlight=False)
        words = f"{self._failed} not done" if self._failed else ""
        self._progress.update(self._whole, completed=event.number, words=words)
        self._remove(event.name)

    def _look(self, running: tuple[str, ...]) -> None:
        """Update the bars of runs under way."""
        for name in set(self._bars) - set(running):
            self._remove(name)
        for name in [*self._bars, *(each for each in running if each not in self._bars)][:MOST_LINES]:
            line = last_line(self._out / name / METRICS)
            if line is None:
                continue
            if name not in self._bars:
                self._bars[name] = self._progress.add_task(f"  {name}", total=line.steps, words="")
            words = f"{line.part} loss {line.total:.4g}".strip()
            self._progress.update(self._bars[name], total=line.steps, completed=line.step, words=words)

    def _remove(self, name: str) -> None:
        if name in self._bars:
            self._progress.remove_task(self._bars.pop(name))


def batch_view() -> Listener:
    """Live bars if standard error is a terminal that can redraw, lines if not."""
    return LiveBatch() if is_live() else batch_lines
