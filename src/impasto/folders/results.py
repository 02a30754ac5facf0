"""The results of a run: each part's picture and summary, and the figure of all parts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impasto.errors import (
    ClusterError,
    DivergedError,
    FolderLostError,
    ImpastoError,
    InterruptedRunError,
    OutOfMemoryError,
    OutputError,
)
from impasto.files import save_json
from impasto.folders.names import CURVES, PATCHES, PATCHES_FILE, RESULT, SETTINGS_FILE, SUMMARY, region_file
from impasto.folders.places import is_as_before
from impasto.images.colours import from_pillow
from impasto.images.curves import save_curves
from impasto.images.files import load_picture, save_image, to_pillow
from impasto.images.forms import PLAIN, FileForm
from impasto.images.image import Image, Picture, resize, size_of, size_with_long_side
from impasto.images.sheets import contact_sheet
from impasto.objectives.criterion import Losses
from impasto.synthesis.loop import Iterate
from impasto.tasks.divisions import Division, views
from impasto.tasks.settings import Settings
from impasto.tasks.table import TASKS, part_title
from impasto.units.patches import Patch

MOST_IN_THREES, WIDE = 12, 6  # pictures of an overview in three columns, and the columns of larger ones
REGION_PX = 384  # long side of the pictures that show regions


class Curves:
    """The losses of all steps, for drawing."""

    def __init__(self) -> None:
        self.total: list[float] = []
        self.terms: dict[str, list[float]] = {}

    def record(self, iterate: Iterate) -> None:
        """Add the losses of an iterate."""
        self.add(iterate.loss, iterate.losses)

    def add(self, total: float, losses: Losses) -> None:
        """Add the losses of a step."""
        self.total.append(total)
        for name, value in losses.items():
            self.terms.setdefault(name, []).append(value)

    def close(self) -> None:
        """Nothing is left to do."""


Summary = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a synthesis ended: its last good picture, its cost, and the reason if it ended early."""

    image: Image
    steps: int
    evaluations: int
    seconds: float
    failure: ImpastoError | None

    def as_summary(self) -> Summary:
        """The outcome as data, without the picture."""
        words = {InterruptedRunError: "interrupted", OutOfMemoryError: "out of memory", DivergedError: "diverged"}
        status = next((words[kind] for kind in words if isinstance(self.failure, kind)), "done")
        seconds = round(self.seconds, 2)
        reason = {} if self.failure is None else {"reason": str(self.failure)}
        return {"status": status, **reason, "steps": self.steps, "evaluations": self.evaluations, "seconds": seconds}


def form_of(settings: Settings) -> FileForm:
    """How a result of these settings is written."""
    return FileForm(settings.depth, settings.profile, settings.print.dpi if settings.print else None)


def save_result(file: Path, content: Picture | None, toml: str, image: Image, form: FileForm = PLAIN) -> None:
    """Save a part's picture with the run's settings inside, and with the content's transparency if there is any."""
    alpha = resize(content.alpha, size_of(image)) if content is not None and content.alpha is not None else None
    save_image(image, file, alpha=alpha, settings=toml, form=form)


def save_regions(folder: Path, division: Division, photo: Image, step: int | None = None) -> None:
    """Save a small picture of each region: the photo as seen through its mask. For `step` see `region_file`."""
    small = resize(photo, size_with_long_side(size_of(photo), min(REGION_PX, max(size_of(photo)))))
    for number, view in enumerate(views(division, small), start=1):
        file = region_file(folder, number, step)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_image(view, file)


def save_patches(place: Path, patches: Sequence[Patch]) -> None:
    """Save the photos that a unit answers to most: one sheet, and their files and responses."""
    cells = [(f"{patch.file.name}\n{patch.response:.1f}", to_pillow(patch.image)) for patch in patches]
    sheet = contact_sheet(cells, columns=min(len(cells), 3), height_px=160)
    place.mkdir(exist_ok=True)
    save_image(from_pillow(sheet), place / PATCHES)
    save_json([{"file": str(patch.file), "response": patch.response} for patch in patches], place / PATCHES_FILE)


