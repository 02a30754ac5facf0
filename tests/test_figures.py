"""Contact sheets, curves, animations."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from conftest import example, random_image
from impasto.figures import contact_sheet, save_animation, save_curves
from impasto.images import to_pillow

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


def test_an_animation(tmp_path: Path) -> None:
    path = tmp_path / "progress.gif"
    start, end = random_image(40, 60), example("night-cafe", (40, 60)).double()
    frames = [to_pillow(start + share / 4 * (end - start)) for share in range(5)]
    save_animation(frames, path, frame_ms=90, hold_ms=1500)
    assert len(set(palettes(path))) == 1
    with PillowImage.open(path) as animation:
        assert animation.n_frames == 5
        assert animation.info["loop"] == 0
        durations = []
        for index, frame in enumerate(frames):
            animation.seek(index)
            durations.append(animation.info["duration"])
            shown = np.asarray(animation.convert("RGB"), dtype=float)
            blurred = (shown - np.asarray(frame)).reshape(8, 5, 12, 5, 3).mean((1, 3))  # dithering evens out
            assert abs(blurred).mean() < 6
    assert durations == [90, 90, 90, 90, 1500]
    assert [entry.name for entry in tmp_path.iterdir()] == ["progress.gif"]


def test_frames_that_are_alike_take_their_time(tmp_path: Path) -> None:
    path = tmp_path / "progress.gif"
    save_animation([plain(COLOURS[0], 20, 10)] * 3, path, frame_ms=100, hold_ms=1000)
    with PillowImage.open(path) as animation:
        total = 0
        for index in range(animation.n_frames):
            animation.seek(index)
            total += animation.info["duration"]
    assert total == 1200
