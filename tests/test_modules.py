"""Modules read by hooks, against plain autograd in float64; the modules themselves stay as they were."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from conftest import random_image
from impasto.errors import ImageError, LayerError, NetworkError, SpecError
from impasto.modules.hooked import Hooked
from impasto.modules.opening import open_module
from impasto.modules.preprocess import PREPROCESSES, Preprocess
from impasto.networks.network import Network
from impasto.networks.passes import backward, forward, read
from impasto.networks.translate import Translated
from impasto.objectives.objective import content, style
from impasto.objectives.representations import channel_moments
from toy_modules import (
    Attention,
    Block,
    Branches,
    ChannelsLast,
    Draws,
    Flattened,
    Residual,
    Swallows,
    Tied,
    Transformer,
    Tuples,
    scrambled,
)

Truth = Callable[[Any, Tensor], Mapping[str, Tensor]]  # maps of a module computed step by step, nothing in place
IMAGENET = PREPROCESSES["imagenet"]


def plain_input(image: Tensor) -> Tensor:
    mean, std = (torch.tensor(each, dtype=image.dtype).reshape(3, 1, 1) for each in (IMAGENET.mean, IMAGENET.std))
    return (image - mean) / std


def block(module: Block, maps: Tensor, name: str) -> dict[str, Tensor]:
    """The maps of a residual block, computed without anything in place."""
    found = {f"{name}.conv1": module.conv1(maps)}
    found[f"{name}.bn1"] = module.bn1(found[f"{name}.conv1"])
    found[f"{name}.relu:1"] = functional.relu(found[f"{name}.bn1"])
    found[f"{name}.bn2"] = module.bn2(module.conv2(found[f"{name}.relu:1"]))
    beside = maps if module.downsample is None else module.downsample(maps)
    found[f"{name}.relu:2"] = found[name] = functional.relu(found[f"{name}.bn2"] + beside)
    return found


def residual(module: Residual, image: Tensor) -> dict[str, Tensor]:
    found = {"bn1": module.bn1(module.conv1(image))}
    maps = functional.relu(found["bn1"])
    for name in ("layer1", "layer2", "layer3"):
        found |= block(getattr(module, name), maps, name)
        maps = found[name]
    found["fc"] = module.fc(maps.mean((2, 3)))[:, :, None, None]
    return found


def tied(module: Tied, image: Tensor) -> dict[str, Tensor]:
    first = module.first(image)
    second = module.first(first.tanh())
    return {"first:1": first, "first:2": second, "second:1": first, "second:2": second}


def tuples(module: Tuples, image: Tensor) -> dict[str, Tensor]:
    maps = module.pair.conv(image)
    doubled = 2 * (maps.sin() + maps.cos())
    return {
        "pair.conv": maps,
        "pair.0": maps.sin(),
        "pair.1": maps.cos(),
        "table.state": doubled,
        "lone": doubled.tanh(),
        "lone.0": doubled.tanh(),
    }


def swallows(module: Swallows, image: Tensor) -> dict[str, Tensor]:
    return {"first": module.first(image)}


def branches(module: Branches, image: Tensor) -> dict[str, Tensor]:
    maps = module.conv(image)
    return {"conv": maps, "other": module.other(maps + torch.arange(maps.shape[3], dtype=maps.dtype))}


def transformer(module: Transformer, image: Tensor) -> dict[str, Tensor]:
    """In train mode with no dropout: then PyTorch's encoder layers do not take their fast path."""
    maps = module.embed(image)
    rows, columns = maps.shape[2:]
    maps = maps + functional.interpolate(module.positions, size=(rows, columns), mode="bilinear")
    tokens = torch.cat([module.prefix, maps.flatten(2).transpose(1, 2)], dim=1)
    found = {"embed": module.embed(image)}
    prefix = module.prefix.shape[1]
    for number, each in enumerate(module.blocks):
        turned = tokens.transpose(0, 1) if module.tokens_first else tokens
        turned = each(turned)
        tokens = turned.transpose(0, 1) if module.tokens_first else turned
        found[f"blocks.{number}"] = tokens[:, prefix:].transpose(1, 2).reshape(1, -1, rows, columns)
        if prefix:
            found[f"blocks.{number}#cls"] = tokens[:, :1].transpose(1, 2)[:, :, None]
        if prefix > 1:
            found[f"blocks.{number}#registers"] = tokens[:, 1:prefix].transpose(1, 2)[:, :, None]
    return found


