"""A queue of runs: one at a time, in a process of its own, so that no run can take the program down.

A job that is paused is a run that was stopped: its checkpoint is on the disk, its memory is free, and going on resumes
the run bit for bit. Jobs that have not ended outlive the queue as files (`keeping`): the next queue of the same folder
paints those that wait, and has those paused that were being painted.
"""

import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from impasto.errors import OutputError, SpecError
from impasto.events import Event, MemberBegun, PartBegun, Step
from impasto.folders.names import SETTINGS_FILE
from impasto.folders.owners import owned
from impasto.folders.places import new_folder
from impasto.folders.specfiles import read_spec
from impasto.jobs.keeping import QUEUE, Kept, all_kept, forget, keep, refuse_a_second
from impasto.jobs.messages import ChangeSettings, Preview, Stop, Work, WorkEnded
from impasto.jobs.orders import OneRun, Order
from impasto.jobs.process import WorkerProcess
from impasto.tasks.settings import Settings
from impasto.tasks.spec import RunSpec, in_force

State = Literal["waiting", "running", "paused", "done", "stopped", "failed"]
KEPT = 50  # jobs that have ended and are still listed


@dataclass(frozen=True)
class Job:
    """A run in the queue, as it is at one moment.

    `settings` are those in force; `asked` are changes that the run has not heard of, because it is not running.
    `title` is the present part's, `member` the present run's of a sheet. `wish` is the state that the job takes once
    its run has stopped; None if no stop has been asked for. `sentence` says why a job has stopped or failed. `resumes`
    if its next run continues the folder's.
    """

    number: int
    folder: Path
    order: Order
    settings: Settings
    state: State = "waiting"
    resumes: bool = False
    title: str = ""
    member: MemberBegun | None = None
    step: Step | None = None
    preview: Preview | None = field(default=None, repr=False)
    wish: Literal["paused", "stopped"] | None = None
    sentence: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> RunSpec:
        """The run, or what all runs of a sheet have in common."""
        return self.order.spec

    @property
    def ended(self) -> bool:
        """Whether nothing more happens unless the run is resumed as another job."""
        return self.state in ("done", "stopped", "failed")


