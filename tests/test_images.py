"""Reading pictures: every unusual mode against colours computed by hand."""

import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from PIL import ImageCms
from torch import Tensor

from colour import (
    ADOBE,
    ADOBE_GAMMA,
    SRGB,
    cmyk_profile,
    grey_profile,
    lab_of_srgb,
    rgb_profile,
    srgb_of_lab,
    srgb_of_linear,
    srgb_of_xyz,
)
from impasto.errors import ImageError
from impasto.images.files import load_image, load_picture, save_image
from impasto.images.gathering import pictures_below, words_about
from impasto.images.noise import noise_picture
from impasto.synthesis import inits

Array = np.ndarray
LEVEL = 1 / 255
PILLOWS_LIMIT = 89_478_485


class Saver:
    """Save a Pillow picture and read it back with the package."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, picture: PillowImage.Image, ending: str = "png", **options: object) -> Path:
        path = self.folder / f"picture.{ending}"
        picture.save(path, **options)
        return path


@pytest.fixture
def saved(tmp_path: Path) -> Saver:
    return Saver(tmp_path)


def colours(image: Tensor) -> Array:
    """Height × width × channels."""
    return image[0].permute(1, 2, 0).numpy()


def noise(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(0, 256, shape, dtype=np.uint8)


# Orientation ---------------------------------------------------------------------------------------------------------

# What to do with the stored rows and columns to see the picture upright; EXIF 2.3, tag 0x0112.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],
    8: lambda stored: np.rot90(stored, 1),
}


def oriented(value: int) -> PillowImage.Exif:
    exif = PillowImage.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("value", UPRIGHT)
def test_orientation_is_applied(saved: Saver, rng: np.random.Generator, value: int) -> None:
    stored = noise(rng, 5, 7, 4) | 1  # nothing wholly transparent
    picture = load_picture(saved(PillowImage.fromarray(stored), exif=oriented(value)))
    truth = UPRIGHT[value](stored) / 255
    assert picture.size == truth.shape[:2]
    assert colours(picture.image) == pytest.approx(truth[..., :3], abs=1e-6)
    assert colours(picture.alpha)[..., 0] == pytest.approx(truth[..., 3], abs=1e-6)


@pytest.mark.parametrize("value", UPRIGHT)
def test_orientation_of_a_photograph(saved: Saver, value: int) -> None:
    quarters = np.array([[[250, 20, 20], [20, 250, 20]], [[20, 20, 250], [240, 240, 20]]], dtype=np.uint8)
    stored = quarters.repeat(16, 0).repeat(32, 1)
    path = saved(PillowImage.fromarray(stored), "jpg", exif=oriented(value), quality=100, subsampling=0)
    assert colours(load_image(path)) == pytest.approx(UPRIGHT[value](stored) / 255, abs=4 * LEVEL)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_unknown_orientation_is_ignored(saved: Saver, rng: np.random.Generator, value: int) -> None:
    stored = noise(rng, 5, 7, 3)
    path = saved(PillowImage.fromarray(stored), exif=oriented(value))
    assert colours(load_image(path)) == pytest.approx(stored / 255, abs=1e-6)


# Colour profiles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("primaries", "gamma"),
    [(ADOBE, ADOBE_GAMMA), (SRGB[:, [1, 2, 0]], 2.2), (SRGB, 1.5)],
    ids=["adobe", "swapped", "gamma"],
)
def test_rgb_profile(saved: Saver, rng: np.random.Generator, primaries: Array, gamma: float) -> None:
    stored = noise(rng, 6, 8, 3)
    truth = srgb_of_xyz((stored / 255) ** gamma @ primaries.T)
    assert np.abs(truth - stored / 255).max() > 0.1  # ignoring the profile would be seen
    path = saved(PillowImage.fromarray(stored), icc_profile=rgb_profile(primaries, gamma))
    assert colours(load_image(path)) == pytest.approx(truth, abs=1.5 * LEVEL)


def test_profile_and_transparency(saved: Saver, rng: np.random.Generator) -> None:
    stored = noise(rng, 6, 8, 4) | 1
    picture = load_picture(saved(PillowImage.fromarray(stored), icc_profile=rgb_profile(ADOBE, ADOBE_GAMMA)))
    truth = srgb_of_xyz((stored[..., :3] / 255) ** ADOBE_GAMMA @ ADOBE.T)
    assert colours(picture.image) == pytest.approx(truth, abs=1.5 * LEVEL)
    assert colours(picture.alpha)[..., 0] == pytest.approx(stored[..., 3] / 255, abs=1e-6)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_profile(saved: Saver, rng: np.random.Generator, mode: str) -> None:
    stored = noise(rng, 6, 8)
    opaque = np.full_like(stored, 255)
    picture = PillowImage.merge(mode, [PillowImage.fromarray(band) for band in (stored, opaque)][: len(mode)])
    truth = srgb_of_linear((stored / 255) ** 1.6)[..., None].repeat(3, -1)
    assert np.abs(truth - stored[..., None] / 255).max() > 0.1
    image = load_image(saved(picture, icc_profile=grey_profile(1.6)))
    assert colours(image) == pytest.approx(truth, abs=2 * LEVEL)


def test_cmyk_without_profile(saved: Saver, rng: np.random.Generator) -> None:
    stored = noise(rng, 6, 8, 4)
    ink = stored / 255
    path = saved(PillowImage.frombytes("CMYK", (8, 6), stored.tobytes()), "tif")
    assert colours(load_image(path)) == pytest.approx((1 - ink[..., :3]) * (1 - ink[..., 3:]), abs=1.5 * LEVEL)


def test_cmyk_photograph_is_not_inverted(saved: Saver) -> None:
    ink = np.array([200, 30, 60, 20], dtype=np.uint8)
    flat = np.tile(ink, (16, 16, 1))
    path = saved(PillowImage.frombytes("CMYK", (16, 16), flat.tobytes()), "jpg", quality=100, subsampling=0)
    truth = (1 - ink[:3] / 255) * (1 - ink[3] / 255)
    assert colours(load_image(path)).mean((0, 1)) == pytest.approx(truth, abs=4 * LEVEL)


def test_cmyk_profile(saved: Saver, rng: np.random.Generator) -> None:
    corners = 0.2 + 0.7 * rng.random((16, 3))
    corners[0], corners[-1] = 1, 0  # paper and all inks
    inks = np.array([[255 * (index >> bit & 1) for bit in (3, 2, 1, 0)] for index in range(16)], dtype=np.uint8)
    naive = (1 - inks[:, :3] / 255) * (1 - inks[:, 3:] / 255)
    assert np.abs(naive - corners).max() > 0.5
    picture = PillowImage.frombytes("CMYK", (16, 1), inks.tobytes())
    path = saved(picture, "tif", icc_profile=cmyk_profile(lab_of_srgb(corners)))
    assert colours(load_image(path))[0] == pytest.approx(corners, abs=5 * LEVEL)  # Lab of 8 bits is that coarse


@pytest.mark.parametrize("tagged", [True, False])
def test_lab(saved: Saver, rng: np.random.Generator, tagged: bool) -> None:
    lab = np.stack([rng.integers(30, 90, (6, 8)), *rng.integers(-20, 20, (2, 6, 8))], -1)
    codes = np.stack([np.round(lab[..., 0] * 2.55), *np.moveaxis(lab[..., 1:], -1, 0) % 256], -1).astype(np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    path = saved(
        PillowImage.frombytes("LAB", (8, 6), codes.tobytes()), "tif", **({"icc_profile": profile} if tagged else {})
    )
    assert colours(load_image(path)) == pytest.approx(srgb_of_lab(lab.astype(float)), abs=3 * LEVEL)


@pytest.mark.parametrize("profile", [b"no profile at all", grey_profile(1.6), rgb_profile(SRGB, 2.2)[:150]])
def test_unusable_profile_is_ignored(saved: Saver, rng: np.random.Generator, profile: bytes) -> None:
    stored = noise(rng, 6, 8, 3)
    path = saved(PillowImage.fromarray(stored), icc_profile=profile)
    assert colours(load_image(path)) == pytest.approx(stored / 255, abs=1e-6)


# Grey, palettes, depth -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "webp"])
def test_grey(saved: Saver, rng: np.random.Generator, ending: str) -> None:
    stored = noise(rng, 6, 8)
    path = saved(PillowImage.fromarray(stored), ending, **({"lossless": True} if ending == "webp" else {}))
    assert colours(load_image(path)) == pytest.approx(np.stack([stored] * 3, -1) / 255, abs=1e-6)


@pytest.mark.parametrize(
    ("ending", "transparency", "opacity"),
    [
        ("png", None, None),
        ("gif", None, None),
        ("png", 1, [255, 0, 255]),
        ("gif", 2, [255, 255, 0]),
        ("png", bytes([255, 128, 64]), [255, 128, 64]),
    ],
)
def test_palette(
    saved: Saver, rng: np.random.Generator, ending: str, transparency: bytes | int | None, opacity: list[int] | None
) -> None:
    palette, indices = noise(rng, 3, 3), rng.permuted(np.arange(48) % 3).reshape(6, 8).astype(np.uint8)
    picture = PillowImage.frombytes("P", (8, 6), indices.tobytes())
    picture.putpalette(palette.tobytes())
    found = load_picture(saved(picture, ending, **({} if transparency is None else {"transparency": transparency})))
    truth, alpha = palette[indices] / 255, np.array(opacity or [255] * 3)[indices] / 255
    assert colours(found.image)[alpha > 0] == pytest.approx(truth[alpha > 0], abs=1e-6)
    if opacity is None:
        assert found.alpha is None
    else:
        assert colours(found.alpha)[..., 0] == pytest.approx(alpha, abs=1e-6)


def test_black_and_white(saved: Saver, rng: np.random.Generator) -> None:
    stored = rng.random((6, 8)) > 0.5
    assert np.array_equal(colours(load_image(saved(PillowImage.fromarray(stored)))), np.stack([stored] * 3, -1))


@pytest.mark.parametrize(("ending", "kind"), [("png", "<u2"), ("tif", "<u2"), ("tif", ">u2"), ("tif", "<i4")])
def test_deep_grey_is_not_clipped(saved: Saver, rng: np.random.Generator, ending: str, kind: str) -> None:
    stored = rng.integers(0, 65536, (6, 8)).astype(kind)
    stored[0, :2] = 0, 65535
    image = load_image(saved(PillowImage.fromarray(stored), ending))
    assert colours(image) == pytest.approx(np.stack([stored] * 3, -1) / 65535, abs=1e-6)


def test_deep_grey_is_turned_upright(saved: Saver, rng: np.random.Generator) -> None:
    stored = rng.integers(0, 65536, (6, 8)).astype(np.uint16)
    image = load_image(saved(PillowImage.fromarray(stored), exif=oriented(6)))
    assert colours(image)[..., 0] == pytest.approx(np.rot90(stored, -1) / 65535, abs=1e-6)


@pytest.mark.parametrize("white", [1, 255])
def test_float_grey(saved: Saver, rng: np.random.Generator, white: int) -> None:
    stored = rng.random((6, 8), dtype=np.float32)
    stored[0, :2] = 0, 1
    image = load_image(saved(PillowImage.fromarray(stored * white), "tif"))
    assert colours(image)[..., 1] == pytest.approx(stored, abs=1e-6)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1.02), (0, 255), (0, 261.5), (0, 65535), (0, 66000), (-0.05, 1), (0, 0.001)]
)
def test_the_range_of_floats(saved: Saver, rng: np.random.Generator, low: float, high: float) -> None:
    """0 … 1, 0 … 255 and 0 … 65535 are told apart, also if sharpening has gone a little beyond."""
    stored = (low + (high - low) * rng.random((40, 50))).astype(np.float32)
    white = 1 if high < 2 else 255 if high < 300 else 65535
    image = load_image(saved(PillowImage.fromarray(stored), "tif"))
    assert colours(image)[..., 1] == pytest.approx((stored / white).clip(0, 1), abs=1e-6)


@pytest.mark.parametrize("highlight", [4.0, 1000.0, 1e30])
def test_highlights_do_not_darken_the_rest(saved: Saver, rng: np.random.Generator, highlight: float) -> None:
    stored = rng.random((40, 50), dtype=np.float32)
    stored[3, 5:15] = highlight
    image = load_image(saved(PillowImage.fromarray(stored), "tif"))
    assert colours(image)[..., 1] == pytest.approx(stored.clip(0, 1), abs=1e-6)


def test_a_scene_in_hdr_is_not_read_as_levels(saved: Saver, rng: np.random.Generator) -> None:
    """A window of 5 % is 20 to 100 times as light as white, and the room is as it is."""
    stored = rng.random((40, 50), dtype=np.float32) ** 2
    stored[3:5] = rng.uniform(20, 100, (2, 50))
    image = load_image(saved(PillowImage.fromarray(stored), "tif"))
    assert colours(image)[..., 1] == pytest.approx(stored.clip(0, 1), abs=1e-6)


def test_a_drawing_on_black_is_read_as_levels(saved: Saver, rng: np.random.Generator) -> None:
    stored = np.zeros((40, 50), np.float32)
    stored[10:20] = rng.integers(1, 256, (10, 50))
    image = load_image(saved(PillowImage.fromarray(stored), "tif"))
    assert colours(image)[..., 1] == pytest.approx(stored / 255, abs=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("white", [1, 255])
def test_what_is_no_number_is_said(saved: Saver, rng: np.random.Generator, white: int, value: float) -> None:
    stored = white * rng.random((6, 8), dtype=np.float32)
    stored[2, 3:5] = value
    with pytest.raises(
        ImageError, match=r"picture\.tif cannot be read as a picture: 2 of its 48 values are not finite"
    ):
        load_image(saved(PillowImage.fromarray(stored), "tif"))


def tiff(stored: Array, *, bits: int, white_is_zero: bool = False, kind: int = 1) -> bytes:
    """An uncompressed grey TIFF; `kind` 1 is unsigned, 2 signed, 3 float. Rows of 12 bits are packed."""
    if bits == 12:
        pairs = stored.reshape(-1, 2).astype(int)
        packed = [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255]
        content = np.stack(packed, -1).astype(np.uint8).tobytes()
    else:
        content = stored.astype({1: "<u", 2: "<i", 3: "<f"}[kind] + str(bits // 8)).tobytes()
    height, width = stored.shape
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: 0 if white_is_zero else 1, 273: 8}
    entries |= {277: 1, 278: height, 279: len(content), 339: kind}
    ifd = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(content)) + content + struct.pack("<H", len(entries)) + ifd + bytes(4)
    )


@pytest.mark.parametrize(
    ("bits", "kind", "white"),
    [
        *[(8, 1, 255), (12, 1, 4095), (16, 1, 65535), (16, 2, 32767), (32, 1, 65535), (32, 1, 2**32 - 1)],
        *[(32, 2, 2**31 - 1), (32, 3, 1), (32, 3, 255)],
    ],
)
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_depths_of_tiffs(
    tmp_path: Path, rng: np.random.Generator, bits: int, kind: int, white: int, white_is_zero: bool
) -> None:
    grey = rng.random((6, 8))
    grey[0, :2] = 0, 1
    stored = (1 - grey if white_is_zero else grey) * white
    path = tmp_path / "picture.tif"
    path.write_bytes(tiff(stored if kind == 3 else stored.round(), bits=bits, white_is_zero=white_is_zero, kind=kind))
    if white_is_zero and (bits, kind) not in [(8, 1), (16, 1), (32, 3)]:
        with pytest.raises(ImageError, match="not a picture in a format that can be read"):
            load_image(path)  # Pillow knows no such TIFF; this is a sentence, no negative
        return
    assert colours(load_image(path))[..., 0] == pytest.approx(grey, abs=0.51 / min(white, 1000))


def test_deep_grey_has_profile_and_transparency(saved: Saver, rng: np.random.Generator) -> None:
    stored = rng.integers(0, 65536, (6, 8)).astype(np.uint16)
    stored[1, 2:4] = 5000
    truth = srgb_of_linear((stored / 65535) ** 1.6)
    path = saved(PillowImage.fromarray(stored), icc_profile=grey_profile(1.6), transparency=5000)
    picture = load_picture(path)
    assert np.array_equal(colours(picture.alpha)[..., 0], stored != 5000)
    seen = stored != 5000
    assert colours(picture.image)[seen][:, 0] == pytest.approx(truth[seen], abs=3 * LEVEL)


def test_a_profile_says_the_same_in_8_and_16_bits(saved: Saver) -> None:
    stored = np.arange(256, dtype=np.uint16).reshape(16, 16)
    images = [
        load_image(saved(PillowImage.fromarray(each), ending, icc_profile=grey_profile(1.0)))
        for each in (stored.astype(np.uint8), stored * 257)
        for ending in ("png", "tif")
    ]
    for image in images:  # LittleCMS is coarse where the curve is steep, near black, and alike in both
        assert colours(image)[..., 0] == pytest.approx(srgb_of_linear(stored / 255), abs=12 * LEVEL)
        assert colours(image).ravel()[60:] == pytest.approx(srgb_of_linear(stored / 255).repeat(3)[60:], abs=2 * LEVEL)


# Gamma of PNG files --------------------------------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk after its header."""
    return png[:33] + chunk(kind, content) + png[33:]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("gamma", [100_000, 55_556, 45_455, 45_000, 0])
