"""Finding files that were moved, by their hashes."""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from impasto.errors import ImageError
from impasto.files import sha256


def file_of_hash(given: Path, folder: Path, sha: str, among: Sequence[Path] = ()) -> Path | None:
    """The file with this SHA-256, or None: `given` inside the folder, `given` itself, or a file at a likely new place.

    For /old/photos/a.png the folder, the folders above it and the working directory are searched for old/photos/a.png,
    photos/a.png and a.png. Then come the files and folders (with their subfolders) of `among`: files named a.png first.
    """
    likely = (path for path in dict.fromkeys(_candidates(given, folder)) if _has_hash(path, sha))
    found = next(likely, None)
    if found is not None or not among:
        return found
    named = sorted(_files(among), key=lambda path: path.name != given.name)
    return next((path for path in named if _has_hash(path, sha)), None)


def require_there(among: Sequence[Path]) -> None:
    """Raise ImageError if there is nothing at one of the paths."""
    for path in among:
        if not path.exists():
            raise ImageError(f"there is no file or folder {path}")


def _candidates(given: Path, folder: Path) -> Iterator[Path]:
    yield from (folder / given, given)
    around = [*folder.resolve().parents, Path()]
    yield from (above / given for above in around)
    names = [name for name in given.parts if name not in (given.anchor, "..")]
    for first in range(len(names)):
        yield from (above.joinpath(*names[first:]) for above in (folder, *around))


def _files(among: Sequence[Path]) -> Iterator[Path]:
    for path in among:
        if not path.is_dir():
            yield path
        for parent, folders, names in os.walk(path):
            folders.sort()
            yield from (Path(parent, name) for name in sorted(names))


def _has_hash(path: Path, sha: str) -> bool:
    try:
        return path.is_file() and sha256(path) == sha
    except OSError:
        return False


def hash_of_pictures(folder: Path) -> str:
    """One SHA-256 for the names and the contents of all pictures below a folder.

    Raises ImageError as `pictures_below`.
    """
    from impasto.images.gathering import pictures_below

    total = hashlib.sha256()
    for path in pictures_below(folder)[0]:
        with contextlib.suppress(OSError):
            total.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return total.hexdigest()
