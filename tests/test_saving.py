"""Writing pictures whole or not at all, and resizing them."""

import io
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage
from PIL import ImageCms
from torch import Tensor

from conftest import random_image
from impasto.errors import ImageError, OutputError
from impasto.files import new_file, write_bytes
from impasto.formats.profiles import SRGB
from impasto.images.colours import from_pillow
from impasto.images.files import embedded_settings, load_image, load_picture, save_image, to_pillow
from impasto.images.image import Picture, cover, quantise, resize, size_of, size_with_area, size_with_long_side

sides = st.integers(2, 40)
sizes = st.tuples(sides, sides)
TEXT = 'title = "Größe – 絵画 🎨"\n[stage]\nsize = [3, 4]\n'


def ramp(height: int, width: int) -> Tensor:
    """Red grows downwards, green to the right, blue is even."""
    rows = torch.linspace(0, 1, height)[:, None].expand(height, width)
    columns = torch.linspace(0, 1, width)[None].expand(height, width)
    return torch.stack([rows, columns, torch.full_like(rows, 0.3)])[None].contiguous()


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "kind", "tolerance"),
    [
        ("png", "PNG", 0.51),
        ("PNG", "PNG", 0.51),
        ("tif", "TIFF", 0.51),
        ("tiff", "TIFF", 0.51),
        ("jpg", "JPEG", 5),
        ("JPEG", "JPEG", 5),
        ("webp", "WEBP", 8),
    ],
)
def test_every_ending(tmp_path: Path, ending: str, kind: str, tolerance: float) -> None:
    image, path = ramp(40, 60), tmp_path / f"result.{ending}"
    save_image(image, path)
    with PillowImage.open(path) as file:
        assert file.format == kind
        assert file.size == (60, 40)
        icc = file.info["icc_profile"]
    assert icc[24:36] == SRGB.icc()[24:36]  # no time is kept, so that equal pictures are equal files
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc)))
    assert (load_image(path) - image).abs().max() * 255 <= tolerance
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["result.gif", "result", "result.png.txt", ".png"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=r"pictures are written as \.png, \.jpg"):
        save_image(ramp(3, 4), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", [TEXT, "plain = 1\n", "Größe", ""])
def test_settings_are_kept_as_international_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.png"
    save_image(ramp(3, 4), path, settings=text)
    assert embedded_settings(path) == text
    content, chunks, position = path.read_bytes(), [], 8
    while position < len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        chunks.append((kind, content[position + 8 : position + 8 + length]))
        position += 12 + length
    # PNG specification, 11.3.4.5: keyword, 0, not compressed, method 0, no language, no translated keyword, UTF-8.
    assert (b"iTXt", b"impasto\0\0\0\0\0" + text.encode()) in chunks
    assert b"iCCP" in dict(chunks)


def test_no_settings(tmp_path: Path) -> None:
    for name in ("result.png", "result.jpg"):
        save_image(ramp(3, 4), tmp_path / name, settings=None if name.endswith("png") else TEXT)
        assert embedded_settings(tmp_path / name) is None


@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_transparency_is_put_back(tmp_path: Path, ending: str) -> None:
    alpha = torch.linspace(0, 1, 256).reshape(1, 1, 16, 16)
    save_image(ramp(16, 16), tmp_path / f"result.{ending}", alpha=alpha)
    found = load_picture(tmp_path / f"result.{ending}")
    assert found.alpha is not None
    assert torch.allclose(found.alpha, alpha, atol=1e-6)


def test_jpeg_has_no_transparency(tmp_path: Path) -> None:
    save_image(ramp(16, 16), tmp_path / "result.jpg", alpha=torch.full((1, 1, 16, 16), 0.25))
    found = load_picture(tmp_path / "result.jpg")
    assert found.alpha is None
    assert (found.image - (0.75 + 0.25 * ramp(16, 16))).abs().max() < 0.05


@pytest.mark.parametrize(("ending", "width"), [("webp", 16_384), ("jpg", 65_536)])
def test_a_side_too_long_for_the_format(tmp_path: Path, ending: str, width: int) -> None:
    with pytest.raises(OutputError, match=r"result\.\w+ cannot be written: "):
        save_image(ramp(1, width), tmp_path / f"result.{ending}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", ["pathlib.Path.replace", "os.fsync"])
def test_a_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    path = tmp_path / "result.png"
    save_image(ramp(3, 4), path)
    old = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(OutputError, match=r"cannot be written: No space left"):
        save_image(ramp(5, 6), path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_no_such_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder.png").mkdir()
    for name in ("file/result.png", "nowhere/result.png", "folder.png"):
        with pytest.raises(OutputError, match="cannot be written"):
            save_image(ramp(3, 4), tmp_path / name)
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["file", "folder.png"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_have_usual_permissions(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "file", b"content")
        assert os.umask(mask) == mask  # left as it was
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == b"content"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


# Eight bits ----------------------------------------------------------------------------------------------------------


def test_quantised_is_what_comes_back(tmp_path: Path) -> None:
    image = 1.4 * random_image(40, 60, dtype=torch.float32) - 0.2
    image[0, 0] = (torch.arange(2400).reshape(40, 60) / 2).div(255)  # halves, where rounding could differ
    save_image(image, tmp_path / "result.png")
    assert torch.equal(load_image(tmp_path / "result.png"), quantise(image))


def test_rounding_and_clipping() -> None:
    levels = torch.tensor([-1.0, -0.001, 0.4 / 255, 0.6 / 255, 127.4 / 255, 254.6 / 255, 1.0, 7.0])
    stored = np.asarray(to_pillow(levels.expand(1, 3, 1, 8)))
    assert stored[0, :, 1].tolist() == [0, 0, 0, 1, 127, 255, 255, 255]


def test_to_pillow_and_back(rng: np.random.Generator) -> None:
    stored = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = from_pillow(PillowImage.fromarray(stored))
    assert Picture(image).size == (5, 7)
    assert image.is_contiguous()
    assert np.array_equal(image[0].permute(1, 2, 0).numpy(), stored.astype(np.float32) / 255)
    assert np.array_equal(np.asarray(to_pillow(image)), stored)


# Sizes ---------------------------------------------------------------------------------------------------------------


@given(sizes, sizes)
def test_resize_agrees_with_pillow(old: tuple[int, int], new: tuple[int, int]) -> None:
    image = random_image(*old, dtype=torch.float32)
    found = resize(image, new)
    truth = [
        np.asarray(PillowImage.fromarray(band.numpy()).resize(new[::-1], PillowImage.Resampling.BICUBIC))
        for band in image[0]
    ]
    assert found.shape == (1, 3, *new)
    assert found.numpy()[0] == pytest.approx(np.clip(truth, 0, 1), abs=1e-5)


@given(sizes, sizes, st.floats(0, 1, width=32))
def test_resize_keeps_flat_pictures_flat(old: tuple[int, int], new: tuple[int, int], level: float) -> None:
    assert torch.allclose(resize(torch.full((1, 3, *old), level), new), torch.tensor(level), atol=1e-6)


@given(sizes, sizes)
def test_fit_gives_the_size_and_stays_in_range(old: tuple[int, int], new: tuple[int, int]) -> None:
    found = cover(random_image(*old), new)
    assert size_of(found) == new
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize(
    ("old", "new", "rows", "columns"),
    [
        ((40, 20), (10, 10), slice(10, 30), slice(None)),
        ((20, 60), (10, 10), slice(None), slice(20, 40)),
        ((30, 40), (15, 20), slice(None), slice(None)),
        ((30, 40), (30, 20), slice(None), slice(10, 30)),
        ((9, 16), (32, 32), slice(None), slice(3, 12)),
    ],
)
def test_fit_keeps_the_middle(old: tuple[int, int], new: tuple[int, int], rows: slice, columns: slice) -> None:
    image = random_image(*old)
    assert torch.allclose(cover(image, new), resize(image[:, :, rows, columns], new))


large = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@given(large, st.integers(1, 5000))
def test_size_with_long_side(size: tuple[int, int], side: int) -> None:
    height, width = size_with_long_side(size, side)
    assert max(height, width) == side
    assert min(height, width) >= 1
    factor = side / max(size)
    assert abs(height - size[0] * factor) <= 1
    assert abs(width - size[1] * factor) <= 1


@given(large, st.floats(1, 1e7))
def test_size_with_area(size: tuple[int, int], area: float) -> None:
    height, width = size_with_area(size, area)
    exact_height, exact_width = (area * size[0] / size[1]) ** 0.5, (area * size[1] / size[0]) ** 0.5
    assert height == pytest.approx(exact_height, abs=max(0.5001, 1 - exact_height))
    assert width == pytest.approx(exact_width, abs=max(0.5001, 1 - exact_width))


def test_a_new_file_is_one_process_s(tmp_path: Path) -> None:
    """The second finds the name taken, also before there is any content; a failure gives the name back."""
    path = tmp_path / "means.safetensors"
    with new_file(path):
        with (
            pytest.raises(OutputError, match="exists already; name another file, or replace it with --force"),
            new_file(path),
        ):
            pass
        write_bytes(path, b"first")
    assert path.read_bytes() == b"first"
    with pytest.raises(RuntimeError), new_file(tmp_path / "other"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == [path]


def test_links_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    for content in (b"one", b"two"):
        write_bytes(tmp_path / "link", content)
        assert (tmp_path / "folder" / "file").read_bytes() == content
    assert (tmp_path / "link").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit((tmp_path / "pipe").read_bytes)
        write_bytes(tmp_path / "pipe", b"a", memoryview(b"b"))
        assert read.result(timeout=60) == b"ab"
    assert (tmp_path / "pipe").is_fifo()
    write_bytes(Path(os.devnull), b"nothing")
    assert Path(os.devnull).is_char_device()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link", "pipe"]
