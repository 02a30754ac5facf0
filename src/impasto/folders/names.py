"""The files of a run's folder by name: the contract between what writes a run, what resumes it and what shows it."""

from collections.abc import Sequence
from pathlib import Path

FOLDER = "checkpoints"
METRICS, FRAMES = "metrics.jsonl", "frames"
PAGE = "report.html"
RESULT, SUMMARY, CURVES = "result.png", "summary.json", "losses.png"


def place_of(folder: Path, names: Sequence[str], name: str) -> Path:
    """Where a part's results are: in a run of several parts each has a folder."""
    return folder / name if len(names) > 1 else folder


SETTINGS_FILE = "run.toml"
ANIMATION = "progress.gif"
