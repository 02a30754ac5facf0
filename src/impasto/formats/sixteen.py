"""PNG and TIFF files of 16 bits a colour, which Pillow does not write.

Sources: PNG, third edition (W3C, 2025); TIFF 6.0 (1992) with Adobe's Technical Notes of 2002 (deflate, predictor).
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from impasto.files import PNG

Values = np.ndarray[Any, np.dtype[np.uint16]]  # height, width, colours: 3, or 4 with transparency
ROWS = 64  # of a picture that are packed at a time
LEVEL = 6  # of compression
MOST_TIFF = 1 << 32  # bytes: places in a TIFF are numbers of 32 bits
INCHES_A_METRE = 1 / 0.0254
NO_UNIT, INCHES = 1, 2  # of a TIFF's resolution, which has no default


@dataclass(frozen=True)
class About:
    """What a file says about its picture: the ICC profile, dots per inch, and texts by their keys (PNG alone)."""

    profile: bytes
    dpi: float | None = None
    texts: Mapping[str, str] | None = None


def png(values: Values, about: About) -> bytes:
    """A PNG; each row is written as its difference from the row above."""
    height, width, colours = values.shape
    kind = {3: 2, 4: 6}[colours]
    pieces = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))]
    pieces.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(about.profile)))
    if about.dpi is not None:
        metre = round(about.dpi * INCHES_A_METRE)
        pieces.append(_chunk(b"pHYs", struct.pack(">IIB", metre, metre, 1)))
    for key, text in (about.texts or {}).items():
        pieces.append(_chunk(b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + text.encode()))
    pieces += [_chunk(b"IDAT", data) for data in _png_rows(values) if data]
    return PNG + b"".join([*pieces, _chunk(b"IEND", b"")])


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png_rows(values: Values) -> Iterator[bytes]:
    height, width, colours = values.shape
    packer = zlib.compressobj(LEVEL)
    above = np.zeros((1, 2 * width * colours), np.uint8)
    for top in range(0, height, ROWS):
        rows = values[top : top + ROWS].astype(">u2").reshape(-1, width * colours).view(np.uint8)
        filtered = np.full((len(rows), 1 + rows.shape[1]), 2, np.uint8)  # 2: the filter "up"
        filtered[:, 1:] = rows - np.concatenate([above, rows[:-1]])
        above = rows[-1:]
        yield packer.compress(filtered.tobytes())
    yield packer.flush()


def tiff(values: Values, about: About) -> bytes:
    """A TIFF in strips of ROWS rows, each value written as its difference from the value to the left.

    Raises ValueError for more than 4 GB.
    """
    height, width, colours = values.shape
    strips = [_strip(values[top : top + ROWS]) for top in range(0, height, ROWS)]
    places = [8 + sum(map(len, strips[:index])) for index in range(len(strips))]
    dpi, unit = ((1, 1), NO_UNIT) if about.dpi is None else ((round(about.dpi * 10000), 10000), INCHES)
    entries: list[tuple[int, str, tuple[int, ...]]] = [
        (256, "I", (width,)),
        (257, "I", (height,)),
        (258, "H", (16,) * colours),
        (259, "H", (8,)),  # deflate
        (262, "H", (2,)),  # red, green, blue
        (273, "I", tuple(places)),
        (277, "H", (colours,)),
        (278, "I", (ROWS,)),
        (279, "I", tuple(map(len, strips))),
        (282, "II", dpi),
        (283, "II", dpi),
        (296, "H", (unit,)),
        (317, "H", (2,)),  # differences
        *([(338, "H", (2,))] if colours == 4 else []),  # transparency, not multiplied into the colours
        (34675, "s", tuple(about.profile)),
    ]
    body = b"".join(strips)
    body += bytes(len(body) % 2)
    directory = _directory(entries, 8 + len(body))
    if 8 + len(body) + len(directory) >= MOST_TIFF:
        raise ValueError("a TIFF has at most 4 GB")
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + directory


def _strip(values: Values) -> bytes:
    before = np.concatenate([np.zeros_like(values[:, :1]), values[:, :-1]], axis=1)
    return zlib.compress((values - before).astype("<u2").tobytes(), LEVEL)


def _directory(entries: list[tuple[int, str, tuple[int, ...]]], start: int) -> bytes:
    """The directory of a TIFF that begins at byte `start`; values of more than 4 bytes follow it."""
    kinds = {"H": 3, "I": 4, "II": 5, "s": 7}
    after = start + 2 + 12 * len(entries) + 4
    table, far = struct.pack("<H", len(entries)), b""
    for tag, form, numbers in entries:
        packed = bytes(numbers) if form == "s" else struct.pack(f"<{len(numbers)}{form[0]}", *numbers)
        count = 1 if form == "II" else len(numbers)
        if len(packed) > 4:
            place = after + len(far)
            far += packed + bytes(len(packed) % 2)
            packed = struct.pack("<I", place)
        table += struct.pack("<HHI", tag, kinds[form], count) + packed.ljust(4, b"\0")
    return table + bytes(4) + far