@pytest.mark.parametrize("tagged", [False, True])
def test_gamma(tmp_path: Path, rng: np.random.Generator, gamma: int, tagged: bool, dtype: type) -> None:
    white = np.iinfo(dtype).max
    stored = rng.integers(0, white, (6, 8), endpoint=True, dtype=dtype)
    buffer = io.BytesIO()
    PillowImage.fromarray(stored).save(buffer, "PNG")
    png = with_chunk(buffer.getvalue(), b"gAMA", struct.pack(">I", gamma))
    (tmp_path / "picture.png").write_bytes(with_chunk(png, b"sRGB", b"\0") if tagged else png)
    matters = gamma > 50_000 and not tagged
    truth = srgb_of_linear((stored / white) ** (100_000 / gamma)) if matters else stored / white
    assert colours(load_image(tmp_path / "picture.png"))[..., 1] == pytest.approx(truth, abs=1e-4)


# Transparency, animation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_transparency_is_kept(saved: Saver, rng: np.random.Generator, mode: str, ending: str) -> None:
    stored = noise(rng, 6, 8, len(mode))
    stored[:2, :, -1] = 0
    stored[2:, :, -1] |= 1
    picture = load_picture(saved(PillowImage.fromarray(stored), ending))
    alpha = stored[..., -1:] / 255
    seen = (stored[..., :-1] if mode == "RGBA" else stored[..., :1].repeat(3, -1)) / 255
    assert colours(picture.alpha) == pytest.approx(alpha, abs=1e-6)
    assert colours(picture.image)[2:] == pytest.approx(seen[2:], abs=1e-6)
    # What cannot be seen takes the mean colour of what can be, in proportion to how well.
    mean = (seen * alpha).sum((0, 1)) / alpha.sum()
    assert colours(picture.image)[:2] == pytest.approx(np.broadcast_to(mean, (2, 8, 3)), abs=1e-5)


