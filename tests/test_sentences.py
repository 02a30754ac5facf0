"""A user's mistakes: each gets one sentence and the right exit code, and nothing is written."""

import os
import struct
import zlib
from itertools import cycle
from pathlib import Path

import pytest
import torch
from PIL import Image as PillowImage
from safetensors.torch import save_file

from command import Ended, call, save_pictures
from conftest import tiny_weights
from impasto.files import bundled
from impasto.images.files import to_pillow
from impasto.networks.catalogue import NETWORKS
from impasto.networks.means import Means, load_means, save_means

QUICK = ("--size", 32, "--steps", 1, "--frames", 0, "--quiet")


def png_header_of(width: int, height: int) -> bytes:
    """A whole black picture of one bit a pixel, packed by hand."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 1)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two good pictures and every bad thing."""
    folder = tmp_path_factory.mktemp("shelf")
    save_pictures(folder)
    with PillowImage.open(folder / "photo.png") as photo:
        photo.save(folder / "whole.jpg")
        for name, size in {"dot": (1, 1), "small": (15, 15), "strip": (2000, 20), "least": (16, 16)}.items():
            photo.resize(size).save(folder / f"{name}.png")
    jpeg = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    png = (folder / "photo.png").read_bytes()
    (folder / "cut.png").write_bytes(png[: len(png) // 2])
    (folder / "damaged.png").write_bytes(png[:-600] + bytes(100) + png[-500:])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture at all\n" * 100)
    (folder / "huge.png").write_bytes(png_header_of(20_000, 20_000))
    (folder / "folder").mkdir()
    (folder / "taken").mkdir()
    (folder / "taken" / "thesis.txt").write_text("years of work")
    (folder / "old").mkdir()
    (folder / "old" / "run.toml").write_text("")
    (folder / "old" / "kept.png").write_bytes(png)
    weights = NETWORKS["vgg16"].load_weights()
    means = load_means(bundled("vgg16-means.safetensors"), weights)
    save_means(Means({layer: m[:5] for layer, m in means.by_layer.items()}), folder / "other-means.safetensors")
    save_means(Means({layer: -m for layer, m in means.by_layer.items()}), folder / "negative.safetensors")
    save_file({key: tensor.float().contiguous() for key, tensor in tiny_weights().items()}, folder / "tiny.safetensors")
    save_file({**weights, "conv1_1.bias": torch.full((64,), torch.nan)}, folder / "nan.safetensors")
    (folder / "cut.safetensors").write_bytes(bundled("vgg16.safetensors").read_bytes()[:100_000])
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.stat().st_size < 10**6 else None for path in folder.rglob("*.*")} | {
        str(path): None for path in folder.rglob("*") if path.is_dir()
    }


@pytest.fixture
def refused(shelf: Path, monkeypatch: pytest.MonkeyPatch):
    """Call, and check that it ends with one sentence and leaves everything as it was."""
    monkeypatch.chdir(shelf)

    def check(code: int, sentence: str, *words: object) -> None:
        before = contents(shelf)
        ended = call(*words)
        assert_sentence(ended, code)
        assert sentence in ended.err
        assert contents(shelf) == before

    return check


def assert_sentence(ended: Ended, code: int) -> None:
    assert ended.code == code, ended.err
    assert not ended.out
    assert ended.err.startswith("impasto: ")
    assert ended.err.count("\n") == 1
    assert ended.err.endswith("\n")
    for ugly in ("Traceback", "Error:", "[type=", "https://", "object at 0x", "  "):
        assert ugly not in ended.err


# Pictures ------------------------------------------------------------------------------------------------------------

PICTURES = {
    "none.png": "there is no file none.png",
    "": ". is a folder; a picture file is needed",
    "folder": "folder is a folder; a picture file is needed",
    "folder/": "folder is a folder; a picture file is needed",
    "photo.png/inside.png": "there is no file photo.png/inside.png",
    "cut.jpg": "cut.jpg cannot be read as a picture: ",
    "cut.png": "cut.png cannot be read as a picture: ",
    "damaged.png": "damaged.png cannot be read as a picture: ",
    "empty.png": "empty.png is not a picture in a format that can be read",
    "text.jpg": "text.jpg is not a picture in a format that can be read",
    "huge.png": "huge.png has 20000 × 20000 pixels; at most 268 megapixels are read, so scale it down first",
    "a" * 300: " cannot be read: File name too long",
    os.devnull: f"{os.devnull} is a pipe or a device, and a picture is read more than once",
}


PLACES = (["invert"], ["transfer", "photo.png"], ["invert", "photo.png", "--init"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "name"),
    [*zip(cycle(PLACES), PICTURES), *((place, "cut.png") for place in PLACES)],
    ids=lambda word: word[:20] if isinstance(word, str) else word[0],
)
def test_pictures_that_cannot_be_read(refused, place: list[str], name: str) -> None:
    refused(1, PICTURES[name], *place, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["invert", "dot.png"],
            "dot.png: a picture of 1 × 1 pixels is too small for conv4_1, which needs at least 8 × 8",
        ),
        (
            ["reconstruct", "small.png"],
            "small.png: a picture of 15 × 15 pixels is too small for conv5_1, which needs at least 16 × 16",
        ),
        (
            ["transfer", "photo.png", "small.png", "--style-layers", "relu5_1"],
            "small.png: a picture of 15 × 15 pixels is too small for relu5_1, which",
        ),
        (
            ["texture", "dot.png", "--layers", "relu2_1"],
            "1 × 1 pixels is too small for relu2_1, which needs at least 2 × 2",
        ),
        (["texture", "least.png", "--layers", "pool5"], "is too small for pool5, which needs at least 32 × 32"),
        (
            ["invert", "photo.png", "--size", 7],
            "at 7 × 5 px a picture of 7 × 5 pixels is too small for conv4_1, which needs at least 8 × 8; choose a "
            "larger --size, or shallower layers",
        ),
        (
            ["transfer", "photo.png", "strip.png", "--style-layers", "relu5_1"],
            "at 133 × 100 px a picture of 1153 × 12 pixels is too small for relu5_1, which needs at least 16 × 16; "
            "choose a larger --smallest, or shallower layers",
        ),
        (["transfer", "strip.png", "photo.png"], "at 512 × 5 px a picture of 512 × 5 pixels is too small for relu4_2"),
        (
            ["transfer", "photo.png", "photo.png", "--style-scale", 0.05],
            "is too small for relu4_1, which needs at least 8",
        ),
    ],
)
def test_pictures_that_are_too_small(refused, words: list[object], sentence: str) -> None:
    refused(1, sentence, *words)


