"""Where the folder of several runs may be."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from impasto.errors import OutputError
from impasto.files import write_bytes


def is_free(folder: Path, file: str, about: str, pictures: Sequence[Path], *, force: bool) -> bool:
    """Whether a folder is to be made afresh; False where its `file` says the same `about`, so that it goes on.

    With `force` a folder that has such a file is made afresh, unless it holds one of the pictures. Raises OutputError
    where it is taken.
    """
    what = file.removesuffix(".toml")
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; name a folder with --out")
        if not folder.exists() or not any(folder.iterdir()):
            return True
    except OSError as error:
        raise OutputError(f"{folder} cannot be used: {error.strerror or error}") from None
    if not (folder / file).is_file():
        raise OutputError(f"{folder} is not the folder of a {what}; name another with --out")
    if not force and (folder / file).read_bytes() == about.encode():
        return False
    if not force:
        raise OutputError(
            f"{folder} holds a {what} of other pictures or with other settings; "
            "name another folder with --out, or replace it with --force"
        )
    for picture in pictures:
        if picture.resolve().is_relative_to(folder.resolve()):
            raise OutputError(f"{folder} holds {picture}, which is needed, and is not replaced; name another folder")
    return True


def take_folder(folder: Path, file: str, about: str, *, fresh: bool) -> None:
    """Make the folder, in place of what is there where it is to be `fresh`, with `about` in its file."""
    try:
        if fresh and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / file, about.encode())
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None
