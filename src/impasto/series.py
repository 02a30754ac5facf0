"""Several runs in one folder, each an ordinary run: what is done is not done again, what was interrupted goes on."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from impasto.catalogue import open_network
from impasto.checks import check, sentence_for_memory
from impasto.errors import OutputError, RunFolderError
from impasto.images import Picture, load_picture, write_bytes
from impasto.networks import Network
from impasto.parts import compose
from impasto.recorders import print_json
from impasto.records import RunRecord, read_run
from impasto.runs import resume, run
from impasto.specs import RunSpec
from impasto.watching import Show
from impasto.weights import sha256

Hashes = dict[Path, str]


def finished(spec: RunSpec, folder: Path, hashes: Hashes) -> RunRecord | None:
    """The run in a folder if it is done and is what the spec asks for: task, settings, and the pictures' SHA-256."""
    record = _same(spec, folder, hashes)
    return record if record is not None and record.status == "done" and record.parts[0].result is not None else None


def make(spec: RunSpec, folder: Path, hashes: Hashes, show: Show = "progress") -> RunRecord:
    """Do a run in its folder: nothing where it is done, going on where it was interrupted, else from its beginning.

    Raises the ImpastoError of the run.
    """
    record = finished(spec, folder, hashes)
    if record is not None:
        return record
    lines = show == "progress" and not sys.stderr.isatty()  # for a log, a line for each run is enough
    shown: Show = "nothing" if lines else show
    if _same(spec, folder, hashes) is not None:
        try:
            resume(folder, show=shown)
            return read_run(folder)
        except RunFolderError:  # no checkpoint that can be read, or other versions: it begins again
            pass
    if folder.exists():
        shutil.rmtree(folder)
    run(spec, folder, show=shown)
    return read_run(folder)


def hashes_of(paths: Sequence[Path]) -> Hashes:
    """The SHA-256 of each file."""
    return {path: sha256(path) for path in paths}


def check_all(specs: Sequence[RunSpec]) -> None:
    """Fail before anything is written where that can be known: files, layers, pictures too small, memory too short."""
    pictures: dict[Path, Picture] = {}
    networks: dict[tuple[object, ...], Network] = {}
    for spec in specs:
        settings = spec.settings
        for path in spec.pictures:
            if path not in pictures:
                pictures[path] = load_picture(path)
        given = [pictures[path] for path in spec.pictures]
        key = (settings.network, settings.weights, settings.means, settings.pooling, settings.padding, settings.device)
        with sentence_for_memory(settings):
            if key not in networks:
                networks[key] = open_network(
                    settings.network,
                    weights=settings.weights,
                    means=settings.means,
                    pooling=settings.pooling,
                    padding=settings.padding,
                    precision=settings.precision,
                    device=settings.device,
                )
            for part in compose(spec, [picture.image for picture in given]):
                check(part, networks[key], spec, given)


def take_folder(folder: Path, file: str, about: str, pictures: Sequence[Path], *, force: bool) -> None:
    """Make a folder of runs, or go on with one whose `file` says the same `about`.

    With `force` one that says otherwise is emptied. Raises OutputError where it is something else, or holds `pictures`.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder with --out")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / file).is_file():
            raise OutputError(f"{folder} holds something else (there is no {file} in it); name another with --out")
        if (folder / file).read_bytes() != about.encode():
            if not force:
                raise OutputError(
                    f"{folder} holds one of other pictures or with other settings; "
                    "name another folder with --out, or replace it with --force"
                )
            for picture in pictures:
                if picture.resolve().is_relative_to(folder.resolve()):
                    raise OutputError(f"{folder} holds {picture}, which is needed, and is not replaced")
            shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / file, about.encode())
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None


def announce(number: int, count: int, words: str, show: Show) -> None:
    """Say which run begins."""
    if show == "json":
        print_json({"event": "part", "part": number, "parts": count, "words": words})
    elif show == "progress":
        print(f"part {number} of {count}: {words}", file=sys.stderr, flush=True)


def _same(spec: RunSpec, folder: Path, hashes: Hashes) -> RunRecord | None:
    try:
        record = read_run(folder)
    except RunFolderError:
        return None
    alike = (record.spec.task, record.spec.settings) == (spec.task, spec.settings)
    pictures = record.provenance.get("pictures_sha256") == [hashes[path] for path in spec.pictures]
    return record if alike and pictures else None
