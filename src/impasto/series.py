"""Several runs in one folder, each an ordinary run: what is done is not done again, what was interrupted goes on.

The folder is all the memory there is, so the same call goes on where the last one stopped, however that ended.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from impasto.catalogue import open_network
from impasto.checkpoints import FOLDER
from impasto.checks import check, sentence_for_memory
from impasto.errors import OutputError, RunFolderError, SpecError
from impasto.images import Picture, write_bytes
from impasto.memory import Fit, limits
from impasto.networks import Network
from impasto.parts import compose
from impasto.recorders import print_json
from impasto.records import RunRecord, read_run
from impasto.results import RESULT, SUMMARY
from impasto.runs import resume, run
from impasto.specfiles import read_spec
from impasto.specs import RunSpec
from impasto.watching import Show

Hashes = Mapping[Path, str]  # SHA-256 of each picture


def finished(spec: RunSpec, folder: Path, hashes: Hashes) -> RunRecord | None:
    """The run in a folder, if it is done and is what the spec asks for."""
    try:
        record = read_run(folder)
    except RunFolderError:
        return None
    ended = record.status == "done" and record.parts[0].result is not None and not (folder / FOLDER).exists()
    return record if ended and _is_same(spec, record.spec, record.provenance, hashes) else None


Standing = Literal["done", "begun", "missing", "other"]


def standing(spec: RunSpec, folder: Path, hashes: Hashes) -> Standing:
    """How a folder stands to a spec, by its settings and summary alone; `other` holds what is not the spec's run."""
    if not folder.exists():
        return "missing"
    try:
        if all(path.name.startswith(".") for path in folder.iterdir()):
            return "missing"  # its run was ended before there was anything
        found = read_spec(folder)
        if not _is_same(spec, found.spec, found.provenance, hashes):
            return "other"
        status = json.loads((folder / SUMMARY).read_text("utf-8")).get("status")
    except (SpecError, NotADirectoryError):
        return "other"
    except (OSError, ValueError, AttributeError):
        return "begun"
    return "done" if status == "done" and (folder / RESULT).is_file() and not (folder / FOLDER).exists() else "begun"


def make(
    spec: RunSpec,
    folder: Path,
    hashes: Hashes,
    show: Show,
    checkpoint_seconds: float = 30.0,
    memory_share: float = 1.0,
) -> None:
    """Make one run: on from its last checkpoint where there is one of the same run, else from its beginning.

    Raises the ImpastoError of the run.
    """
    quiet = show == "progress" and not sys.stderr.isatty()  # for a log, a line for each run is enough
    shown: Show = "nothing" if quiet else show
    try:
        found = read_spec(folder)
        if _is_same(spec, found.spec, found.provenance, hashes):
            resume(folder, show=shown, checkpoint_seconds=checkpoint_seconds, memory_share=memory_share)
            return
    except (SpecError, RunFolderError):
        pass  # not begun, or not to be gone on with
    if folder.exists():
        shutil.rmtree(folder)
    run(spec, folder, show=shown, checkpoint_seconds=checkpoint_seconds, memory_share=memory_share)


def _is_same(spec: RunSpec, other: RunSpec, provenance: Mapping[str, Any], hashes: Hashes) -> bool:
    """Whether another run does what the spec asks for, with the same pictures."""
    pictures = provenance.get("pictures_sha256") == [hashes.get(path) for path in spec.pictures]
    return pictures and (other.task, other.settings) == (spec.task, spec.settings)


def check_all(specs: Iterable[RunSpec], pictures: Mapping[Path, Picture]) -> None:
    """Fail before anything is written where that can be known: layers, pictures too small, memory too short."""
    networks: dict[tuple[object, ...], Network] = {}
    for spec in specs:
        settings = spec.settings
        given = [pictures[path] for path in spec.pictures]
        model = {name: getattr(settings, name) for name in ("weights", "means", "pooling", "padding", "device")}
        key = (settings.network, settings.precision, *model.values())
        with sentence_for_memory(settings):
            if key not in networks:
                networks[key] = open_network(settings.network, precision=settings.precision, **model)
            allowed = limits(settings, networks[key].device)
            for part in compose(spec, [picture.image for picture in given]):
                fit = Fit(networks[key], part.composition.objective, allowed, settings)
                check(part, fit, spec, given)


def is_free(folder: Path, file: str, about: str, pictures: Sequence[Path], *, force: bool) -> bool:
    """Whether a folder is to be made afresh; False where its `file` says the same `about`, so that it goes on.

    With `force` a folder that has such a file is made afresh, unless it holds one of the pictures. Raises OutputError
    where it is taken.
    """
    what = file.removesuffix(".toml")
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; name a folder with --out")
        if not folder.exists() or not any(folder.iterdir()):
            return True
    except OSError as error:
        raise OutputError(f"{folder} cannot be used: {error.strerror or error}") from None
    if not (folder / file).is_file():
        raise OutputError(f"{folder} is not the folder of a {what}; name another with --out")
    if not force and (folder / file).read_bytes() == about.encode():
        return False
    if not force:
        raise OutputError(
            f"{folder} holds a {what} of other pictures or with other settings; "
            "name another folder with --out, or replace it with --force"
        )
    for picture in pictures:
        if picture.resolve().is_relative_to(folder.resolve()):
            raise OutputError(f"{folder} holds {picture}, which is needed, and is not replaced; name another folder")
    return True


def take_folder(folder: Path, file: str, about: str, *, fresh: bool) -> None:
    """Make the folder, in place of what is there where it is to be `fresh`, with `about` in its file."""
    try:
        if fresh and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / file, about.encode())
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None


def announce(number: int, count: int, name: str, words: str, show: Show) -> None:
    """Say which run begins."""
    if show == "json":
        print_json({"event": "part", "part": number, "parts": count, "name": name, "words": words})
    elif show == "progress":
        print(f"part {number} of {count}: {words}", file=sys.stderr, flush=True)
