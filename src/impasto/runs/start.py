"""From a spec to a folder of results: begin a run, or resume one."""

from collections.abc import Sequence
from pathlib import Path

from impasto.cluster.plan import crew_at
from impasto.errors import RunFolderError
from impasto.events import Listener, Notice, silent
from impasto.files import write_bytes
from impasto.folders.names import SETTINGS_FILE
from impasto.folders.owners import owned, require_unowned
from impasto.folders.places import check_folder, default_folder, folder_for, giving_way, trace
from impasto.folders.provenance import as_toml, provenance, with_memory
from impasto.folders.results import sentence_for_folder
from impasto.folders.specfiles import SpecFile, fingerprint, located
from impasto.machine import isolated
from impasto.runs.checks import sentence_for_memory
from impasto.runs.paint import Painting, paint
from impasto.runs.prepare import prepare, require_video
from impasto.runs.recorders import Recorder
from impasto.runs.resuming import NOTHING, cut_back, finished, look_back, open_run, require_same
from impasto.runs.stopping import Steering, Stop, go_on_unless, question
from impasto.runs.watching import Watching
from impasto.tasks.spec import RunSpec, part_names


def run(
    spec: RunSpec,
    out: Path | None = None,
    *,
    force: bool = False,
    recorders: Sequence[Recorder] = (),
    stop: Stop = None,
    steering: Steering | None = None,
    listener: Listener = silent,
    mp4: bool = False,
    checkpoint_seconds: float = 30.0,
    memory_share: float = 1.0,
    cluster: str | None = None,
) -> Path:
    """Make the run that a spec describes and return the folder of its results, by default runs/TASK-PICTURES.

    `recorders` receive every step and the measures (see `Recorder`; `Tracking` is one); `listener` receives all
    messages as events (see `impasto.events`). `stop` is an object with `is_set()`, such as `threading.Event`, or a
    function: once it returns true the run ends after the current step, or after the current tile of a large picture.
    `steering` changes settings while the run goes on, see `Steering`.
    `mp4` adds a video to the animations.
    A checkpoint for `resume` is saved every `checkpoint_seconds` (0 for never) and when the run is stopped.
    `memory_share` is the fraction of the allowed memory to use, for another try after memory ran out; a run never uses
    less than it needs.
    `cluster` is the address of a Ray cluster, or "auto", whose workers compute the tiles of large pictures.
    Nothing is written before pictures, layers and sizes have been checked. A run that is stopped, diverges or runs out
    of memory keeps its last good picture and raises an ImpastoError.
    Any thread may call this function, and several at once. The state of the process does not change: see
    docs/library.md.
    """
    require_video(spec.settings, mp4)
    watching = Watching(listener, tuple(recorders), question(stop), mp4, checkpoint_seconds)
    before = None if out is None else trace(out)
    if out is not None:
        require_unowned(out)
    check_folder(out or default_folder(spec.task, spec.pictures), spec, force=force)
    with isolated(spec.settings.threads), crew_at(cluster, spec.settings, listener) as crew:
        prepared = prepare(spec, None, memory_share, crew)
        go_on_unless(stop)
        toml = as_toml(spec, prepared.network, prepared.plans[0].limits.memory, memory_share)
        place = folder_for(out, spec, force=force, before=before)
        with place as folder, sentence_for_folder(folder, cluster):
            write_bytes(folder / SETTINGS_FILE, toml.encode())
            paint(Painting(prepared, folder, toml, watching, steering or Steering(spec)), NOTHING)
    return folder


def resume(
    folder: Path,
    *,
    recorders: Sequence[Recorder] = (),
    stop: Stop = None,
    steering: Steering | None = None,
    listener: Listener = silent,
    mp4: bool = False,
    checkpoint_seconds: float = 30.0,
    memory_share: float = 1.0,
    cluster: str | None = None,
) -> Path:
    """Continue a run that ended early from its last checkpoint; return its folder.

    On the same machine the result is that of an uninterrupted run, bit for bit. A run that is done is not changed. If
    `memory_share` is smaller than before, tiles become smaller, and the last digits of the result may differ.
    Raises RunFolderError if the folder is not a run's, its pictures or weights have changed, or no checkpoint can be
    read; DivergedError if the run has diverged; else as `run`, which explains the other parameters.
    """
    found = open_run(folder)
    names = part_names(found.spec)
    watching = Watching(listener, tuple(recorders), question(stop), mp4, checkpoint_seconds)
    if finished(folder, names):
        listener(Notice(f"{folder} is done; nothing is left to do"))
        return folder
    require_video(found.spec.settings, mp4)
    spec = _unchanged(folder, found)
    threads = spec.settings.threads or found.provenance.get("threads")
    before = found.provenance.get("memory_share", 1.0)
    share, toml = min(memory_share, before), found.toml
    with owned(folder), isolated(threads), crew_at(cluster, spec.settings, listener) as crew:
        prepared = prepare(spec, found.provenance.get("memory_bytes"), share / before, crew)
        require_same(folder, found.provenance, provenance(spec, prepared.network), listener)
        with sentence_for_memory(spec.settings.size):
            past = look_back(folder, names, fingerprint(toml), prepared.network.device, listener)
        go_on_unless(stop)
        if finished(folder, names):  # by another process, since this one looked
            return folder
        with giving_way(folder), sentence_for_folder(folder, cluster):
            past = cut_back(folder, names, past)
            if share < before:
                toml = with_memory(toml, prepared.plans[0].limits.memory, share)
                write_bytes(folder / SETTINGS_FILE, toml.encode())
            paint(Painting(prepared, folder, toml, watching, steering or Steering(spec)), past)
    return folder


def _unchanged(folder: Path, found: SpecFile) -> RunSpec:
    """The spec with its files at their present paths. Raises RunFolderError if a file has changed since the run."""
    spec, changed = located(found)
    if changed:
        raise RunFolderError(f"{folder} cannot be resumed: {changed[0]}; start again with impasto run {found.path}")
    return spec
