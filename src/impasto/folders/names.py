"""The names of the files in a run's folder, shared by the modules that write, resume and show a run."""

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

FOLDER = "checkpoints"
METRICS, FRAMES = "metrics.jsonl", "frames"
PAGE = "report.html"
SETTINGS_FILE = "run.toml"
REGIONS = "regions"
PATCHES, PATCHES_FILE = "photos.jpg", "photos.json"
ANIMATION = "progress.gif"
SHEET_FILE, SHEET = "sheet.toml", "sheet.png"  # of a folder with several candidates
RESULT, SUMMARY, CURVES = "result.png", "summary.json", "losses.png"
MOST_BYTES = 200  # of a folder's name: file systems take 255, and files beside the folder have longer names


def plain_name(text: str, most_bytes: int = MOST_BYTES) -> str:
    """The text as the name of a folder on any system: other letters are dashes, and a long one ends in its hash."""
    plain = re.sub(r"[^\w.,=+-]+", "-", text).strip(".-")
    return plain if len(plain.encode()) <= most_bytes else hashed_name(text, most_bytes)


def hashed_name(text: str, most_bytes: int = MOST_BYTES) -> str:
    """The same with a hash of the text at its end: texts that differ in any letter have different names."""
    sha = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]
    plain = re.sub(r"[^\w.,=+-]+", "-", text).strip(".-").encode()[: most_bytes - len(sha) - 1]
    return f"{plain.decode(errors='ignore')}-{sha}"


def place_of(folder: Path, names: Sequence[str], name: str) -> Path:
    """The folder of a part's results: a subfolder if the run has several parts, else the run's folder."""
    return folder / name if len(names) > 1 else folder


def region_file(folder: Path, number: int, step: int | None = None) -> Path:
    """The picture that shows a region of a run, counted from 1; the rest comes after the last.

    Regions that were changed after `step` steps have pictures of their own; None for those of the beginning.
    """
    return folder / REGIONS / ("" if step is None else f"from-step-{step + 1}") / f"{number}.jpg"


def frame_files(folder: Path) -> list[Path]:
    """The frames in a folder, which are named by step: 000012.jpg is a frame, `12 retouched.jpg` is a user's file."""
    return [path for path in sorted(folder.glob("*.jpg")) if re.fullmatch("[0-9]{6,}", path.stem)]


def remove_part(place: Path) -> None:
    """Remove the files that a part has written, and the folder if nothing else is in it."""
    animations = (Path(ANIMATION).with_suffix(ending).name for ending in (".gif", ".webp", ".mp4"))
    for path in [*(place / name for name in (RESULT, SUMMARY, CURVES, *animations)), *frame_files(place / FRAMES)]:
        path.unlink(missing_ok=True)
    for folder in (place / FRAMES, place):
        with suppress(OSError):
            folder.rmdir()
