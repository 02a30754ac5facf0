"""Where the folder of a run may be, and how it is made."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from impasto.errors import OutputError
from impasto.folders.names import SETTINGS_FILE
from impasto.tasks.spec import RunSpec


def default_folder(task: str, pictures: Sequence[Path]) -> Path:
    """runs/TASK-PICTURE…, with a number where that exists: never a folder in use."""
    name = folder_name(task, pictures)
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


def folder_name(task: str, pictures: Sequence[Path]) -> str:
    """TASK-PICTURE…, of the first three pictures."""
    name = "-".join([task, *(picture.stem for picture in pictures[:3])])
    return name.encode(errors="replace")[:200].decode(errors="ignore")  # file systems take 255 bytes


def check_folder(folder: Path, spec: RunSpec, *, force: bool) -> None:
    """Refuse a place that is taken; with `force` only what is no run folder or holds a file of the spec's.

    Raises OutputError.
    """
    try:
        taken, is_folder = folder.exists(), folder.is_dir()
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None
    if not taken:
        return
    if not is_folder:
        raise OutputError(f"{folder} is a file; name a folder with --out")
    if not force:
        raise OutputError(f"{folder} exists already; name another folder with --out, or replace it with --force")
    if any(folder.iterdir()) and not (folder / SETTINGS_FILE).is_file():
        raise OutputError(f"{folder} is not the folder of a run and is not replaced; name another with --out")
    for file in _files(spec):
        if file.resolve().is_relative_to(folder.resolve()):
            raise OutputError(f"{folder} holds {file}, which this run reads, and is not replaced; name another folder")


def _files(spec: RunSpec) -> list[Path]:
    """What a run reads."""
    settings = spec.settings
    named = [*spec.pictures, Path(settings.init), settings.weights, settings.means]
    return [path for path in named if path is not None and path.is_file()]


def make_folder(folder: Path, spec: RunSpec, *, force: bool) -> None:
    """Make it afresh. Raises OutputError where it is taken (see `check_folder`) or cannot be made."""
    check_folder(folder, spec, force=force)
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None
