"""The network against VGG-16 as a plain stack of torch modules, and the errors for mistakes."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import impasto.networks.catalogue
from conftest import example, make_tiny, random_image, tiny_weights
from impasto.errors import ImageError, LayerError, NetworkError, SpecError, WeightsError
from impasto.files import bundled
from impasto.machine import find_device, find_precision
from impasto.networks.catalogue import NETWORKS, open_network
from impasto.networks.network import Network, Padding, Pooling
from impasto.networks.steps import AveragePool, Convolution, MaxPool
from impasto.networks.vgg import in_precision

BLOCKS = (
    ("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"),
    ("conv2_1", "relu2_1", "conv2_2", "relu2_2", "pool2"),
    ("conv3_1", "relu3_1", "conv3_2", "relu3_2", "conv3_3", "relu3_3", "pool3"),
    ("conv4_1", "relu4_1", "conv4_2", "relu4_2", "conv4_3", "relu4_3", "pool4"),
    ("conv5_1", "relu5_1", "conv5_2", "relu5_2", "conv5_3", "relu5_3", "pool5"),
)
LAYERS = [layer for block in BLOCKS for layer in block]
TINY_LAYERS = LAYERS[:10]
KERAS = {
    "block1_conv1": "relu1_1",
    "block1_conv2": "relu1_2",
    "block1_pool": "pool1",
    "block3_conv3": "relu3_3",
    "block4_conv2": "relu4_2",
    "block5_conv3": "relu5_3",
    "block5_pool": "pool5",
    " Block2_Conv1 ": "relu2_1",
    "CONV5_1": "conv5_1",
}


def stack(weights: dict[str, Tensor], layers: list[str], pooling: Pooling, padding: Padding) -> nn.Sequential:
    """The same network as torch's own modules, one for each layer name."""
    modules: list[nn.Module] = []
    for layer in layers:
        if layer.startswith("conv"):
            out, into = weights[f"{layer}.weight"].shape[:2]
            mode = "replicate" if padding == "replicate" and layer == "conv1_1" else "zeros"
            convolution = nn.Conv2d(into, out, 3, padding=1, padding_mode=mode, dtype=weights[f"{layer}.bias"].dtype)
            convolution.load_state_dict({name: weights[f"{layer}.{name}"] for name in ("weight", "bias")})
            modules.append(convolution)
        elif layer.startswith("relu"):
            modules.append(nn.ReLU())
        else:
            modules.append(nn.MaxPool2d(2, 2) if pooling == "max" else nn.AvgPool2d(2, 2))
    return nn.Sequential(*modules)


def run(modules: nn.Sequential, image: Tensor, layers: list[str]) -> dict[str, Tensor]:
    maps = 255 * image - torch.tensor([123.68, 116.779, 103.939], dtype=image.dtype).reshape(3, 1, 1)
    features = {}
    for layer, module in zip(layers, modules, strict=True):
        maps = features[layer] = module(maps)
    return features


# Against the plain stack ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["zero", "replicate"])
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_vgg16_is_the_plain_stack(pooling: Pooling, padding: Padding) -> None:
    image = example("neuschwanstein-castle", (67, 83))
    network = open_network("vgg16", pooling=pooling, padding=padding, precision="float32", device="cpu")
    weights = {key: tensor.float() for key, tensor in load_file(bundled("vgg16.safetensors")).items()}
    with torch.no_grad():
        truth = run(stack(weights, LAYERS, pooling, padding), image, LAYERS)
        found = network(image, LAYERS)
    assert set(found) == set(LAYERS)
    for layer in LAYERS:
        assert found[layer].dtype == torch.float32
        assert found[layer].shape == truth[layer].shape
        assert (found[layer] - truth[layer]).norm() <= 1e-5 * truth[layer].norm(), layer


