"""Colour profiles as numbers: primaries and a curve, written as ICC profiles, and read from them.

Colours are converted in float, so that pictures of 16 bits keep their depth. A profile is three primaries, a white and
a curve (ICC.1:2010, "three-component matrix-based"); profiles of printers are tables instead, and are not read here.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

# Of each function of a parametric curve, its numbers after the exponent. Source: ICC.1:2010, table 65.
NAMES: tuple[tuple[str, ...], ...] = ((), ("a", "b"), ("a", "b", "offset"), ("a", "b", "c", "d"), (*"abcdef",))
Array = np.ndarray[Any, np.dtype[np.floating[Any]]]
Curve = Callable[[Array], Array]
D50 = np.array([0.9642, 1.0, 0.8249])  # the white of all profiles; source: ICC.1:2010, 7.2.16
D65 = (0.3127, 0.3290)  # source: IEC 61966-2-1
MADE = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)  # the time in each profile, so that equal pictures are equal files
NEAR = 1e-3  # by which numbers of two profiles of one space differ at most
# What is raised by numbers that are no profile's.
DAMAGE = (KeyError, IndexError, ValueError, ZeroDivisionError, struct.error, np.linalg.LinAlgError)
# Cone responses, between which whites are adapted. Source: Lam 1985 (Bradford), as in ICC.1:2010, annex E.
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class Parametric:
    """Encoded values to linear light: (a·x + b)^g from d on, else c·x. Source: ICC.1:2010, 10.16, function 3."""

    g: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0

    def linear(self, encoded: Array) -> Array:
        """Linear light of encoded values in [0, 1]."""
        return np.where(encoded >= self.d, np.maximum(self.a * encoded + self.b, 0) ** self.g, self.c * encoded)

    def encoded(self, linear: Array) -> Array:
        """The inverse of `linear`, for light in [0, 1]."""
        bend = (self.a * self.d + self.b) ** self.g
        below = linear / self.c if self.c else np.zeros_like(linear)
        return np.where(linear >= bend, (np.maximum(linear, bend) ** (1 / self.g) - self.b) / self.a, below)


SRGB_CURVE = Parametric(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # source: IEC 61966-2-1


@dataclass(frozen=True)
class Profile:
    """A space of colours: its name, the chromaticities (x, y) of red, green and blue, its curve; its white is D65."""

    name: str
    primaries: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    curve: Parametric

    @cached_property
    def matrix(self) -> Array:
        """From linear red, green, blue to XYZ, adapted to D50."""
        colours = np.array([_xyz(*each) for each in self.primaries]).T
        light: Array = np.linalg.solve(colours, _xyz(*D65))
        return np.asarray(adaptation() @ colours * light)

    def icc(self) -> bytes:
        """The profile as ICC, version 4."""
        return _icc(self)


SRGB = Profile("sRGB", ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), SRGB_CURVE)
# Source: SMPTE EG 432-1 for the primaries; white and curve are sRGB's.
DISPLAY_P3 = Profile("Display P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), SRGB_CURVE)
# Source: Adobe RGB (1998) Color Image Encoding, 2005-05.
ADOBE_RGB = Profile("Adobe RGB (1998)", ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), Parametric(563 / 256))
PROFILES = {"srgb": SRGB, "display-p3": DISPLAY_P3, "adobe-rgb": ADOBE_RGB}


def adaptation() -> Array:
    """From XYZ under D65 to XYZ under D50. Source: ICC.1:2010, annex E."""
    cones = (BRADFORD @ D50) / (BRADFORD @ _xyz(*D65))
    return np.linalg.solve(BRADFORD, cones[:, None] * BRADFORD)


def from_srgb(colours: Array, profile: Profile) -> Array:
    """Colours (…, 3) in [0, 1] of sRGB in another space; all three spaces here contain sRGB's colours."""
    light = SRGB.curve.linear(colours) @ np.linalg.solve(profile.matrix, SRGB.matrix).T
    return profile.curve.encoded(light.clip(0, 1))


@dataclass(frozen=True, eq=False)
class Found:
    """A profile found in a file: the matrix to XYZ (D50), and a curve for each colour."""

    matrix: Array
    curves: tuple[Curve, Curve, Curve]

    @property
    def is_srgb(self) -> bool:
        """Whether this is sRGB, but for the digits that profiles leave out."""
        return all(map(_is_srgb, self.curves)) and np.allclose(self.matrix, SRGB.matrix, atol=NEAR)

    def to_srgb(self, colours: Array) -> Array:
        """Colours (…, 3) in [0, 1] in sRGB, unchanged if they are sRGB's; those outside its range are clipped."""
        if self.is_srgb:
            return colours
        light = np.stack([curve(colours[..., index]) for index, curve in enumerate(self.curves)], axis=-1)
        return SRGB.curve.encoded((light @ np.linalg.solve(SRGB.matrix, self.matrix).T).clip(0, 1))


