"""Which run of a batch has which folder: a run that is there keeps its own, whatever pictures have come since."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from impasto.batch.processes import Job
from impasto.errors import SpecError
from impasto.files import sha256
from impasto.folders.names import SETTINGS_FILE
from impasto.folders.specfiles import SpecFile, read_spec
from impasto.tasks.spec import RunSpec

Key = tuple[tuple[str, ...], str, str]  # the pictures' hashes, the task, the settings


def keep_names(jobs: Sequence[Job], out: Path) -> list[Job]:
    """The jobs, with the names that their runs have in the folder `out`.

    Names follow from the pictures that are there: with b.png alone it is called b, and after b.jpg has come that is.
    If a name's folder holds the run of another picture, each job is called as its own run is, or else has a number.
    A run of the same pictures with other settings, or of a picture that was edited, keeps its name: see `open_batch`.
    """
    hashes: dict[Path, str] = {}
    if not any(_is_displaced(job, _found(out / job.name), hashes) for job in jobs):
        return list(jobs)
    found = {file.parent.name: _found(file.parent) for file in sorted(out.glob(f"*/{SETTINGS_FILE}"))}
    held = {name: _key(each.spec, each.provenance) for name, each in found.items() if each is not None}
    asked = {job.name: (_hashes(job, hashes), job.spec.task, job.spec.settings.model_dump_json()) for job in jobs}
    free = {name: key for name, key in held.items() if asked.get(name) != key}  # runs that are not called as planned
    taken = {name.casefold() for name in (*found, *asked)}
    kept: list[Job] = []
    for job in jobs:
        name = job.name
        if held.get(name) != asked[name]:
            name = next((each for each, key in free.items() if key == asked[name]), name)
        if name != job.name:
            del free[name]
        elif _is_displaced(job, found.get(name), hashes):
            name = _numbered(name, taken)
        kept.append(replace(job, name=name))
    return kept


def _numbered(name: str, taken: set[str]) -> str:
    """The name with the first number from 2 that is free, which is taken then."""
    number = 2
    while f"{name}-{number}".casefold() in taken:
        number += 1
    taken.add(f"{name}-{number}".casefold())
    return f"{name}-{number}"


def _is_displaced(job: Job, found: SpecFile | None, hashes: dict[Path, str]) -> bool:
    """Whether the folder of a job's name holds the run of other files than the job's."""
    if found is None or found.spec.pictures == job.spec.pictures:
        return False
    return _key(found.spec, found.provenance)[0] != _hashes(job, hashes)


def _key(spec: RunSpec, provenance: Mapping[str, object]) -> Key:
    known = provenance.get("pictures_sha256")
    return tuple(known) if isinstance(known, list) else (), spec.task, spec.settings.model_dump_json()


def _hashes(job: Job, hashes: dict[Path, str]) -> tuple[str, ...]:
    """Of a job's pictures, each file read once; no text for a file that cannot be read."""
    for path in job.spec.pictures:
        if path not in hashes:
            try:
                hashes[path] = sha256(path)
            except OSError:
                hashes[path] = ""
    return tuple(hashes[path] for path in job.spec.pictures)


def _found(folder: Path) -> SpecFile | None:
    try:
        return read_spec(folder)
    except (SpecError, OSError):
        return None