@pytest.mark.parametrize("padding", ["zero", "replicate"])
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_gradients_are_those_of_the_plain_stack(pooling: Pooling, padding: Padding) -> None:
    """All layers are read at once, so that an activation in place would spoil a convolution or its gradient."""
    network = make_tiny(pooling=pooling, padding=padding)
    modules = stack(tiny_weights(), TINY_LAYERS, pooling, padding)

    def gradient(read: Callable[[Tensor], dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
        image = random_image(11, 14).requires_grad_()
        loss = torch.stack([maps.sin().sum() for _, maps in sorted(read(image).items())]).sum()
        return loss.detach(), torch.autograd.grad(loss, image)[0]

    (found, found_gradient), (truth, true_gradient) = (
        gradient(lambda image: network(image, TINY_LAYERS)),
        gradient(lambda image: run(modules, image, TINY_LAYERS)),
    )
    assert torch.allclose(found, truth, rtol=1e-10)
    assert torch.allclose(found_gradient, true_gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("layer", TINY_LAYERS)
def test_a_layer_alone_is_the_same_as_in_company(tiny: Network, layer: str) -> None:
    image = random_image(11, 14)
    kept = image.clone()
    company = tiny(image, TINY_LAYERS)
    assert torch.equal(tiny(image, [layer])[layer], company[layer])
    assert torch.equal(image, kept)


def test_convolutions_are_read_before_the_activation(plain: Network, photo: Tensor) -> None:
    found = plain(photo, LAYERS)
    for layer in LAYERS:
        if layer.startswith("conv"):
            assert found[layer].min() < 0
            assert torch.equal(found[f"relu{layer[4:]}"], found[layer].clamp_min(0))


def test_the_picture_itself_is_a_layer(tiny: Network) -> None:
    image = random_image(8, 8)
    assert tiny(image, ["image"])["image"] is image
    assert set(tiny(image, ["image", "pool1"])) == {"image", "pool1"}
    assert tiny(image, []) == {}


def test_it_reads_no_further_than_it_must() -> None:
    network = make_tiny()
    step = network.layers["conv2_1"].step
    assert isinstance(step, Convolution)
    unfit = replace(network.layers["conv2_1"], step=Convolution(step.weight[:, :1]))
    network = replace(network, layers={**network.layers, "conv2_1": unfit})
    assert network(random_image(8, 8), ["relu1_2", "pool1"])["pool1"].shape == (1, 5, 4, 4)
    with pytest.raises(RuntimeError, match="channels"):
        network(random_image(8, 8), ["conv2_1"])


def test_weights_take_no_gradient(plain: Network, photo: Tensor) -> None:
    image = photo.clone().requires_grad_()
    plain(image, ["conv2_1"])["conv2_1"].sum().backward()
    assert image.grad is not None
    assert image.grad.abs().max() > 0
    for layer in plain.layers.values():
        if isinstance(layer.step, Convolution):
            assert not layer.step.weight.requires_grad
            assert layer.step.weight.grad is None


# Precision and device ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_bfloat16_is_near_float32(plain: Network, normalised: Network, photo: Tensor) -> None:
    """A bfloat16 has 8 bits: a single rounding is off by up to 0.4 %, thirteen layers by little more."""
    for name, exact in (("vgg16", plain), ("vgg16-normalised", normalised)):
        network = open_network(name, precision="bfloat16", device="cpu")
        assert network.precision == torch.bfloat16
        assert_same_weights(in_precision(exact, torch.bfloat16), network)
        assert in_precision(exact, torch.float32) is exact
        found, truth = network(photo, LAYERS), exact(photo, LAYERS)
        for layer in LAYERS:
            assert found[layer].dtype == torch.bfloat16
            error = (found[layer].float() - truth[layer]).norm() / truth[layer].norm()
            assert 0 < error < 0.02, layer


def assert_same_weights(found: Network, expected: Network) -> None:
    """All that convolutions have, also how it lies in memory."""
    assert (found.precision, list(found.layers)) == (expected.precision, list(expected.layers))
    for one, other in zip(found.layers.values(), expected.layers.values(), strict=True):
        if isinstance(one.step, Convolution) and isinstance(other.step, Convolution):
            assert one.step.weight.equal(other.step.weight)
            assert one.step.bias.equal(other.step.bias)
            assert one.step.weight.stride() == other.step.weight.stride()
            assert one.step.padding == other.step.padding


def test_float64_stays_float64(tiny: Network) -> None:
    assert tiny(random_image(8, 8), ["conv1_1"])["conv1_1"].dtype == torch.float64
    assert tiny.precision == torch.float64
    assert tiny.device == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "nonsense", "", "meta", "cpu:x"])
def test_unavailable_devices(name: str) -> None:
    with pytest.raises(SpecError, match=r"device '.*' .*use auto or cpu"):
        find_device(name)


def test_devices() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert torch.zeros(1, device=find_device("auto")).sum() == 0


@pytest.mark.parametrize(
    ("capabilities", "unfolded", "precision"),
    [
        ({}, True, torch.float32),
        ({"avx2": True, "avx512_bf16": False}, True, torch.float32),
        ({"avx512_bf16": True}, False, torch.bfloat16),
        ({"avx512_bf16": True}, True, torch.float32),
        ({"amx_bf16": True}, False, torch.bfloat16),
    ],
)
def test_precision_follows_the_hardware(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], unfolded: bool, precision: torch.dtype
) -> None:
    """Of a made-up processor, and of a oneDNN that supports bfloat16 there or not."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr("impasto.machine.unfolds", lambda precision, device: unfolded)
    assert find_precision("auto", torch.device("cpu")) == precision
    assert find_precision("float32", torch.device("cpu")) == torch.float32


# Layers and sizes ----------------------------------------------------------------------------------------------------


def test_layer_names(plain: Network) -> None:
    assert list(plain.layers) == LAYERS
    assert [plain.canonical(layer) for layer in LAYERS] == LAYERS
    assert {layer: plain.canonical(layer) for layer in KERAS} == KERAS


def test_layers_are_given_under_the_names_asked_for(plain: Network, photo: Tensor) -> None:
    found = plain(photo, [*KERAS, "relu1_1"])
    assert set(found) == {*KERAS, "relu1_1"}
    for layer, paper in KERAS.items():
        assert torch.equal(found[layer], plain(photo, [paper])[paper])


@pytest.mark.parametrize(
    ("layer", "answer"),
    [
        ("conv11", "did you mean 'conv1_1'?"),
        ("conv6_1", "did you mean 'conv"),
        ("Relu4-3", "did you mean 'relu4_3'?"),
        ("block4_conv4", "did you mean 'relu4_"),
        ("pool6", "did you mean 'pool"),
        ("xyz", "choose from conv1_1, relu1_1, conv1_2"),
        ("", "choose from conv1_1"),
    ],
)
def test_unknown_layers(plain: Network, photo: Tensor, layer: str, answer: str) -> None:
    for ask in (plain.canonical, plain.stride, plain.layer, lambda name: plain(photo, ["conv1_1", name])):
        with pytest.raises(LayerError) as caught:
            ask(layer)
        assert f"vgg16 has no layer {layer!r}; " in str(caught.value)
        if ask == plain.canonical:
            assert answer in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "stride"),
    [
        ("image", 1),
        ("conv1_1", 1),
        ("relu1_2", 1),
        ("pool1", 2),
        ("conv2_1", 2),
        ("relu3_3", 4),
        ("conv4_2", 8),
        ("conv5_1", 16),
        ("pool5", 32),
    ],
)
def test_strides(plain: Network, layer: str, stride: int) -> None:
    assert plain.stride(layer) == stride
    features = plain(random_image(64, 96, dtype=torch.float32), [layer])
    assert features[layer].shape[2:] == (64 // stride, 96 // stride)


@pytest.mark.parametrize("size", [(15, 15), (15, 40), (40, 15)])
def test_pictures_that_are_too_small(plain: Network, size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=rf"{size[1]} × {size[0]} pixels .* conv5_1, .* at least 16 × 16"):
        plain(random_image(*size, dtype=torch.float32), ["conv1_1", "conv5_1"])
    assert plain(random_image(*size, dtype=torch.float32), ["conv4_1"])["conv4_1"].shape[1] == 512


def test_the_smallest_pictures(plain: Network) -> None:
    assert plain(random_image(16, 16, dtype=torch.float32), ["conv5_1"])["conv5_1"].shape == (1, 512, 1, 1)
    assert plain(random_image(1, 1, dtype=torch.float32), ["relu1_2"])["relu1_2"].shape == (1, 64, 1, 1)
    assert plain.smallest_side(["conv1_1", "pool5", "conv3_1"]) == 32


# Weights -------------------------------------------------------------------------------------------------------------


def test_the_bundled_file_is_the_published_one() -> None:
    published = "e099bc3558c249c0dac46c6ebc9964215f1332afda87b4c6e75e87ed7a3aa619"
    assert (
        hashlib.sha256(bundled("vgg16.safetensors").read_bytes()).hexdigest() == published == NETWORKS["vgg16"].sha256
    )


def test_a_flipped_byte_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(bundled("vgg16.safetensors").read_bytes())
    (tmp_path / "vgg16.safetensors").write_bytes(content)
    monkeypatch.setattr(impasto.networks.catalogue, "bundled", lambda name: tmp_path / name)
    assert len(NETWORKS["vgg16"].load_weights()) == 26
    content[-1000] ^= 1  # the last bit of one weight's mantissa
    (tmp_path / "vgg16.safetensors").unlink()
    (tmp_path / "vgg16.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"vgg16\.safetensors are damaged .*; install impasto again"):
        open_network("vgg16")


@pytest.fixture(scope="module")
def narrow() -> dict[str, Tensor]:
    """VGG-16 with two filters a layer: quick to write."""
    weights, channels = {}, 3
    for layer in LAYERS:
        if layer.startswith("conv"):
            weights[f"{layer}.weight"], weights[f"{layer}.bias"] = torch.ones(2, channels, 3, 3), torch.zeros(2)
            channels = 2
    return weights


def test_weights_of_the_users(tmp_path: Path, narrow: dict[str, Tensor]) -> None:
    halves = {key: tensor.half() for key, tensor in narrow.items()}
    save_file(halves | {"fc6.weight": torch.ones(3, 3), "fc6.bias": torch.ones(3)}, tmp_path / "file")
    network = open_network("vgg16", weights=tmp_path / "file", precision="float32", device="cpu")
    assert network(torch.full((1, 3, 32, 32), 0.6), ["pool5"])["pool5"].shape == (1, 2, 1, 1)
    found = NETWORKS["vgg16"].load_weights(tmp_path / "file")
    assert set(found) == set(narrow)  # no classifier
    assert all(tensor.dtype == torch.float32 for tensor in found.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conv3_2.weight": None}, "conv3_2 is missing or has another shape"),
        ({"conv5_3.bias": None}, "conv5_3 is missing or has another shape"),
        ({"conv1_1.weight": torch.ones(2, 4, 3, 3)}, "conv1_1 is missing or has another shape"),
        ({"conv4_1.weight": torch.ones(2, 2, 5, 5)}, "conv4_1 is missing or has another shape"),
        ({"conv4_1.weight": torch.ones(4, 2, 3, 3)}, "conv4_1 is missing or has another shape"),
        ({"conv2_1.bias": torch.ones(3)}, "conv2_1 is missing or has another shape"),
        ({"conv2_1.bias": torch.tensor([0, torch.nan])}, "some of its numbers are not finite"),
    ],
)
def test_weights_that_do_not_serve(
    tmp_path: Path, narrow: dict[str, Tensor], change: dict[str, Tensor | None], words: str
) -> None:
    changed = {key: tensor for key, tensor in (narrow | change).items() if tensor is not None}
    save_file(changed, tmp_path / "file")
    with pytest.raises(WeightsError) as caught:
        NETWORKS["vgg16"].load_weights(tmp_path / "file")
    assert words in str(caught.value)
    assert str(tmp_path / "file") in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"some text that is long enough", b"\xff" * 64, b"\x08" + bytes(7) + b"{}      "]
)
def test_files_that_are_not_weights(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(WeightsError, match="file"):
        NETWORKS["vgg16"].load_weights(tmp_path / "file")


def test_a_cut_file_of_weights(tmp_path: Path, narrow: dict[str, Tensor]) -> None:
    save_file(narrow, tmp_path / "whole")
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-10])
    with pytest.raises(WeightsError, match="cannot be read as a file of weights"):
        NETWORKS["vgg16"].load_weights(tmp_path / "cut")


def test_a_missing_file_of_weights(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(WeightsError, match="there is no file of weights"):
            open_network("vgg16", weights=path)


def test_unknown_networks() -> None:
    with pytest.raises(NetworkError, match=r"no network 'vgg-16'; did you mean 'vgg16'\?"):
        open_network("vgg-16")
    with pytest.raises(NetworkError, match="choose from vgg16, vgg16-normalised"):
        open_network("resnet50")
    assert set(NETWORKS) == {"vgg16", "vgg16-normalised", "vgg19"}


def test_a_network_is_data(tiny: Network) -> None:
    image = random_image(9, 9)
    pools = [layer for layer in tiny.layers.values() if isinstance(layer.step, MaxPool)]
    averages = {layer.name: replace(layer, step=AveragePool()) for layer in pools}
    averaged = replace(tiny, layers={**tiny.layers, **averages})
    assert torch.equal(averaged(image, ["pool2"])["pool2"], make_tiny(pooling="average")(image, ["pool2"])["pool2"])


@pytest.mark.slow  # which leaves types unchecked, as users have them
@pytest.mark.parametrize("given", [{"padding": "reflect"}, {"pooling": "avg"}, {"precision": "float16"}])
def test_unknown_variants(given: dict[str, Any]) -> None:
    (name, value) = next(iter(given.items()))
    with pytest.raises(SpecError, match=f"there is no {name} '{value}'; "):
        open_network("vgg16", device="cpu", **given)
