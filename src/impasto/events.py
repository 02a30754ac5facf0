"""Events of runs, series and batches: each is frozen data and goes to the listener that the caller passes.

The library itself prints nothing: a listener is any function of one event, and by default events are dropped. An event
with non-empty `words` carries a sentence for people.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Event:
    """Something that happens in a run, a series of runs or a batch."""

    @property
    def words(self) -> str:
        """A sentence for people; empty if there is none."""
        return ""


Listener: TypeAlias = Callable[[Event], object]
"""A function that is called with each event, in the thread of the run."""


def silent(event: Event) -> None:
    """The listener that drops every event."""


@dataclass(frozen=True)
class Trouble(Event):
    """Something that was asked for has failed, although the run continues; shown even with --quiet."""


# One run -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Notice(Event):
    """Something that the user should know; the run continues."""

    text: str

    @property
    def words(self) -> str:
        """The text."""
        return self.text


@dataclass(frozen=True)
class MemoryPlanned(Event):
    """How a picture is made to fit into memory; not sent if memory is sufficient."""

    plan: str

    @property
    def words(self) -> str:
        """The plan."""
        return self.plan


@dataclass(frozen=True)
class TilesHalved(Event):
    """The accelerator ran out of memory: from now on, tiles have cores of this (height, width)."""

    core: tuple[int, int]

    @property
    def words(self) -> str:
        """The new size, as width × height."""
        return f"memory is short; tiles are halved to {self.core[1]} × {self.core[0]} px"


@dataclass(frozen=True)
class TrackerDropped(Trouble):
    """A tracker has failed and receives nothing more."""

    name: str
    reason: str

    @property
    def words(self) -> str:
        """The tracker's name, and the reason."""
        return f"tracking with {self.name} ends here, the run goes on: {self.reason}"


@dataclass(frozen=True)
class PageFailed(Trouble):
    """A page could not be made; the pictures have been saved."""

    path: Path
    reason: str

    @property
    def words(self) -> str:
        """The page, and the reason."""
        return f"{self.path} is not written: {self.reason}"


@dataclass(frozen=True)
class PartBegun(Event):
    """A part of a run begins, or resumes after `step` of `steps`; `part` is "" in a run of one part."""

    task: str
    part: str
    steps: int
    step: int = 0

    @property
    def title(self) -> str:
        """The task, and the part if there are several."""
        return f"{self.task} {self.part}".strip()


@dataclass(frozen=True)
class Step(Event):
    """A step: its number, its cost so far, and each weighted loss of the picture before the step.

    `size` is (height, width). `seconds` counts from the start of the part, and includes the time before a run was
    resumed. `share` is the fraction of the part's work that is done; None: as the fraction of its steps.
    """

    part: str
    step: int
    steps: int
    stage: int
    size: tuple[int, int]
    seconds: float
    evaluations: int
    losses: Mapping[str, float]
    share: float | None = None

    @property
    def done(self) -> float:
        """The fraction of the part's work that is done, in (0, 1]; steps of small pictures count less."""
        return self.step / self.steps if self.share is None else self.share

    @property
    def seconds_left(self) -> float:
        """About how many seconds the part will still take."""
        return self.seconds * (1 - self.done) / self.done

    @property
    def total(self) -> float:
        """The sum of all losses."""
        return sum(self.losses.values())

    def line(self) -> dict[str, object]:
        """The step as plain data: a line of metrics.jsonl."""
        return {
            **({"part": self.part} if self.part else {}),
            "step": self.step,
            "steps": self.steps,
            "stage": self.stage,
            "size": list(self.size),
            "seconds": round(self.seconds, 3),
            "evaluations": self.evaluations,
            "total": self.total,
            "losses": dict(self.losses),
        }


@dataclass(frozen=True)
class PartEnded(Event):
    """The steps of a part have ended, early or not."""

    part: str


@dataclass(frozen=True)
class RunDone(Event):
    """A run is done: its folder, its result, and the summary of each part by name."""

    folder: Path
    result: Path
    parts: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class StopAsked(Event):
    """The first signal has asked the run to stop."""

    @property
    def words(self) -> str:
        """When the run stops, and the effect of another signal."""
        return "stopping after this step at the latest; interrupt again to stop at once"


# Several runs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MemberBegun(Event):
    """Run `number` of `count` in a sweep or a study begins."""

    number: int
    count: int
    name: str
    about: str

    @property
    def words(self) -> str:
        """The run's number and its description."""
        return f"run {self.number} of {self.count}: {self.about}"


@dataclass(frozen=True)
class SeriesDone(Event):
    """All runs of a sweep, a study or a batch are done; `grid` is the figure of a sweep."""

    folder: Path
    page: Path
    grid: Path | None = None


@dataclass(frozen=True)
class Compared(Event):
    """How alike an enlargement and its small picture are (SSIM); it counts as the same picture from `least` on."""

    folder: Path
    ssim: float
    least: float

    @property
    def same(self) -> bool:
        """Whether it counts as the same picture."""
        return self.ssim >= self.least

    @property
    def words(self) -> str:
        """The similarity, and what it means."""
        verdict = "the same picture" if self.same else f"below {self.least:g}: not quite the same picture"
        return f"SSIM with the small picture {self.ssim:.3f}, {verdict}"


@dataclass(frozen=True)
class BatchBegun(Event):
    """A batch begins: how many runs it has, and how many of these are done already."""

    folder: Path
    runs: int
    done: int


@dataclass(frozen=True)
class BatchRunning(Event):
    """Sent at intervals: the runs of a batch that are under way."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class BatchRunEnded(Event):
    """A run of a batch has ended, the `number`th of `runs`: after `seconds`, or with an error."""

    number: int
    runs: int
    name: str
    seconds: float | None
    error: Exception | None


@dataclass(frozen=True)
class BatchRunAgain(Event):
    """A run of a batch has failed and is tried again."""

    name: str
    reason: str

    @property
    def words(self) -> str:
        """The run's name, and the reason."""
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class RunsFailed(Trouble):
    """At the end of a batch: a run that failed, with its error, or the number of further failures."""

    text: str

    @property
    def words(self) -> str:
        """The text."""
        return self.text


@dataclass(frozen=True)
class BatchEnded(Event):
    """No run of a batch is under way any more."""
