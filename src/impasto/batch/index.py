"""The index of a batch: one page of thumbnails, each with a link to its run's page, updated as runs end."""

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
PAUSE_RATIO = 20  # the page is written again after 20 times the seconds of the last writing: 5 % of the time at most


@dataclass(frozen=True)
class Input:
    """An input picture of a run, and the link to its thumbnail."""

    name: str
    uri: str


@dataclass(frozen=True)
class Card:
    """A finished run: relative links to its page and pictures, and a line of details."""

    name: str
    page: str
    uri: str
    inputs: tuple[Input, ...]
    detail: str
    seconds: float | None


def card(out: Path, job: Job) -> Card:
    """The card of a finished run; if its summary is damaged, the card has no details."""
    summary, line = _summary(out / job.name), last_line(out / job.name / METRICS)
    seconds = summary.get("seconds")
    details = [f"loss {line.total:.4g}"] if line is not None and not line.part else []
    details += [f"{seconds:.1f} s"] if isinstance(seconds, (int, float)) else []
    inputs = tuple(Input(path.name, quote(picture_thumbnail(path))) for path in job.spec.pictures)
    name = quote(job.name)
    return Card(job.name, f"{name}/{PAGE}", quote(result_thumbnail(job.name)), inputs, ", ".join(details), seconds)


def _summary(folder: Path) -> dict[str, Any]:
    try:
        read = json.loads((folder / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


class Index:
    """The page and its contents: `done` and `failed` add a run, `save` writes the page."""

    def __init__(self, out: Path, title: str, names: list[str]) -> None:
        self.out, self._title = out, title
        self._order = {name: number for number, name in enumerate(names)}
        self._cards: dict[str, Card] = {}
        self._failures: dict[str, str] = {}
        self._next = 0.0
        self._changed = True

    def done(self, job: Job) -> Card:
        """Add a finished run, and return its card."""
        new = self._cards[job.name] = card(self.out, job)
        self._changed = True
        return new

    def failed(self, name: str, sentence: str) -> None:
        """Add a failed run and the reason."""
        self._failures[name] = sentence
        self._changed = True

    @property
    def runs(self) -> int:
        """The number of runs, finished or not."""
        return len(self._order)

    @property
    def count(self) -> int:
        """The number of finished runs."""
        return len(self._cards)

    def save_in_time(self) -> None:
        """Write the page if its contents changed and it was last written long enough ago. Raises OutputError."""
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