@pytest.mark.slow
def test_pictures_that_are_just_large_enough(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shelf)
    assert call("transfer", "least.png", "least.png", *QUICK, "--out", tmp_path / "a").code == 0
    assert (
        call(
            "transfer", "photo.png", "strip.png", "--size", 256, "--smallest", 256, *QUICK[2:], "--out", tmp_path / "b"
        ).code
        == 0
    )


def test_a_picture_that_may_not_be_read(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", forbidden)
    ended = call("invert", "photo.png", "--out", "run")
    assert_sentence(ended, 1)
    assert "Permission denied" in ended.err


def test_a_picture_too_large_for_the_memory(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("impasto.images.files.to_srgb", short)
    refused(3, "there is not enough memory to read photo.png; scale it down first", "invert", "photo.png")


# Words of the command ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["invrt", "photo.png"], "did you mean 'invert'?"),
        (["photo.png"], "there is no command 'photo.png'; choose from invert, "),
        (["invert"], "impasto invert needs PHOTO; see impasto invert --help"),
        (["transfer", "photo.png"], "impasto transfer needs STYLE; see impasto transfer --help"),
        (["invert", "photo.png", "photo.png"], "unexpected argument 'photo.png': this command takes fewer arguments"),
        (["invert", "photo.png", "--netwrok", "vgg16"], "Unknown option: --netwrok. Did you mean --network?"),
        (["invert", "photo.png", "--style-weight", 2], "Unknown option: --style-weight."),
        (
            ["invert", "--", "photo.png", "--size=9"],
            "--size comes after --, which ends the options; give --size before --",
        ),
        (["invert", "--siez", 9, "--", "photo.png"], "Unknown option: --siez. Did you mean --size?"),
        (["invert", "photo.png", "--steps"], "--steps has no value; write a value after --steps"),
        (
            ["invert", "photo.png", "--print", "-2x1cm"],
            "--print has no value; if -2x1cm is the value, write --print=-2x1cm",
        ),
        (["invert", "photo.png", "--print=-2x1cm"], "print is '-2x1cm'"),
        (["invert", "photo.png", "--steps", 1, "--steps", 2], "--steps specified multiple times"),
        (["blend", "run", "--strength", "half"], "--strength is 'half'; it must be a number"),
        (["invert", "photo.png", "--steps", 0], "steps is '0'; it must be at least 1"),
        (["invert", "photo.png", "--restarts", "3.5"], "--restarts: '3.5' is no whole number"),
        (["enlarge", "photo.png", "--size", "1e3"], "--size: '1e3' is no whole number"),
        (["batch", "photo.png", "--styles", "painting.png", "--jobs", "2.5"], "--jobs: '2.5' is no whole number"),
        (["studio", "--port", 99999], '"99999" for --port. Must be <= 65535'),
        (["invert", "photo.png", "--steps", -3], "steps is '-3'; it must be at least 1"),
        (["invert", "photo.png", "--steps", "many"], "steps is 'many'; it must be a whole number"),
        (["invert", "photo.png", "--size", 0], "size is '0'; it must be at least 1"),
        (["invert", "photo.png", "--size", -64], "size is '-64'; it must be at least 1"),
        (["invert", "photo.png", "--size", 10**6], "size is '1000000'; it must be at most 65536"),
        (["invert", "photo.png", "--seed", -1], "seed is '-1'; it must be at least 0"),
        (["invert", "photo.png", "--threads", 0], "threads is '0'; it must be at least 1"),
        (["invert", "photo.png", "--frames", -1], "frames is '-1'; it must be at least 0"),
        (["invert", "photo.png", "--smoothness", -1], "smoothness is '-1'; it must be at least 0"),
        (["invert", "photo.png", "--smoothness", "nan"], "smoothness is 'nan'; it must be a finite number"),
        (["invert", "photo.png", "--contrast", "inf"], "contrast is 'inf'; it must be a finite number"),
        (["invert", "photo.png", "--learning-rate", 0], "learning_rate is '0'; it must be greater than 0"),
        (["invert", "photo.png", "--optimiser", "sgd"], "optimiser is 'sgd'; it must be 'adam', 'lbfgs' or"),
        (["invert", "photo.png", "--pooling", "min"], "pooling is 'min'; it must be 'max' or 'average'"),
        (["invert", "photo.png", "--init", "style"], "init 'style' is not for this task; use noise, content or a file"),
        (
            ["texture", "photo.png", "--init", "content"],
            "init 'content' is not for this task; use noise, style or a file",
        ),
        (["invert", "caf\udce9.png"], "a file's name contains bytes that are not text; rename the file"),
        (["transfer", *["photo.png"] * 102], "transfer takes 2 to 100 pictures, not 102"),
        (["normalise", "folder"], "impasto normalise needs --out; see impasto normalise --help"),
        (["networks", "all"], "there is no command 'networks all'; choose from layers, fetch, convert, check"),
        (["networks", "check", "a", "b", "c"], "unexpected argument 'c': this command takes fewer arguments"),
    ],
    ids=str,
)
def test_words(refused, words: list[object], sentence: str) -> None:
    refused(2, sentence, *words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--style-weights", "1,2"], "2 style weights are given for 1 style"),
        (["--style-weights", "0"], "the styles' weights are all 0"),
        (["--style-weights", "nan"], "a style's weight is 'nan'; it must be a number from 0 upwards"),
        (["--style-weights", "-1"], "a style's weight is '-1'; it must be a number from 0 upwards"),
        (["--style-weight", "nan"], "style_weight is 'nan'; it must be a finite number"),
        (["--content-weight", "inf"], "content_weight is 'inf'; it must be a finite number"),
        (
            ["--content-weight", 0, "--style-weight", 0, "--layout", 0],
            "content_weight, layout and style_weight are all 0",
        ),
        (["--content-layers", "relu4_2=0"], "the weights of relu4_2 are all 0"),
        (["--style-layers", "relu1_1=0,relu2_1=0"], "the weights of relu1_1, relu2_1 are all 0"),
        (["--style-layers", "relu1_1=inf"], "the weight of relu1_1 is 'inf'; it must be a number from 0 upwards"),
        (["--style-layers", "relu1_1="], "the weight of relu1_1 is ''; it must be a number from 0 upwards"),
        (["--style-layers", "relu1_1,"], "a layer name is missing in 'relu1_1,'"),
        (["--style-layers", ""], "a layer name is missing in ''"),
        (["--style-layers", "relu1_1,relu1_1"], "layer relu1_1 is named twice"),
        (["--style-layers", "relu6_1"], "vgg16 has no layer 'relu6_1'; did you mean 'relu"),
        (["--content-layers", "relu4-2"], "vgg16 has no layer 'relu4-2'; did you mean 'relu4_2'?"),
        (["--content-layers", "fc7"], "vgg16 has no layer 'fc7'; choose from conv1_1, relu1_1, "),
        (["--style-scale", 0], "style_scale is '0'; it must be greater than 0"),
        (["--smallest", 0], "smallest is '0'; it must be at least 1"),
        (["--network", "vgg-16"], "there is no network 'vgg-16'; did you mean 'vgg16'?"),
        (["--network", "resnet50"], "there is no network 'resnet50'; choose from vgg16, vgg16-normalised"),
        (
            ["--strokes", "0.7"],
            "strokes is '0.7'; it must be 'as-painted' or 'along'; --style-scale is their size",
        ),
        (["--strokes", "across"], "strokes is 'across'; it must be 'as-painted' or 'along'"),
        (["--device", "gpu"], "device 'gpu' is not available here; use auto or cpu"),
        (["--device", "cuda:99"], "device 'cuda:99' is not available here; use auto or cpu"),
        (["--device", "meta"], "device 'meta' holds no numbers; use auto or cpu"),
    ],
    ids=str,
)
def test_settings_of_a_transfer(refused, options: list[object], sentence: str) -> None:
    refused(2, sentence, "transfer", "photo.png", "painting.png", *options)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["invert", "photo.png", "--layer", "conv9_1"], "vgg16-normalised has no layer 'conv9_1'; did you mean 'conv"),
        (
            ["invert", "photo.png", "--layer", "conv1_1,conv2_1"],
            "'conv1_1,conv2_1' names 2 layers, but this setting takes one",
        ),
        (["reconstruct", "photo.png", "--layers", "conv1_1,conv1_3"], "has no layer 'conv1_3'; did you mean 'conv1_"),
        (
            ["reconstruct", "photo.png", "--layers", "conv1_1=2"],
            "'conv1_1=2' gives layers weights, but here each layer is",
        ),
        (["amalgamate", "photo.png", "painting.png", "--layers", "../up"], "has no layer '../up'; choose from conv1_1"),
        (["texture", "photo.png", "--layers", "block1_conv3"], "has no layer 'block1_conv3'; did you mean 'relu1_"),
    ],
)
def test_layers(refused, words: list[object], sentence: str) -> None:
    refused(2, sentence, *words)


