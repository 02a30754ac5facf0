"""Files of weights of every family: converted, the features are those of the original; nothing is mixed up or run."""

import contextlib
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from command import call
from conftest import example
from impasto.errors import OutputError, SpecError, WeightsError
from impasto.files import bundled
from impasto.images.files import save_image
from impasto.networks.catalogue import NETWORKS, open_network
from impasto.networks.vgg import VGG16, VGG19
from impasto.tasks.presets import DEFAULT, presets
from impasto.weights.checking import check
from impasto.weights.convert import convert
from impasto.weights.families import Filters, read_filters
from impasto.weights.layout import BLOCKS, CAFFE_MEAN, IMAGENET_MEAN
from impasto.weights.tensors import is_finite, read_tensors
from weights_files import WRITERS, bgr, modules, narrow, save_caffe, save_keras, save_onnx, save_torch, save_torchvision

TITLES = {"vgg16": "VGG-16", "vgg19": "VGG-19"}
LAYERS = ("conv1_1", "relu2_2", "relu3_3", "conv5_1", "pool5")


def truth(tensors: dict[str, Tensor], title: str, family: str, image: Tensor) -> dict[str, Tensor]:
    """Features by torch's own modules, of a picture with that family's own preprocessing."""
    mean = CAFFE_MEAN if family == "caffe" else tuple(255 * value for value in IMAGENET_MEAN)
    maps, found = 255 * image - torch.tensor(mean).reshape(1, 3, 1, 1), {}
    names = (VGG16 if title == "VGG-16" else VGG19).layers
    with torch.no_grad():
        for name, module in zip(names, modules(tensors, BLOCKS[title]), strict=True):
            maps = found[name] = module(maps)
    return found


def same(found: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for layer in LAYERS:
        assert (found[layer] - other[layer]).norm() <= 2e-5 * other[layer].norm(), layer


# Conversions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", WRITERS)
@pytest.mark.parametrize("network", TITLES)
def test_every_family_gives_the_same_features(tmp_path: Path, network: str, file: str) -> None:
    writer, family = WRITERS[file]
    tensors = narrow(BLOCKS[TITLES[network]])
    writer(tensors, BLOCKS[TITLES[network]], tmp_path / file)
    found = convert(tmp_path / file, tmp_path / "out.safetensors")
    assert (found.title, found.family) == (TITLES[network], family)
    image = example("red-panda", (64, 48))
    expected = truth(tensors, TITLES[network], family, image)
    for given in (tmp_path / "out.safetensors", tmp_path / file):  # converted, or as it is
        opened = open_network(network, weights=given, precision="float32", device="cpu")
        same(opened(image, LAYERS), expected)


@pytest.mark.slow
@pytest.mark.parametrize("file", WRITERS)
def test_the_bundled_weights_through_every_family_and_back(tmp_path: Path, file: str) -> None:
    writer, family = WRITERS[file]
    tensors = {key: tensor.float() for key, tensor in load_file(bundled("vgg16.safetensors")).items()}
    writer(tensors, BLOCKS["VGG-16"], tmp_path / file)
    assert convert(tmp_path / file, tmp_path / "out.safetensors").family == family
    back, about = read_tensors(tmp_path / "out.safetensors", "weights")
    assert set(back) == set(tensors)
    for key, tensor in tensors.items():
        assert torch.allclose(back[key], tensor, rtol=3e-7, atol=0), key
    assert about["source"] == file
    image = example("red-panda", (64, 48))
    opened = open_network("vgg16", weights=tmp_path / "out.safetensors", precision="float32", device="cpu")
    same(opened(image, LAYERS), truth(tensors, "VGG-16", family, image))


def test_what_is_converted_twice_stays(tmp_path: Path) -> None:
    save_torchvision(narrow(BLOCKS["VGG-19"]), BLOCKS["VGG-19"], tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "b.safetensors")
    found = convert(tmp_path / "b.safetensors", tmp_path / "c.safetensors")
    assert found.family == "impasto"
    once, twice = load_file(tmp_path / "b.safetensors"), load_file(tmp_path / "c.safetensors")
    assert all(torch.equal(once[key], twice[key]) for key in once)
    assert found.mean == pytest.approx([255 * value for value in IMAGENET_MEAN])


def test_a_family_that_is_named_is_taken(tmp_path: Path) -> None:
    tensors = narrow(BLOCKS["VGG-16"])
    save_torch(tensors, BLOCKS["VGG-16"], tmp_path / "a.pth")
    found = read_filters(tmp_path / "a.pth", family="caffe")
    assert torch.equal(found.tensors["conv1_1.weight"], bgr(tensors)["conv1_1.weight"])


def test_a_range_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    """Ten thousand times the usual activations, whichever range is taken."""
    tensors = {key: 3 * tensor for key, tensor in narrow(BLOCKS["VGG-16"]).items()}
    save_torch(tensors, BLOCKS["VGG-16"], tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"does not tell its range of colours.*--family caffe"):
        read_filters(tmp_path / "a.pth")


def test_nested_and_prefixed_state_dicts(tmp_path: Path) -> None:
    tensors = narrow(BLOCKS["VGG-19"])
    save_torchvision(tensors, BLOCKS["VGG-19"], tmp_path / "a.pth")
    state = torch.load(tmp_path / "a.pth", weights_only=True)
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "b.pth")
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "c.safetensors")
    for name in ("b.pth", "c.safetensors"):
        found = read_filters(tmp_path / name)
        assert (found.title, found.family) == ("VGG-19", "torchvision")
        assert torch.allclose(found.tensors["conv5_4.weight"], tensors["conv5_4.weight"])