def test_a_wholly_transparent_picture_is_white(saved: Saver) -> None:
    picture = load_picture(saved(PillowImage.new("RGBA", (4, 3), (10, 20, 30, 0))))
    assert (picture.image == 1).all()
    assert (picture.alpha == 0).all()


@pytest.mark.parametrize(("ending", "lossless"), [("gif", {}), ("webp", {"lossless": True}), ("png", {})])
def test_first_frame_of_an_animation(saved: Saver, ending: str, lossless: dict[str, bool]) -> None:
    red, green, blue = (PillowImage.new("RGB", (8, 6), name) for name in ("red", "lime", "blue"))
    path = saved(red, ending, save_all=True, append_images=[green, blue], **lossless)
    assert np.array_equal(colours(load_image(path)), np.broadcast_to([1, 0, 0], (6, 8, 3)))


def test_an_animations_first_frame_is_not_its_default_picture(saved: Saver) -> None:
    red, green, blue = (PillowImage.new("RGB", (8, 6), name) for name in ("red", "lime", "blue"))
    path = saved(red, "png", save_all=True, append_images=[green, blue], default_image=True)
    assert np.array_equal(colours(load_image(path)), np.broadcast_to([0, 1, 0], (6, 8, 3)))
    path = saved(red, "png", save_all=True, append_images=[green, blue], default_image=False)
    assert np.array_equal(colours(load_image(path)), np.broadcast_to([1, 0, 0], (6, 8, 3)))


