"""The spec of a painting painted again, large; no picture is decoded, and PyTorch is not loaded."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from impasto.errors import RunFolderError, SpecError
from impasto.files import sha256
from impasto.folders.names import RESULT
from impasto.folders.records import Summary, read_run, start_again
from impasto.folders.specfiles import SpecFile, located, read_spec
from impasto.images.opening import open_picture
from impasto.tasks.settings import TransferSettings
from impasto.tasks.spec import RunSpec, in_force
from impasto.tasks.table import explicit, make_settings
from impasto.tasks.values import PrintSize

LIKENESS = 0.05  # weight of the likeness to the small picture, relative to the style's; measured in decision 34
PLACED = 0.75  # as much again, relative to the weight of neighbours, which would move the strokes; decisions 55, 56
NEXT = 1.5  # the first stage is at least this much larger than the small picture: a smaller one would repaint it
ALIKE = 0.02  # of proportions, which whole pixels round
STEPS = 10  # at full size, and twice as many at each smaller size; the strokes are there already, and need sharpening


def larger_run(folder: Path, size: int | PrintSize, changes: Mapping[str, Any], among: Sequence[Path] = ()) -> RunSpec:
    """The spec of a run's picture painted large; files that were moved are looked for `among` these, too.

    Raises RunFolderError, SpecError, ImageError.
    """
    summary = require_done(folder)
    with open_picture(folder / RESULT) as small:
        width, height = small.size
    spec = larger(_unchanged(folder, read_spec(folder), among), folder / RESULT, (height, width), size, changes)
    if summary.result_sha256 not in ("", sha256(folder / RESULT)):
        raise RunFolderError(f"{folder} cannot be enlarged: {folder / RESULT} has changed since that run")
    return spec


def larger(
    spec: RunSpec, picture: Path, small: tuple[int, int], size: int | PrintSize, changes: Mapping[str, Any]
) -> RunSpec:
    """The spec of the same run at a larger size, beginning with its picture. Raises RunFolderError, SpecError.

    Settings that were changed during the run are those at its end, from the first step on.
    """
    own, (height, width) = in_force(spec.task, spec.settings, spec.changes), small
    if not isinstance(own, TransferSettings):
        raise RunFolderError(f"{picture.parent} is of the task {spec.task}; only a transfer can be enlarged")
    wanted = max(size.size) if isinstance(size, PrintSize) else size
    if wanted <= max(height, width):
        raise SpecError(f"size is {wanted}; the picture has {width} × {height} px already, choose a larger size")
    if own.print is not None:
        _require_proportions(own.print, size, picture.parent)
    kept = {name: value for name, value in explicit(own).items() if name not in ("print", "evaluations")}
    likeness = LIKENESS * max(own.style_weight, own.content_weight) + PLACED * own.style_weight * own.neighbours
    grown: dict[str, Any] = {"init": str(picture), "steps": STEPS, "likeness": likeness, **changes, "size": wanted}
    grown |= {"smallest": round(NEXT * max(height, width)), "growth": 2.0, "step_ratio": 0.5}
    if isinstance(size, PrintSize):
        grown["print"] = size
    return spec.model_copy(update={"settings": make_settings(spec.task, **{**kept, **grown}), "changes": ()})


def _require_proportions(printed: PrintSize, size: int | PrintSize, folder: Path) -> None:
    """Raise SpecError unless a larger print shows the part of the photo that a print shows."""
    (height, width), words = printed.size, "give a larger --print in the same proportions"
    if not isinstance(size, PrintSize):
        raise SpecError(f"{folder} is a print, {printed}; {words}, in place of --size")
    if abs(size.size[1] * height / (size.size[0] * width) - 1) > ALIKE:
        raise SpecError(f"{folder} is a print, {printed}, and {size} has other proportions; {words}")


def require_done(folder: Path) -> Summary:
    """The summary of a run's only part, or first one. Raises RunFolderError if the run has no finished picture."""
    record = read_run(folder)
    summary = record.parts[0].summary
    if record.status == "diverged":
        raise RunFolderError(f"{folder} has diverged and would diverge again; start again with other settings")
    if record.status != "done" or summary is None:
        raise RunFolderError(f"{folder} is not done; continue with: impasto resume {folder}")
    if record.parts[0].result is None:
        raise RunFolderError(f"{folder} is done, but its {RESULT} is missing; {start_again(folder)}")
    return summary


def _unchanged(folder: Path, found: SpecFile, among: Sequence[Path]) -> RunSpec:
    spec, changed = located(found, among)
    if changed:
        raise RunFolderError(f"{folder} cannot be enlarged: {changed[0]}")
    return spec
