"""Many runs in one folder: each an ordinary run, what is done left alone, one that fails no harm to the others."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import tomli_w

from impasto.batch.index import INDEX, Index
from impasto.batch.inputs import Entry
from impasto.batch.leases import leases_held
from impasto.batch.processes import Again, Ended, Engine, Job
from impasto.batch.thumbnails import result_thumbnail
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
from impasto.files import sha256
from impasto.folders.places import giving_way
from impasto.images.files import load_picture
from impasto.runs.stopping import Stop, question
from impasto.series.members import check_all, folder_state
from impasto.series.places import is_free, take_folder
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import make_settings

BATCH_FILE = "batch.toml"
MOST_SENTENCES = 20
MOST_CHECKED = 8  # kinds of settings that are tried on a picture before anything is written


def make_jobs(pairs: Sequence[Entry], task: str, chosen: Mapping[str, Any], preset: str = "default") -> list[Job]:
    """A job for each pair: the settings chosen for all, and the pair's own over them. Raises SpecError."""
    usual, jobs = make_settings(task, **chosen), []
    for pair in pairs:
        try:
            settings = make_settings(task, **{**chosen, **pair.values}) if pair.values else usual
        except SpecError as error:
            raise SpecError(f"{pair.where}: {error}" if pair.where else str(error)) from None
        jobs.append(Job(pair.name, RunSpec(task=task, pictures=pair.pictures, settings=settings, preset=preset)))
    return jobs


def open_batch(
    jobs: Sequence[Job], chosen: Mapping[str, Any], out: Path, *, force: bool = False, device: str | None = None
) -> list[Job]:
    """Take the folder for the batch and return the jobs that are left to do.

    `chosen` are the settings of all, by which a folder's batch is known to be the same; pictures may come and go.
    Settings are tried on one picture first, on another `device` where runs are made elsewhere. Raises OutputError
    where the folder, or that of a run, holds something else, and SpecError or WeightsError where no run could work.
    """
    task, preset = jobs[0].spec.task, jobs[0].spec.preset
    settings = make_settings(task, **chosen).model_dump(mode="json", exclude_none=True)
    about = tomli_w.dumps({"task": task, "preset": preset, "settings": settings})
    pictures = list(dict.fromkeys(path for job in jobs for path in job.spec.pictures))
    fresh = is_free(out, BATCH_FILE, about, pictures, force=force)
    left = list(jobs) if fresh else list(_left(jobs, out))
    _check_some(left, device)
    take_folder(out, BATCH_FILE, about, fresh=fresh)
    return left


def _left(jobs: Sequence[Job], out: Path) -> Iterator[Job]:
    hashes: dict[Path, str] = {}
    for job in jobs:
        folder = out / job.name
        if folder.exists():  # only then is it worth reading the pictures
            hashes |= {path: sha256(path) for path in job.spec.pictures if path not in hashes and path.is_file()}
        state = folder_state(job.spec, folder, hashes)
        if state == "other" and all(path in hashes for path in job.spec.pictures):
            raise OutputError(
                f"{folder} holds a run of other pictures or with other settings; "
                "remove it, name another folder with --out, or make everything anew with --force"
            )
        if state != "done" or not (out / result_thumbnail(job.name)).exists():
            yield job


def _check_some(jobs: Sequence[Job], device: str | None) -> None:
    """Try each kind of settings once; a picture that is at fault is left to its own run."""
    tried: set[str] = set()
    for job in jobs:
        settings = job.spec.settings.model_copy(update={"seed": 0, **({"device": device} if device else {})})
        kind = settings.model_dump_json()
        if kind in tried:
            continue
        try:
            pictures = {path: load_picture(path) for path in job.spec.pictures}
            check_all([job.spec.model_copy(update={"settings": settings})], pictures)
        except (ImageError, OutOfMemoryError):
            continue
        tried.add(kind)
        if len(tried) == MOST_CHECKED:
            return


class _Halt(Event):
    """An event that is set as well once the caller asks for a stop."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._asked = question(stop)

    def is_set(self) -> bool:
        """Whether either has asked."""
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
    """Do the jobs that are left, and return the page of all, which is made anew as they end.

    `stop` and `listener` are as for `run`.

    Raises at the end: InterruptedRunError where it was stopped, OutputError where the folder cannot be written any
    more, ImpastoError where some runs have failed. The same call goes on after each of them.
    """
    index = Index(
        out, f"{jobs[0].spec.task}, {len(jobs)} {'run' if len(jobs) == 1 else 'runs'}", [job.name for job in jobs]
    )
    to_do = {job.name for job in left}
    for job in jobs:
        if job.name not in to_do:
            index.done(job)
    listener(BatchBegun(out, len(jobs), len(jobs) - len(left)))
    halt = _Halt(stop)
    try:
        with giving_way(out):
            failures, trouble = _follow(engine(left, halt), halt, index, listener)
    finally:
        listener(BatchEnded())
    further = f"; {index.count} of {len(jobs)} runs are done, and the same command goes on with {out}"
    try:
        index.save()
    except OutputError as error:
        trouble = trouble or error
    if trouble is not None:
        raise OutputError(f"{trouble}{further}")
    if index.count + len(failures) < len(jobs):
        raise InterruptedRunError(f"stopped{further}")
    if failures:
        _say(failures, listener)
        words = "the run" if len(jobs) == 1 else f"{len(failures)} of {len(jobs)} runs"
        raise ImpastoError(f"{words} failed; the same command tries again, and {out / INDEX} has the others")
    listener(SeriesDone(out, out / INDEX))
    return out / INDEX


def _follow(
    events: Iterator[Ended | Again | None], stop: Event, index: Index, listener: Listener
) -> tuple[dict[str, ImpastoError], OutputError | None]:
    """Take note of what the engine yields: the failures, and what makes all further runs useless."""
    failures: dict[str, ImpastoError] = {}
    trouble: OutputError | None = None
    for ended in events:
        try:
            if ended is None:
                listener(BatchRunning(tuple(leases_held(index.out))))
            elif isinstance(ended, Again):
                listener(BatchRunAgain(ended.job.name, ended.words))
            elif isinstance(ended.error, OutputError):
                raise ended.error
            elif not isinstance(ended.error, InterruptedRunError):
                _note(ended, failures, index, listener)
            index.save_in_time()
        except OutputError as error:  # the next would find the same: a full disk, a folder that is gone
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


def _say(failures: Mapping[str, ImpastoError], listener: Listener) -> None:
    for name, error in list(failures.items())[:MOST_SENTENCES]:
        listener(RunsFailed(f"{name}: {error}"))
    if len(failures) > MOST_SENTENCES:
        listener(RunsFailed(f"and {len(failures) - MOST_SENTENCES} more"))