def test_the_colour_that_is_transparent_in_16_bits(tmp_path: Path) -> None:
    """Pillow makes 8 bits of the colours, but leaves the transparent one as it was."""
    stored = np.array([[[0x1234, 0x5678, 0x9ABC], [0xFFFF, 0, 0]]], dtype=">u2")
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    png = with_chunk(png_of(header, b"\0" + stored.tobytes()), b"tRNS", stored[0, 0].tobytes())
    (tmp_path / "picture.png").write_bytes(png)
    picture = load_picture(tmp_path / "picture.png")
    assert colours(picture.alpha)[0, :, 0].tolist() == [0, 1]
    assert colours(picture.image)[0, 1].tolist() == [1, 0, 0]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_level_that_is_transparent(tmp_path: Path, bits: int) -> None:
    """Pillow widens levels of fewer bits to 8, but not the transparent level."""
    levels = np.arange(2**bits) if bits > 1 else np.array([0, 1, 1, 0])
    row = np.packbits((levels[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)).tobytes()
    png = png_of(struct.pack(">IIBBBBB", len(levels), 1, bits, 0, 0, 0, 0), b"\0" + row)
    (tmp_path / "picture.png").write_bytes(with_chunk(png, b"tRNS", struct.pack(">H", 1)))
    picture = load_picture(tmp_path / "picture.png")
    seen = levels != 1
    assert (colours(picture.alpha)[0, :, 0] == seen).all()
    assert colours(picture.image)[0, seen, 0] == pytest.approx(levels[seen] / (2**bits - 1), abs=1e-6)


# Formats -------------------------------------------------------------------------------------------------------------


def psd(stored: Array) -> bytes:
    """A Photoshop file without layers."""
    height, width, channels = stored.shape
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, channels, height, width, 8, 3)
    return header + bytes(12) + struct.pack(">H", 0) + np.moveaxis(stored, -1, 0).tobytes()


