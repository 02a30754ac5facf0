"""Layers as data: graphs of any shape give autograd's values and gradient, and know their reach, strides and memory."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

import impasto
from conftest import random_image
from impasto.errors import NetworkError
from impasto.modules.preprocess import Preprocess
from impasto.networks.catalogue import NETWORKS, open_network, outline
from impasto.networks.layers import PICTURE, Layer, add, concatenate, convolution, pool, rectifier
from impasto.networks.means import mean_activations
from impasto.networks.network import Network
from impasto.networks.passes import backward, forward, read
from impasto.networks.steps import AveragePool, MaxPool
from impasto.objectives.distances import mean_squared_error
from impasto.objectives.objective import content, style
from impasto.objectives.representations import channel_moments
from impasto.tiles.criterion import bind_tiled
from impasto.tiles.windows import cut
from impasto.weights.layout import BLOCKS
from weights_files import narrow

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Maps = dict[str, Tensor]


def filters(number: int, out: int, taken: int, kernel: int) -> tuple[Tensor, Tensor]:
    """Weights and bias that neither fade nor explode."""
    generator = torch.Generator().manual_seed(number)
    weight = torch.randn(out, taken, kernel, kernel, generator=generator, dtype=torch.float64)
    return weight * (2 / taken) ** 0.5 / kernel, torch.rand(out, generator=generator, dtype=torch.float64) - 0.3


def network_of(*layers: Layer) -> Network:
    """A network of these layers, in the order given."""
    taken = Preprocess(mean=MEAN, std=DEVIATION)
    return Network("toy", {layer.name: layer for layer in layers}, taken, torch.device("cpu"), torch.float64)


def residual() -> Network:
    """A sum over a branch with the identity beside it, then one with a stride in both branches.

    Here and there a map has several readers, and a convolution is read by a sum and a rectifier both.
    """
    stem = convolution("stem", PICTURE, *filters(0, 4, 3, 3), padding=1)
    first = rectifier("first", stem)
    inner = convolution("inner", first, *filters(1, 4, 4, 3), padding=1)
    bent = rectifier("bent", inner)
    outer = convolution("outer", bent, *filters(2, 4, 4, 3), padding=1)
    total = add("total", first, outer, stem)
    second = rectifier("second", total)
    halved = convolution("halved", second, *filters(3, 6, 4, 3), stride=2, padding=1)
    beside = convolution("beside", second, *filters(4, 6, 4, 1), stride=2, padding=0)
    after = add("after", halved, beside)
    third = rectifier("third", after)
    pooled = pool("pooled", third, MaxPool())
    last = convolution("last", pooled, *filters(5, 5, 6, 3), padding=1)
    return network_of(stem, first, inner, bent, outer, total, second, halved, beside, after, third, pooled, last)


def residual_truth(image: Tensor) -> Maps:
    """The same network written down with PyTorch's own functions."""
    maps = {"stem": functional.conv2d(coloured(image), *filters(0, 4, 3, 3), padding=1)}
    maps["first"] = maps["stem"].relu()
    maps["inner"] = functional.conv2d(maps["first"], *filters(1, 4, 4, 3), padding=1)
    maps["bent"] = maps["inner"].relu()
    maps["outer"] = functional.conv2d(maps["bent"], *filters(2, 4, 4, 3), padding=1)
    maps["total"] = maps["first"] + maps["outer"] + maps["stem"]
    maps["second"] = maps["total"].relu()
    even = whole(maps["second"], 2)
    maps["halved"] = functional.conv2d(even, *filters(3, 6, 4, 3), stride=2, padding=1)
    maps["beside"] = functional.conv2d(even, *filters(4, 6, 4, 1), stride=2)
    maps["after"] = maps["halved"] + maps["beside"]
    maps["third"] = maps["after"].relu()
    maps["pooled"] = functional.max_pool2d(maps["third"], 2)
    maps["last"] = functional.conv2d(maps["pooled"], *filters(5, 5, 6, 3), padding=1)
    return maps


def branching() -> Network:
    """Branches with poolings and strides of different depth, joined; one map is read by four layers."""
    stem = convolution("stem", PICTURE, *filters(0, 4, 3, 3), padding=1)
    first = rectifier("first", stem)
    largest = pool("largest", first, MaxPool())
    average = pool("average", first, AveragePool())
    plain = pool("plain", stem, MaxPool())
    strided = convolution("strided", first, *filters(1, 3, 4, 5), stride=2, padding=2)
    bent = rectifier("bent", strided)
    wide = convolution("wide", average, *filters(2, 2, 4, 5), padding=2)
    joined = concatenate("joined", largest, bent, wide, plain, largest)
    mixed = convolution("mixed", joined, *filters(3, 5, 17, 1), padding=0)
    again = rectifier("again", mixed)
    halved = pool("halved", again, AveragePool())
    deep = concatenate("deep", halved, pool("pooled", joined, AveragePool()))
    pooled = pool("pooled", joined, AveragePool())
    layers = (stem, first, largest, average, plain, strided, bent, wide, joined, mixed, again, halved, pooled, deep)
    return network_of(*layers)


