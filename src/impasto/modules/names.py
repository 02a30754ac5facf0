"""Names of networks that lead to a module: "file.py:factory", "package.module:factory". PyTorch is not imported."""

from pathlib import Path


def is_name_of_module(name: str) -> bool:
    """Whether a network's name leads to a module, and is no name of the catalogue."""
    return ":" in name


def file_of(name: str) -> Path | None:
    """The Python file that a network's name begins with, if it is "file.py:factory"."""
    place = name.rpartition(":")[0]
    return Path(place) if place.endswith(".py") else None


def with_file(name: str, file: Path) -> str:
    """The same name with another Python file."""
    return f"{file}:{name.rpartition(':')[2]}"
