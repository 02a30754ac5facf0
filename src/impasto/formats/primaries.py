"""Colours that a PNG describes by numbers, its primaries, white and curve, to sRGB."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

DISPLAYED = 1 / 2.2  # the gamma that PNG files of sRGB pictures name
NEAR = 0.05  # a gamma this near to DISPLAYED, relatively, counts as equal; source: libpng's threshold
CLOSE = 0.01  # chromaticities this near to sRGB's count as equal; source: libpng's threshold
WHITE_NITS, PEAK_NITS = 203, 1000  # white on paper, and the display of HLG; source: ITU-R BT.2408
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
Chromaticities = tuple[float, ...]  # x and y of white, red, green and blue
Curve = Callable[[Tensor], Tensor]  # from the numbers in the file to light, 1 for white

D65 = (0.3127, 0.3290)
BT709: Chromaticities = (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
PRIMARIES: dict[int, Chromaticities] = {  # source: ITU-T H.273, table 2
    1: BT709,
    5: (*D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}


class Described(NamedTuple):
    """What a file says of its colours: primaries and white, and the curve from numbers to light."""

    primaries: Chromaticities
    light: Curve


def by_codes(path: Path) -> Described | None:
    """The colours by a PNG's cICP chunk, which Pillow does not read; None without one that is known.

    Light above white is cut off in HDR pictures, white being that of paper. Source: PNG (third edition), 11.3.2.6.
    """
    codes = _chunk(path, b"cICP")
    if codes is None or len(codes) != 4:
        return None
    primaries, curve, matrix, full = codes
    known, light = PRIMARIES.get(6 if primaries == 7 else primaries), _CURVES.get(curve)
    if known is None or light is None or matrix != 0:
        return None
    return Described(known, light if full else lambda numbers: light(((numbers * 255 - 16) / 219).clamp(0, 1)))


def by_gamma(gamma: float | None, primaries: Chromaticities | None) -> Described | None:
    """The colours by a PNG's gAMA and cHRM chunks; None if they are those of sRGB, or missing, or impossible."""
    same = gamma is None or gamma <= 0 or abs(gamma / DISPLAYED - 1) <= NEAR
    if primaries is None or _to_xyz(primaries) is None or np.allclose(primaries, BT709, rtol=0, atol=CLOSE):
        primaries = BT709
    if same and primaries is BT709:
        return None
    return Described(primaries, light_of_srgb if same or gamma is None else lambda numbers: numbers.pow(1 / gamma))


def to_srgb_from(image: Tensor, described: Described) -> Tensor:
    """The image, whose numbers mean what is described, in sRGB; colours outside are cut off at its bounds."""
    light = described.light(image)
    if described.primaries != BT709:
        matrix = torch.from_numpy(matrix_to_srgb(described.primaries)).to(light)
        light = torch.einsum("ij,njhw->nihw", matrix, light).contiguous()
    return srgb_of_light(light.clamp(0, 1))


def matrix_to_srgb(primaries: Chromaticities) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """From light of these primaries to light of sRGB's; their white becomes sRGB's white (Bradford's adaptation)."""
    there, here = _to_xyz(primaries), _to_xyz(BT709)
    assert there is not None
    assert here is not None
    cones = (BRADFORD @ here.sum(1)) / (BRADFORD @ there.sum(1))
    return np.asarray(np.linalg.inv(here) @ np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD @ there)


def srgb_of_light(light: Tensor) -> Tensor:
    """Linear light encoded as sRGB. Source: IEC 61966-2-1."""
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=0.0031308).pow(1 / 2.4) - 0.055)


def light_of_srgb(numbers: Tensor) -> Tensor:
    """Linear light of sRGB's numbers. Source: IEC 61966-2-1."""
    return torch.where(numbers <= 0.04045, numbers / 12.92, ((numbers.clamp(min=0.04045) + 0.055) / 1.055).pow(2.4))


def _light_of_pq(numbers: Tensor) -> Tensor:
    """Source: SMPTE ST 2084."""
    root = numbers.pow(1 / 78.84375)
    found = (root - 0.8359375).clamp(min=0) / (18.8515625 - 18.6875 * root)
    return found.pow(1 / 0.1593017578125) * (10_000 / WHITE_NITS)


def _light_of_hlg(numbers: Tensor) -> Tensor:
    """Source: ITU-R BT.2100, tables 5; on a display of PEAK_NITS the system's gamma is 1.2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = torch.where(numbers <= 0.5, numbers.square() / 3, (((numbers - c) / a).exp() + b) / 12)
    luminance = torch.einsum("j,njhw->nhw", scene.new_tensor([0.2627, 0.6780, 0.0593]), scene)[:, None]
    return scene * luminance.clamp(min=1e-9).pow(0.2) * (PEAK_NITS / WHITE_NITS)


_CURVES: dict[int, Curve] = {  # source: ITU-T H.273, table 3; the curve of video (1, 6, 14, 15) is read as sRGB's
    **dict.fromkeys((1, 6, 13, 14, 15), light_of_srgb),
    4: lambda numbers: numbers.pow(2.2),
    5: lambda numbers: numbers.pow(2.8),
    8: lambda numbers: numbers,
    16: _light_of_pq,
    18: _light_of_hlg,
}


def _to_xyz(primaries: Chromaticities) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]] | None":
    """From RGB to XYZ, white having Y = 1; None if the chromaticities are no colours."""
    if len(primaries) != 8 or min(primaries[1::2]) <= 0 or not np.isfinite(primaries).all():
        return None
    xyz = np.array([(x / y, 1, (1 - x - y) / y) for x, y in zip(primaries[::2], primaries[1::2], strict=True)]).T
    white, rgb = xyz[:, 0], xyz[:, 1:]
    if abs(np.linalg.det(rgb)) < 1e-6:
        return None
    scales = np.linalg.solve(rgb, white)
    return rgb * scales if (scales > 0).all() else None


def _chunk(path: Path, name: bytes) -> bytes | None:
    """The data of the first chunk of that name before a PNG's picture, None if there is none."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, found = struct.unpack(">I4s", head)
            if found == name:
                return file.read(min(length, 1024))
            if found == b"IDAT":
                return None
            file.seek(length + 4, 1)
    return None
