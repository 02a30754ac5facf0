"""Files of 16 bits a colour, colour profiles, HEIC and AVIF, against Pillow, LittleCMS and independent encoders."""

import io
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from PIL import ImageCms

from colour import grey_profile, srgb_of_linear
from impasto.errors import ImageError, OutputError, SpecError
from impasto.formats import sixteen
from impasto.formats.profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    PROFILES,
    SRGB,
    Profile,
    from_srgb,
    read_grey_profile,
    read_profile,
)
from impasto.images.files import load_image, load_picture, save_image
from impasto.images.forms import FileForm, dithered

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.integers(0, 65536, (130, 37, 4)).astype(np.uint16)


def own_png(values: np.ndarray, kind: int, *more: bytes) -> bytes:
    """A PNG of 16 bits with the filter "none": all that the standard asks for, in five lines."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(chunk(m[:4], m[4:]) for m in more)
        + (chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    )


def as_array(image: torch.Tensor) -> np.ndarray:
    return np.rint(image[0].permute(1, 2, 0).double().numpy() * 65535)


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (6, 4)])
def test_sixteen_bits_are_read_whole(kind: int, channels: int, tmp_path: Path) -> None:
    (tmp_path / "deep.png").write_bytes(own_png(VALUES[..., :channels], kind))
    picture = load_picture(tmp_path / "deep.png")
    opaque = VALUES[..., 3] > 0 if channels == 4 else np.ones(VALUES.shape[:2], bool)
    assert (as_array(picture.image)[opaque] == VALUES[..., :3][opaque]).all()
    if channels == 4:
        assert picture.alpha is not None
        assert (as_array(picture.alpha)[..., 0] == VALUES[..., 3]).all()


def test_grey_of_sixteen_bits_with_transparency_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "deep.png").write_bytes(own_png(VALUES[..., :2] | 1, 4))
    picture = load_picture(tmp_path / "deep.png")
    assert picture.alpha is not None
    assert (as_array(picture.image) == (VALUES[..., :1] | 1)).all()
    assert (as_array(picture.alpha)[..., 0] == VALUES[..., 1] | 1).all()


def test_a_transparent_colour_of_sixteen_bits(tmp_path: Path) -> None:
    values = VALUES[..., :3].copy()
    values[3, 4] = (258, 259, 260)
    values[3, 5] = (258, 259, 261)  # the same in 8 bits
    (tmp_path / "key.png").write_bytes(own_png(values, 2, b"tRNS" + struct.pack(">3H", 258, 259, 260)))
    alpha = load_picture(tmp_path / "key.png").alpha
    assert alpha is not None
    assert alpha[0, 0, 3, 4] == 0
    assert alpha.sum() == alpha.numel() - 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_either_order_is_read_whole_and_turned(order: str, tmp_path: Path) -> None:
    """An uncompressed TIFF, written here by hand, that lies on its side."""
    values = VALUES[..., :3]
    height, width, _ = values.shape
    data = values.astype(f"{order}u2").tobytes()
    entries = [(256, 4, width), (257, 4, height), (259, 3, 1), (262, 3, 2), (273, 4, 200), (274, 3, 6), (277, 3, 3)]
    entries += [(278, 4, height), (279, 4, len(data))]
    packed = [
        struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(f"{order}{'I' if kind == 4 else 'Hxx'}", value)
        for tag, kind, value in entries
    ]
    packed.insert(2, struct.pack(f"{order}HHII", 258, 3, 3, 180))
    table = struct.pack(f"{order}H", len(packed)) + b"".join(packed) + bytes(4)
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    file = (start + table).ljust(180, b"\0") + struct.pack(f"{order}3H", 16, 16, 16)
    (tmp_path / "deep.tif").write_bytes(file.ljust(200, b"\0") + data)
    assert (as_array(load_image(tmp_path / "deep.tif")) == np.rot90(values, -1)).all()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_in_planes_is_read_or_refused(bits: int, packed: bool, tmp_path: Path) -> None:
    """The colours of each plane in a strip of its own, one after the other."""
    values = VALUES[:4, :5, :3] >> (16 - bits)
    planes = [plane.astype(f"<u{bits // 8}").tobytes() for plane in np.moveaxis(values, 2, 0)]
    planes = [zlib.compress(plane) if packed else plane for plane in planes]
    lengths = [len(plane) for plane in planes]
    starts = [300 + sum(lengths[:index]) for index in range(3)]
    entries = [(256, 3, [5]), (257, 3, [4]), (258, 3, [bits] * 3), (259, 3, [8 if packed else 1]), (262, 3, [2])]
    entries += [(273, 3, starts), (277, 3, [3]), (278, 3, [4]), (279, 3, lengths), (284, 3, [2])]
    table, far = struct.pack("<H", len(entries)), b""
    for tag, kind, numbers in entries:
        content = struct.pack(f"<{len(numbers)}H", *numbers)
        if len(content) > 4:
            content, far = struct.pack("<I", 200 + len(far)), far + content
        table += struct.pack("<HHI", tag, kind, len(numbers)) + content.ljust(4, b"\0")
    start = struct.pack("<2sHI", b"II", 42, 8) + table + bytes(4)
    (tmp_path / "planes.tif").write_bytes((start.ljust(200, b"\0") + far).ljust(300, b"\0") + b"".join(planes))
    if bits == 8:
        assert (as_array(load_image(tmp_path / "planes.tif")) == 257 * values.astype(int)).all()
        return
    with pytest.raises(ImageError, match=r"planes\.tif cannot be read as a picture: its 16-bit colours lie in planes"):
        load_image(tmp_path / "planes.tif")


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_survive_writing_and_reading(ending: str, channels: int, tmp_path: Path) -> None:
    values = torch.from_numpy(VALUES.astype(np.float64) / 65535).float().permute(2, 0, 1)[None]
    alpha = values[:, 3:].clamp(min=0.1) if channels == 4 else None
    save_image(values[:, :3], tmp_path / f"deep{ending}", alpha=alpha, form=FileForm(depth=16, dpi=300.0), settings="ä")
    with PillowImage.open(tmp_path / f"deep{ending}") as file:
        assert file.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert file.info.get("impasto") == ("ä" if ending == ".png" else None)
        assert len(file.getbands()) == channels
        file.load()
        assert abs(np.asarray(file).astype(int)[..., :3] - VALUES[..., :3] / 257).max() < 1
    found = load_picture(tmp_path / f"deep{ending}")
    assert (as_array(found.image) == VALUES[..., :3]).all()
    assert (found.alpha is None) == (alpha is None)
    if found.alpha is not None and alpha is not None:
        assert torch.allclose(found.alpha, alpha, atol=1 / 65535)


def test_jpeg_and_webp_have_eight_bits(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"a file ending in .jpg has 8 bits a colour; choose .png or .tif for 16"):
        save_image(torch.zeros(1, 3, 4, 4), tmp_path / "a.jpg", form=FileForm(depth=16))
    assert not list(tmp_path.iterdir())


def test_a_tiff_too_large_for_its_numbers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sixteen, "MOST_TIFF", 1000)
    with pytest.raises(OutputError, match="4 GB"):
        save_image(torch.rand(1, 3, 40, 40), tmp_path / "a.tif", form=FileForm(depth=16))


@pytest.mark.parametrize("form", [{"depth": 12}, {"profile": "adobe"}])
def test_an_unknown_form_gets_a_sentence(form: dict) -> None:
    with pytest.raises(SpecError, match=r"depth is 12|did you mean 'adobe-rgb'"):
        FileForm(**form)


# Profiles ------------------------------------------------------------------------------------------------------------


def test_matrices_are_the_published_ones() -> None:
    """Sources: ICC's sRGB v4 appearance-free profile; Apple's Display P3.icc; Adobe RGB (1998), 4.3.6 (under D50)."""
    published = {
        SRGB: [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]],
        DISPLAY_P3: [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]],
        ADOBE_RGB: [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]],
    }
    for profile, matrix in published.items():
        assert np.allclose(profile.matrix, matrix, atol=2e-4), profile.name


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_colours_agree_with_littlecms(profile: Profile) -> None:
    bytes_ = RANDOM.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile.icc()))
    assert ImageCms.getProfileDescription(theirs).strip() == profile.name
    srgb = ImageCms.createProfile("sRGB")
    expected = np.asarray(ImageCms.profileToProfile(PillowImage.fromarray(bytes_), srgb, theirs, outputMode="RGB"))
    ours = from_srgb(bytes_ / 255, profile)
    error = abs(expected - 255 * ours)
    assert np.quantile(error, 0.999) < 0.75
    assert error.max() < 2  # near black, where curves are steep and LittleCMS has tables
    found = read_profile(profile.icc())
    assert found is not None
    assert abs(found.to_srgb(ours) - bytes_ / 255).max() < 5e-4  # numbers of profiles have 16 bits behind the point


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("profile", ["display-p3", "adobe-rgb"])
def test_a_picture_in_another_space_is_the_same_picture(profile: str, depth: int, tmp_path: Path) -> None:
    image = torch.from_numpy(VALUES[..., :3].astype(np.float32) / 65535).permute(2, 0, 1)[None].contiguous()
    save_image(image, tmp_path / "a.png", form=FileForm(depth=depth, profile=profile))
    error = (load_image(tmp_path / "a.png") - image).abs()
    assert error.mean() < (0.01 if depth == 8 else 2e-5)
    with PillowImage.open(tmp_path / "a.png") as file:
        assert file.info["icc_profile"] == PROFILES[profile].icc()


def _with_curve(tag: bytes) -> bytes:
    """The profile of Adobe RGB with another curve for each colour, appended at its end."""
    icc = bytearray(ADOBE_RGB.icc())
    for index in range(struct.unpack_from(">I", icc, 128)[0]):
        if icc[132 + 12 * index : 136 + 12 * index] in (b"rTRC", b"gTRC", b"bTRC"):
            struct.pack_into(">II", icc, 136 + 12 * index, len(icc), len(tag))
    icc += tag + bytes(-len(tag) % 4)
    struct.pack_into(">I", icc, 0, len(icc))
    return bytes(icc)


def _fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(65536 * number)) for number in numbers)


CURVES = {
    "linear": b"curv\0\0\0\0\0\0\0\0",
    "gamma": b"curv\0\0\0\0\0\0\0\1" + struct.pack(">H", round(1.8 * 256)),
    "table": b"curv\0\0\0\0" + struct.pack(">I256H", 256, *(round(65535 * (i / 255) ** 2.2) for i in range(256))),
    "function 0": b"para\0\0\0\0\0\0\0\0" + _fixed(1.8),
    "function 1": b"para\0\0\0\0\0\1\0\0" + _fixed(2.4, 0.95, 0.05),
    "function 2": b"para\0\0\0\0\0\2\0\0" + _fixed(2.4, 0.9, 0.05, 0.01),
    "function 3": b"para\0\0\0\0\0\3\0\0" + _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    "function 4": b"para\0\0\0\0\0\4\0\0" + _fixed(2.4, 0.9, 0.05, 0.08, 0.04, 0.01, 0.01),
}


@pytest.mark.parametrize("tag", CURVES.values(), ids=CURVES.keys())
def test_every_kind_of_curve_is_read(tag: bytes) -> None:
    icc = _with_curve(tag)
    found = read_profile(icc)
    assert found is not None
    bytes_ = RANDOM.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    theirs = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    srgb = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(
        PillowImage.fromarray(bytes_), theirs, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
    )
    expected = np.asarray(converted)
    assert abs(expected - 255 * found.to_srgb(bytes_ / 255)).max() < 1.5


@pytest.mark.parametrize(
    "icc",
    [b"", b"\0" * 200, ADOBE_RGB.icc()[:150], ADOBE_RGB.icc().replace(b"RGB ", b"CMYK"), _with_curve(b"none" * 9)],
)
def test_a_profile_without_matrix_is_left_to_littlecms(icc: bytes) -> None:
    assert read_profile(icc) is None


def test_a_broken_profile_leaves_a_deep_picture_readable(tmp_path: Path) -> None:
    broken = b"iCCP" + b"x\0\0" + zlib.compress(ADOBE_RGB.icc()[:150])
    (tmp_path / "a.png").write_bytes(own_png(VALUES[..., :3], 2, broken))
    assert abs(as_array(load_image(tmp_path / "a.png")) - VALUES[..., :3]).max() < 257


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
@pytest.mark.parametrize("kind", ["grey.png", "grey.tif", "transparent.png"])
def test_a_grey_profile_keeps_sixteen_bits(kind: str, gamma: float, tmp_path: Path) -> None:
    """LittleCMS's own conversion of the same light is followed between the levels of 8 bits too."""
    icc, ramp = grey_profile(gamma), np.linspace(0, 65535, 300 * 7).round().astype(np.uint16).reshape(300, 7)
    if kind == "transparent.png":
        values = np.stack([ramp, np.full_like(ramp, 40000)], -1)
        (tmp_path / kind).write_bytes(own_png(values, 4, b"iCCP" + b"x\0\0" + zlib.compress(icc)))
    else:
        PillowImage.fromarray(ramp).save(tmp_path / kind, icc_profile=icc)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = load_picture(tmp_path / kind)
    found = picture.image[0].permute(1, 2, 0).double().numpy()
    assert abs(found - srgb_of_linear((ramp / 65535) ** (round(256 * gamma) / 256))[..., None]).max() < 1e-4
    assert len(np.unique(found)) > 1500
    assert (picture.alpha is not None) == (kind == "transparent.png")
    levels = PillowImage.fromarray((ramp[::-1] >> 8).astype(np.uint8))
    theirs = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    converted = ImageCms.profileToProfile(levels, theirs, ImageCms.createProfile("sRGB"), outputMode="RGB")
    change = read_grey_profile(icc)
    assert change is not None
    error = abs(255 * change(np.asarray(levels) / 255) - np.asarray(converted)[..., 0])
    assert error[np.asarray(levels) > 20].max() < 1  # near black LittleCMS has tables, where the curve is steep