def channels_last(module: ChannelsLast, image: Tensor) -> dict[str, Tensor]:
    maps = module.stem(image)
    normed = module.norm(maps.permute(0, 2, 3, 1))
    return {
        "stem": maps,
        "norm": normed.permute(0, 3, 1, 2),
        "mix": module.mix(normed).permute(0, 3, 1, 2),
    }


CASES: dict[str, tuple[Callable[[], nn.Module], Truth]] = {
    "residual": (Residual, residual),
    "tied": (Tied, tied),
    "tuples": (Tuples, tuples),
    "swallows": (Swallows, swallows),
    "branches": (Branches, branches),
    "transformer": (Transformer, transformer),
    "registers": (lambda: Transformer(prefix=3), transformer),
    "no-prefix": (lambda: Transformer(prefix=0), transformer),
    "tokens-first": (lambda: Transformer(first=True), transformer),
    "channels-last": (ChannelsLast, channels_last),
}


def state(module: nn.Module) -> dict[str, Any]:
    """All that a pass might change."""
    return {
        "training": [each.training for each in module.modules()],
        "hooks": [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in module.modules()],
        "gradients": [(each.requires_grad, each.grad is None, id(each)) for each in module.parameters()],
        "values": {key: value.clone() for key, value in module.state_dict().items()},
        "random": torch.get_rng_state(),
    }


def same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    values = all(torch.equal(value, after["values"][key]) for key, value in before["values"].items())
    rest = all(before[key] == after[key] for key in ("training", "hooks", "gradients"))
    return values and rest and torch.equal(before["random"], after["random"])


@pytest.fixture(params=[(56, 88), (51, 83)], ids=["even", "odd"])
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Sizes that were not probed, not square; the first is a multiple of all strides, which the pass by hand takes."""
    found: tuple[int, int] = request.param
    return found


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Truth]:
    make, truth = CASES[request.param]
    return scrambled(make()), truth


def weigh(maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A fixed random slope for each map."""
    return {
        name: torch.randn(each.shape, generator=torch.Generator().manual_seed(number), dtype=each.dtype)
        for number, (name, each) in enumerate(sorted(maps.items()))
    }


def evaluated(module: nn.Module) -> nn.Module:
    """A copy in eval mode, but for the encoder layers of PyTorch, which would take another path without dropout."""
    own = copy.deepcopy(module).eval()
    for each in own.modules():
        if isinstance(each, nn.Dropout):
            each.p = 0.0
    return own


def test_maps_and_gradients_are_those_of_plain_autograd(case: tuple[nn.Module, Truth], size: tuple[int, int]) -> None:
    module, truth = case
    before, image = state(module), random_image(*size)
    network = Network.from_module(module)
    variable = image.clone().requires_grad_()
    wanted = truth(evaluated(module), plain_input(variable))
    slopes = weigh(wanted)
    total = torch.stack([(slopes[name] * maps).sum() for name, maps in wanted.items()]).sum()
    (gradient,) = torch.autograd.grad(total, variable)
    own = {name: network.canonical(name) for name in wanted}

    found = network(image, wanted)
    for name, maps in wanted.items():
        assert found[name].shape == maps.shape, name
        assert (found[name] - maps).norm() <= 1e-12 * maps.norm(), name
    assert set(dict(read(network, image, set(own.values())))) == set(own.values())

    def visit(layer: str, maps: Tensor, gradient: Tensor | None) -> Tensor:
        assert gradient is None
        return torch.stack([slopes[name] for name in own if own[name] == layer]).sum(0)

    back = backward(forward(network, image, set(own.values())), visit)
    assert (back - gradient).norm() <= 1e-10 * gradient.norm()
    assert same(before, state(module))


