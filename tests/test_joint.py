"""Joint normalisation of graphs: the function stays to 1e-9 in float64, or the operation that forbids it is named."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from conftest import example, make_tiny, random_image
from impasto.errors import ImageError, NetworkError
from impasto.files import bundled
from impasto.machine import Precision
from impasto.networks.catalogue import NETWORKS, open_network
from impasto.networks.joint import Normalised, as_module, normalise_module, normalise_network, verify
from impasto.networks.layers import PICTURE, add, concatenate, convolution, pool, rectifier
from impasto.networks.means import load_means, mean_activations, normalise
from impasto.networks.network import Network, Preprocess
from impasto.networks.steps import MaxPool

PICTURES = [random_image(24, 32, seed) - 0.5 for seed in range(4)]


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """A batch norm as after training; some factors are negative."""
    norm = nn.BatchNorm2d(channels)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        assert tensor is not None
        nn.init.normal_(tensor)
    assert norm.running_var is not None
    nn.init.uniform_(norm.running_var, 0.2, 3)
    return norm


class Residual(nn.Module):
    """As ResNet: batch norms, rectifiers in place that are used twice, sums in place, a classifier at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 7, 2, 3, bias=False), batch_norm(8)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        self.first, self.bn1 = nn.Conv2d(8, 6, 1, bias=False), batch_norm(6)
        self.second, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), batch_norm(6)
        self.third, self.bn3 = nn.Conv2d(6, 8, 1, bias=False), batch_norm(8)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.bn(self.stem(x))))
        y = self.relu(self.bn1(self.first(x)))
        y = self.relu(self.bn2(self.second(y)))
        y = self.bn3(self.third(y))
        y += x
        y = self.relu(y)
        return self.last(torch.flatten(functional.adaptive_avg_pool2d(y, 1), 1))


