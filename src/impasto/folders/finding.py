"""Where a file lies now: one that was moved is known by its hash."""

from collections.abc import Iterator
from pathlib import Path

from impasto.files import sha256


def file_of_hash(given: Path, folder: Path, sha: str) -> Path | None:
    """The file of that SHA-256, or None: beside `folder`'s other files, as given, or where things were moved to.

    For /old/photos/a.png the folder, those above it and the working directory are searched for old/photos/a.png,
    photos/a.png and a.png.
    """
    return next((path for path in dict.fromkeys(_places(given, folder)) if _is(path, sha)), None)


def _places(given: Path, folder: Path) -> Iterator[Path]:
    yield from (folder / given, given)
    around = [*folder.resolve().parents, Path()]
    yield from (above / given for above in around)
    parts = [part for part in given.parts if part not in (given.anchor, "..")]
    for first in range(len(parts)):
        yield from (above.joinpath(*parts[first:]) for above in (folder, *around))


def _is(path: Path, sha: str) -> bool:
    try:
        return path.is_file() and sha256(path) == sha
    except OSError:
        return False
