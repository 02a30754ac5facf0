"""Files written whole or not at all, their hashes, and the files that the package carries. PyTorch is not imported."""

import hashlib
import json
import os
import tempfile
from importlib.resources import files
from pathlib import Path

from impasto.errors import OutputError

HALF = ".half.impasto"  # the end of a file's name while it is written


def write_bytes(path: Path, *content: bytes | memoryview) -> None:
    """Write a file whole or not at all: a neighbour is written first and then takes the name."""
    name = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=HALF, delete=False) as file:
            name = file.name
            for part in content:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except OSError as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save_json(content: object, path: Path) -> None:
    """Write indented JSON, whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False, default=str) + "\n").encode())


def bundled(name: str) -> Path:
    """Path of a file that the package carries in its data folder."""
    return Path(str(files("impasto"))) / "data" / name


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