# What is refused -----------------------------------------------------------------------------------------------------


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_is_never_run(tmp_path: Path, legacy: bool) -> None:
    trap = tmp_path / "sprung"
    torch.save({"x": Trap(str(trap))}, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match="holds more than tensors, which is never run"):
        read_filters(tmp_path / "a.pth")
    assert not trap.exists()


def written(kind: str, path: Path) -> Path:
    name = next(name for name in WRITERS if name.startswith(kind))
    WRITERS[name][0](narrow(BLOCKS["VGG-16"]), BLOCKS["VGG-16"], path / name)
    return path / name


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.1, 0.6, 0.999])
def test_cut_files(tmp_path: Path, kind: str, share: float) -> None:
    path = written(kind, tmp_path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(WeightsError, match=path.name):
        convert(path, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_bytes(tmp_path: Path, kind: str) -> None:
    """A damaged file is refused in one sentence, or damaged in places that do not matter."""
    path, drawn = written(kind, tmp_path), np.random.default_rng(0)
    whole = path.read_bytes()
    for _ in range(25):
        content = bytearray(whole)
        for at in (*drawn.integers(0, 400, 3), *drawn.integers(len(content) - 400, len(content), 3)):
            content[at] = drawn.integers(256)
        path.write_bytes(content)
        with contextlib.suppress(WeightsError):
            read_filters(path)


@pytest.mark.parametrize("kind", WRITERS)
def test_numbers_that_are_not_finite(tmp_path: Path, kind: str) -> None:
    tensors = narrow(BLOCKS["VGG-16"])
    tensors["conv4_2.bias"][1] = torch.nan
    WRITERS[kind][0](tensors, BLOCKS["VGG-16"], tmp_path / kind)
    with pytest.raises(WeightsError, match="some of its numbers are not finite"):
        read_filters(tmp_path / kind)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf, 3e38])
def test_finite_numbers_whose_sum_is_too_large_are_finite(wrong: float) -> None:
    tensor = torch.full((3, 2), wrong)
    assert is_finite(tensor) is (wrong == 3e38)
    tensor[0] *= -1
    assert is_finite(tensor) is (wrong == 3e38)


@pytest.mark.parametrize("kind", WRITERS)
def test_another_architecture(tmp_path: Path, kind: str) -> None:
    save, _ = WRITERS[kind]
    save(narrow(BLOCKS["VGG-19"]), BLOCKS["VGG-19"], tmp_path / kind)
    with pytest.raises(WeightsError, match="is not a file of VGG-16's weights"):
        NETWORKS["vgg16"].load_weights(tmp_path / kind)
    save(narrow((2, 2, 2)), (2, 2, 2), tmp_path / kind)
    with pytest.raises(WeightsError, match=r"has 6 convolutions of 3 × 3; VGG-16 has 13, VGG-19 has 16"):
        convert(tmp_path / kind, tmp_path / "out.safetensors")


def with_batch_norm(path: Path) -> None:
    stack = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save(stack.state_dict(), path)


