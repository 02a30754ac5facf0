"""A small painting painted again, large, so that it is the same picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from impasto.errors import OutputError, RunFolderError, SpecError
from impasto.events import Compared, Listener, silent
from impasto.files import save_json, sha256
from impasto.finishing.likeness import ssim
from impasto.folders.names import RESULT
from impasto.folders.records import read_run
from impasto.folders.specfiles import SpecFile, located, read_spec
from impasto.images.files import load_image
from impasto.images.image import Image, cropped, size_of
from impasto.runs.start import run
from impasto.runs.stopping import Stop
from impasto.series.explore import SHEET_FILE, candidate
from impasto.series.members import folder_state, make_run
from impasto.tasks.settings import TransferSettings
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import make_settings
from impasto.tasks.values import PrintSize

LIKENESS_FILE = "likeness.json"
LIKENESS = 0.05  # weight of the likeness to the small picture, relative to the style's; measured in decision 34
ALIKE = 0.8  # structural similarity from which an enlargement counts as the same picture
NEXT = 1.5  # the first stage is at least this much larger than the small picture: a smaller one would repaint it
STEPS = 10  # at full size, and twice as many at each smaller size; the strokes are there already, and need sharpening


def enlarge(
    source: str | Path,
    size: int | PrintSize,
    out: Path | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    force: bool = False,
    stop: Stop = None,
    listener: Listener = silent,
    checkpoint_seconds: float = 30.0,
) -> Compared:
    """Paint a run's picture large (long side in pixels, or a print); return the folder, and how alike the pictures are.

    `source` is the folder of a run, or a candidate of a sheet: "runs/explore-photo-painting#5". The run begins with the
    small picture, at the next larger size; `changes` are other settings, by name. The folder is runs/enlarge-NAME-SIZE
    by default. The same call continues a run that was stopped, and compares again if the run is done; the comparison
    is also in likeness.json. `force`, `stop`, `listener` and `checkpoint_seconds` are as for `run`.
    Raises RunFolderError if the run is not a transfer, is not done or its pictures have changed, and if there is no
    such candidate; SpecError if `size` is not larger than the picture; OutputError if `out` holds something else.
    """
    folder = folder_of(source)
    _require_done(folder)
    found = read_spec(folder)
    small = load_image(folder / RESULT)
    spec = larger(_unchanged(folder, found), folder / RESULT, small, size, changes or {})
    out = out or Path("runs") / f"enlarge-{_name(folder)}-{spec.settings.size}"
    hashes = {path: sha256(path) for path in spec.pictures}
    state = folder_state(spec, out, hashes)
    if state in ("done", "begun") and _begins_with(out) != sha256(folder / RESULT):
        state = "other"
    if force and state != "missing":
        run(spec, out, force=True, stop=stop, listener=listener, checkpoint_seconds=checkpoint_seconds)
    elif state == "other":
        raise OutputError(f"{out} holds something else; name another folder with --out, or replace it with --force")
    else:
        make_run(spec, out, hashes, stop=stop, listener=listener, checkpoint_seconds=checkpoint_seconds)
    large = load_image(out / RESULT)
    likeness = ssim(large, cropped(small, size_of(large)))
    save_json({"of": str(folder), "ssim": round(likeness, 4)}, out / LIKENESS_FILE)
    compared = Compared(out, likeness, ALIKE)
    listener(compared)
    return compared


def folder_of(source: str | Path) -> Path:
    """The folder of a run, or of a sheet's candidate: "SHEET#5". Raises RunFolderError."""
    folder = Path(source)
    sheet, mark, number = str(source).rpartition("#")
    if mark and not folder.exists():
        return candidate(Path(sheet), number)
    if (folder / SHEET_FILE).is_file():
        raise RunFolderError(f"{source} is a sheet of several candidates; name one of them, {source}#1 for instance")
    return folder


def larger(spec: RunSpec, picture: Path, small: Image, size: int | PrintSize, changes: Mapping[str, Any]) -> RunSpec:
    """The spec of the same run at a larger size, beginning with its picture. Raises RunFolderError, SpecError."""
    own, (height, width) = spec.settings, size_of(small)
    if not isinstance(own, TransferSettings):
        raise RunFolderError(f"{picture.parent} is of the task {spec.task}; only a transfer can be enlarged")
    wanted = max(size.size) if isinstance(size, PrintSize) else size
    if wanted <= max(height, width):
        raise SpecError(f"size is {wanted}; the picture has {width} × {height} px already, choose a larger size")
    kept = {name: getattr(own, name) for name in own.model_fields_set - {"print", "evaluations"}}
    likeness = LIKENESS * max(own.style_weight, own.content_weight)
    grown: dict[str, Any] = {"init": str(picture), "steps": STEPS, "likeness": likeness, **changes, "size": wanted}
    grown["smallest"] = round(NEXT * max(height, width))
    if isinstance(size, PrintSize):
        grown["print"] = size
    return spec.model_copy(update={"settings": make_settings(spec.task, **{**kept, **grown})})


def _require_done(folder: Path) -> None:
    record = read_run(folder)
    if record.status != "done" or record.parts[0].result is None:
        raise RunFolderError(f"{folder} is not done; continue with: impasto resume {folder}")


def _unchanged(folder: Path, found: SpecFile) -> RunSpec:
    spec, changed = located(found)
    if changed:
        raise RunFolderError(f"{folder} cannot be enlarged: {changed[0]}")
    return spec


def _begins_with(folder: Path) -> str | None:
    """The hash of the picture with which a run begins."""
    sha = read_spec(folder).provenance.get("init_sha256")
    return str(sha) if sha else None


def _name(folder: Path) -> str:
    """The name of a run; for a candidate, of its sheet and its number."""
    there = folder.resolve()
    return f"{there.parent.name}-{there.name}" if (there.parent / SHEET_FILE).is_file() else there.name
