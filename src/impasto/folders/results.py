"""What a run leaves behind: each part's picture, how it ended, and the figure of all parts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impasto.errors import ClusterError, DivergedError, ImpastoError, InterruptedRunError, OutOfMemoryError, OutputError
from impasto.files import save_json
from impasto.folders.names import CURVES, RESULT, SETTINGS_FILE, SUMMARY
from impasto.folders.places import is_as_before
from impasto.images.colours import from_pillow
from impasto.images.curves import save_curves
from impasto.images.files import load_image, save_image, to_pillow
from impasto.images.image import Image, Picture, resize, size_of, size_with_long_side
from impasto.images.sheets import contact_sheet
from impasto.objectives.criterion import Losses
from impasto.synthesis.loop import Iterate
from impasto.tasks.parts import Part
from impasto.tasks.table import TASKS, part_title


class Curves:
    """The losses of all steps, for drawing."""

    def __init__(self) -> None:
        self.total: list[float] = []
        self.terms: dict[str, list[float]] = {}

    def record(self, iterate: Iterate) -> None:
        """Append."""
        self.add(iterate.loss, iterate.losses)

    def add(self, total: float, losses: Losses) -> None:
        """One more step."""
        self.total.append(total)
        for name, value in losses.items():
            self.terms.setdefault(name, []).append(value)

    def close(self) -> None:
        """Nothing is left to do."""


Summary = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a synthesis ended: its last good picture, what it took, and why it ended early if it did."""

    image: Image
    steps: int
    evaluations: int
    seconds: float
    failure: ImpastoError | None

    def as_summary(self) -> Summary:
        """The same as data."""
        words = {InterruptedRunError: "interrupted", OutOfMemoryError: "out of memory", DivergedError: "diverged"}
        status = next((words[kind] for kind in words if isinstance(self.failure, kind)), "done")
        seconds = round(self.seconds, 2)
        reason = {} if self.failure is None else {"reason": str(self.failure)}
        return {"status": status, **reason, "steps": self.steps, "evaluations": self.evaluations, "seconds": seconds}


def save_result(part: Part, folder: Path, content: Picture | None, toml: str, image: Image) -> None:
    """Save a part's picture with the run's settings inside, and with the content's transparency where it has any."""
    alpha = resize(content.alpha, size_of(image)) if content is not None and content.alpha is not None else None
    save_image(image, folder / RESULT, alpha=alpha, settings=toml)


def save_summary(task: str, part: str, folder: Path, summary: Summary, curves: Curves) -> None:
    """A part's curves and its summary.json."""
    drawn = curves.terms if len(curves.terms) < 2 else {"total": curves.total, **curves.terms}
    save_curves(drawn, folder / CURVES, title=f"{task} {part}".strip())
    save_json({"task": task, **summary}, folder / SUMMARY)  # last: a part that has it is complete


def save_overview(
    task: str,
    folder: Path,
    pictures: Sequence[Picture],
    summaries: Mapping[str, Summary],
    curves: Mapping[str, Sequence[float]],
    toml: str,
) -> None:
    """The top of a run of several parts: one figure of all, their curves together, their measures side by side."""
    names = TASKS[task].roles_of(len(pictures))
    sides = [max(size_of(load_image(folder / part / RESULT))) for part in summaries]
    shown = []
    for name, picture in zip(names, pictures, strict=True):
        shown.append((name, to_pillow(resize(picture.image, size_with_long_side(picture.size, max(sides))))))
    for part, summary in summaries.items():
        shown.append((caption(part, summary), to_pillow(load_image(folder / part / RESULT))))
    sheet = contact_sheet(shown, columns=min(len(shown), 3), title=f"{task}, layer by layer")
    save_image(from_pillow(sheet), folder / RESULT, settings=toml)
    save_curves(curves, folder / CURVES, title=task)
    errors = {layer: e for each in summaries.values() for layer, e in each["metrics"].get("feature_error", {}).items()}
    decibels = {part: each["metrics"]["psnr"] for part, each in summaries.items() if "psnr" in each["metrics"]}
    merged: Summary = {
        "task": task,
        "status": next((each["status"] for each in summaries.values() if each["status"] != "done"), "done"),
        "metrics": {"feature_error": errors, "psnr": decibels},
        "seconds": round(sum(each["seconds"] for each in summaries.values()), 2),
        "evaluations": sum(each["evaluations"] for each in summaries.values()),
        "peak_memory_mb": max(each["peak_memory_mb"] for each in summaries.values()),
        "parts": dict(summaries),
    }
    save_json(merged, folder / SUMMARY)


def caption(part: str, summary: Summary) -> str:
    """The part's name, and below it what was measured."""
    metrics = summary["metrics"]
    errors = metrics.get("feature_error", {}).items()
    measured = [f"e {error:.4f} at {layer}" for layer, error in errors if error is not None][:1]
    if metrics.get("psnr") is not None:
        measured.append(f"PSNR {metrics['psnr']:.1f} dB")
    measured.append(f"{summary['seconds']:.0f} s")
    return f"{part_title(part)}\n{', '.join(measured)}"


@contextmanager
def sentence_for_folder(folder: Path, cluster: str | None) -> Iterator[None]:
    """Say what went wrong in a run, what its folder has all the same, and how to go on where that can help."""
    try:
        yield
    except OSError as error:
        words = f"{folder} cannot be written any more: {error.strerror or error}"
        raise OutputError(f"{words}{_so_far(folder)}{_way_on(folder, cluster)}") from None
    except ImpastoError as error:
        so_far, kinds = _so_far(folder), (ClusterError, OutputError)
        goes_on = so_far if isinstance(error, InterruptedRunError) else isinstance(error, kinds)
        error.args = (f"{error}{so_far}{_way_on(folder, cluster) if goes_on else ''}",)
        raise


def _so_far(folder: Path) -> str:
    if is_as_before(folder):
        return f"; {folder} is as it was"
    return f"; the picture so far is in {folder}" if (folder / RESULT).is_file() else ""


def _way_on(folder: Path, cluster: str | None) -> str:
    if is_as_before(folder):
        return ""
    if not (folder / SETTINGS_FILE).is_file():
        return "; nothing is there to go on with, start again"
    return f"; go on with: impasto resume {folder}{f' --cluster {cluster}' if cluster else ''}"
