"""`impasto networks convert`: a file of any family to one in impasto's convention, written whole or not at all."""

from pathlib import Path

from safetensors.torch import save

from impasto.errors import OutputError
from impasto.files import sha256, write_bytes
from impasto.weights.families import Filters, read_filters
from impasto.weights.layout import Family


def convert(given: Path, out: Path, *, family: Family | None = None, force: bool = False) -> Filters:
    """Convert the file `given` to the safetensors file `out`, and return what was found.

    `family` overrides the recognition. Raises WeightsError for an unusable file, OutputError if `out` exists (without
    `force`), is `given` itself, or cannot be written.
    """
    if out.is_dir() or (out.exists() and not force):
        raise OutputError(f"{out} exists already; give another name, or replace the file with --force")
    if out.suffix != ".safetensors":
        raise OutputError(f"{out} must end in .safetensors, the kind of file that is written")
    found = read_filters(given, family=family)
    save_filters(found, out, source=given.name, digest=sha256(given))
    return found


def save_filters(filters: Filters, out: Path, *, source: str, digest: str | None = None) -> None:
    """Write weights in impasto's convention, with their mean colour and origin as metadata. Raises OutputError."""
    about = {**filters.metadata, "source": source, **({} if digest is None else {"source_sha256": digest})}
    if not out.parent.is_dir():
        raise OutputError(f"{out} cannot be written: there is no folder {out.parent}")
    write_bytes(out, save(dict(filters.tensors), about))
