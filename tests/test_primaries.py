"""Colours that a PNG describes by numbers, against the matrices and levels of the standards."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from colour import ADOBE, rgb_profile, srgb_of_linear, srgb_of_xyz
from impasto.images.files import load_image
from impasto.images.primaries import PRIMARIES, by_gamma, matrix_to_srgb
from test_images import colours, noise, with_chunk

P3 = [[1.22494, -0.22494, 0], [-0.04206, 1.04206, 0], [-0.01964, -0.07864, 1.09827]]  # CSS Color 4, by its sample code
BT2020 = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]  # ITU-R BT.2087
ADOBE_CHRM = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)


def png(stored: np.ndarray, **chunks: bytes) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(stored).save(buffer, "PNG")
    content = buffer.getvalue()
    for name, data in chunks.items():
        content = with_chunk(content, name.encode(), data)
    return content


@pytest.fixture
def read(tmp_path: Path):
    def of(content: bytes) -> np.ndarray:
        (tmp_path / "picture.png").write_bytes(content)
        return colours(load_image(tmp_path / "picture.png"))

    return of


@pytest.mark.parametrize(("code", "truth"), [(1, np.eye(3)), (12, P3), (9, BT2020)])
def test_matrices(code: int, truth: object) -> None:
    assert matrix_to_srgb(PRIMARIES[code]) == pytest.approx(np.array(truth), abs=2e-4)
    assert matrix_to_srgb(PRIMARIES[code]).sum(1) == pytest.approx(np.ones(3), abs=1e-9)  # white stays white


def test_primaries_and_gamma(read, rng: np.random.Generator) -> None:
    stored = noise(rng, 6, 8, 3)
    truth = srgb_of_xyz((stored / 255) ** (100_000 / 45_470) @ ADOBE.T)
    found = read(png(stored, gAMA=struct.pack(">I", 45_470), cHRM=struct.pack(">8I", *ADOBE_CHRM)))
    curve = srgb_of_linear(np.linspace(0, 1, 256) ** 2.2) - np.linspace(0, 1, 256)
    assert found == pytest.approx(truth, abs=np.abs(curve).max() + 0.01)  # this gamma counts as sRGB's curve
    truth = srgb_of_xyz((stored / 255) ** 1.8 @ ADOBE.T)
    found = read(png(stored, gAMA=struct.pack(">I", 55_556), cHRM=struct.pack(">8I", *ADOBE_CHRM)))
    assert found == pytest.approx(truth, abs=2e-3)


@pytest.mark.parametrize("tag", ["sRGB", "iCCP"])
def test_what_comes_before_primaries(read, tmp_path: Path, rng: np.random.Generator, tag: str) -> None:
    stored = noise(rng, 6, 8, 3)
    chrm = {"cHRM": struct.pack(">8I", *ADOBE_CHRM)}
    if tag == "sRGB":
        assert read(png(stored, **chrm, sRGB=b"\0")) == pytest.approx(stored / 255, abs=1e-6)
        return
    buffer = io.BytesIO()
    PillowImage.fromarray(stored).save(buffer, "PNG", icc_profile=rgb_profile(ADOBE, 1.0))
    plain = read(buffer.getvalue())
    assert (read(with_chunk(buffer.getvalue(), b"cHRM", chrm["cHRM"])) == plain).all()
    # but codes come before a profile
    assert read(with_chunk(buffer.getvalue(), b"cICP", bytes([1, 13, 0, 1]))) == pytest.approx(stored / 255, abs=1e-5)


SRGB_CHRM = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


@pytest.mark.parametrize(
    "values",
    [SRGB_CHRM, (0,) * 8, (31270, 32900) * 4, (31270, 32900, 0, 0, 0, 0, 0, 0)],
    ids=["srgb", "zeros", "no triangle", "half"],
)
def test_primaries_that_change_nothing(read, rng: np.random.Generator, values: tuple[int, ...]) -> None:
    stored = noise(rng, 6, 8, 3)
    assert (read(png(stored, cHRM=struct.pack(">8I", *values))) == read(png(stored))).all()
    assert by_gamma(None, tuple(value / 1e5 for value in values)) is None


@pytest.mark.parametrize(("code", "matrix"), [(12, P3), (9, BT2020)])
def test_codes(read, rng: np.random.Generator, code: int, matrix: object) -> None:
    stored = noise(rng, 6, 8, 3)
    truth = srgb_of_linear(stored / 255 @ np.array(matrix).T)
    assert read(png(stored, cICP=bytes([code, 8, 0, 1]))) == pytest.approx(truth, abs=3e-3)
    narrow = (16 + 219 * (stored // 64 / 3)).round().astype(np.uint8)
    truth = srgb_of_linear((narrow - 16.0) / 219 @ np.array(matrix).T)
    assert read(png(narrow, cICP=bytes([code, 8, 0, 0]))) == pytest.approx(truth, abs=3e-3)


@pytest.mark.parametrize(("curve", "white"), [(16, 0.58), (18, 0.75)], ids=["PQ", "HLG"])
def test_white_in_hdr(read, curve: int, white: float) -> None:
    """ITU-R BT.2408, table 1: white is at 58 % of PQ and 75 % of HLG, 26 nits are at 38 % of both."""
    levels = np.array([0, round(0.38 * 255), round(white * 255), 255], np.uint8)
    found = read(png(levels.reshape(1, 4, 1).repeat(3, 2), cICP=bytes([9, curve, 0, 1])))[0, :, 0]
    light = np.where(found <= 0.04045, found / 12.92, ((found + 0.055) / 1.055) ** 2.4)
    assert light == pytest.approx([0, 26 / 203, 1, 1], abs=0.02)
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("codes", [b"", b"\1", bytes([2, 2, 0, 1]), bytes([9, 16, 9, 1]), bytes([9, 99, 0, 1])])
def test_codes_that_are_unknown(read, rng: np.random.Generator, codes: bytes) -> None:
    stored = noise(rng, 6, 8, 3)
    assert (read(png(stored, cICP=codes)) == read(png(stored))).all()


def test_grey_stays_grey(read) -> None:
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = read(png(stored, cHRM=struct.pack(">8I", *ADOBE_CHRM)))
    assert found == pytest.approx(stored[..., None].repeat(3, 2) / 255, abs=1e-4)
    assert torch.from_numpy(found.copy()).isfinite().all()