def theano(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["block1_conv1/block1_conv1_W"] = np.ones((64, 3, 3, 3), np.float32)


def a_module(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)


def numpys(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))


def a_list(path: Path) -> None:
    torch.save([torch.ones(2)], path)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (with_batch_norm, "has batch normalisation"),
        (theano, "Theano's order"),
        (a_module, "save the network's state_dict"),
        (a_list, r"holds a list, not tensors by name"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html><html>"), "is a web page, not weights"),
        (lambda path: path.write_bytes(b"just some words, and more of them"), "no safetensors, PyTorch, Keras"),
        (lambda path: path.write_bytes(b"\x80\x02words"), "cannot be read as a file of weights"),
        (lambda path: path.write_bytes(b"PK\x03\x04words"), "cannot be read as a file of weights"),
        (
            lambda path: path.write_bytes(pickle.dumps({"a": [1, 2]}, 4)),
            "cannot be read as a file of weights|not tensors",
        ),
        (numpys, "a zip file, but not PyTorch's"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\nwords"), "cannot be read as a file of weights"),
        (lambda path: path.mkdir(), "there is no file of weights"),
    ],
)
def test_files_that_are_not_weights(tmp_path: Path, write: Callable[[Path], None], words: str) -> None:
    write(tmp_path / "file")
    with pytest.raises(WeightsError, match=words):
        read_filters(tmp_path / "file")


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written("keras.h5", tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(SpecError, match=r"pip install 'impasto-torch\[keras\]'"):
        read_filters(path)


def test_results_are_not_overwritten(tmp_path: Path) -> None:
    path = written("torchvision", tmp_path)
    (tmp_path / "out.safetensors").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        convert(path, tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_text() == "precious"
    assert convert(path, tmp_path / "out.safetensors", force=True).title == "VGG-16"
    with pytest.raises(OutputError, match=r"must end in \.safetensors"):
        convert(path, tmp_path / "out.pth")
    with pytest.raises(OutputError, match="there is no folder"):
        convert(path, tmp_path / "nowhere" / "out.safetensors")


def test_a_damaged_mean_colour(tmp_path: Path) -> None:
    save_file(narrow(BLOCKS["VGG-16"]), tmp_path / "a.safetensors", {"mean": "grey"})
    with pytest.raises(WeightsError, match="the mean colour in its metadata is 'grey'"):
        read_filters(tmp_path / "a.safetensors")


# The real tools, where the readers of protocol buffers might differ -------------------------------------------------


def test_tensors_in_another_file_are_refused(tmp_path: Path) -> None:
    import onnx

    save_onnx(narrow(BLOCKS["VGG-16"]), BLOCKS["VGG-16"], tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    onnx.save(model, tmp_path / "b.onnx", save_as_external_data=True, location="b.data", size_threshold=0)
    with pytest.raises(WeightsError, match="kept in another file"):
        read_filters(tmp_path / "b.onnx")


def test_names_tell_the_place_whatever_their_order(tmp_path: Path) -> None:
    tensors = narrow(BLOCKS["VGG-16"])
    turned = dict(reversed(tensors.items()))
    save_file(turned, tmp_path / "a.safetensors")
    save_keras(tensors, BLOCKS["VGG-16"], tmp_path / "a.h5")
    save_caffe(tensors, BLOCKS["VGG-16"], tmp_path / "a.caffemodel")
    for name in ("a.safetensors", "a.h5", "a.caffemodel"):
        found = read_filters(tmp_path / name, "VGG-16").tensors
        assert all(torch.equal(found[key], tensor) for key, tensor in tensors.items()), name


def test_vgg19_without_weights_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"not here; fetch them with `impasto networks fetch vgg19`, or give a file"):
        open_network("vgg19")
    save_file(narrow(BLOCKS["VGG-19"]), tmp_path / "vgg19.safetensors")
    assert list(open_network("vgg19", device="cpu").layers) == list(VGG19.layers)


# Checking ------------------------------------------------------------------------------------------------------------


def real(**changes: Tensor) -> Filters:
    tensors = {key: tensor.float() for key, tensor in load_file(bundled("vgg16.safetensors")).items()}
    return Filters("VGG-16", {**tensors, **changes}, CAFFE_MEAN, "impasto")


PHOTOS = ("red-panda", "schwerin-palace", "night-cafe")


@pytest.mark.slow
@pytest.mark.parametrize("name", PHOTOS)
def test_nothing_is_wrong_with_the_bundled_weights(name: str) -> None:
    found = check(real(), example(name, (150, 200)))
    assert found.problems == ()
    assert found.facts[0] == "VGG-16, 13 convolutions, 14,714,688 numbers"
    assert len(found.facts) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize(
    ("factor", "words"), [(255 * 0.226, "0 … 1; .* --family torchvision"), (1 / 57.6, "0 … 255; .* --family caffe")]
)
def test_a_wrong_range_is_found(name: str, factor: float, words: str) -> None:
    wrong = real(**{"conv1_1.weight": real().tensors["conv1_1.weight"] * factor})
    (problem,) = check(wrong, example(name, (96, 96))).problems
    assert re.search(f"the range of colours is wrong: .* {words}", problem)


@pytest.mark.slow
def test_a_swapped_order_is_found() -> None:
    swapped = real(**{"conv1_1.weight": real().tensors["conv1_1.weight"].flip(1)})
    (problem,) = check(swapped, example("red-panda", (64, 64))).problems
    assert problem.startswith("red and blue seem to be swapped: the first kernels see red 0.89 times as strongly")


@pytest.mark.slow
def test_empty_kernels_are_found() -> None:
    empty = real(**{"conv3_2.weight": torch.zeros(256, 256, 3, 3)})
    problems = check(empty, example("red-panda", (64, 64))).problems
    assert any("convolution 6 are all 0" in problem for problem in problems)


@pytest.mark.slow
def test_untrained_weights_are_found() -> None:
    wild = real(**{"conv5_3.weight": real().tensors["conv5_3.weight"] * 1e4})
    (problem,) = check(wild, example("red-panda", (64, 64))).problems
    assert problem.endswith("are the weights trained?")


# As commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMPASTO_WEIGHTS", str(tmp_path))
    save_torchvision(narrow(BLOCKS["VGG-19"]), BLOCKS["VGG-19"], tmp_path / "a.pth")
    ended = call("networks", "convert", "a.pth", "vgg19.safetensors")
    assert (ended.code, ended.out) == (0, "vgg19.safetensors\n")
    assert ended.err == "VGG-19, written for RGB in 0 … 1, minus a mean, over a deviation, as torchvision has it\n"
    save_image(example("red-panda", (48, 64)), tmp_path / "photo.png")
    small = ("--steps", 2, "--size", 32, "--frames", 0, "--device", "cpu", "--quiet")
    for weights in ((), ("--weights", "a.pth")):
        ended = call(
            "invert", "photo.png", "--network", "vgg19", "--layer", "conv4_4", *weights, *small, "--out", "run"
        )
        assert (ended.code, ended.out) == (0, "run\n"), ended.err
        shutil.rmtree("run")
    ended = call("networks", "check", "vgg19", "photo.png")
    assert ended.out.startswith("VGG-19, 16 convolutions")
    assert call("networks", "check", "vgg20", "photo.png").code == 2
    assert call("networks", "convert", "photo.png", "b.safetensors").code == 1
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["reconstruct", "amalgamate", "texture", "transfer"])
def test_every_task_with_vgg19(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMPASTO_WEIGHTS", str(tmp_path))
    save_file(narrow(BLOCKS["VGG-19"]), tmp_path / "vgg19.safetensors")
    save_image(example("red-panda", (48, 64)), tmp_path / "photo.png")
    save_image(example("night-cafe", (64, 48)), tmp_path / "painting.png")
    pictures = {"reconstruct": ["photo.png"], "texture": ["painting.png"]}.get(task, ["photo.png", "painting.png"])
    small: tuple[object, ...] = ("--steps", 2, "--size", 32, "--frames", 0, "--device", "cpu", "--quiet")
    if task in ("reconstruct", "amalgamate"):
        small = (*small, "--layers", "conv4_4")
    fitting = [DEFAULT, *(name for name, tasks in presets().items() if task in tasks)]
    for number, preset in enumerate(fitting):
        ended = call(
            task,
            *pictures,
            "--network",
            "vgg19",
            "--preset",
            preset,
            *small,
            "--evaluations",
            4,
            "--out",
            f"run{number}",
        )
        assert ended.code == 0, ended.err
        assert 'network = "vgg19"' in (tmp_path / f"run{number}" / "run.toml").read_text("utf-8")
