"""The runs of a batch that are under way: an empty file for each, so that nobody has to look into every folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNDER_WAY = ".underway"


@contextmanager
def under_way(out: Path, name: str) -> Iterator[None]:
    """Note that the run `name` of the batch in `out` is under way, until the end of the block. Raises OSError."""
    file = out / UNDER_WAY / name
    file.parent.mkdir(exist_ok=True)
    file.touch()
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def runs_under_way(out: Path) -> list[str]:
    """The names of the runs under way, or that were under way when their process was killed."""
    try:
        return sorted(path.name for path in (out / UNDER_WAY).iterdir())
    except OSError:
        return []