def branching_truth(image: Tensor) -> Maps:
    """The same network written down with PyTorch's own functions."""
    maps = {"stem": functional.conv2d(coloured(image), *filters(0, 4, 3, 3), padding=1)}
    maps["first"] = maps["stem"].relu()
    maps["largest"] = functional.max_pool2d(maps["first"], 2)
    maps["average"] = functional.avg_pool2d(maps["first"], 2)
    maps["plain"] = functional.max_pool2d(maps["stem"], 2)
    maps["strided"] = functional.conv2d(whole(maps["first"], 2), *filters(1, 3, 4, 5), stride=2, padding=2)
    maps["bent"] = maps["strided"].relu()
    maps["wide"] = functional.conv2d(maps["average"], *filters(2, 2, 4, 5), padding=2)
    joined = [maps[name] for name in ("largest", "bent", "wide", "plain", "largest")]
    maps["joined"] = torch.cat(joined, 1)
    maps["mixed"] = functional.conv2d(maps["joined"], *filters(3, 5, 17, 1))
    maps["again"] = maps["mixed"].relu()
    maps["halved"] = functional.avg_pool2d(maps["again"], 2)
    maps["pooled"] = functional.avg_pool2d(maps["joined"], 2)
    maps["deep"] = torch.cat([maps["halved"], maps["pooled"]], 1)
    return maps


