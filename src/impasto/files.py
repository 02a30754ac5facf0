"""Files written whole or not at all, hashes of files, and the package's own data files. PyTorch is not imported."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

from impasto.errors import OutputError

PNG = b"\x89PNG\r\n\x1a\n"  # the first bytes of every PNG file; source: PNG (third edition), 5.2
HALF = ".half.impasto"  # the end of a temporary file's name


def write_bytes(path: Path, *content: bytes | memoryview) -> None:
    """Write a file whole or not at all: a temporary file beside `path` is written first, then renamed.

    A link stays, and the file that it names is written; a device or a pipe (/dev/stdout) is written into.
    Raises OutputError.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            with path.open("wb") as device:
                device.writelines(content)
            return
        path = path.resolve() if path.is_symlink() else path
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}{HALF}")
    try:
        with beside.open("xb") as file:  # with the permissions that the process's umask leaves
            for piece in content:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None


@contextmanager
def new_file(path: Path) -> Iterator[None]:
    """Take the name of a file that the block writes: of two processes at once, one has the name.

    Raises OutputError if the file exists. If the block raises an error, the name is free again.
    """
    try:
        path.open("xb").close()
    except FileExistsError:
        raise OutputError(f"{path} exists already; name another file, or replace it with --force") from None
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None
    try:
        yield
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def save_json(content: object, path: Path) -> None:
    """Write indented JSON, whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False, default=str) + "\n").encode())


def bundled(name: str) -> Path:
    """Path of a file in the package's data folder."""
    return Path(str(files("impasto"))) / "data" / name


def is_text(name: str) -> bool:
    """Whether a file's name is text: on Linux a name may be any bytes, and Python marks bytes that are not UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def as_text(path: Path) -> str:
    """The path for a person to read: a byte that is not text is shown by its number."""
    return os.fsencode(path).decode(errors="backslashreplace")


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
