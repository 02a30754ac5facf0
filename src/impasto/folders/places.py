"""The location of a run's folder, and how the folder replaces earlier content."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from impasto.errors import OutputError
from impasto.folders.named import inside
from impasto.folders.names import FOLDER, METRICS, SETTINGS_FILE
from impasto.folders.owners import OWNER, Ownership, owned
from impasto.tasks.spec import RunSpec

RUNS = Path("runs")  # where runs are made if no folder is named
BEFORE = ".impasto-before"  # subfolder that keeps the earlier content until the new run has something to show
Trace = tuple[int, int] | None
JOINERS = "\u200c\u200d"  # invisible, but part of Persian words and of composed emoji
SYSTEM = ("lost+found", BEFORE)  # entries that are not results; file systems put lost+found into each new volume


def default_folder(task: str, pictures: Sequence[Path], runs: Path = RUNS) -> Path:
    """runs/TASK-PICTURE…, with a number if that exists: never an existing folder."""
    return _unused(folder_name(task, pictures), runs)


def _unused(name: str, runs: Path) -> Path:
    folder, number = runs / name, 1
    while os.path.lexists(folder):
        number += 1
        folder = runs / f"{name}-{number}"
    return folder


def folder_name(task: str, pictures: Sequence[Path]) -> str:
    """TASK-PICTURE…, of the first three pictures; control characters of their names are dashes."""
    name = "".join(
        letter if letter.isprintable() or letter in JOINERS else "-"
        for letter in "-".join([task, *(picture.stem for picture in pictures[:3])])
    )
    return name.encode(errors="replace")[:200].decode(errors="ignore")  # file systems take 255 bytes


def check_folder(folder: Path, spec: RunSpec, *, force: bool) -> None:
    """Raise OutputError if a folder is not empty; with `force`, if it is not a run's or holds a file of the spec."""
    try:
        if not folder.exists():
            if folder.is_symlink():
                raise OutputError(f"{folder} is a symbolic link to nothing; remove it, or name another folder")
            return
        if not folder.is_dir():
            raise OutputError(f"{folder} is a file; name a folder with --out")
        if not entries(folder) and not (folder / BEFORE).exists():
            return
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None
    if not force:
        raise OutputError(f"{folder} exists already; name another folder with --out, or replace it with --force")
    if not (folder / SETTINGS_FILE).is_file() and not (folder / BEFORE).exists():
        raise OutputError(f"{folder} is not the folder of a run and is not replaced; name another with --out")
    for file in inside(spec, folder):
        raise OutputError(f"{folder} holds {file}, which this run reads, and is not replaced; name another folder")


def entries(folder: Path) -> list[Path]:
    """The content of a folder, without the entries of the file system or of impasto itself."""
    return [entry for entry in folder.iterdir() if entry.name not in SYSTEM and not entry.name.startswith(OWNER)]


def make_folder(folder: Path, spec: RunSpec, *, force: bool) -> Path:
    """Make the folder of a run, with an empty folder for checkpoints, and return it.

    Earlier content is put aside: see `giving_way`. Raises OutputError as `check_folder`, or if it cannot be made.
    """
    try:
        check_folder(folder, spec, force=force)
        folder.mkdir(parents=True, exist_ok=True)
        put_aside(folder)
        (folder / FOLDER).mkdir()
    except FileExistsError:
        raise OutputError(f"{folder} is taken by another run at this moment; name another with --out") from None
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None
    return folder


def new_default(spec: RunSpec, runs: Path = RUNS) -> Path:
    """Make and return `default_folder`; of two processes that ask at once, one has the next. Raises OutputError."""
    return new_folder(folder_name(spec.task, spec.pictures), runs)


def new_folder(name: str, runs: Path = RUNS) -> Path:
    """Make and return runs/NAME, with a number if that exists. Raises OutputError."""
    while True:
        folder = _unused(name, runs)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None
        return folder


@contextmanager
def folder_for(
    out: Path | None, spec: RunSpec, *, force: bool, before: Trace, held: Ownership | None = None
) -> Iterator[Ownership]:
    """The folder of a run, made as by `make_folder` and had by nobody else; what it held gives way: see `giving_way`.

    `before` is the `trace` of `out` when the run was asked for. `held` is the caller's ownership of `out`, if the
    caller owns that folder already. Raises OutputError, also if another run has been made there since.
    """
    folder = out or new_default(spec)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None
    with owned(folder, held=held) as ownership:
        if out is not None and trace(folder) != before:
            raise OutputError(f"{folder} has been taken by another run meanwhile; name another folder with --out")
        make_folder(folder, spec, force=force)
        with giving_way(folder, ownership):
            yield ownership


def trace(folder: Path, file: str = SETTINGS_FILE) -> Trace:
    """Which run, or series, is in a folder: number and time of the file with its settings, None if there is none."""
    try:
        found = (folder / file).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def put_aside(folder: Path) -> None:
    """Move the content of a folder to a hidden subfolder; the folder itself may be a volume or a working directory.

    Raises OSError if an entry cannot be moved, after moving the others back.
    """
    present, before = entries(folder), folder / BEFORE
    if before.exists() and not has_something(folder):
        _remove(present)  # left by a run killed before its first step; the content put aside before that run is kept
        return
    shutil.rmtree(before, ignore_errors=True)
    if not present:
        return
    before.mkdir()
    try:
        for entry in present:
            entry.rename(before / entry.name)
    except OSError:
        _bring_back(folder)
        raise


@contextmanager
def giving_way(folder: Path, ownership: Ownership | None = None) -> Iterator[None]:
    """At the end, remove the content put aside in a folder, or bring it back if there is nothing new to show.

    If the `ownership` of the folder is lost by then, the folder is left to its new owner.
    """
    try:
        yield
    finally:
        if ownership is None or not ownership.is_lost():
            _give_way(folder)


def _give_way(folder: Path) -> None:
    if is_as_before(folder):
        _remove(entries(folder))
        _bring_back(folder)
    shutil.rmtree(folder / BEFORE, ignore_errors=True)
    if not (folder / SETTINGS_FILE).exists():
        with suppress(OSError):
            (folder / FOLDER).rmdir()  # empty, if a run could not even write its settings


def clear(folder: Path) -> None:
    """Remove all content of a folder, except the file that names its owner."""
    _remove([entry for entry in folder.iterdir() if not entry.name.startswith(OWNER)])


def is_as_before(folder: Path) -> bool:
    """Whether a folder has content put aside and nothing new to show."""
    return (folder / BEFORE).is_dir() and not has_something(folder)


def has_something(folder: Path) -> bool:
    """Whether a folder has at least one step of a run, also of a run in a subfolder."""
    found = (path for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}{METRICS}"))
    return any(path.relative_to(folder).parts[0] != BEFORE and path.stat().st_size > 0 for path in found)


def _bring_back(folder: Path) -> None:
    for entry in (folder / BEFORE).iterdir():
        entry.rename(folder / entry.name)
    (folder / BEFORE).rmdir()


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
