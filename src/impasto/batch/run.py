"""Many runs in one folder: finished runs are kept, and a run that fails does not affect the others."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import tomli_w

from impasto.batch.index import INDEX, Index
from impasto.batch.inputs import Entry
from impasto.batch.processes import Again, Ended, Engine, Job
from impasto.batch.thumbnails import result_thumbnail
from impasto.batch.underway import runs_under_way
from impasto.errors import ImageError, ImpastoError, InterruptedRunError, OutOfMemoryError, OutputError, SpecError
from impasto.events import (
    BatchBegun,
    BatchEnded,
    BatchRunAgain,
    BatchRunEnded,
    BatchRunning,
    Listener,
    RunsFailed,
    SeriesDone,
    silent,
)
from impasto.folders.named import hash_files
from impasto.folders.owners import present
from impasto.folders.places import giving_way, trace
from impasto.images.files import load_picture
from impasto.runs.stopping import Stop, question
from impasto.series.members import OTHER, check_all, folder_state, networks_for
from impasto.series.places import is_free, share_folder
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import make_settings

BATCH_FILE = "batch.toml"
MOST_SENTENCES = 20
MOST_CHECKED = 8  # distinct settings that are tried before anything is written


def make_jobs(entries: Sequence[Entry], task: str, chosen: Mapping[str, Any], preset: str = "default") -> list[Job]:
    """A job for each entry: the settings chosen for all, overridden by the entry's own. Raises SpecError."""
    common, jobs = make_settings(task, **chosen), []
    for entry in entries:
        try:
            settings = make_settings(task, **{**chosen, **entry.values}) if entry.values else common
        except SpecError as error:
            raise SpecError(f"{entry.where}: {error}" if entry.where else str(error)) from None
        jobs.append(Job(entry.name, RunSpec(task=task, pictures=entry.pictures, settings=settings, preset=preset)))
    return jobs


def open_batch(
    jobs: Sequence[Job], chosen: Mapping[str, Any], out: Path, *, force: bool = False, device: str | None = None
) -> list[Job]:
    """Take the folder for the batch and return the jobs that are left to do.

    `chosen` are the settings of all runs, which identify the batch of a folder; pictures may be added and removed.
    Settings are first tried on one picture, on another `device` if the runs are made elsewhere. Raises OutputError
    if the folder, or that of a run, holds something else, and SpecError or WeightsError if no run could work.
    """
    task, preset = jobs[0].spec.task, jobs[0].spec.preset
    settings = make_settings(task, **chosen).model_dump(mode="json", exclude_none=True)
    about = tomli_w.dumps({"task": task, "preset": preset, "settings": settings})
    before = trace(out, BATCH_FILE)
    fresh = is_free(out, BATCH_FILE, about, [job.spec for job in jobs], force=force)
    left = list(jobs) if fresh else list(_left(jobs, out))
    _check_some(left, device)
    share_folder(out, BATCH_FILE, about, fresh=fresh, before=before)
    return left


def _left(jobs: Sequence[Job], out: Path) -> Iterator[Job]:
    hashes: dict[Path, str] = {}
    for job in jobs:
        folder = out / job.name
        if folder.exists():  # otherwise no file needs to be read
            hashes = hash_files([job.spec], hashes)
        state = folder_state(job.spec, folder, hashes)
        if state == "other" and all(path in hashes for path in job.spec.pictures):
            raise OutputError(
                f"{folder} {OTHER}; remove it, name another folder with --out, or make all runs again with --force"
            )
        if state != "done" or not (out / result_thumbnail(job.name)).exists():
            yield job


def _check_some(jobs: Sequence[Job], device: str | None) -> None:
    """Try distinct settings once each; a picture at fault is reported by its own run."""
    tried: set[str] = set()
    for job in jobs:
        settings = job.spec.settings.model_copy(update={"seed": 0, **({"device": device} if device else {})})
        kind = settings.model_dump_json()
        if kind in tried:
            continue
        try:
            pictures = {path: load_picture(path) for path in job.spec.pictures}
            check_all(networks_for([job.spec.model_copy(update={"settings": settings})]), pictures)
        except (ImageError, OutOfMemoryError):
            continue
        tried.add(kind)
        if len(tried) == MOST_CHECKED:
            return


