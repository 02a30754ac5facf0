"""A batch that is made without processes of its own."""

from collections.abc import Iterator, Sequence
from threading import Event

from impasto.batch.processes import Ended, Job
from impasto.batch.worker import Workplace, attempt


def in_this_process(jobs: Sequence[Job], stop: Event, *, workplace: Workplace, workers: int) -> Iterator[Ended]:
    """As `impasto.batch.processes.on_this_machine`."""
    for each in jobs:
        failure = attempt(each.spec, each.name, workplace)
        yield Ended(each, None if failure is None else failure.error())
