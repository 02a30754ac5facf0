"""Words for the standard streams: trouble with words does not end a run.

The program replaces its streams by streams that never raise. A host that calls `main` keeps its own streams, and words
for these are printed with the same care.
"""

import codecs
import errno
import io
import os
import select
import sys
import unicodedata
from contextlib import suppress
from typing import Any

GONE = (errno.EPIPE, errno.EIO)  # the reader has ended, or the terminal was closed: nobody misses the words
ERRORS = "impasto.names"
TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # directional formatting; source: UAX 9


class SteadyFile(io.FileIO):
    """A file descriptor whose writes never fail; `lost` is the first reason why words were not written."""

    lost: OSError | None = None

    def write(self, words: Any, /) -> int:
        """Write, wait for a pipe that is full for the moment, and drop what cannot be written."""
        size = memoryview(words).nbytes
        if self.lost is not None:
            return size
        try:
            written: int | None = super().write(words)
            while written is None:  # another program has set the pipe to non-blocking
                select.select([], [self.fileno()], [])
                written = super().write(words)
        except OSError as error:
            self.lost = error
            return size
        return written


def steady_streams() -> None:
    """Replace standard output and standard error by streams that never raise.

    If a stream is closed, its descriptor is opened on /dev/null, because the next file opened would otherwise get that
    descriptor. A letter that the encoding lacks is written as an escape; a byte of a file's name that is not text is
    written unchanged.
    """
    codecs.register_error(ERRORS, _name_or_escape)
    _steady("stdout", 1)
    _steady("stderr", 2)


def print_out(words: object) -> None:
    """Print a line on standard output, flushed."""
    _print(words, sys.stdout)


def print_err(words: object) -> None:
    """Print a line on standard error, flushed; control characters in files' names are shown as escapes."""
    _print(visible(str(words)), sys.stderr)


def visible(text: str) -> str:
    """The text with escapes for letters that move the cursor, break the line, or turn the reading direction."""
    return "".join(letter.encode("unicode_escape").decode() if _acts(letter) else letter for letter in text)


def _acts(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Zl", "Zp") or unicodedata.bidirectional(letter) in TURNS


def _print(words: object, stream: Any) -> None:
    """Print on a stream, which may be a host's and raise; a stream that is closed for good becomes /dev/null."""
    if stream is None:  # closed before the program began
        return
    try:
        print(words, file=stream, flush=True)
    except UnicodeEncodeError as error:
        print(str(words).encode(error.encoding, "backslashreplace").decode(error.encoding), file=stream, flush=True)
    except OSError:
        with suppress(OSError, ValueError):
            _point_to_nothing(stream.fileno())


def lost(stream: Any) -> str | None:
    """Why words on a steady stream were not written; None if all were written, or if nobody reads them."""
    stream.flush()
    error = stream.buffer.raw.lost
    return None if error is None or error.errno in GONE else str(error.strerror)


def _steady(name: str, number: int) -> None:
    before = getattr(sys, name)
    if before is None:
        _point_to_nothing(number)
    file = SteadyFile(number, "wb", closefd=False)
    encoding = "utf-8" if before is None else before.encoding
    text = io.TextIOWrapper(io.BufferedWriter(file), encoding=encoding, errors=ERRORS, line_buffering=True)
    setattr(sys, name, text)


def _point_to_nothing(number: int) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    if nothing != number:
        os.dup2(nothing, number)
        os.close(nothing)


def _name_or_escape(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)