class _Halt(Event):
    """An event that is also set once the caller asks for a stop."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._asked = question(stop)

    def is_set(self) -> bool:
        """Whether the event was set or the caller has asked for a stop."""
        return super().is_set() or self._asked()


def run_batch(
    jobs: Sequence[Job],
    left: Sequence[Job],
    out: Path,
    engine: Engine,
    *,
    stop: Stop = None,
    listener: Listener = silent,
) -> Path:
    """Make the jobs that are left, and return the page of all jobs, which is rewritten as runs end.

    `stop` and `listener` are as for `run`.

    Raises at the end: InterruptedRunError if the batch was stopped, OutputError if the folder can no longer be
    written, ImpastoError if some runs failed. The same call continues the batch after each of these.
    """
    index = _open_index(jobs, left, out)
    listener(BatchBegun(out, len(jobs), len(jobs) - len(left)))
    halt = _Halt(stop)
    try:
        with present(out), giving_way(out):
            failures, trouble = _follow(engine(left, halt), halt, index, listener)
    finally:
        listener(BatchEnded())
    further = f"; {index.count} of {len(jobs)} runs are done, and the same command continues in {out}"
    try:
        index.save()
    except OutputError as error:
        trouble = trouble or error
    if trouble is not None:
        raise OutputError(f"{trouble}{further}")
    if index.count + len(failures) < len(jobs):
        raise InterruptedRunError(f"stopped{further}")
    if failures:
        _report(failures, listener)
        words = "the run" if len(jobs) == 1 else f"{len(failures)} of {len(jobs)} runs"
        raise ImpastoError(f"{words} failed; the same command tries again, and {out / INDEX} shows the others")
    listener(SeriesDone(out, out / INDEX))
    return out / INDEX


def _open_index(jobs: Sequence[Job], left: Sequence[Job], out: Path) -> Index:
    """The index of all jobs, with those that are done already."""
    title = f"{jobs[0].spec.task}, {len(jobs)} {'run' if len(jobs) == 1 else 'runs'}"
    index = Index(out, title, [job.name for job in jobs])
    names_left = {job.name for job in left}
    for job in jobs:
        if job.name not in names_left:
            index.done(job)
    return index


def _follow(
    events: Iterator[Ended | Again | None], stop: Event, index: Index, listener: Listener
) -> tuple[dict[str, ImpastoError], OutputError | None]:
    """Handle the engine's events; return the failures, and the error that ended the batch, if any."""
    failures: dict[str, ImpastoError] = {}
    trouble: OutputError | None = None
    for ended in events:
        try:
            if ended is None:
                listener(BatchRunning(tuple(runs_under_way(index.out))))
            elif isinstance(ended, Again):
                listener(BatchRunAgain(ended.job.name, ended.words))
            elif isinstance(ended.error, OutputError):
                raise ended.error
            elif not isinstance(ended.error, InterruptedRunError):
                _note(ended, failures, index, listener)
            index.save_in_time()
        except OutputError as error:  # all further runs would fail too: a full disk, a folder that is gone
            trouble = trouble or error
            stop.set()
    return failures, trouble


def _note(ended: Ended, failures: dict[str, ImpastoError], index: Index, listener: Listener) -> None:
    name, seconds = ended.job.name, None
    if ended.error is None:
        seconds = index.done(ended.job).seconds
    else:
        failures[name] = ended.error
        index.failed(name, str(ended.error))
    listener(BatchRunEnded(index.count + len(failures), index.runs, name, seconds, ended.error))


def _report(failures: Mapping[str, ImpastoError], listener: Listener) -> None:
    for name, error in list(failures.items())[:MOST_SENTENCES]:
        listener(RunsFailed(f"{name}: {error}"))
    if len(failures) > MOST_SENTENCES:
        listener(RunsFailed(f"and {len(failures) - MOST_SENTENCES} more"))
