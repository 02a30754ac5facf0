"""Contact sheets, curves and animations."""

import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

from conftest import example, random_image
from impasto.images.animations import _shared_palette, save_animation
from impasto.images.curves import save_curves
from impasto.images.files import to_pillow
from impasto.images.sheets import contact_sheet

COLOURS = [(200, 30, 30), (30, 160, 40), (40, 60, 210), (220, 180, 20), (150, 40, 190)]


def plain(colour: tuple[int, int, int], width: int, height: int) -> PillowImage.Image:
    return PillowImage.new("RGB", (width, height), colour)


def where(sheet: PillowImage.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of all pixels of a colour, which fill it."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(2))
    box = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
    assert len(rows) == (box[2] - box[0]) * (box[3] - box[1])
    return box


# Contact sheets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_pictures_in_rows(columns: int) -> None:
    pictures = [(f"number {n}", plain(colour, 40, 30)) for n, colour in enumerate(COLOURS)]
    sheet = contact_sheet(pictures, columns=columns, height_px=90, title="all")
    boxes = [where(sheet, colour) for colour in COLOURS]
    assert {(right - left, bottom - top) for left, top, right, bottom in boxes} == {(120, 90)}
    for (one, left), (other, right) in pairwise(enumerate(boxes)):
        if one // columns == other // columns:
            assert left[2] < right[0]
            assert left[1] == right[1]
        else:
            assert left[3] < right[1]
            assert right[0] == boxes[0][0]


def test_pictures_keep_their_proportions() -> None:
    sheet = contact_sheet(
        [("", plain(COLOURS[0], 40, 30)), ("", plain(COLOURS[1], 30, 60)), ("", plain(COLOURS[2], 900, 10))],
        columns=1,
        height_px=90,
    )
    sizes = [(right - left, bottom - top) for left, top, right, bottom in (where(sheet, c) for c in COLOURS[:3])]
    assert sizes == [(120, 90), (45, 90), (270, 3)]  # a panorama is no wider than three times the height


def test_captions_do_not_run_into_each_other() -> None:
    """What is drawn right of a narrow picture is the same, whatever its neighbour's caption says."""
    words = "a caption that is much longer than its picture is wide"

    def drawn(first: str) -> np.ndarray:
        sheet = contact_sheet(
            [(first, plain(COLOURS[0], 10, 40)), (f"name\n{words}", plain(COLOURS[1], 10, 40))], columns=2, height_px=80
        )
        return np.asarray(sheet)[:, where(sheet, COLOURS[1])[0] :]

    assert np.array_equal(drawn(f"\n{words}"), drawn("\n"))
    paper = np.asarray(contact_sheet([(words, plain(COLOURS[0], 10, 40))], columns=1, height_px=80))[:, -8:]
    assert (paper == 255).all()  # nothing is cut off at the right


def test_captions_are_drawn() -> None:
    with_words, without = (
        np.asarray(contact_sheet([(words, plain(COLOURS[0], 80, 40))], columns=3, title=title))
        for words, title in (("conv1_1\ne 0.02", "layers"), (" \n ", " "))
    )
    assert with_words.shape == without.shape
    rows = np.nonzero((with_words != without).any((1, 2)))[0]
    picture = where(PillowImage.fromarray(with_words), COLOURS[0])
    assert rows.min() < picture[1]
    assert rows.max() > picture[3] + 20  # two lines
    assert not ((rows >= picture[1]) & (rows < picture[3])).any()


# Curves --------------------------------------------------------------------------------------------------------------


def curve(path: Path, **curves: list[float]) -> np.ndarray:
    save_curves(curves, path, title="losses")
    with PillowImage.open(path) as file:
        assert file.format == "PNG"
        return np.asarray(file.convert("RGB")).astype(int)


def test_curves_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "losses.png"
    one = curve(path, total=[1.0, 0.1, 0.01])
    two = curve(path, total=[1.0, 0.1, 0.01], content=[0.5, 0.05, 0.005])
    coloured = [int((np.ptp(picture, 2) > 60).sum()) for picture in (one, two)]
    assert coloured[0] > 500
    assert coloured[1] > 1.3 * coloured[0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["losses.png"]


@pytest.mark.parametrize(
    "values", [[], [3.0], [2.0, 2.0], [0.0, math.nan, math.inf, -1.0], [5e-324, 1.7e308], [1e-320, 2e-320], [1.7e308]]
)
def test_any_losses_can_be_drawn(tmp_path: Path, values: list[float]) -> None:
    picture = curve(tmp_path / "losses.png", total=values, other=[])
    assert (np.ptp(picture[60:430, 90:700], 2) > 60).any() == any(0 < value < math.inf for value in values)


def test_nobody_elses_settings_have_a_part_in_curves(tmp_path: Path) -> None:
    """What a notebook or a user's matplotlibrc asks for would end a run after its last step, or change its picture."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\naxes.facecolor: red\n")
    words = "import sys; from impasto.images.curves import save_curves; from pathlib import Path; "
    words += "save_curves({'total': [1.0, 0.1, 0.01]}, Path('there.png'), title='losses'); "
    words += "sys.exit('matplotlib' in sys.modules)"
    environment = {**os.environ, "MPLBACKEND": "module://nowhere", "HOME": str(tmp_path / "none")}
    done = subprocess.run([sys.executable, "-c", words], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert done.stderr == b""
    curve(tmp_path / "here.png", total=[1.0, 0.1, 0.01])
    assert (tmp_path / "there.png").read_bytes() == (tmp_path / "here.png").read_bytes()


def test_the_axis_is_logarithmic(tmp_path: Path) -> None:
    """A loss that falls by the same factor each step is a straight line: its middle is halfway."""
    picture = curve(tmp_path / "losses.png", total=[10.0**-n for n in range(9)])
    rows, columns = np.nonzero(np.ptp(picture, 2) > 60)
    line = columns < 0.75 * columns.max()  # beside the legend
    slope = np.polyfit(columns[line], rows[line], 1)
    assert abs(np.polyval(slope, columns[line]) - rows[line]).max() < 6
    assert slope[0] > 0.3


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.0], [1.0], [0.0, 1.0, 0.0]])
def test_curves_of_little(tmp_path: Path, values: list[float]) -> None:
    assert curve(tmp_path / "losses.png", total=values).shape[2] == 3
    assert curve(tmp_path / "losses.png").shape[2] == 3


# Animations ----------------------------------------------------------------------------------------------------------


def palettes(path: Path) -> list[bytes]:
    """All palettes of a GIF, that of the file and those of single frames, read from its blocks."""
    content = path.read_bytes()
    assert content[:6] == b"GIF89a"
    found, place = [], 13

    def take(flags: int) -> None:
        nonlocal place
        if flags & 0x80:
            end = place + (3 << ((flags & 7) + 1))
            found.append(content[place:end])
            place = end

    take(content[10])
    while content[place] != 0x3B:
        if content[place] == 0x2C:
            place += 10
            take(content[place - 1])
            place += 1
        else:
            assert content[place] == 0x21
            place += 2
        while content[place]:
            place += 1 + content[place]
        place += 1
    return found


def way(height: int, width: int, count: int = 5) -> list[PillowImage.Image]:
    """From noise to a painting."""
    start, end = random_image(height, width), example("night-cafe", (height, width)).double()
    return [to_pillow(start + share / (count - 1) * (end - start)) for share in range(count)]


def blurred(picture: PillowImage.Image, other: PillowImage.Image) -> float:
    """Mean difference of blocks of 5 pixels: dithering and noise even out."""
    height, width = picture.height // 5, picture.width // 5
    one, two = (np.asarray(each.convert("RGB"), dtype=float)[: 5 * height, : 5 * width] for each in (picture, other))
    return float(abs((one - two).reshape(height, 5, width, 5, 3).mean((1, 3))).mean())


def shown(path: Path) -> list[tuple[int, PillowImage.Image]]:
    """Duration and picture of each frame."""
    found = []
    with PillowImage.open(path) as animation:
        assert animation.info["loop"] == 0
        for index in range(animation.n_frames):
            animation.seek(index)
            animation.load()  # WebP says how long a frame takes when it is decoded
            found.append((animation.info["duration"], animation.convert("RGB")))
    return found


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_an_animation(tmp_path: Path, ending: str) -> None:
    path, frames = tmp_path / f"progress.{ending}", way(40, 60)
    save_animation(frames, path, frame_ms=90, hold_ms=1500)
    found = shown(path)
    assert [duration for duration, _ in found] == [90, 90, 90, 90, 1500]
    for (_, picture), frame in zip(found, frames, strict=True):
        assert picture.size == (60, 40)
        assert blurred(picture, frame) < (6 if ending == "gif" else 8)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_one_palette_serves_all_frames(tmp_path: Path) -> None:
    """It is in the file's head, and no frame brings its own."""
    frames = way(40, 60)
    save_animation(frames, tmp_path / "progress.gif")
    assert len(palettes(tmp_path / "progress.gif")) == 1
    own = [frame.quantize(256, PillowImage.Quantize.FASTOCTREE) for frame in frames]
    for (_, picture), frame, best in zip(shown(tmp_path / "progress.gif"), frames, own, strict=True):
        assert blurred(picture, frame) < 2 * blurred(best, frame) + 1


def test_a_palette_of_very_many_frames_is_not_large() -> None:
    frames = [plain(COLOURS[index % 5], 50, 40) for index in range(2000)]
    palette = _shared_palette(frames)
    assert palette.width * palette.height < 2**21
    found = {tuple(colour) for colour in np.reshape(palette.getpalette("RGB"), (-1, 3))}
    assert all(min(abs(np.subtract(colour, other)).max() for other in found) <= 8 for colour in COLOURS)


@pytest.mark.parametrize("ending", ["gif", "webp", "mp4"])
def test_a_single_picture_is_an_animation_too(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"progress.{ending}"
    save_animation([plain(COLOURS[2], 20, 10)], path)
    if ending == "mp4":
        assert len(decoded(path)) == 17
    else:
        with PillowImage.open(path) as animation:
            assert animation.n_frames == 1
            assert abs(np.asarray(animation.convert("RGB"), dtype=int) - COLOURS[2]).max() < 8


def decoded(path: Path) -> list[PillowImage.Image]:
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        return [frame.to_image() for frame in container.decode(stream)]


@pytest.mark.parametrize(("height", "width"), [(40, 60), (41, 61), (1, 3)])
def test_a_video(tmp_path: Path, height: int, width: int) -> None:
    path, frames = tmp_path / "progress.mp4", way(height, width)
    save_animation(frames, path, frame_ms=100, hold_ms=1500)
    found = decoded(path)
    assert len(found) == 4 + 15
    assert {picture.size for picture in found} == {(width - width % 2, max(2, height - height % 2))}
    if height > 1:
        for picture, frame in zip(found, [*frames, *[frames[-1]] * 14], strict=True):
            assert blurred(picture, frame.resize(picture.size)) < 8
    with av.open(str(path)) as container:
        assert container.duration == pytest.approx(1.9e6, rel=0.01)  # microseconds
        assert container.streams.video[0].codec_context.colorspace == 1  # BT.709
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # browsers begin before all is loaded
    assert [entry.name for entry in tmp_path.iterdir()] == ["progress.mp4"]


def test_an_ending_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^progress.avi is no .gif, .webp or .mp4$"):
        save_animation(way(10, 10), tmp_path / "progress.avi")


def test_frames_that_are_alike_take_their_time(tmp_path: Path) -> None:
    path = tmp_path / "progress.gif"
    save_animation([plain(COLOURS[0], 20, 10)] * 3, path, frame_ms=100, hold_ms=1000)
    with PillowImage.open(path) as animation:
        total = 0
        for index in range(animation.n_frames):
            animation.seek(index)
            total += animation.info["duration"]
    assert total == 1200
