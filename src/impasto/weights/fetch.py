"""Fetching weights: from the first source that answers, continued if cut off, verified, converted, kept whole or not.

Servers cut, stall, lie and disappear. A piece that arrived is kept beside the result and continued by the next attempt;
only a file of the published size and hash is converted.
"""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from impasto.errors import OutputError, SpecError, WeightsError
from impasto.extras import import_extra
from impasto.weights.convert import save_filters
from impasto.weights.families import read_filters
from impasto.weights.sources import Source, kept_at, sources

STALL_SECONDS = 30.0
ATTEMPTS = 4  # for each source; an attempt that brought something does not count
PIECE = 1 << 18
Watch = Callable[[Source, int], None]  # told the source and the number of its bytes that are here


class _UnusableError(Exception):
    """A source does not have the file; another one may."""


def fetch(network: str, title: str, source: str | None = None, *, watch: Watch = lambda source, count: None) -> Path:
    """Fetch a network's weights, and return the file where they are kept; see `kept_at` and `sources`.

    Without `source`, the sources of the authors' weights are tried in order. Raises WeightsError if none has the file,
    with what to do by hand; SpecError for an unknown source; OutputError if the file cannot be written.
    """
    out = kept_at(network)
    chosen = sources(network, source)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out.parent} cannot be written: {error.strerror or error}") from None
    failures = list[str]()
    for each in chosen:
        try:
            if each.extra is not None:
                import_extra("h5py", f"the source {each.name}", each.extra)
            piece = download(each, out.with_name(f"{each.digest[:16]}.part"), watch)
        except (_UnusableError, SpecError) as error:
            failures.append(f"{each.name}: {error}")
            continue
        try:
            save_filters(read_filters(piece, title, each.family), out, source=each.url)
        finally:
            piece.unlink(missing_ok=True)
        return out
    raise WeightsError(_by_hand(network, out, chosen, failures))


def download(source: Source, into: Path, watch: Watch) -> Path:
    """The whole file, verified. Pieces that are there already are continued. Raises _UnusableError, OutputError."""
    left, reason = ATTEMPTS, "no answer"
    while left > 0:
        before = _size(into)
        if before == source.size:
            break
        try:
            _continue(source, into, watch)
        except urllib.error.HTTPError as error:
            if error.code not in (408, 425, 429, 500, 502, 503, 504):
                raise _UnusableError(f"the server says {error.code} {error.reason}") from None
            reason = f"the server says {error.code} {error.reason}"
        except urllib.error.URLError as error:
            reason = f"no connection ({error.reason})"
        except TimeoutError:
            reason = f"the server sent nothing for {STALL_SECONDS:g} seconds"
        except (http.client.HTTPException, OSError) as error:  # cut, reset, or broken encryption
            reason = f"the connection was cut ({type(error).__name__})"
        else:
            reason = "the connection was cut"
        left -= _size(into) <= before
    if _size(into) != source.size:
        raise _UnusableError(reason)
    _verify(source, into)
    return into


def _continue(source: Source, into: Path, watch: Watch) -> None:
    """Ask for the bytes that are missing, and add those that come."""
    have = _size(into)
    request = urllib.request.Request(source.url, headers={"User-Agent": "impasto", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=STALL_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        into.unlink(missing_ok=True)  # the server's file is shorter than the piece: begin again
        raise ConnectionError from None
    with answer:
        if answer.status != 206 or not (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
            have = 0  # the server sends the whole file
        length = answer.headers.get("Content-Length")
        if length is not None and have + int(length) != source.size:
            raise _UnusableError(f"the server has another file, of {have + int(length)} bytes, not {source.size}")
        _write(answer, into, have, source, watch)


def _write(answer: http.client.HTTPResponse, into: Path, have: int, source: Source, watch: Watch) -> None:
    """Add what comes to the first `have` bytes, up to the size that is expected."""
    with _reporting(into):
        file = into.open("ab", buffering=0)
    with file:
        if _size(into) > have:
            file.truncate(have)
        while have < source.size and (piece := answer.read1(PIECE)):
            left = memoryview(piece[: source.size - have])
            have += len(left)
            with _reporting(into):
                while left:
                    left = left[file.write(left) :]
            watch(source, have)


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Turn the system's complaint about a file into an OutputError, apart from those about a connection."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None


def _verify(source: Source, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(source.algorithm, usedforsecurity=False)).hexdigest()
    if found != source.digest:
        path.unlink(missing_ok=True)
        raise _UnusableError(
            f"the file that came is another one ({source.algorithm} {found[:8]}…, not {source.digest[:8]}…)"
        )


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _by_hand(network: str, out: Path, chosen: Sequence[Source], failures: Sequence[str]) -> str:
    smallest = min(chosen, key=lambda source: source.size)
    return (
        f"{network} could not be fetched ({'; '.join(failures)}); by hand: get {smallest.url} "
        f"({smallest.size / 1e6:.0f} MB) on any machine, then `impasto networks convert {smallest.file} {out}`"
    )
