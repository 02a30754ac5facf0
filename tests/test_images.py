"""Reading pictures: every odd mode against colours worked out by hand."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
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
from impasto.images.files import load_image, load_picture

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


# What cannot be read -------------------------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG of 1-bit grey that claims to be of that size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


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