def test_layers_overwritten_later_are_copied_and_no_others() -> None:
    opened = open_module(scrambled(Residual()), IMAGENET, None, None, None)
    copied = {output.path for output in Hooked(opened.table, opened.precision, opened.name).copied}
    norms = [f"layer{number}.bn{which}" for number in (1, 2, 3) for which in (1, 2)]
    assert copied == {"bn1", *norms}


def test_a_layer_that_is_overwritten_only_now_is_noticed() -> None:
    """The probes did not see it: the module changed since."""
    module = scrambled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    opened = open_module(module, IMAGENET, None, None, None)
    hooked, image = Hooked(opened.table, opened.precision, opened.name), random_image(9, 9)
    assert not hooked.copied
    assert isinstance(module[1], nn.ReLU)
    module[1].inplace = True
    found = dict(hooked.maps(image, ["0", "1"]))["0"]
    assert {output.path for output in hooked.copied} == {"0"}
    assert torch.equal(found, module[0](plain_input(image)))
    assert float(found.min()) < 0


def test_a_pass_ends_with_the_deepest_layer() -> None:
    module = scrambled(Swallows())
    network = Network.from_module(module)
    assert isinstance(module, Swallows)
    network.require_size((8, 8), ["first"])  # a probe of a new size goes to the end
    module.late_calls = 0
    assert isinstance(network.computation, Translated)
    hooked = network.computation.hooked
    assert list(dict(hooked.maps(random_image(8, 8), ["first"]))) == ["first"]
    assert module.late_calls == 0
    assert list(dict(hooked.maps(random_image(8, 8), ["second"]))) == ["second"]
    assert module.late_calls == 1


def test_random_numbers_are_the_same_in_each_pass_and_the_programs_own_go_on() -> None:
    module = scrambled(Draws())
    network, image = Network.from_module(module), random_image(8, 8)
    before = state(module)
    first, second = (network(image, ["drop"])["drop"] for _ in range(2))
    assert torch.equal(first, second)
    assert same(before, state(module))
    assert float(module.count) == 0


def test_flags_of_frozen_norms_are_restored() -> None:
    module = scrambled(Residual())
    module.layer1.bn1.eval()
    Network.from_module(module)(random_image(32, 32), ["layer2"])
    assert module.training
    assert not module.layer1.bn1.training
    assert module.layer1.bn2.training


def test_a_module_that_fails_is_left_as_it_was() -> None:
    class Fails(Residual):
        good = True

        def __init__(self) -> None:
            super().__init__()
            self.late = nn.Identity()

        def forward(self, image: Tensor) -> Tensor:
            maps = super().forward(image)
            if not self.good:
                raise ValueError("no more\nsecond line")
            return self.late(maps)

    module = scrambled(Fails())
    network = Network.from_module(module)
    Fails.good, before = False, state(module)
    network.require_size((40, 40), ["layer1"])
    with pytest.raises(ImageError, match="Fails fails for a picture of 44 × 40 pixels: no more; choose another size"):
        network.require_size((40, 44), ["fc", "late"])
    with pytest.raises(NetworkError, match=r"^Fails fails: no more$"):
        dict(network.computation.maps(random_image(40, 40), ["late"]))
    assert same(before, state(module))


def test_criteria_of_content_and_style_on_a_residual_network() -> None:
    """The criterion that tasks use, against the same losses written out."""
    module = scrambled(Residual())
    network = Network.from_module(module)
    image, reference = random_image(48, 64), random_image(48, 64, seed=1)
    objective = content(reference, ["layer1.bn2", "layer3"]) + style(
        reference, ["layer2.bn1"], represent=channel_moments
    )
    losses, gradient = objective.bind(network, (48, 64)).losses_and_gradient(image)

    variable, own = image.clone().requires_grad_(), evaluated(module)
    assert isinstance(own, Residual)
    found, target = residual(own, plain_input(variable)), residual(own, plain_input(reference))
    wanted = {
        f"content/{name}": ((found[name] - target[name]) ** 2).sum() / (target[name] ** 2).sum() / 2
        for name in ("layer1.bn2", "layer3")
    }
    moments = [
        torch.stack([each.mean((0, 2, 3)), (each**2).mean((0, 2, 3))])
        for each in (found["layer2.bn1"], target["layer2.bn1"])
    ]
    wanted["style/layer2.bn1"] = ((moments[0] - moments[1]) ** 2).sum() / (moments[1] ** 2).sum()
    (truth,) = torch.autograd.grad(torch.stack(list(wanted.values())).sum(), variable)
    assert losses == pytest.approx({name: float(value.detach()) for name, value in wanted.items()}, rel=1e-10)
    assert (gradient - truth).norm() <= 1e-10 * truth.norm()


