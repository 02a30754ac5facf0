"""Which folder several runs may use."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from impasto.errors import OutputError
from impasto.files import write_bytes
from impasto.folders.owners import Ownership, owned, require_unowned
from impasto.folders.places import BEFORE, entries, giving_way, put_aside


def is_free(folder: Path, file: str, about: str, pictures: Sequence[Path], *, force: bool) -> bool:
    """Whether a folder starts afresh; False if its `file` already has the content `about`: then the runs continue.

    With `force` a folder that has such a file starts afresh, unless the folder holds one of the pictures. Raises
    OutputError if the folder holds anything else.
    """
    kind = file.removesuffix(".toml")
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; name a folder with --out")
        if not folder.exists() or (not entries(folder) and not (folder / BEFORE).exists()):
            return True
    except OSError as error:
        raise OutputError(f"{folder} cannot be used: {error.strerror or error}") from None
    if not (folder / file).is_file() and not (folder / BEFORE).exists():
        raise OutputError(f"{folder} is not the folder of a {kind}; name another folder with --out")
    if not force and (folder / file).is_file() and (folder / file).read_bytes() == about.encode():
        return False
    if not force:
        raise OutputError(
            f"{folder} holds a {kind} of other pictures or with other settings; "
            "name another folder with --out, or replace it with --force"
        )
    for picture in pictures:
        if picture.resolve().is_relative_to(folder.resolve()):
            raise OutputError(
                f"{folder} holds {picture}, which is needed, and is not replaced; name another folder with --out"
            )
    return True


@contextmanager
def taken(folder: Path, file: str, about: str, *, fresh: bool) -> Iterator[Ownership]:
    """The folder as by `take_folder`, had by nobody else; what was put aside gives way. Raises OutputError."""
    require_unowned(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None
    with owned(folder) as ownership:
        _take(folder, file, about, fresh=fresh)
        with giving_way(folder, ownership):
            yield ownership


def take_folder(folder: Path, file: str, about: str, *, fresh: bool) -> None:
    """Make the folder and write `about` into its file; `fresh` puts earlier contents aside (see `giving_way`).

    Raises OutputError, also if a process is at work in the folder that is to be fresh.
    """
    if fresh:
        require_unowned(folder)
    _take(folder, file, about, fresh=fresh)


def _take(folder: Path, file: str, about: str, *, fresh: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if fresh:
            put_aside(folder)
        write_bytes(folder / file, about.encode())
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None