def read_profile(icc: bytes) -> Found | None:
    """The matrix and the curves of an ICC profile of RGB; None if it has tables in their place, or is damaged."""
    try:
        tags = _tags(icc)
        if icc[16:20] != b"RGB " or b"A2B0" in tags:
            return None
        columns = [_numbers(tags[name], 8, 3) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        red, green, blue = (_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
        matrix = np.array(columns).T
        np.linalg.inv(matrix)
        return Found(matrix, (red, green, blue))
    except DAMAGE:
        return None


def read_grey_profile(icc: bytes) -> Curve | None:
    """From grey of an ICC profile in [0, 1] to grey of sRGB; None if the profile has tables, or is damaged.

    Source: ICC.1:2010, 8.3.4 (monochrome profiles) and F.2.
    """
    try:
        tags = _tags(icc)
        if icc[16:24] != b"GRAYXYZ " or b"A2B0" in tags:
            return None
        curve = _curve(tags[b"kTRC"])
    except DAMAGE:
        return None
    return (lambda grey: grey) if _is_srgb(curve) else lambda grey: SRGB.curve.encoded(curve(grey).clip(0, 1))


def _is_srgb(curve: Curve) -> bool:
    grid = np.linspace(0, 1, 64)
    return np.allclose(curve(grid), SRGB.curve.linear(grid), atol=NEAR)


def _xyz(x: float, y: float) -> Array:
    """XYZ of a chromaticity, at Y = 1."""
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _tags(icc: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", icc, 128)
    entries = (struct.unpack_from(">4sII", icc, 132 + 12 * index) for index in range(min(count, 100)))
    return {name: icc[start : start + length] for name, start, length in entries}


def _numbers(tag: bytes, start: int, count: int) -> list[float]:
    """Numbers of 16 bits before the point and 16 behind."""
    return [number / 65536 for number in struct.unpack_from(f">{count}i", tag, start)]


def _curve(tag: bytes) -> Curve:
    """Source: ICC.1:2010, 10.5 (curv) and 10.16 (para). Raises ValueError for any other type."""
    if tag[:4] == b"curv":
        return _of_table(tag)
    if tag[:4] != b"para":
        raise ValueError("not a curve")
    (kind,) = struct.unpack_from(">H", tag, 8)
    g, *others = _numbers(tag, 12, 1 + len(NAMES[kind]))
    named = dict(zip(NAMES[kind], others, strict=True))
    a, b, offset = named.get("a", 1.0), named.get("b", 0.0), named.get("offset", 0.0)
    curve = Parametric(g, a, b, named.get("c", 0.0), named.get("d", -b / a))
    above, below = named.get("e", offset), named.get("f", offset)
    return lambda encoded: curve.linear(encoded) + np.where(encoded >= curve.d, above, below)


def _of_table(tag: bytes) -> Curve:
    (count,) = struct.unpack_from(">I", tag, 8)
    entries = np.frombuffer(tag, ">u2", count, 12).astype(float)
    if count == 0:
        return lambda encoded: encoded
    if count == 1:
        return Parametric(entries[0] / 256).linear
    return lambda encoded: np.interp(encoded, np.linspace(0, 1, count), entries / 65535)


def _icc(profile: Profile) -> bytes:
    curve = profile.curve
    words = _fixed(b"para\0\0\0\0\0\3\0\0", curve.g, curve.a, curve.b, curve.c, curve.d)
    tags = {
        b"desc": _text(profile.name),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": _fixed(b"XYZ \0\0\0\0", *D50),
        b"chad": _fixed(b"sf32\0\0\0\0", *adaptation().flatten()),
        **{name: _fixed(b"XYZ \0\0\0\0", *profile.matrix[:, index]) for index, name in enumerate(_COLUMNS)},
        b"rTRC": words,
        b"gTRC": words,
        b"bTRC": words,
    }
    start, entries, bodies = 132 + 12 * len(tags), b"", b""
    for name, body in tags.items():
        entries += struct.pack(">4sII", name, start + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    size = start + len(bodies)
    white = _fixed(b"", *D50)
    header = struct.pack(">I4sI4s4s4s12s4s", size, b"\0" * 4, 0x04300000, b"mntr", b"RGB ", b"XYZ ", MADE, b"acsp")
    header += bytes(28) + white
    return header + bytes(128 - len(header)) + struct.pack(">I", len(tags)) + entries + bodies


_COLUMNS = (b"rXYZ", b"gXYZ", b"bXYZ")


def _fixed(start: bytes, *numbers: float) -> bytes:
    return start + struct.pack(f">{len(numbers)}i", *(round(65536 * number) for number in numbers))


def _text(words: str) -> bytes:
    """A text in one language. Source: ICC.1:2010, 10.13."""
    encoded = words.encode("utf-16-be")
    return struct.pack(">4sIII2s2sII", b"mluc", 0, 1, 12, b"en", b"US", len(encoded), 28) + encoded
