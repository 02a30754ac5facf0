"""Many pre-images: the measures against plain numpy, the figure, and what is refused before anything is made."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from command import call, read_json, save_pictures
from impasto.images.files import load_image
from impasto.images.image import resize, size_of
from impasto.networks.network import Network
from impasto.series.bars import bars
from impasto.series.preimages import Preimages, Spread

SMALL = ("--layer", "conv2_1", "--size", 32, "--steps", 3, "--frames", 0, "--device", "cpu", "--precision", "float32")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_restarts_of_a_print_are_measured_against_the_part_that_is_printed(desk: Path) -> None:
    small = ("--layer", "conv1_1", "--steps", 3, "--frames", 0, "--precision", "float32", "--print", "1x0.5in@60")
    assert call("invert", "photo.png", *small, "--restarts", 2, "--out", "two").code == 0
    for seed, decibels in zip((0, 1), read_json(Path("two/preimages.json"))["psnr"], strict=True):
        assert decibels == pytest.approx(read_json(Path(f"two/seed={seed}/summary.json"))["metrics"]["psnr"], abs=0.02)


def rms(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


@pytest.mark.slow
def test_restarts(desk: Path, normalised: Network) -> None:
    ended = call("invert", "photo.png", *SMALL, "--seed", 5, "--restarts", 3, "--out", "three")
    assert (ended.code, ended.out) == (0, "three\n"), ended.err
    pictures = [load_image(f"three/seed={seed}/result.png") for seed in (5, 6, 7)]
    photo = resize(load_image("photo.png"), size_of(pictures[0]))
    found = read_json(Path("three/preimages.json"))
    assert (found["layer"], found["seeds"]) == ("conv2_1", [5, 6, 7])
    assert list(found["spread"]) == [name for name in normalised.layers if name.startswith("conv")] + ["pixels"]
    for layer in ("conv1_1", "conv2_1", "conv4_3"):
        maps = [normalised(picture, [layer])[layer].double().numpy() for picture in [photo, *pictures]]
        error = rms([np.linalg.norm(each - maps[0]) / np.linalg.norm(maps[0]) for each in maps[1:]])
        apart = rms([np.linalg.norm(a - b) / np.linalg.norm(maps[0]) for a, b in combinations(maps[1:], 2)])
        spread = found["spread"][layer]
        assert spread["error"] == pytest.approx(error, rel=1e-4)
        assert spread["apart"] == pytest.approx(apart, rel=1e-4)
        assert spread["own"] == pytest.approx(apart**2 / (2 * error**2), rel=1e-3)
    values = [10 ** (-decibels / 20) for decibels in found["psnr"]]
    assert found["spread"]["pixels"]["error"] == pytest.approx(rms(values), rel=1e-5)
    with PillowImage.open("three/preimages.png") as figure:
        assert figure.width > 1000
    more = call("invert", "photo.png", *SMALL, "--seed", 5, "--restarts", 4, "--out", "three")  # one run more
    assert more.code == 0
    assert "run 4 of 4" in more.err
    assert "run 3 of 4" not in more.err
    assert call("run", "three/seed=5", "--restarts", 2, "--out", "two").code == 0
    assert read_json(Path("two/preimages.json"))["seeds"] == [5, 6]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--restarts", 1), "1 restarts were asked for; 2 to 32 are allowed"),
        (("--restarts", 33), "33 restarts were asked for; 2 to 32 are allowed"),
        (("--restarts", 3, "--init", "content"), "restarts differ in their noise alone, and --init is content"),
        (("--restarts", 3, "--mp4"), "--restarts makes several runs and takes no --mp4"),
        (("--restarts", 3, "--save-spec", "a.toml"), "takes no --save-spec"),
        (("--restarts", "x"), "x"),
    ],
)
def test_what_is_refused(desk: Path, words: tuple[object, ...], sentence: str) -> None:
    before = sorted(desk.iterdir())
    ended = call("invert", "photo.png", *SMALL, *words, "--out", "three")
    assert ended.code == 2
    assert sentence in ended.err
    assert sorted(desk.iterdir()) == before


def test_independent_errors_are_all_own() -> None:
    assert Spread(0.5, 0.5 * math.sqrt(2)).own == pytest.approx(1)
    assert Spread(0.5, 0.0).own == 0
    assert Spread(0.0, 0.0).own == 0
    perfect = Preimages("conv1_1", (0, 1), {"conv1_1": Spread(0.0, 0.0)}, Spread(0.0, 0.0), (math.inf, 30.0))
    assert perfect.content["psnr"] == [None, 30.0]


def test_bars_are_as_long_as_their_values() -> None:
    values = {"conv1_1": {"error": 1.0, "apart": 0.1}, "conv1_2": {"error": 0.01, "apart": 0.0}}
    pixels = np.asarray(bars(values).convert("RGB")).astype(int)
    lengths = []
    for colour in ((31, 119, 180), (255, 127, 14)):
        rows = (pixels[40:] == colour).all(2).sum(1)
        lengths += sorted({int(count) for count in rows if count > 0}, reverse=True)
    whole, least, tenth = lengths
    assert whole > 2 * least
    assert tenth == pytest.approx(whole / 2, abs=3)  # a decade, of two
    assert least <= 3
