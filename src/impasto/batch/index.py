"""The index of a batch: one page of small pictures that leads to each run's own, kept up to date as runs end."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from impasto.batch.processes import Job
from impasto.batch.thumbnails import picture_thumbnail, result_thumbnail
from impasto.folders.names import METRICS, PAGE, SUMMARY
from impasto.folders.records import last_line
from impasto.pages.rendering import render, save_page

INDEX = "index.html"
PAUSE_RATIO = (
    20  # a page that took so long is made again after this many times that, so that thousands of runs cost little
)


@dataclass(frozen=True)
class Input:
    """A picture that a run read."""

    name: str
    uri: str


@dataclass(frozen=True)
class Card:
    """A run that is done: its pictures by relative links, and what is said of it."""

    name: str
    page: str
    uri: str
    inputs: tuple[Input, ...]
    detail: str
    seconds: float | None


def card(out: Path, job: Job) -> Card:
    """What the page says of a finished run; a damaged summary says nothing."""
    summary, line = _summary(out / job.name), last_line(out / job.name / METRICS)
    seconds = summary.get("seconds")
    said = [f"loss {line.total:.4g}"] if line is not None and not line.part else []
    said += [f"{seconds:.1f} s"] if isinstance(seconds, (int, float)) else []
    inputs = tuple(Input(path.name, quote(picture_thumbnail(path))) for path in job.spec.pictures)
    name = quote(job.name)
    return Card(job.name, f"{name}/{PAGE}", quote(result_thumbnail(job.name)), inputs, ", ".join(said), seconds)


def _summary(folder: Path) -> dict[str, Any]:
    try:
        read = json.loads((folder / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


class Index:
    """The page and what it shows: `done` and `failed` add to it, `save` writes it."""

    def __init__(self, out: Path, title: str, names: list[str]) -> None:
        self.out, self._title = out, title
        self._order = {name: number for number, name in enumerate(names)}
        self._cards: dict[str, Card] = {}
        self._failures: dict[str, str] = {}
        self._next = 0.0
        self._changed = True

    def done(self, job: Job) -> Card:
        """A run is done."""
        self._cards[job.name] = made = card(self.out, job)
        self._changed = True
        return made

    def failed(self, name: str, sentence: str) -> None:
        """A run has failed, and why."""
        self._failures[name] = sentence
        self._changed = True

    @property
    def runs(self) -> int:
        """How many runs there are, done or not."""
        return len(self._order)

    @property
    def count(self) -> int:
        """How many runs are done."""
        return len(self._cards)

    def save_in_time(self) -> None:
        """Write the page if there is something new, and the last time is long enough ago. Raises OutputError."""
        if self._changed and time.monotonic() >= self._next:
            self.save()

    def save(self) -> None:
        """Write the page whole or not at all. Raises OutputError."""
        start = time.monotonic()
        cards = sorted(self._cards.values(), key=lambda each: self._order[each.name])
        failures = sorted(self._failures.items(), key=lambda each: self._order[each[0]])
        seconds = sum(each.seconds or 0.0 for each in cards)
        left = len(self._order) - len(cards) - len(failures)
        page = render(
            "batch.html", title=self._title, cards=cards, failures=failures, left=left, seconds=round(seconds, 1)
        )
        save_page(page, self.out / INDEX)
        now = time.monotonic()
        self._next, self._changed = now + max(1.0, PAUSE_RATIO * (now - start)), False