# Names and sizes -----------------------------------------------------------------------------------------------------


def test_rows_say_stride_and_channels() -> None:
    network = Network.from_module(Residual().eval())
    assert [(network.stride(name), network.channels(name)) for name in ("bn1", "layer2.conv1", "layer3", "fc")] == [
        (2, 8),
        (4, 12),
        (8, 16),
        (320, 10),
    ]
    assert network.tileable(["layer1"])
    assert not network.tileable(["fc"])
    assert network.rectified("layer1") is None


def test_names_keep_their_case() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.Mixed_5b = nn.Conv2d(3, 4, 3)

        def forward(self, image: Tensor) -> Tensor:
            return self.Mixed_5b(image)

    network = Network.from_module(Mixed())
    assert network.canonical(" Mixed_5b ") == "Mixed_5b"
    with pytest.raises(LayerError, match=r"has no layer 'mixed_5b'; did you mean 'Mixed_5b'\?"):
        network.canonical("mixed_5b")


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (
            "layer1.relu",
            r"layer1.relu of Residual cannot be read: it is called 2 times; say which call: layer1.relu:1, ",
        ),
        ("layer4", r"Residual has no layer 'layer4'; did you mean 'layer[123]"),
        ("@1.5", r"'@1.5' is no relative depth; give a number from @0 to @1, or a layer's name"),
        ("@half", r"'@half' is no relative depth"),
    ],
)
def test_names_that_cannot_be_read(layer: str, words: str) -> None:
    with pytest.raises(LayerError, match=words):
        Network.from_module(Residual()).canonical(layer)


def test_relative_depths_count_single_operations() -> None:
    network = Network.from_module(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Conv2d(4, 4, 3)))
    assert [network.canonical(depth) for depth in ("@0", "@0.5", "@1")] == ["0.0", "0.1", "1"]


def test_layers_that_are_chosen_and_no_others() -> None:
    network = Network.from_module(Residual(), layers=["layer1", "fc"])
    assert list(network.layers) == ["layer1", "fc"]
    with pytest.raises(LayerError, match="Residual has no layer 'layer9' to be read; did you mean"):
        Network.from_module(Residual(), layers=["layer9"])
    with pytest.raises(LayerError, match=r"layer1\.relu is called 2 times"):
        Network.from_module(Residual(), layers=["layer1.relu"])


def test_the_smallest_picture_is_found_without_computing() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 5), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3))
    network = Network.from_module(module)
    network.require_size((5, 5), ["0"])
    network.require_size((10, 10), ["2"])
    with pytest.raises(ImageError, match="a picture of 12 × 9 pixels is too small for 2, which needs at least 10 × 10"):
        network.require_size((9, 12), ["2"])
    with pytest.raises(ImageError, match="too small for 0, which needs at least 5 × 5"):
        network(random_image(4, 4, dtype=torch.float32), ["0"])