# Places --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "force", "sentence"),
    [
        ("taken", False, "taken exists already; name another folder with --out, or replace it with --force"),
        ("old/", False, "old exists already; name another folder with --out, or replace it with --force"),
        (".", False, ". exists already; name another folder with --out, or replace it with --force"),
        ("", False, ". exists already; "),
        ("taken", True, "taken is not the folder of a run and is not replaced; name another with --out"),
        (".", True, ". is not the folder of a run and is not replaced; name another with --out"),
        ("photo.png", False, "photo.png is a file; name a folder with --out"),
        ("photo.png", True, "photo.png is a file; name a folder with --out"),
        ("photo.png/run", False, "photo.png/run cannot be made: Not a directory"),
        ("photo.png/run", True, "photo.png/run cannot be made: Not a directory"),
        ("b" * 300, False, "b cannot be made: File name too long"),
    ],
)
def test_places_for_the_results(refused, out: str, force: bool, sentence: str) -> None:
    refused(1, sentence, "invert", "photo.png", *QUICK, "--out", out, *["--force"] * force)


@pytest.mark.parametrize(
    "words",
    [["old/kept.png"], ["old/../old/kept.png"], ["photo.png", "--init", "old/kept.png"]],
)
def test_a_run_does_not_destroy_what_it_reads(refused, words: list[str]) -> None:
    sentence = f"old holds {Path(words[-1])}, which this run reads, and is not replaced; name another folder"
    refused(1, sentence, "invert", *words, *QUICK, "--out", "old", "--force")


