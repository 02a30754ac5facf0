"""From a spec to a folder of results: begin a run, or resume one."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from impasto.cluster.plan import crew_at
from impasto.errors import ImageError, RunFolderError, WeightsError
from impasto.events import Listener, Notice, silent
from impasto.files import write_bytes
from impasto.folders.finding import require_there
from impasto.folders.names import PATCHES_FILE, SETTINGS_FILE, place_of
from impasto.folders.owners import Ownership, owned, require_unowned
from impasto.folders.places import check_folder, default_folder, folder_for, giving_way, trace
from impasto.folders.provenance import as_toml, provenance, with_memory
from impasto.folders.results import save_patches, save_regions, sentence_for_folder
from impasto.folders.specfiles import SpecFile, fingerprint, located, with_paths
from impasto.machine import isolated, unfolds
from impasto.runs.fitting import sentence_for_memory
from impasto.runs.paint import paint
from impasto.runs.painting import Painting
from impasto.runs.prepare import Prepared, prepare, require_video
from impasto.runs.recorders import Recorder
from impasto.runs.resuming import NOTHING, Past, cut_back, finished, look_back, open_run, require_same
from impasto.runs.stopping import Steering, Stop, go_on_unless, question
from impasto.runs.watching import Watching
from impasto.tasks.spec import RunSpec, part_names
from impasto.tasks.table import TASKS
from impasto.units.patches import strongest
from impasto.weights.doubts import doubts

MOST_HIDDEN = 0.01  # of a painting: more than this that has no colour of its own deserves a word


def run(
    spec: RunSpec,
    out: str | Path | None = None,
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
    held: Ownership | None = None,
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
    `held` is the ownership of `out` by the caller (see `impasto.folders.owners`); by default the run owns its folder.
    Nothing is written before pictures, layers and sizes have been checked. A run that is stopped, diverges or runs out
    of memory keeps its last good picture and raises an ImpastoError.
    Any thread may call this function, and several at once. The state of the process does not change: see
    docs/library.md.
    """
    require_video(spec.settings, mp4)
    out = None if out is None else Path(out)
    before = None if out is None else trace(out)
    if out is not None:
        require_unowned(out, held)
    check_folder(out or default_folder(spec.task, spec.pictures), spec, force=force)

    watching = Watching(listener, tuple(recorders), question(stop), mp4, checkpoint_seconds)
    with isolated(spec.settings.threads), crew_at(cluster, spec.settings, listener) as crew:
        prepared = prepare(spec, None, memory_share, crew)
        _say_what_is_slow(prepared, listener)
        _require_albums(prepared)
        _say_what_is_odd(prepared, listener)
        _say_what_is_hidden(prepared, listener)
        _say_what_comes_too_late(prepared, listener)
        go_on_unless(stop)

        toml = as_toml(spec, prepared.network, prepared.plans[0].limits.memory, memory_share)
        with (
            folder_for(out, spec, force=force, before=before, held=held) as ownership,
            sentence_for_folder(ownership.folder, cluster),
        ):
            write_bytes(ownership.folder / SETTINGS_FILE, toml.encode())
            _show_regions(prepared, ownership.folder, listener)
            _show_patches(prepared, ownership, stop)
            paint(Painting(prepared, ownership, toml, watching, steering or Steering(spec)), NOTHING)
    return ownership.folder


def resume(
    folder: str | Path,
    *,
    pictures: Sequence[Path] = (),
    recorders: Sequence[Recorder] = (),
    stop: Stop = None,
    steering: Steering | None = None,
    listener: Listener = silent,
    mp4: bool = False,
    checkpoint_seconds: float = 30.0,
    memory_share: float = 1.0,
    cluster: str | None = None,
    held: Ownership | None = None,
) -> Path:
    """Continue a run that ended early from its last checkpoint; return its folder.

    On the same machine the result is that of an uninterrupted run, bit for bit. A run that is done is not changed. If
    `memory_share` is smaller than before, tiles become smaller, and the last digits of the result may differ.
    Files that were moved are found by their hashes, also in `pictures`, files and folders; then
    run.toml names the new paths from now on.
    Raises RunFolderError if the folder is not a run's, a file that the run reads has changed, no checkpoint can be
    read, or a finished picture is missing; DivergedError if the run has diverged; else as `run`, which explains the
    other parameters.
    """
    folder = Path(folder)
    found = open_run(folder)
    names, then = part_names(found.spec), found.provenance
    if finished(folder, names):
        listener(Notice(f"{folder} is done; nothing is left to do"))
        return folder
    require_video(found.spec.settings, mp4)
    spec = _unchanged(folder, found, pictures)

    watching = Watching(listener, tuple(recorders), question(stop), mp4, checkpoint_seconds)
    with (
        owned(folder, held=held) as ownership,
        isolated(spec.settings.threads or then.get("threads")),
        crew_at(cluster, spec.settings, listener) as crew,
    ):
        less = min(1.0, memory_share / then.get("memory_share", 1.0))
        prepared = prepare(spec, then.get("memory_bytes"), less, crew)
        _say_what_is_slow(prepared, listener)
        require_same(folder, then, provenance(spec, prepared.network), listener)
        with sentence_for_memory(spec.settings.size):
            past = look_back(folder, names, fingerprint(found.toml), prepared.network.device, listener)
        go_on_unless(stop)

        if not finished(folder, names):  # by another process, since this one looked
            toml = with_paths(found.toml, spec) if pictures else found.toml
            if less < 1.0:
                toml = with_memory(toml, prepared.plans[0].limits.memory, memory_share)
            _go_on(Painting(prepared, ownership, toml, watching, steering or Steering(spec)), past, cluster, stop)
    return folder