@pytest.mark.parametrize(
    "wrong", [(b"GRAY", b"CMYK"), (b"kTRC", b"xTRC"), (b"kTRC", b"A2B0"), (b"XYZ \x07", b"Lab \x07")]
)
def test_a_grey_profile_without_a_curve_is_not_read(wrong: tuple[bytes, bytes], tmp_path: Path) -> None:
    icc = grey_profile(1.8).replace(*wrong, 1)
    assert icc != grey_profile(1.8)
    assert read_grey_profile(icc) is None
    PillowImage.fromarray(VALUES[..., 0]).save(tmp_path / "a.png", icc_profile=icc)
    assert load_image(tmp_path / "a.png").shape[2:] == VALUES.shape[:2]


# Dither --------------------------------------------------------------------------------------------------------------


def test_dither_keeps_the_mean_and_has_no_bands() -> None:
    slope = torch.linspace(100, 102, 600).expand(64, 600)[..., None].expand(64, 600, 3).contiguous()
    found = dithered(slope, 0)
    assert set(found.unique().tolist()) <= {100, 101, 102}
    boxes = found[..., 0].unfold(0, 16, 16).unfold(1, 20, 20).mean((2, 3))
    wanted = slope[..., 0].unfold(0, 16, 16).unfold(1, 20, 20).mean((2, 3))
    assert (boxes - wanted).abs().max() < 0.1
    assert (slope.round()[..., 0].unfold(0, 16, 16).unfold(1, 20, 20).mean((2, 3)) - wanted).abs().max() > 0.4