def test_a_place_that_may_not_be_written(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    refused(1, "run cannot be made: Permission denied", "invert", "photo.png", *QUICK, "--out", "run")


# Weights and means ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "name", "sentence"),
    [
        ("--weights", "none.safetensors", "there is no file of weights at none.safetensors"),
        ("--weights", "folder", "there is no file of weights at folder"),
        ("--weights", "text.jpg", "text.jpg cannot be read as a file of weights: "),
        ("--weights", "empty.png", "empty.png cannot be read as a file of weights: "),
        ("--weights", "cut.safetensors", "cut.safetensors cannot be read as a file of weights: "),
        ("--weights", "tiny.safetensors", "tiny.safetensors is not a file of VGG-16's weights: "),
        (
            "--weights",
            "negative.safetensors",
            "negative.safetensors is not a file of VGG-16's weights: conv1_1 is missing",
        ),
        ("--weights", "nan.safetensors", "nan.safetensors is damaged: some of its numbers are not finite"),
        ("--means", "none.safetensors", "there is no file of mean activations at none.safetensors"),
        ("--means", "text.jpg", "text.jpg cannot be read as a file of mean activations: "),
        (
            "--means",
            "tiny.safetensors",
            "tiny.safetensors does not hold this network's mean activations: conv1_1 is missing",
        ),
        (
            "--means",
            "other-means.safetensors",
            "other-means.safetensors does not hold this network's mean activations: ",
        ),
        ("--means", "negative.safetensors", "negative.safetensors has negative means for conv1_1; they must be taken"),
    ],
)
def test_weights_and_means(refused, option: str, name: str, sentence: str) -> None:
    refused(1, sentence, "invert", "photo.png", option, name)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["none", "--out", "m.safetensors"], "none is not a folder of pictures"),
        (["photo.png", "--out", "m.safetensors"], "photo.png is not a folder of pictures"),
        (["folder", "--out", "m.safetensors"], "there is no readable picture to average over"),
        (["taken", "--out", "m.safetensors"], "there is no readable picture to average over"),
        (
            [".", "--out", "nan.safetensors"],
            "nan.safetensors exists already; name another file with --out, or replace it",
        ),
        ([".", "--out", "folder", "--force"], "folder exists already; name another file with --out"),
        ([".", "--out", "none/m.safetensors"], "none/m.safetensors cannot be written: there is no folder none"),
        (["old", "--out", "m.safetensors", "--weights", "text.jpg"], "text.jpg cannot be read as a file of weights"),
    ],
)
def test_means_of_pictures(refused, words: list[object], sentence: str) -> None:
    refused(1, sentence, "normalise", *words)


def test_the_checker_can_fail(shelf: Path) -> None:
    """Pictures on the shelf that should be good are."""
    for name in ("whole.jpg", "photo.png", "strip.png"):
        with PillowImage.open(shelf / name) as file:
            file.load()
    with pytest.raises(AssertionError):
        assert_sentence(Ended(1, "", "impasto: one\ntwo\n"), 1)
    assert to_pillow(torch.zeros(1, 3, 2, 2)).size == (2, 2)
