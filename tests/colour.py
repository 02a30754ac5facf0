"""Reference colour conversions for checking: ICC version 2 profiles built by hand, and the formulas in NumPy."""

import struct

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
# Linear RGB to XYZ under D50 (Bradford), columns R, G, B: B. Lindbloom's tables.
SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
ADOBE = np.array(
    [[0.6097559, 0.2052401, 0.1492240], [0.3111242, 0.6256560, 0.0632197], [0.0194811, 0.0608902, 0.7448387]]
)
ADOBE_GAMMA = 563 / 256


def srgb_of_linear(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, clipped to [0, 1]."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def linear_of_srgb(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def srgb_of_xyz(xyz: np.ndarray) -> np.ndarray:
    """XYZ under D50, colours last."""
    return srgb_of_linear(xyz @ np.linalg.inv(SRGB).T)


def lab_of_srgb(srgb: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* under D50."""
    ratio = linear_of_srgb(srgb) @ SRGB.T / D50
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def srgb_of_lab(lab: np.ndarray) -> np.ndarray:
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], -1)
    return srgb_of_xyz(np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * D50)


def rgb_profile(primaries: np.ndarray, gamma: float, paper: np.ndarray | None = None) -> bytes:
    """Of a screen, or of a printer whose paper has that XYZ."""
    tags = {f"{name}XYZ": _xyz(column) for name, column in zip("rgb", primaries.T, strict=True)}
    tags |= {f"{name}TRC": _curve(gamma) for name in "rgb"} | ({} if paper is None else {"wtpt": _xyz(paper)})
    return _profile("mntr" if paper is None else "prtr", "RGB ", "XYZ ", tags)


def grey_profile(gamma: float) -> bytes:
    return _profile("mntr", "GRAY", "XYZ ", {"kTRC": _curve(gamma)})


def cmyk_profile(corners: np.ndarray) -> bytes:
    """Colours of the 16 corners of the CMYK cube as Lab, black fastest and cyan slowest, linear in between."""
    codes = np.clip(np.round(corners * [2.55, 1, 1] + [0, 128, 128]), 0, 255).astype(np.uint8)
    identity = np.eye(3).flatten()
    ramp = bytes(range(256))
    lut = bytes([4, 3, 2, 0]) + _fixed(identity) + 4 * ramp + codes.tobytes() + 3 * ramp
    return _profile("prtr", "CMYK", "Lab ", {"A2B0": _tag("mft1", lut)})


def _profile(kind: str, space: str, connection: str, tags: dict[str, bytes]) -> bytes:
    text = b"made by hand\0"
    tags = {
        "desc": _tag("desc", struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)),
        "cprt": _tag("text", b"none\0"),
        "wtpt": _xyz(D50),
        **tags,
    }
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name.encode(), offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4xI", offset + len(body), 0x02400000) + f"{kind}{space}{connection}".encode()
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(D50)
    return header + bytes(128 - len(header)) + table + body


def _tag(kind: str, content: bytes) -> bytes:
    return kind.encode() + bytes(4) + content


def _fixed(numbers: np.ndarray) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def _xyz(values: np.ndarray) -> bytes:
    return _tag("XYZ ", _fixed(values))


def _curve(gamma: float) -> bytes:
    return _tag("curv", struct.pack(">IH", 1, round(gamma * 256)))