def save_summary(task: str, part: str, folder: Path, summary: Summary, curves: Curves) -> None:
    """Save a part's curves and its summary.json."""
    drawn = curves.terms if len(curves.terms) < 2 else {"total": curves.total, **curves.terms}
    save_curves(drawn, folder / CURVES, title=f"{task} {part}".strip())
    save_json({"task": task, **summary}, folder / SUMMARY)  # last: a part that has a summary is complete


def save_overview(
    task: str,
    folder: Path,
    pictures: Sequence[Picture],
    summaries: Mapping[str, Summary],
    curves: Mapping[str, Sequence[float]],
    toml: str,
) -> None:
    """Save the overview of a run of several parts: one figure, their curves together, and a summary of all."""
    results = {part: load_picture(folder / part / RESULT).on_white for part in summaries}
    side = max(max(size_of(result)) for result in results.values())
    inputs = [resize(picture.on_white, size_with_long_side(picture.size, side)) for picture in pictures]
    labels = [*TASKS[task].roles_of(len(pictures)), *(caption(part, summaries[part]) for part in summaries)]
    cells = [(label, to_pillow(image)) for label, image in zip(labels, [*inputs, *results.values()], strict=True)]
    columns = min(len(cells), 3) if len(cells) <= MOST_IN_THREES else WIDE
    sheet = contact_sheet(cells, columns=columns, title=f"{task}, {TASKS[task].each} by {TASKS[task].each}")
    save_image(from_pillow(sheet), folder / RESULT, settings=toml)
    save_curves(curves, folder / CURVES, title=task)
    save_json(_merged(task, summaries), folder / SUMMARY)


def _merged(task: str, summaries: Mapping[str, Summary]) -> Summary:
    """The summary of a run of several parts."""
    errors = {layer: e for each in summaries.values() for layer, e in each["metrics"].get("feature_error", {}).items()}
    decibels = {part: each["metrics"]["psnr"] for part, each in summaries.items() if "psnr" in each["metrics"]}
    return {
        "task": task,
        "status": next((each["status"] for each in summaries.values() if each["status"] != "done"), "done"),
        "metrics": {"feature_error": errors, "psnr": decibels},
        "seconds": round(sum(each["seconds"] for each in summaries.values()), 2),
        "evaluations": sum(each["evaluations"] for each in summaries.values()),
        "peak_memory_mb": max(each["peak_memory_mb"] for each in summaries.values()),
        "parts": dict(summaries),
    }


def caption(part: str, summary: Summary) -> str:
    """The part's name, and its measures on the line below."""
    metrics = summary["metrics"]
    errors = metrics.get("feature_error", {}).items()
    measured = [f"e {error:.4f} at {layer}" for layer, error in errors if error is not None][:1]
    if metrics.get("psnr") is not None:
        measured.append(f"PSNR {metrics['psnr']:.1f} dB")
    if metrics.get("response") is not None:
        measured.append(f"response {metrics['response']:.1f}")
    measured.append(f"{summary['seconds']:.0f} s")
    return f"{part_title(part)}\n{', '.join(measured)}"


@contextmanager
def sentence_for_folder(folder: Path, cluster: str | None) -> Iterator[None]:
    """Complete an error's sentence: add what the folder holds and, if resuming can help, the command to resume."""
    try:
        yield
    except OSError as error:
        words = f"{folder} can no longer be written: {error.strerror or error}"
        raise OutputError(f"{words}{_so_far(folder)}{_how_to_resume(folder, cluster)}") from None
    except FolderLostError:  # what the folder holds now is another run's
        raise
    except ImpastoError as error:
        so_far, kinds = _so_far(folder), (ClusterError, OutputError)
        can_resume = so_far if isinstance(error, InterruptedRunError) else isinstance(error, kinds)
        error.args = (f"{error}{so_far}{_how_to_resume(folder, cluster) if can_resume else ''}",)
        raise


def _so_far(folder: Path) -> str:
    if is_as_before(folder):
        return f"; {folder} is unchanged"
    return f"; the picture so far is in {folder}" if (folder / RESULT).is_file() else ""


def _how_to_resume(folder: Path, cluster: str | None) -> str:
    if is_as_before(folder):
        return ""
    if not (folder / SETTINGS_FILE).is_file():
        return "; there is nothing to resume, start again"
    return f"; continue with: impasto resume {folder}{f' --cluster {cluster}' if cluster else ''}"
