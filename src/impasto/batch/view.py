"""What is said while a batch goes on: a live view on a terminal, a line for each run in a log, or JSON."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from impasto.errors import ImpastoError
from impasto.events import Show, print_json
from impasto.folders.names import METRICS
from impasto.folders.records import last_line

MOST_LINES = 8  # of runs shown at once


class View:
    """Told of what happens, and says nothing; `close` is called once."""

    def ended(self, number: int, name: str, error: ImpastoError | None, seconds: float | None) -> None:
        """A run has ended, as the `number`th."""

    def again(self, name: str, words: str) -> None:
        """A run has failed and is tried again."""

    def look(self, running: Sequence[str]) -> None:
        """Some time has passed; these runs are under way."""

    def close(self) -> None:
        """Finish what was begun."""


class JsonView(View):
    """A line of JSON on standard output for each run."""

    def __init__(self, total: int, done: int) -> None:
        self._total = total
        print_json({"event": "batch", "runs": total, "done": done})

    def ended(self, number: int, name: str, error: ImpastoError | None, seconds: float | None) -> None:
        """Print at once."""
        failed = {} if error is None else {"error": str(error), "exit_code": error.exit_code}
        status = "done" if error is None else "failed"
        line = {"event": "run", "run": number, "runs": self._total, "name": name, "status": status}
        print_json({**line, "seconds": seconds, **failed})

    def again(self, name: str, words: str) -> None:
        """Print at once."""
        print_json({"event": "again", "name": name, "words": words})


class LineView(View):
    """A line on standard error for each run that has ended."""

    def __init__(self, total: int, done: int) -> None:
        self._total = total
        if done:
            print(f"{done} of {total} runs are done already", file=sys.stderr, flush=True)

    def ended(self, number: int, name: str, error: ImpastoError | None, seconds: float | None) -> None:
        """Print at once."""
        words = f"done, {seconds or 0:.1f} s" if error is None else f"not done: {error}"
        print(f"{number}/{self._total} {name}: {words}", file=sys.stderr, flush=True)

    def again(self, name: str, words: str) -> None:
        """Print at once."""
        print(f"{name}: {words}", file=sys.stderr, flush=True)


class LiveView(View):
    """A bar for the batch, and one for each of the runs under way, by what their folders say."""

    def __init__(self, out: Path, total: int, done: int) -> None:
        self._out, self._failed = out, 0
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[words]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._progress.start()
        self._whole = self._progress.add_task("runs", total=total, completed=done, words="")
        self._bars: dict[str, TaskID] = {}

    def ended(self, number: int, name: str, error: ImpastoError | None, seconds: float | None) -> None:
        """Move on; a failure stays on the screen."""
        if error is not None:
            self._failed += 1
            self._progress.console.print(f"{name}: {error}", markup=False, highlight=False)
        words = f"{self._failed} not done" if self._failed else ""
        self._progress.update(self._whole, completed=number, words=words)
        self._remove(name)

    def again(self, name: str, words: str) -> None:
        """It stays on the screen."""
        self._progress.console.print(f"{name}: {words}", markup=False, highlight=False)

    def look(self, running: Sequence[str]) -> None:
        """Bring the bars up to date."""
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

    def close(self) -> None:
        """Leave the bar of the batch as it stands."""
        for name in list(self._bars):
            self._remove(name)
        self._progress.stop()

    def _remove(self, name: str) -> None:
        if name in self._bars:
            self._progress.remove_task(self._bars.pop(name))


def view(show: Show, out: Path, total: int, done: int) -> View:
    """The view of a batch of so many runs, of which some are done."""
    if show == "nothing":
        return View()
    if show == "json":
        return JsonView(total, done)
    return LiveView(out, total, done) if sys.stderr.isatty() else LineView(total, done)