def _go_on(painting: Painting, past: Past, cluster: str | None, stop: Stop) -> None:
    """Paint on after the past, of which what came later is removed."""
    folder = painting.folder
    with giving_way(folder, painting.ownership), sentence_for_folder(folder, cluster):
        past = cut_back(folder, painting.names, past)
        if (folder / SETTINGS_FILE).read_bytes() != painting.toml.encode():
            write_bytes(folder / SETTINGS_FILE, painting.toml.encode())
        _show_patches(painting.prepared, painting.ownership, stop)
        paint(painting, past)


def _require_albums(prepared: Prepared) -> None:
    """Raise ImageError before anything is written if there are no photos to compare a unit's picture with."""
    for album in {part.album for part in prepared.parts if part.album is not None}:
        album.files()


def _say_what_is_slow(prepared: Prepared, listener: Listener) -> None:
    network = prepared.network
    if network.precision == torch.bfloat16 and unfolds(network.precision, network.device):
        listener(Notice("this processor has no bfloat16, which is many times slower than --precision float32 here"))


def _say_what_comes_too_late(prepared: Prepared, listener: Listener) -> None:
    """Changes of a repeated run that has fewer steps than the run they are from."""
    steps = {part.name: part.composition.steps for part in prepared.parts}
    for change in prepared.spec.changes:
        if change.step >= steps[change.part]:
            words = f"of {', '.join(change.settings)} after step {change.step}"
            listener(Notice(f"the change {words} is not made, because there are only {steps[change.part]} steps"))


def _say_what_is_odd(prepared: Prepared, listener: Listener) -> None:
    """Gross mistakes of the preprocessing of a module that has been trained."""
    module = prepared.network.computation.module
    if module is None or prepared.spec.settings.random_weights is not None:
        return
    for problem in doubts(module, prepared.network.preprocess).problems:
        listener(Notice(problem))


def _say_what_is_hidden(prepared: Prepared, listener: Listener) -> None:
    """Paintings with transparent parts inside that count although they have no colours of their own."""
    task = TASKS[prepared.spec.task]
    if any(term.reference_where for part in prepared.parts for term in part.composition.objective.matches()):
        return
    for number, (path, picture) in enumerate(zip(prepared.spec.pictures, prepared.pictures, strict=True)):
        hidden = 0.0 if picture.alpha is None else float((picture.alpha == 0).float().mean())
        if task.is_painting(number) and hidden > MOST_HIDDEN:
            listener(Notice(f"{hidden:.0%} of {path} is transparent inside the painting and counts as its mean colour"))


def _show_regions(prepared: Prepared, folder: Path, listener: Listener) -> None:
    """Save what the masks are understood to mean, and report what is odd about them."""
    for division in (part.division for part in prepared.parts if prepared.pictures):
        save_regions(folder, division, prepared.pictures[0].image)
        for note in division.notes:
            listener(Notice(note))


def _show_patches(prepared: Prepared, ownership: Ownership, stop: Stop) -> None:
    """Save the photos that each unit answers to most, if photos are given and the folder has not got them already."""
    names = [part.name for part in prepared.parts]
    album = next((part.album for part in prepared.parts if part.album is not None), None)
    places = {
        part.unit: place_of(ownership.folder, names, part.name) for part in prepared.parts if part.unit is not None
    }
    left = {unit: place for unit, place in places.items() if not (place / PATCHES_FILE).exists()}
    if album is None or not left:
        return
    found = strongest(prepared.precise, left, _unless_stopped(album.files(), stop), album)
    ownership.require()
    for unit, patches in found.items():
        save_patches(left[unit], patches)


def _unless_stopped(files: Iterable[Path], stop: Stop) -> Iterator[Path]:
    """The files one by one. Raises InterruptedRunError once a stop has been asked for."""
    for file in files:
        go_on_unless(stop)
        yield file


def _unchanged(folder: Path, found: SpecFile, pictures: Sequence[Path]) -> RunSpec:
    """The spec with its files at their present paths. Raises RunFolderError if a file has changed since the run."""
    require_there(pictures)
    try:
        spec, changed = located(found, pictures)
    except (ImageError, WeightsError) as error:
        raise type(error)(f"{error}; if a file was moved, name the file or its folder with --pictures") from None
    if changed:
        raise RunFolderError(f"{folder} cannot be resumed: {changed[0]}; start again with impasto run {found.path}")
    return spec
