"""Which run of a batch has which folder: a run keeps its folder, whatever pictures are added later."""

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

    The name planned for a run depends on the other pictures: b.png alone has the name b, but if b.jpg is added later,
    the name b is planned for b.jpg. If the folder of a planned name holds the run of another picture, each job gets the
    name of its own run's folder, and a job without a run gets a number. A run of the same pictures with other settings,
    or of a picture that was edited, keeps its name: see `open_batch`.
    """
    hashes: dict[Path, str] = {}
    if not any(_is_displaced(job, _found(out / job.name), hashes) for job in jobs):
        return list(jobs)
    found = {file.parent.name: _found(file.parent) for file in sorted(out.glob(f"*/{SETTINGS_FILE}"))}
    held = {name: _key(each.spec, each.provenance) for name, each in found.items() if each is not None}
    asked = {job.name: (_hashes(job, hashes), job.spec.task, job.spec.settings.model_dump_json()) for job in jobs}
    free = {name: key for name, key in held.items() if asked.get(name) != key}  # runs whose name is not the one planned
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
    """The name with the first free number, from 2 on; the new name is added to `taken`."""
    number = 2
    while f"{name}-{number}".casefold() in taken:
        number += 1
    taken.add(f"{name}-{number}".casefold())
    return f"{name}-{number}"


def _is_displaced(job: Job, found: SpecFile | None, hashes: dict[Path, str]) -> bool:
    """Whether the folder of that name holds a run of other files than the job's."""
    if found is None or found.spec.pictures == job.spec.pictures:
        return False
    return _key(found.spec, found.provenance)[0] != _hashes(job, hashes)


def _key(spec: RunSpec, provenance: Mapping[str, object]) -> Key:
    known = provenance.get("pictures_sha256")
    return tuple(known) if isinstance(known, list) else (), spec.task, spec.settings.model_dump_json()


def _hashes(job: Job, hashes: dict[Path, str]) -> tuple[str, ...]:
    """The hashes of a job's pictures; empty for a file that cannot be read. Each file is read once."""
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