class Jobs:
    """The queue. Any thread may call its methods; a job is frozen data, and is replaced when something happens."""

    def __init__(self, runs: Path) -> None:
        """`runs` is the folder in which the runs' folders are made. Raises OutputError if another queue has it."""
        self.runs = runs
        self._files = runs / QUEUE
        self._ownership = ExitStack()
        _make_folder(self._files)
        self._ownership.enter_context(owned(self._files, busy=refuse_a_second))
        self._jobs: dict[int, Job] = {}
        self._steps: dict[int, list[Step]] = {}
        self._last = 0
        self._serial = 0  # of the work that the worker process has
        self._changed = threading.Condition(threading.RLock())
        self._closed = False
        self._worker = WorkerProcess()
        self._take_up()
        self._thread = threading.Thread(target=self._serve, name="impasto-jobs", daemon=True)
        self._thread.start()

    # What there is ----------------------------------------------------------------------------------------------------

    def all(self) -> tuple[Job, ...]:
        """All jobs, in the order in which they were added."""
        with self._changed:
            return tuple(self._jobs.values())

    def job(self, number: int) -> Job:
        """A job by its number. Raises SpecError if there is none."""
        with self._changed:
            if number not in self._jobs:
                raise SpecError(f"there is no job {number}")
            return self._jobs[number]

    def steps(self, number: int) -> tuple[Step, ...]:
        """The steps that a job has made since it was added, without those of runs before."""
        with self._changed:
            return tuple(self._steps.get(number, ()))

    def of(self, folder: Path) -> Job | None:
        """The job that has not ended and makes the run in a folder, None if there is none."""
        there = folder.resolve()
        return next((job for job in self.all() if job.folder.resolve() == there and not job.ended), None)

    # What can be asked ------------------------------------------------------------------------------------------------

    def add(self, made: RunSpec | Order) -> Job:
        """A new job at the end of the queue, with a new folder. Raises OutputError if the folder cannot be made."""
        order = OneRun(made) if isinstance(made, RunSpec) else made
        folder = new_folder(order.name, self.runs)
        try:
            return self._add(folder, order, resumes=False)
        except OutputError:
            folder.rmdir()
            raise

    def resume(self, folder: Path, spec: RunSpec) -> Job:
        """A job that continues the run in a folder; the same job if one does so already, which goes on if paused."""
        with self._changed:
            if (job := self.of(folder)) is None:
                return self._add(folder, OneRun(spec), resumes=True)
            if job.state == "paused":
                self.go_on(job.number)
            return self.job(job.number)

    def pause(self, number: int) -> None:
        """Stop the job's run with a checkpoint; `go_on` continues the run. A waiting job waits until then."""
        self._ask(number, "paused")

    def stop(self, number: int) -> None:
        """End the job. Its picture so far is kept, and so is a checkpoint."""
        self._ask(number, "stopped")

    def go_on(self, number: int) -> None:
        """Put a paused job back into the queue."""
        with self._changed:
            if self.job(number).state == "paused":
                self._replace(number, state="waiting", sentence="")
            elif self.job(number).wish == "paused":
                raise SpecError("the run is about to pause; go on once it has paused")

    def change(self, number: int, **values: Any) -> None:
        """Change settings while the job's run goes on, from its next step; of a waiting or paused job, from its start.

        Raises SpecError if a value is not allowed or cannot be changed during a run, or if the job has ended.
        """
        with self._changed:
            job = self.job(number)
            if job.ended:
                raise SpecError(f"the run is {job.state}; its settings cannot be changed any more")
            self._replace(number, settings=job.order.changed(job.settings, values))
            if job.state == "running":
                self._worker.send(ChangeSettings(self._serial, values))
            else:
                self._replace(number, asked={**job.asked, **values})

    def close(self, patience_seconds: float = 20.0) -> None:
        """End the queue: the present run writes a checkpoint, and the worker process ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._worker.close(patience_seconds)
        self._thread.join(patience_seconds)
        self._ownership.close()

    # What happens -----------------------------------------------------------------------------------------------------

    def _take_up(self) -> None:
        """Take up the jobs that an earlier queue has left."""
        for left in all_kept(self._files):
            with suppress(SpecError):
                spec = left.order.spec
                if isinstance(left.order, OneRun) and left.has_begun:
                    spec = read_spec(left.folder).spec
                settings = in_force(spec.task, spec.settings, spec.changes)
                for values in (left.asked,) if left.asked else ():
                    settings = left.order.changed(settings, values)
                job = Job(left.number, left.folder, left.order, settings, left.state, left.has_begun, asked=left.asked)
                self._jobs[left.number], self._steps[left.number] = job, []
                self._last = left.number

    def _add(self, folder: Path, order: Order, *, resumes: bool) -> Job:
        with self._changed:
            spec = order.spec
            settings = in_force(spec.task, spec.settings, spec.changes)
            job = Job(self._last + 1, folder, order, settings, resumes=resumes)
            self._keep(job)
            self._last = job.number
            self._jobs[self._last] = job
            self._steps[self._last] = []
            self._forget()
            self._changed.notify_all()
            return job

    def _keep(self, job: Job) -> None:
        """Write the job's file, or remove the file if the job has ended. Raises OutputError."""
        if job.ended:
            forget(self._files, job.number)
            return
        state: Literal["waiting", "paused"] = "waiting" if job.state == "waiting" else "paused"
        keep(self._files, Kept(job.number, job.folder, job.order, state, job.asked))

    def _forget(self) -> None:
        """Forget the oldest jobs that have ended, beyond KEPT."""
        ended = [number for number, job in self._jobs.items() if job.ended]
        for number in ended[: max(0, len(ended) - KEPT)]:
            del self._jobs[number]

    def _ask(self, number: int, wish: Literal["paused", "stopped"]) -> None:
        with self._changed:
            job = self.job(number)
            if job.state in ("waiting", "paused"):
                self._replace(number, state=wish)
                if wish == "stopped":
                    _remove_if_empty(job.folder)
            elif job.state == "running":
                self._replace(number, wish=wish)
                self._worker.send(Stop(self._serial))

    def _replace(self, number: int, **changes: Any) -> None:
        with self._changed:
            self._jobs[number] = replace(self._jobs[number], **changes)
            if not {"state", "asked"}.isdisjoint(changes):
                with suppress(OutputError):  # the disk is full: the queue lives on, and is kept less well
                    self._keep(self._jobs[number])
            self._changed.notify_all()

    def _serve(self) -> None:
        """The queue's thread: hand one job after the other to the worker process, and follow it to its end."""
        self._worker.start()
        while (job := self._next()) is not None:
            work = Work(self._serial, job.folder, job.order, job.resumes, job.asked)
            self._end(job.number, self._worker.make(work, partial(self._heard, job.number)))
            if not self._closed:
                self._worker.start()

    def _next(self) -> Job | None:
        """The next waiting job, which is running from now on; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                waiting = next((job for job in self._jobs.values() if job.state == "waiting"), None)
                if waiting is not None:
                    self._serial += 1
                    self._replace(waiting.number, state="running", wish=None, sentence="", asked={})
                    return waiting
                self._changed.wait()
        return None

    def _heard(self, number: int, event: Event) -> None:
        match event:
            case MemberBegun():
                self._replace(number, member=event, title=event.about, step=None, preview=None)
            case PartBegun() if self.job(number).member is None:
                self._replace(number, title=event.title)
            case Step():
                with self._changed:
                    self._steps[number].append(event)
                    self._replace(number, step=event)
            case Preview():
                self._replace(number, preview=event)
            case Event() if event.words:
                self._replace(number, sentence=event.words)

    def _end(self, number: int, ended: WorkEnded) -> None:
        with self._changed:
            job = self._jobs[number]
            state: State = ended.ending
            if ended.ending == "stopped":
                state = job.wish or ("paused" if self._closed else "stopped")
            begun = (job.folder / SETTINGS_FILE).is_file()
            asked = {**ended.values, **job.asked}
            self._replace(number, state=state, wish=None, sentence=ended.sentence, resumes=begun, asked=asked)
            if not begun:
                _remove_if_empty(job.folder)
            if self._jobs[number].ended:
                self._steps[number] = []  # the folder has them all
                self._replace(number, preview=None)


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder that was reserved for a job and has nothing inside."""
    with suppress(OSError):
        folder.rmdir()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None