def test_dither_does_not_change_eight_bits(tmp_path: Path) -> None:
    levels = torch.from_numpy(RANDOM.integers(0, 256, (300, 40, 3))).float()
    image = (levels / 255).permute(2, 0, 1)[None].contiguous()
    save_image(image, tmp_path / "a.png", form=FileForm(dither=True))
    assert torch.equal((load_image(tmp_path / "a.png") * 255).round(), image.mul(255).round())


def test_dither_has_no_seam_between_bands(tmp_path: Path) -> None:
    image = torch.full((1, 3, 600, 8), 100.5 / 255)
    save_image(image, tmp_path / "a.png", form=FileForm(dither=True))
    found = load_image(tmp_path / "a.png")[0].permute(1, 2, 0) * 255
    assert torch.equal(found.round(), dithered(torch.full((600, 8, 3), 100.5), 0))


# HEIC and AVIF -------------------------------------------------------------------------------------------------------


def test_heic_is_read(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    smooth = np.stack(np.meshgrid(np.linspace(30, 200, 64), np.linspace(50, 220, 96)), -1)
    pixels = np.concatenate([smooth, smooth[..., :1]], -1).astype(np.uint8)
    heif.from_pillow(PillowImage.fromarray(pixels)).save(tmp_path / "a.heic", quality=95)
    found = load_image(tmp_path / "a.heic")
    assert found.shape == (1, 3, 96, 64)
    assert (found[0].permute(1, 2, 0) - torch.from_numpy(pixels) / 255).abs().mean() < 0.02


def test_heic_without_its_package_gets_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        ImageError, match=r"a.heic cannot be read: reading HEIC needs a package that is missing .*\[heif\]'"
    ):
        load_image(tmp_path / "a.heic")


def test_avif_is_read(tmp_path: Path) -> None:
    PillowImage.new("RGB", (40, 30), (200, 100, 50)).save(tmp_path / "a.avif", quality=95)
    found = load_image(tmp_path / "a.avif")
    assert found.shape == (1, 3, 30, 40)
    assert (found[0, :, 15, 20] * 255 - torch.tensor([200.0, 100, 50])).abs().max() < 4