def test_photoshop_files(tmp_path: Path, rng: np.random.Generator) -> None:
    """Their layers count from 1: there is no frame 0 to go to."""
    stored = noise(rng, 6, 8, 3)
    (tmp_path / "flat.psd").write_bytes(psd(stored))
    assert colours(load_image(tmp_path / "flat.psd")) == pytest.approx(stored / 255, abs=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_format_that_pillow_writes(tmp_path: Path) -> None:
    PillowImage.init()
    quarters = np.array([[[250, 20, 20], [20, 250, 20]], [[20, 20, 250], [240, 240, 20]]], dtype=np.uint8)
    stored = quarters.repeat(32, 0).repeat(32, 1)
    read = set()
    for kind in sorted(set(PillowImage.SAVE) & set(PillowImage.OPEN)):
        path = tmp_path / f"picture.{kind.lower()}"
        try:
            PillowImage.fromarray(stored).save(path, kind)
        except (OSError, ValueError):  # writes no RGB
            continue
        if kind in ("EPS", "SPIDER"):  # the one is read by another program, the other is grey
            continue
        found = colours(load_image(path))  # an icon is there in many sizes
        side = len(found)
        sampled = found[side // 8 :: side // 4, side // 8 :: side // 4]
        assert sampled == pytest.approx(stored[8::16, 8::16] / 255, abs=0.1), kind
        read.add(kind)
    assert len(read) >= 12


def test_which_files_of_a_folder_are_pictures(tmp_path: Path, saved: Saver) -> None:
    """By their endings, else by what is in them; what is neither is named, without reading 80 GB of nothing."""
    content = saved(PillowImage.new("RGB", (4, 3))).read_bytes()
    folder = tmp_path / "folder"
    for name in ["out", ".git", "below"]:
        (folder / name).mkdir(parents=True)
    pictures = ["a.jfif", "b.JPE", "c.psd", "d.png", "below/e.avif", "no ending", "odd.dat", "photo.heic"]
    others = ["below/notes.txt", "sparse.bin", "table.h5"]
    for name in [*pictures, ".hidden.png", ".git/x.png", "out/result.png"]:
        (folder / name).write_bytes(content)
    for name in [*others, "out/run.toml"]:
        (folder / name).write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40) if name == "table.h5" else b"words")
    os.truncate(folder / "sparse.bin", 80 * 2**30)
    found, left_out = pictures_below(folder)
    assert [str(path.relative_to(folder)) for path in found] == sorted(pictures, key=Path)
    assert [str(path.relative_to(folder)) for path in left_out] == others
    assert words_about(folder, left_out).endswith(": below/notes.txt, sparse.bin, table.h5")
    assert words_about(folder, [*left_out, *left_out]).endswith(", below/notes.txt, sparse.bin and 1 more")
    assert words_about(folder, []) == ""


