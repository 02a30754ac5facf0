"""Which folder several runs may use."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from impasto.errors import OutputError, SpecError
from impasto.files import write_bytes
from impasto.folders.named import inside, with_files
from impasto.folders.owners import Ownership, owned, require_unowned
from impasto.folders.places import BEFORE, Trace, entries, giving_way, put_aside, trace
from impasto.folders.specfiles import parse_spec
from impasto.tasks.spec import RunSpec


def is_free(folder: Path, file: str, about: str, specs: Iterable[RunSpec], *, force: bool) -> bool:
    """Whether a folder starts afresh; False if its `file` already says what `about` says: then the runs continue.

    With `force` a folder that has such a file starts afresh, unless the folder holds a file that one of the `specs`
    names. Raises OutputError if the folder holds anything else.
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
    if not force and _is_begun(folder, file, about):
        return False
    if not force:
        raise OutputError(
            f"{folder} holds a {kind} of other files or with other settings; "
            "name another folder with --out, or replace it with --force"
        )
    for spec in specs:
        for needed in inside(spec, folder):
            raise OutputError(
                f"{folder} holds {needed}, which is needed, and is not replaced; name another folder with --out"
            )
    return True


@contextmanager
def taken(folder: Path, file: str, about: str, *, fresh: bool, before: Trace) -> Iterator[Ownership]:
    """The folder of a series, had by nobody else, with `about` in its file.

    `fresh` puts earlier contents aside (see `giving_way`). `before` is the folder's `trace` when the series was asked
    for. Raises OutputError if the folder cannot be made, if another process has it, and if the folder is to be fresh
    and another process has begun a series there since.
    """
    require_unowned(folder)
    _make(folder)
    with owned(folder) as ownership:
        _begin(folder, file, about, fresh=fresh, before=before)
        with giving_way(folder, ownership):
            yield ownership


def share_folder(folder: Path, file: str, about: str, *, fresh: bool, before: Trace) -> None:
    """The same for a series that several processes may make at once: see `present`."""
    if fresh and before is None and _is_begun(folder, file, about):
        fresh = False  # by another process, since this one looked
    if fresh:
        require_unowned(folder)
    _make(folder)
    with owned(folder) if fresh else nullcontext():
        _begin(folder, file, about, fresh=fresh, before=before)


def _is_begun(folder: Path, file: str, about: str) -> bool:
    """Whether the folder has the same series, however the paths of the series' spec are spelled."""
    try:
        there = (folder / file).read_bytes()
        if there == about.encode():
            return True
        asked, found = (parse_spec(text, file) for text in (about, there.decode("utf-8")))
    except (OSError, UnicodeDecodeError, SpecError):
        return False
    (one, known), (other, known_there) = asked, found
    return (with_files(one, Path.absolute), known) == (with_files(other, Path.absolute), known_there)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None


def _begin(folder: Path, file: str, about: str, *, fresh: bool, before: Trace) -> None:
    meanwhile = fresh and trace(folder, file) != before
    try:
        if meanwhile and (before is not None or not _is_begun(folder, file, about)):
            raise OutputError(f"{folder} has been taken by another process meanwhile; name another folder with --out")
        if fresh and not meanwhile:
            put_aside(folder)
        write_bytes(folder / file, about.encode())
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None