class Inverted(nn.Module):
    """As MobileNet v2: depthwise convolutions, ReLU6, a bottleneck without a rectifier, a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn0, self.act0 = nn.Conv2d(3, 4, 3, 2, 1), batch_norm(4), nn.ReLU6()
        self.wide, self.bn1, self.act1 = nn.Conv2d(4, 12, 1), batch_norm(12), nn.ReLU6(inplace=True)
        self.deep, self.bn2 = nn.Conv2d(12, 12, 3, padding=1, groups=12), batch_norm(12)
        self.narrow, self.bn3 = nn.Conv2d(12, 4, 1), batch_norm(4)
        self.grouped = nn.Conv2d(4, 8, 3, groups=2, padding=1, padding_mode="replicate")

    def forward(self, x: Tensor) -> Tensor:
        x = self.act0(3 * self.bn0(self.stem(x)))
        y = self.act1(self.bn1(self.wide(x)))
        y = functional.relu6(self.bn2(self.deep(y)))
        return functional.relu(self.grouped(self.bn3(self.narrow(y)) + x))


class Gated(nn.Module):
    """A gate as in squeeze and excitation: its last layer has no rectifier, so its input keeps the scale 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.up = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        gate = self.up(functional.relu(self.down(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class Dense(nn.Module):
    """As DenseNet and SqueezeNet: concatenations, and batch norms behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 4, 3, padding=1)
        self.norm, self.three = batch_norm(9), nn.Conv2d(9, 3, 1)
        self.twice = nn.Conv2d(3, 3, 3, padding=1)
        self.slope = nn.PReLU(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(functional.pad(x, (1, 1, 1, 1))).relu()
        x = functional.relu(self.norm(torch.cat([x, self.two(x).relu()], 1)))
        x = self.slope(self.three(functional.avg_pool2d(x, 2))).relu()
        x = self.twice(self.twice(x).relu()).relu()
        return functional.interpolate(x, scale_factor=2) / 1


class SameConv(nn.Conv2d):
    """Pads by the picture's size, as TensorFlow does; no graph can hold that."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (max((-(-side // 2) - 1) * 2 + 3 - side, 0) for side in x.shape[2:])
        return functional.conv2d(functional.pad(x, (0, columns, 0, rows)), self.weight, self.bias, 2, 0, 1, self.groups)


class SamePool(nn.MaxPool2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)))


class Plainly(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if len(x) else x


class Own(nn.Module):
    """As networks of TensorFlow: layers of the module's own kinds, whose code asks for the picture's size."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.deep = SameConv(3, 6, 3), SameConv(6, 6, 3, groups=6, bias=False)
        self.norm, self.plain, self.pool = Plainly(6), Plainly(6, affine=False), SamePool(2)
        self.norm.load_state_dict(batch_norm(6).state_dict())
        self.last = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.deep(self.pool(self.one(x).relu())))
        return self.last(self.plain(x.relu()).relu())


def chain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3), nn.LeakyReLU(0.2), nn.Conv2d(4, 4, 3),
        nn.ReLU(), nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(), nn.Linear(24, 7), nn.ReLU(), nn.Dropout(),
        nn.Linear(7, 2), nn.Softmax(1),
    )  # fmt: skip


MODULES: dict[str, Callable[[], nn.Module]] = {
    "chain": chain,
    "residual": Residual,
    "inverted": Inverted,
    "gated": Gated,
    "dense": Dense,
    "own": Own,
}


def made(name: str) -> nn.Module:
    torch.manual_seed(3)
    return MODULES[name]().double()


def normalised(name: str) -> tuple[nn.Module, Normalised]:
    module = made(name)
    return module.eval(), normalise_module(module, PICTURES)


@pytest.mark.parametrize("name", MODULES)
def test_the_function_stays(name: str) -> None:
    module, found = normalised(name)
    assert found.error <= 1e-9
    for picture in [*PICTURES, random_image(24, 32, 99) - 0.5]:
        with torch.no_grad():
            truth, other = module(picture), found.module(picture)
        if name in ("inverted", "dense"):  # they end with a rectifier, whose mean is 1 now
            other = other * list(found.scales.values())[-1].reshape(1, -1, 1, 1)
        if name == "gated":
            other = other * found.scales["relu"].reshape(1, -1, 1, 1)
        assert truth.abs().max() > 1e-3
        assert (other - truth).norm() <= 1e-11 * truth.norm()


@pytest.mark.parametrize("name", MODULES)
def test_means_are_one_now(name: str) -> None:
    """Normalised again, nothing changes: each free live channel has the mean 1, each group the mean of means 1."""
    _, found = normalised(name)
    again = normalise_module(copy.deepcopy(found.module), PICTURES)
    assert any((scale != 1).any() for scale in found.scales.values())
    for scale in again.scales.values():
        assert torch.allclose(scale, torch.ones_like(scale), rtol=1e-10)
    assert [len(group) for group in again.groups] == [len(group) for group in found.groups]
    assert [index for _, index in again.dead] == [index for _, index in found.dead]


@pytest.mark.parametrize("name", MODULES)
def test_the_module_is_left_as_it_is(name: str) -> None:
    module = made(name).float().train()
    before = copy.deepcopy(module.state_dict())
    found = normalise_module(module, [picture.float() for picture in PICTURES])
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert {parameter.dtype for parameter in found.module.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("chain", "_1 _6 _10"),
        ("residual", "relu,relu_3 relu_1 relu_2"),  # the stem and the end of the block meet in the sum
        ("inverted", "act0 act1 relu6 relu"),  # what the stem is added to has no rectifier
        ("gated", "relu relu_1"),
        ("own", "relu relu_1,relu_2"),  # a norm without weights gives what it reads in its own scale
        (
            "dense",
            "relu relu_1 relu_2 relu_3,relu_4,relu_5",
        ),  # a module that is called twice ties what it reads and gives
    ],
)
def test_groups(name: str, groups: str) -> None:
    _, found = normalised(name)
    assert {frozenset(group) for group in found.groups} == {frozenset(each.split(",")) for each in groups.split()}


def test_caps_are_reached_where_they_are_tested() -> None:
    module = made("inverted").eval()
    assert isinstance(module, Inverted)
    with torch.no_grad():
        reached = [module.act0(3 * module.bn0(module.stem(picture))) for picture in PICTURES]
    assert 0.01 < torch.stack(reached).eq(6).double().mean() < 0.9


def test_dead_channels_are_named_and_keep_their_scale() -> None:
    module = made("chain")
    assert isinstance(module, nn.Sequential)
    with torch.no_grad():
        module[0].bias[2] = -1e6
    found = normalise_module(module, PICTURES)
    assert ("_1", 2) in found.dead
    assert found.scales["_1"][2] == 1
    assert f"{len(found.dead)} of them dead" in found.words


# What is refused -----------------------------------------------------------------------------------------------------


class Forbidden(nn.Module):
    def __init__(self, after: Callable[[Tensor], Tensor] | nn.Module) -> None:
        super().__init__()
        self.conv, self.after = nn.Conv2d(3, 4, 3), after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.conv(x).relu())


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (nn.LocalResponseNorm(2), r"after \(LocalResponseNorm\)"),
        (nn.Sigmoid(), r"after \(Sigmoid\)"),
        (nn.GELU(), r"after \(GELU\)"),
        (nn.SiLU(), r"after \(SiLU\)"),
        (nn.GroupNorm(2, 4), r"after \(GroupNorm\)"),
        (nn.Hardtanh(0, 4), r"after \(Hardtanh\)"),
        (nn.BatchNorm2d(4, track_running_stats=False), r"after \(BatchNorm2d\)"),
        (lambda x: x.softmax(1), r"\(softmax\)"),
        (lambda x: torch.exp(x), r"\(exp\)"),
        (lambda x: x + 1, r"\(add\)"),
        (lambda x: x * x.tanh(), r"\((tanh|mul)\)"),
        (lambda x: x.mean(1), r"\(mean\)"),
        (lambda x: functional.pad(x, (1, 1, 1, 1), value=1.0), r"\(pad\)"),
        (lambda x: x.transpose(1, 2), r"\(transpose\)"),
        (lambda x: x.chunk(2, 1)[0], r"\(chunk\)"),
    ],
)
def test_what_does_not_commute_is_named(after: Callable[[Tensor], Tensor], words: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(NetworkError, match=f"cannot be normalised exactly: .*{words} reads rectified maps"):
        normalise_module(Forbidden(after).double(), PICTURES)


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, (self.weight - self.weight.mean()) / self.weight.std(), self.bias)


class Louder(nn.MaxPool2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).exp()


class Doubled(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super().forward(x), x], 1)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (Standardised(4, 5, 3), "Standardised"),
        (Louder(2), "Louder"),
        (Doubled(4, 5, 3, padding=1), "Doubled"),
        (Plainly(4, track_running_stats=False), "Plainly"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 5, 3)), "ParametrizedConv2d"),
    ],
)
def test_layers_of_own_kinds_that_do_not_rescale_are_named(after: nn.Module, words: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(NetworkError, match=rf"cannot be normalised exactly: after \({words}\) reads rectified maps"):
        normalise_module(Forbidden(after).double(), PICTURES)


class Turning(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_other_modules_that_cannot_be_normalised() -> None:
    with pytest.raises(NetworkError, match="Turning has no graph that can be normalised"):
        normalise_module(Turning(), PICTURES)
    with pytest.raises(NetworkError, match="no rectified linear unit"):
        normalise_module(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 4, 3)).double(), PICTURES)
    with pytest.raises(ImageError, match="no picture"):
        normalise_module(made("chain"), [])


# Networks of layers --------------------------------------------------------------------------------------------------


def branching() -> Network:
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(*shape, 3, 3, generator=generator) / 4 for shape in ((5, 3), (5, 5), (4, 5), (6, 9))]
    biases = [torch.randn(len(weight), generator=generator) / 4 for weight in weights]
    first = rectifier("relu1", one := convolution("conv1", PICTURE, weights[0], biases[0], padding=1))
    summed = add("sum", two := convolution("conv2", first, weights[1], biases[1], padding=1), first)
    after = rectifier("relu2", summed)
    other = rectifier("relu3", three := convolution("conv3", after, weights[2], biases[2], padding=1))
    joined = pool("pool", both := concatenate("both", after, other), MaxPool())
    last = rectifier("relu4", four := convolution("conv4", joined, weights[3], biases[3], padding=1))
    layers = {each.name: each for each in (one, first, two, summed, after, three, other, both, joined, four, last)}
    return Network("branching", layers, Preprocess(255.0, (120.0,) * 3), torch.device("cpu"), torch.float32)


def test_a_network_of_layers_as_a_module() -> None:
    network, image = branching(), random_image(16, 20, dtype=torch.float32)
    with torch.no_grad():
        found = as_module(network)(network.prepare(image))
    assert torch.allclose(found, network(image, ["relu4"])["relu4"], rtol=1e-4, atol=1e-4)
    result = normalise_module(as_module(network), [network.prepare(random_image(16, 20, n)) for n in range(3)])
    assert {frozenset(group) for group in result.groups} == {
        frozenset({"relu1", "relu2"}),
        frozenset({"relu3"}),
        frozenset({"relu4"}),
    }


def test_a_branching_network_is_normalised() -> None:
    network, images = branching(), [random_image(16, 20, n, torch.float32) for n in range(3)]
    changed, found = normalise_network(network, images)
    image = random_image(18, 22, 7, torch.float32)
    for layer in ("relu1", "relu2", "relu3", "relu4"):
        truth, other = network(image, [layer])[layer], changed(image, [layer])[layer]
        scale = found.scales[layer].float().reshape(1, -1, 1, 1)
        assert (other * scale - truth).norm() <= 1e-5 * truth.norm(), layer
        assert (scale != 1).any()
    inside = torch.stack([changed(image, ["relu3"])["relu3"].mean((0, 2, 3)) for image in images]).mean(0)
    dead = [index for name, index in found.dead if name == "relu3"]
    assert all(mean == pytest.approx(1, rel=1e-5) for index, mean in enumerate(inside) if index not in dead)
    assert changed.variant == {"normalised": "jointly"}
    with pytest.raises(NetworkError, match="sum reads several maps; use `normalise_network`"):
        mean_activations(network, images)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_it_is_the_normalisation_of_a_chain(precision: Precision) -> None:
    """The same weights as `normalise`, which is tested by itself."""
    network = make_tiny(precision)
    kind = network.precision
    means = mean_activations(network, [random_image(20, 24, n, kind) for n in range(3)])
    found = verify(network, means, random_image(20, 24, 9, kind))
    weights = {f"{n}.{k}": getattr(network.layers[n].step, k) for n in means.by_layer for k in ("weight", "bias")}
    expected = normalise(weights, means)
    assert found.error <= 1e-12
    for key, tensor in expected.items():
        assert torch.allclose(dict(found.module.named_parameters())[key].float(), tensor.float(), rtol=1e-5), key
    assert found.words.startswith("4 groups of scales; 24 channels, ")


@pytest.mark.slow
def test_the_bundled_network_exactly() -> None:
    network = open_network("vgg16", precision="float32", device="cpu")
    means = load_means(bundled("vgg16-means.safetensors"), NETWORKS["vgg16"].load_weights())
    found = verify(network, means, example("red-panda", (64, 64)))
    assert found.error <= 1e-12
    assert len(found.groups) == 13
    assert sum(len(scale) for scale in found.scales.values()) == 4224