def odd_exif(*entries: bytes) -> bytes:
    """EXIF in little endian: orientation 6, and the entries, whose values lie where they say."""
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    table = struct.pack("<H", 1 + len(entries)) + b"".join(sorted([orientation, *entries])) + bytes(4)
    return b"Exif\0\0II*\0\x08\0\0\0" + table + struct.pack("<iiii", -1, 72, 5, 0)


AFTER = 8 + 2 + 12 * 2 + 4  # where the values of two entries lie
ODD = {
    "negative ratio": struct.pack("<HHII", 0x011A, 5, 1, AFTER),
    "signed": struct.pack("<HHII", 0x011A, 10, 1, AFTER),
    "no denominator": struct.pack("<HHII", 0x011B, 5, 1, AFTER + 8),
    "too many": struct.pack("<HHII", 0x0128, 3, 2, 0x00020002),
    "far too many": struct.pack("<HHII", 0x010F, 2, 2**31, AFTER),
    "beyond the end": struct.pack("<HHII", 0x010F, 2, 400, 2**31),
    "of no type": struct.pack("<HHII", 0x9286, 99, 1, AFTER),
    "a loop of directories": struct.pack("<HHII", 0x8769, 4, 1, 8),
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("entry", ODD)
def test_of_odd_exif_the_orientation_is_taken(saved: Saver, entry: str, strict: bool) -> None:
    quarters = np.array([[[250, 20, 20], [20, 250, 20]], [[20, 20, 250], [240, 240, 20]]], dtype=np.uint8)
    stored = quarters.repeat(16, 0).repeat(32, 1)
    path = saved(PillowImage.fromarray(stored), "jpg", exif=odd_exif(ODD[entry]), quality=100, subsampling=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if strict else "ignore")
        image = load_image(path)
        assert warnings.filters[0][0] == ("error" if strict else "ignore")
    assert colours(image) == pytest.approx(UPRIGHT[6](stored) / 255, abs=4 * LEVEL)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_orientation_of_a_tiff(saved: Saver, rng: np.random.Generator, compression: str) -> None:
    stored = noise(rng, 5, 7, 3)
    path = saved(PillowImage.fromarray(stored), "tif", tiffinfo={0x0112: 6}, compression=compression)
    assert colours(load_image(path)) == pytest.approx(UPRIGHT[6](stored) / 255, abs=1e-6)


# The host's modes ----------------------------------------------------------------------------------------------------


def test_the_hosts_default_types_have_no_part(saved: Saver) -> None:
    path = saved(PillowImage.new("RGBA", (4, 3), (10, 20, 30, 0)))
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        picture = load_picture(path)
        save_image(picture.image, path, alpha=picture.alpha)
        noises = [inits.noise()((8, 8)), noise_picture(8, torch.Generator().manual_seed(0), leaves=True)]
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    for image in (picture.image, *noises):
        assert (image.dtype, image.device.type) == (torch.float32, "cpu")


def test_threads_leave_the_hosts_limit(saved: Saver) -> None:
    paths = [saved(PillowImage.new("RGB", (40, 30)))] * 200
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(load_image, paths))
    assert PILLOWS_LIMIT == PillowImage.MAX_IMAGE_PIXELS


