"""A small painting painted again, large, so that it is the same picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from impasto.errors import InterruptedRunError, OutputError
from impasto.events import Compared, Listener, silent
from impasto.files import save_json
from impasto.finishing.likeness import ssim
from impasto.folders.finding import require_there
from impasto.folders.named import hash_files
from impasto.folders.names import RESULT, SHEET_FILE
from impasto.images.files import load_image
from impasto.images.image import cropped, size_of
from impasto.runs.start import run
from impasto.runs.stopping import Stop
from impasto.sequels.larger import larger_run
from impasto.sequels.sources import folder_of
from impasto.series.members import folder_state, make_run
from impasto.tasks.values import PrintSize

LIKENESS_FILE = "likeness.json"
ALIKE = 0.8  # structural similarity from which an enlargement counts as the same picture


def enlarge(
    source: str | Path,
    size: int | PrintSize,
    out: Path | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    pictures: Sequence[Path] = (),
    force: bool = False,
    stop: Stop = None,
    listener: Listener = silent,
    checkpoint_seconds: float = 30.0,
) -> Compared:
    """Paint a run's picture large (long side in pixels, or a print); return the folder, and how alike the pictures are.

    `source` is the folder of a run, or a candidate of a sheet: "runs/explore-photo-painting#5". The run begins with the
    small picture, at the next larger size; `changes` are other settings, by name. Files of the run that were moved are
    found by their hashes, also in `pictures`, files and folders. The folder is runs/enlarge-NAME-SIZE
    by default. The same call continues a run that was stopped, and compares again if the run is done; the comparison
    is also in likeness.json. `force`, `stop`, `listener` and `checkpoint_seconds` are as for `run`.
    Raises RunFolderError if the run is not a transfer, is not done or its files have changed, and if there is no
    such candidate; SpecError if `size` is not larger than the picture; OutputError if `out` holds something else.
    """
    require_there(pictures)
    folder = folder_of(source)
    spec = larger_run(folder, size, changes or {}, pictures)
    out = out or Path("runs") / f"enlarge-{_name(folder)}-{spec.settings.size}"
    hashes = hash_files([spec])
    state = folder_state(spec, out, hashes)

    if state == "other" and not force:
        raise OutputError(f"{out} holds something else; name another folder with --out, or replace it with --force")
    try:
        if force and state != "missing":
            run(spec, out, force=True, stop=stop, listener=listener, checkpoint_seconds=checkpoint_seconds)
        else:
            make_run(spec, out, hashes, stop=stop, listener=listener, checkpoint_seconds=checkpoint_seconds)
    except InterruptedRunError:
        raise InterruptedRunError(f"stopped; the same command continues in {out}") from None

    compared = Compared(out, _likeness(folder, out), ALIKE)
    listener(compared)
    return compared


def _likeness(folder: Path, out: Path) -> float:
    """How alike the small picture and the large one are, which likeness.json also says from now on."""
    small, large = load_image(folder / RESULT), load_image(out / RESULT)
    likeness = round(ssim(large, cropped(small, size_of(large))), 3)
    save_json({"of": str(folder), "ssim": likeness}, out / LIKENESS_FILE)
    return likeness


def _name(folder: Path) -> str:
    """The name of a run; for a candidate, of its sheet and its number."""
    there = folder.resolve()
    return f"{there.parent.name}-{there.name}" if (there.parent / SHEET_FILE).is_file() else there.name