def coloured(image: Tensor) -> Tensor:
    mean, deviation = (torch.tensor(values, dtype=torch.float64).reshape(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (image - mean) / deviation


def whole(maps: Tensor, stride: int) -> Tensor:
    """Without the last rows and columns that fill no square."""
    return maps[:, :, : maps.shape[2] // stride * stride, : maps.shape[3] // stride * stride]


TOYS: dict[str, tuple[Network, Callable[[Tensor], Maps]]] = {
    "residual": (residual(), residual_truth),
    "branching": (branching(), branching_truth),
}
EVERY = [(toy, layer) for toy, (network, _) in TOYS.items() for layer in network.layers]


def by_hand(network: Network, image: Tensor, layers: Iterable[str]) -> Tensor:
    """Gradient of half the sum of squares of all features read: each layer's own part is the features themselves."""

    def visit(layer: str, features: Tensor, gradient: Tensor | None) -> Tensor:
        return features.clone() if gradient is None else gradient.add_(features)

    return backward(forward(network, image, layers), visit)


# Values and gradient -------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(data=st.data(), toy=st.sampled_from(sorted(TOYS)), height=st.integers(4, 13), width=st.integers(4, 13))
def test_a_graph_gives_autograds_values_and_gradient(data: st.DataObject, toy: str, height: int, width: int) -> None:
    network, truth = TOYS[toy]
    layers = data.draw(st.sets(st.sampled_from(sorted(network.layers)), min_size=1))
    image = random_image(height, width)
    variable = image.clone().requires_grad_()
    wanted = truth(variable)
    (gradient,) = torch.autograd.grad(
        torch.stack([wanted[layer].square().sum() / 2 for layer in layers]).sum(), variable
    )
    kept = image.clone()
    found = network(image, layers)
    for layer, maps in read(network, image, layers):
        assert torch.allclose(maps, wanted[layer], rtol=1e-12, atol=1e-12)
    for layer in layers:
        assert torch.allclose(found[layer], wanted[layer], rtol=1e-12, atol=1e-12)
        assert found[layer].shape[1] == network.channels(layer)
        stride = network.stride(layer)
        assert found[layer].shape[2:] == (height // stride, width // stride)
    assert (by_hand(network, image, layers) - gradient).norm() <= 1e-12 * gradient.norm()
    assert torch.equal(image, kept)


@pytest.mark.parametrize("toy", sorted(TOYS))
def test_a_called_graph_can_be_derived_by_autograd(toy: str) -> None:
    network, truth = TOYS[toy]
    image = random_image(9, 12)
    gradients = []
    for function in (lambda variable: network(variable, network.layers), truth):
        variable = image.clone().requires_grad_()
        total = torch.stack([maps.sin().sum() for _, maps in sorted(function(variable).items())]).sum()
        gradients.append(torch.autograd.grad(total, variable)[0])
    assert (gradients[0] - gradients[1]).norm() <= 1e-12 * gradients[1].norm()


def test_what_nothing_read_depends_on_is_not_computed() -> None:
    network, _ = TOYS["branching"]
    trace = forward(network, random_image(8, 8), ["wide"])
    assert [layer.name for layer in trace.layers] == ["stem", "average", "wide"]  # with the rectifier in the pooling


def test_maps_go_with_the_last_who_needs_them() -> None:
    network, _ = TOYS["residual"]
    trace = forward(network, random_image(8, 8), ["last"])
    assert set(trace.maps) == {"first", "bent", "second", "after", "pooled", "last"}
    backward(trace, lambda _, maps, __: maps.clone())
    assert not trace.maps


# Reach and tiles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("toy", "layer"), EVERY)
def test_nothing_beyond_the_reach_is_seen(toy: str, layer: str) -> None:
    """Other noise outside of what a position sees leaves its value as it is; at the rim of the reach it does not."""
    network, _ = TOYS[toy]
    image, other = random_image(64, 16), random_image(64, 16, seed=1)
    stride, reach = network.stride(layer), network.reach_px(layer)
    position = 32 // stride
    top, bottom = position * stride - reach, (position + 1) * stride + reach
    beyond = other.clone()
    beyond[:, :, top:bottom] = image[:, :, top:bottom]
    value, unmoved = (network(each, [layer])[layer][:, :, position] for each in (image, beyond))
    assert torch.equal(value, unmoved)
    rim = image.clone()
    rim[:, :, top] = other[:, :, top]
    assert not torch.equal(value, network(rim, [layer])[layer][:, :, position])


@pytest.mark.parametrize(
    ("toy", "compared", "measured"), [("residual", "total", "last"), ("branching", "joined", "deep")]
)
@pytest.mark.parametrize("size", [(50, 61), (64, 48)])
def test_tiles_of_a_graph_are_the_whole(toy: str, compared: str, measured: str, size: tuple[int, int]) -> None:
    network, _ = TOYS[toy]
    objective = content(random_image(*size, 1), [compared], distance=mean_squared_error)
    objective += style(random_image(40, 44, 2), [measured], represent=channel_moments)
    tiled, image = bind_tiled(objective, network, size, (16, 16)), random_image(*size, 3)
    assert len(cut(size, (16, 16), network, [compared, measured])) > 1
    (found, slope), (losses, gradient) = (
        criterion.losses_and_gradient(image) for criterion in (tiled, objective.bind(network, size))
    )
    assert found == pytest.approx(losses, rel=1e-9)
    assert (slope - gradient).norm() <= 1e-9 * gradient.norm()


# Memory --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("toy", "layer"), EVERY)
def test_the_estimate_of_memory_is_above_what_is_kept(toy: str, layer: str) -> None:
    network, _ = TOYS[toy]
    trace = forward(network, random_image(32, 32), [layer])
    kept = {maps.data_ptr(): maps.nbytes for maps in trace.maps.values()}
    assert network.bytes_per_pixel([layer]) >= sum(kept.values()) / 32**2


def test_gradients_that_wait_are_counted() -> None:
    """Of a map with many readers, the gradient waits until the last one has given its share."""
    stem = convolution("stem", PICTURE, *filters(0, 64, 3, 3), padding=1)
    inner = [rectifier("inner0", stem)]
    for number in range(1, 4):
        inner.append(convolution(f"inner{number}", inner[-1], *filters(1, 64, 64, 1), padding=0))
    chain, both = network_of(stem, *inner), network_of(stem, *inner, add("both", stem, inner[-1]))
    item = 8
    assert both.bytes_per_pixel(["both"]) >= chain.bytes_per_pixel(["inner3"]) + 64 * item


# The numbers of the version before layers were data, when the formula knew chains of VGG's layers alone: budgets that
# are kept in run.toml go on to give the same tiles.
@pytest.mark.parametrize(
    ("layers", "compared", "known"),
    [
        (["relu5_1"], [], 1220),
        (["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1", "relu4_2"], ["relu4_2"], 1300),
        (["conv4_1"], ["conv4_1"], 1268),
        (["pool5", "conv1_1"], [], 1494),
        (["conv1_2", "relu2_2"], ["conv1_2"], 1572),
        (["image"], [], 36),
    ],
)
def test_a_chain_takes_what_it_took(plain: Network, layers: list[str], compared: list[str], known: float) -> None:
    assert plain.bytes_per_pixel(layers, compared) == known


# What a layer is -----------------------------------------------------------------------------------------------------


def test_layers_that_do_not_fit() -> None:
    stem = convolution("stem", PICTURE, *filters(0, 4, 3, 3), padding=1)
    halved, wider = pool("halved", stem, MaxPool()), convolution("wider", stem, *filters(1, 5, 4, 1), padding=0)
    wrong: list[tuple[Callable[[], Layer], str]] = [
        (lambda: convolution("next", stem, *filters(1, 4, 3, 3), padding=1), "next cannot read stem: .* 3 channels"),
        (lambda: convolution("next", stem, *filters(1, 4, 4, 3), padding=0), "padding 0; .* at least 2 and below 3"),
        (lambda: convolution("next", stem, *filters(1, 4, 4, 3), padding=2), "padding 2"),
        (
            lambda: add("sum", stem, halved),
            r"sum cannot add stem \(4 channels, stride 1\) and halved \(4 ",
        ),
        (lambda: add("sum", stem, wider), "maps of equal channels and stride"),
        (lambda: add("sum", stem), "two or more"),
        (lambda: concatenate("both", stem, halved), "both cannot join stem .* maps of equal stride"),
    ]
    for make, words in wrong:
        with pytest.raises(NetworkError, match=words):
            make()


def test_means_are_for_chains() -> None:
    with pytest.raises(NetworkError, match="toy cannot be normalised by mean activations: total reads several maps"):
        mean_activations(TOYS["residual"][0], [random_image(8, 8)])


def test_the_rectified_layer() -> None:
    toy, vgg16 = TOYS["residual"][0], outline("vgg16")
    assert [toy.rectified(layer) for layer in ("image", "stem", "first", "after")] == [None, "first", None, "third"]
    assert [vgg16.rectified(layer) for layer in ("conv3_2", "relu3_2", "pool3")] == ["relu3_2", None, None]


def test_shallow_and_middle_layers_are_those_of_blocks() -> None:
    network = outline("vgg16-normalised")
    for layer in network.layers:
        block = int(next(letter for letter in layer if letter.isdigit()))
        assert network.is_shallow(layer) == (block <= 2), layer
        assert network.is_middle(layer) == (3 <= block <= 4), layer
    assert network.is_shallow("image")
    assert network.is_shallow("block2_pool")


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_an_outline_is_the_network_without_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_WEIGHTS", str(tmp_path))
    save_file(narrow(BLOCKS["VGG-19"]), tmp_path / "vgg19.safetensors")
    whole_network, known = open_network(name, precision="float32", device="cpu"), outline(name)
    assert list(known.layers) == list(whole_network.layers) == list(NETWORKS[name].architecture.layers)
    assert known.aliases == whole_network.aliases
    for layer, here in known.layers.items():
        there = whole_network.layers[layer]
        assert (here.stride, here.reach_px, here.reads) == (there.stride, there.reach_px, there.reads)
    assert set(NETWORKS[name].showcase) <= set(known.layers)


# Names are names -----------------------------------------------------------------------------------------------------

LOOKS = re.compile(
    r"""(starts|ends)with\(\(?["'](conv|relu|pool|block|_1)"""  # a beginning or an end is tested
    r"""|remove(pre|suf)fix\(["'](conv|relu|pool|block|_1)"""
    r"""|["'](conv|relu|pool|block|_1)["'] (not )?in """
    r"""|\blayer\[[-\d:]"""  # letters are taken out
    r"""|\bre\.\w+\(.*\blayer\b"""
    r"""|\bf["'](conv|relu|pool|block)\d*_?{"""  # a name is put together
)


@pytest.mark.parametrize(
    "bad",
    [
        'if layer.startswith("conv"):',
        'name.endswith("_1")',
        'return f"relu{layer[4:]}"',
        'f"conv{block}_{number}"',
        "int(layer[4])",
        're.search(r"\\d", layer)',
        'if "pool" in name:',
        'name.removeprefix("relu")',
    ],
)
def test_a_look_into_a_name_would_be_found(bad: str) -> None:
    assert LOOKS.search(bad)


def test_only_vgg_looks_into_names() -> None:
    package = Path(impasto.__file__).parent
    found = {
        str(path.relative_to(package)): lines
        for path in package.rglob("*.py")
        if (lines := [line for line in path.read_text(encoding="utf-8").splitlines() if LOOKS.search(line)])
    }
    assert set(found) == {"networks/vgg.py", "weights/layout.py"}, found