# What cannot be read -------------------------------------------------------------------------------------------------


def png_of(header: bytes, content: bytes) -> bytes:
    """A PNG of a header and of rows, each after the number of its filter."""
    begin = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return begin + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    """A PNG of 1-bit grey that claims to be of that size and holds next to nothing."""
    return png_of(struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0), bytes(100))


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    exif = oriented(6)
    exif[0x010F] = "maker"
    options = {"exif": exif, "icc_profile": rgb_profile(ADOBE, ADOBE_GAMMA)} if kind != "BMP" else {}
    PillowImage.fromarray(noise(np.random.default_rng(1), 24, 32, 3)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("hostile.png", png_header(20_000, 20_000), ["20000 × 20000", "268 megapixels"]),
        ("large.png", png_header(10_500, 9_000), ["cannot be read"]),  # allowed, although Pillow would warn
        ("empty.png", b"", ["not a picture"]),
        ("text.jpg", b"not a picture, only words\n" * 20, ["not a picture"]),
        *((f"truncated.{kind}", encoded(kind)[:-600], ["cannot be read"]) for kind in ("PNG", "TIFF", "BMP")),
        ("truncated.jpg", encoded("JPEG")[:-300], ["cannot be read"]),
        ("truncated.webp", encoded("WEBP")[:-300], ["picture"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unreadable_files(tmp_path: Path, name: str, content: bytes, words: list[str]) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        load_picture(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)
    assert PILLOWS_LIMIT == PillowImage.MAX_IMAGE_PIXELS  # other programs rely on it


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"there is no file .*nowhere\.png"):
        load_image(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)


def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    """Nobody writes into this one: to open it would wait for ever."""
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"pipe\.png is a pipe or a device"):
        load_image(tmp_path / "pipe.png")


def test_what_the_system_says_of_a_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"cannot be read: File name too long$"):
        load_image(tmp_path / ("a" * 300 + ".png"))


@pytest.mark.filterwarnings("ignore")  # Pillow warns about some of the damage
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "AVIF"])
def test_damage_is_an_image_error_or_harmless(tmp_path: Path, kind: str) -> None:
    whole, random, path = encoded(kind), np.random.default_rng(2), tmp_path / "damaged"
    failed = 0
    for attempt in range(60):
        content = bytearray(whole)
        reach = len(content) if attempt % 2 else min(len(content), 400)
        for position in random.integers(0, reach, random.integers(1, 6)):
            content[position] = random.integers(256)
        path.write_bytes(content)
        try:
            image = load_image(path)
        except ImageError:
            failed += 1
        else:
            assert image.min() >= 0
            assert image.max() <= 1
    assert failed or kind == "BMP"


def test_a_decoder_that_fails_in_its_own_way(saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(PillowImage.new("RGB", (4, 3)))

    def fail(*_: object) -> None:
        raise struct.error("unpack requires a buffer of 4 bytes")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ImageError, match=r"picture\.png cannot be read as a picture: unpack requires"):
        load_image(path)
