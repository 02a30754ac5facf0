"""Finding files that were moved, by their hashes."""

from collections.abc import Iterator
from pathlib import Path

from impasto.files import sha256


def file_of_hash(given: Path, folder: Path, sha: str) -> Path | None:
    """The file with this SHA-256, or None: `given` inside the folder, `given` itself, or a file at a likely new place.

    For /old/photos/a.png the folder, the folders above it and the working directory are searched for old/photos/a.png,
    photos/a.png and a.png.
    """
    return next((path for path in dict.fromkeys(_candidates(given, folder)) if _has_hash(path, sha)), None)


def _candidates(given: Path, folder: Path) -> Iterator[Path]:
    yield from (folder / given, given)
    around = [*folder.resolve().parents, Path()]
    yield from (above / given for above in around)
    names = [name for name in given.parts if name not in (given.anchor, "..")]
    for first in range(len(names)):
        yield from (above.joinpath(*names[first:]) for above in (folder, *around))


def _has_hash(path: Path, sha: str) -> bool:
    try:
        return path.is_file() and sha256(path) == sha
    except OSError:
        return False
