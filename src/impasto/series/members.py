"""Several runs in one folder, each an ordinary run: finished runs are kept, interrupted runs are resumed.

The folder is the only state: the same call continues after the last one, however the last one ended.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from impasto.amounts import parse_memory
from impasto.errors import OutputError, RunFolderError, SpecError
from impasto.events import Listener
from impasto.folders.named import Hashes, files_of, is_unchanged, known_hashes, with_files
from impasto.folders.names import FOLDER, RESULT, SUMMARY
from impasto.folders.owners import Ownership, require_unowned
from impasto.folders.places import clear
from impasto.folders.records import RunRecord, read_run
from impasto.folders.specfiles import read_spec
from impasto.images.image import Picture
from impasto.networks.catalogue import Choice
from impasto.networks.network import Network
from impasto.runs.fitting import check, plan_memory, sentence_for_memory
from impasto.runs.recorders import Recorder
from impasto.runs.start import resume, run
from impasto.runs.stopping import Stop, go_on_unless
from impasto.tasks.parts import choice_of
from impasto.tasks.spec import RunSpec, compose, framed
from impasto.tiles.budget import limits

OTHER = "holds a run of other files or with other settings"


def finished(spec: RunSpec, folder: Path, hashes: Hashes) -> RunRecord | None:
    """The run in a folder, if the run is done and does what the spec asks for; else None."""
    try:
        record = read_run(folder)
    except RunFolderError:
        return None
    ended = record.status == "done" and record.parts[0].result is not None and not (folder / FOLDER).exists()
    return record if ended and _is_same(spec, record.spec, record.provenance, hashes) else None


FolderState = Literal["done", "begun", "missing", "other"]


def folder_state(spec: RunSpec, folder: Path, hashes: Hashes) -> FolderState:
    """Whether a folder holds the spec's run, from run.toml and summary.json alone; `other` means something else."""
    if not folder.exists():
        return "missing"
    try:
        if all(path.name.startswith(".") for path in folder.iterdir()):
            return "missing"  # its run ended before it had written a file
        found = read_spec(folder)
        if not _is_same(spec, found.spec, found.provenance, hashes):
            return "other"
        status = json.loads((folder / SUMMARY).read_text("utf-8")).get("status")
    except (SpecError, NotADirectoryError):
        return "other"
    except (OSError, ValueError, AttributeError):
        return "begun"
    return "done" if status == "done" and (folder / RESULT).is_file() and not (folder / FOLDER).exists() else "begun"


def require_no_other(runs: Iterable[tuple[RunSpec, Path]], hashes: Hashes) -> None:
    """Raise OutputError before anything is painted if a run's folder holds another run."""
    for spec, folder in runs:
        try:
            found = read_spec(folder)
        except SpecError:
            continue
        if not _is_same(spec, found.spec, found.provenance, hashes):
            raise OutputError(f"{folder} {OTHER}; name another folder with --out, or make all runs again with --force")


def make_run(
    spec: RunSpec,
    folder: Path,
    hashes: Hashes,
    *,
    stop: Stop,
    listener: Listener,
    recorders: Sequence[Recorder] = (),
    checkpoint_seconds: float = 30.0,
    memory_share: float = 1.0,
    held: Ownership | None = None,
) -> None:
    """Make one run: from the last checkpoint of the same run if the folder has one, else from the beginning.

    `held` is the caller's ownership of the folder; by default the run owns its folder. Raises the ImpastoError of the
    run, and RunFolderError if the folder holds another run.
    """
    go_on_unless(stop)
    try:
        found = read_spec(folder)
        same = _is_same(spec, found.spec, found.provenance, hashes)
        if same:
            resume(
                folder,
                pictures=spec.pictures,
                recorders=recorders,
                stop=stop,
                listener=listener,
                checkpoint_seconds=checkpoint_seconds,
                memory_share=memory_share,
                held=held,
            )
            return
    except (SpecError, RunFolderError):
        same = True  # the run has not begun, or cannot be resumed
    if not same:
        raise RunFolderError(f"{folder} {OTHER}; move or remove the folder")
    require_unowned(folder, held)
    if folder.exists():
        clear(folder)
    run(
        spec,
        folder,
        recorders=recorders,
        stop=stop,
        listener=listener,
        checkpoint_seconds=checkpoint_seconds,
        memory_share=memory_share,
        held=held,
    )


def _is_same(spec: RunSpec, other: RunSpec, provenance: Mapping[str, Any], hashes: Hashes) -> bool:
    """Whether another run has the task, the settings and the files of the spec, wherever the files were then."""
    now = {path: hashes[path] for path in files_of(spec) if path in hashes}
    then = known_hashes(other, provenance)
    both = {*now.values()} & {*then.values()}

    def by_content(run: RunSpec, known: Hashes) -> RunSpec:
        """Without pictures, each other file named by its hash if both runs have it, else by its absolute path."""
        named = run.model_copy(update={"pictures": ()})
        return with_files(named, lambda path: Path(known[path]) if known.get(path) in both else path.absolute())

    asked, there = by_content(spec, now), by_content(other, then)
    same = (asked.task, asked.settings, asked.changes) == (there.task, there.settings, there.changes)
    return same and is_unchanged(spec, hashes, provenance)


def networks_for(specs: Iterable[RunSpec]) -> list[tuple[RunSpec, Network]]:
    """Each spec with its network. Raises before a picture is opened: WeightsError, and LayerError if one is unknown."""
    networks: dict[tuple[Choice, str], Network] = {}
    found = []
    for spec in specs:
        settings = spec.settings
        key = (choice_of(settings), settings.precision)
        if key not in networks:
            with sentence_for_memory(settings.size):
                networks[key] = key[0].open(settings.precision)
        for layer in settings.named_layers:
            networks[key].canonical(layer)
        found.append((spec, networks[key]))
    return found


def check_all(specs: Iterable[tuple[RunSpec, Network]], pictures: Mapping[Path, Picture]) -> None:
    """Raise before anything is written if a layer is unknown, a picture too small, or memory too short."""
    for spec, network in specs:
        settings, given = spec.settings, framed(spec, [pictures[path] for path in spec.pictures])
        with sentence_for_memory(settings.size):
            allowed = limits(parse_memory(settings.memory), settings.tile, network.device)
            for part in compose(spec, given):
                plan = plan_memory(part.composition, network, allowed, settings)
                check(part, plan, spec, given)