def test_a_module_that_takes_few_sizes_says_so() -> None:
    class Eights(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(256, 4, 1)

        def forward(self, image: Tensor) -> Tensor:
            height, width = image.shape[2:]
            maps = self.first(image).reshape(1, 4, height // 8, 8, width // 8, 8)
            return self.second(maps.permute(0, 1, 3, 5, 2, 4).flatten(1, 3))

    network = Network.from_module(Eights())
    network.require_size((16, 24), ["second"])
    with pytest.raises(ImageError, match=r"Eights fails for a picture of 24 × 17 pixels: shape.*; choose another size"):
        network.require_size((17, 24), ["second"])
    multiple = Network.from_module(Eights(), Preprocess(multiple=8))
    assert multiple(random_image(17, 24, dtype=torch.float32), ["second"])["second"].shape == (1, 4, 2, 3)


def test_a_module_that_takes_one_size_alone_reads_all_pictures_at_that_size() -> None:
    module = scrambled(Transformer(side=64))
    network, image = Network.from_module(module), random_image(40, 90)
    assert network.preprocess.size == (64, 64)
    resized = functional.interpolate(image, size=(64, 64), mode="bilinear", antialias=True)
    truth = transformer(evaluated(module), plain_input(resized))["blocks.1"]  # type: ignore[arg-type]
    assert (network(image, ["blocks.1"])["blocks.1"] - truth).norm() <= 1e-12 * truth.norm()


def test_a_module_that_takes_whole_patches_reads_the_nearest_multiples() -> None:
    class Strict(Transformer):
        def forward(self, image: Tensor) -> Tensor:
            assert image.shape[2] % 14 == image.shape[3] % 14 == 0
            return super().forward(image)

    network = Network.from_module(Strict(patch=14))
    assert network.preprocess.multiple == 14
    assert network(random_image(50, 80, dtype=torch.float32), ["blocks.0"])["blocks.0"].shape == (1, 12, 4, 6)


def test_the_convolutions_of_a_classifier_of_one_size_take_any_size() -> None:
    network = Network.from_module(Flattened(), Preprocess(0.5, 0.5, channels=1))
    assert network.preprocess.size is None
    assert network(random_image(30, 50, dtype=torch.float32), ["features"])["features"].shape == (1, 4, 15, 25)
    with pytest.raises(LayerError, match=r"head of Flattened cannot be read: it runs only for pictures of 28 × 28"):
        network.canonical("head")
    fixed = Network.from_module(Flattened(), Preprocess(0.5, 0.5, channels=1, size=28))
    assert fixed(random_image(30, 50, dtype=torch.float32), ["head"])["head"].shape == (1, 10, 1, 1)


# Outputs that are no maps --------------------------------------------------------------------------------------------


def test_maps_of_attention_are_no_maps() -> None:
    network = Network.from_module(Attention())
    with pytest.raises(LayerError, match="softmax of Attention cannot be read: it"):
        network.canonical("softmax")


def test_windows_are_no_maps() -> None:
    with pytest.raises(LayerError, match="windows of ChannelsLast cannot be read: it"):
        Network.from_module(ChannelsLast()).canonical("windows")


class Bare(nn.Module):
    """Tokens of which nothing tells how they cover the picture."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.norm, self.extra = nn.LayerNorm(3), extra

    def forward(self, image: Tensor) -> Tensor:
        assert image.shape[2:] == (28, 28)
        tokens = functional.avg_pool2d(image, 14).flatten(2).transpose(1, 2)  # 2 × 2
        return self.norm(torch.cat([tokens.new_zeros(1, self.extra, 3), tokens], dim=1))


def test_ambiguous_tokens_are_asked_for_in_one_sentence() -> None:
    """9 tokens may be 3 × 3 patches, or 5 before 2 × 2 patches."""
    with pytest.raises(NetworkError, match=r"its 9 tokens may be patches in several ways; .*tokens=0 or tokens=5"):
        Network.from_module(Bare(5), Preprocess(size=28))
    network = Network.from_module(Bare(5), Preprocess(size=28), tokens=5)
    assert network(random_image(28, 28, dtype=torch.float32), ["norm"])["norm"].shape == (1, 3, 2, 2)
    with pytest.raises(SpecError, match="tokens is -1; it must be a number from 0 upwards, or auto"):
        Network.from_module(Bare(5), tokens=-1)


# Modules that are refused --------------------------------------------------------------------------------------------


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.last(self.conv(image).detach())


def test_layers_without_gradients_are_refused_where_gradients_are_needed() -> None:
    network, image = Network.from_module(Detached()), random_image(16, 16, dtype=torch.float32)
    assert network(image, ["last"])["last"].shape == (1, 4, 12, 12)
    with pytest.raises(NetworkError, match="last of Detached has no gradient with respect to the picture"):
        forward(network, image, ["last"])


class Functional(nn.Module):
    """A layer that never runs: its weights are used without it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image: Tensor) -> Tensor:
        return functional.conv2d(image, self.conv.weight)


def half(module: nn.Module) -> nn.Module:
    return module.half()


def meta(module: nn.Module) -> nn.Module:
    return module.to("meta")


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3))), "is a TorchScript program"),
        (Functional, "Functional never calls its layers"),
        (lambda: half(Residual()), r"Residual has weights in float16; call .float\(\) on the module first"),
        (lambda: meta(Residual()), "Residual has no weights, as its device is meta"),
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3)), "shapes in the first call; call the module once before"),
        (lambda: nn.Sequential(Residual(), Residual().double()), "has weights in float32 and float64"),
        (lambda: Residual(taken=5), "Residual fails for a picture of 256 × 192 pixels: Invalid channel dimensions"),
    ],
)
def test_modules_that_cannot_be_read(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(NetworkError, match=words) as raised:
        Network.from_module(make())
    assert "\n" not in str(raised.value)


def test_wrapped_modules_are_unwrapped() -> None:
    module, compiled = Residual(), Residual()
    compiled._orig_mod = module  # as torch.compile does
    for wrapped in (compiled, nn.DataParallel(module)):
        assert "layer1.bn1" in Network.from_module(wrapped).layers  # type: ignore[arg-type]


# Preprocessing -------------------------------------------------------------------------------------------------------


def test_preprocessings_are_those_of_numpy() -> None:
    image = random_image(5, 7)
    pixels = image[0].numpy()
    usual = {
        "imagenet": (pixels - [[[0.485]], [[0.456]], [[0.406]]]) / [[[0.229]], [[0.224]], [[0.225]]],
        "caffe": 255 * pixels[::-1] - [[[103.939]], [[116.779]], [[123.68]]],
        "half": 2 * pixels - 1,
        "none": pixels,
    }
    for name, truth in usual.items():
        found = PREPROCESSES[name](image, torch.float64)[0].numpy()
        assert abs(found - truth).max() <= 1e-12, name


def test_grey_networks_take_luma() -> None:
    image = random_image(5, 7)
    grey = image[0, 0] * 0.299 + image[0, 1] * 0.587 + image[0, 2] * 0.114
    one, four = (Preprocess(channels=channels)(image, torch.float64) for channels in (1, 4))
    assert one.shape == (1, 1, 5, 7)
    assert torch.allclose(one[0, 0], grey)
    assert torch.equal(four, one.expand(1, 4, 5, 7))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mean": (0.5, 0.5)}, "mean has 2 numbers for 3 channels; give one, or one for each"),
        ({"std": 0.0}, "std is 0; all must be above 0"),
        ({"mean": float("nan")}, "mean is nan; all must be finite numbers"),
        ({"scale": -1.0}, "scale is -1.0; it must be above 0"),
        ({"channels": 0}, "channels and multiple must be at least 1"),
        ({"size": (3, 4, 5)}, "size is"),
    ],
)
def test_preprocessings_that_cannot_be(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        Preprocess(**given)


def test_a_preprocessing_as_data_and_words() -> None:
    assert Preprocess().as_data() == {}
    assert PREPROCESSES["caffe"].as_data() == {"mean": [103.939, 116.779, 123.68], "scale": 255.0, "order": "bgr"}
    assert Preprocess(**PREPROCESSES["clip"].as_data()) == PREPROCESSES["clip"]
    assert PREPROCESSES["caffe"].words() == "BGR in 0 … 255, minus 103.939, 116.779, 123.68"
    assert (
        Preprocess(0.5, 0.5, channels=1, size=28).words()
        == "grey in 0 … 1, minus 0.5, divided by 0.5, resized to 28 × 28"
    )
