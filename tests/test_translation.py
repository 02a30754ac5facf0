"""Modules translated into layers: the pass by hand against the module itself, and exact tiles."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from conftest import random_image
from impasto.errors import ImageError
from impasto.images.image import Size, size_of
from impasto.modules.preprocess import Preprocess
from impasto.networks.network import Network
from impasto.networks.passes import HandTrace, backward, forward
from impasto.networks.translate import Translated
from impasto.objectives.distances import mean_squared_error
from impasto.objectives.objective import Objective, content, neighbours, style
from impasto.objectives.representations import mean_and_gram
from impasto.objectives.similarity import sampled, self_similarity
from impasto.objectives.weightmaps import WeightMap
from impasto.tiles.criterion import TiledCriterion, bind_tiled
from toy_modules import Residual, Squeeze, SqueezeNet11, scrambled


class Vgg(nn.Module):
    """VGG's kind with batch norms, dropout and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2, 2),
            nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Dropout(), nn.AvgPool2d(2),
            nn.Conv2d(8, 5, 5, padding=2), nn.ReLU(),
        )  # fmt: skip
        self.classifier = nn.Linear(5, 4)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image).mean((2, 3)))


class Unpadded(nn.Module):
    """Kernels of several sizes without zeros around the maps, strides that skip pixels, and zeros of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 5), nn.Conv2d(4, 4, (3, 5), padding=2), nn.ReLU(), nn.MaxPool2d(3, 3, 1, ceil_mode=True),
            nn.Conv2d(4, 5, 1, stride=2), nn.MaxPool2d(2, 3), nn.Conv2d(5, 4, 2),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


class Inverted(nn.Module):
    """A residual block of EfficientNet's kind: a filter for each channel, skipped positions, rectifiers with a cap."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU6(inplace=True))
        self.depth = nn.Sequential(nn.Conv2d(6, 12, 3, padding=2, dilation=2, groups=6), nn.Hardtanh(0, 0.5))
        self.narrow, self.last = nn.Conv2d(12, 6, 1), nn.Conv2d(6, 4, 5, 3, groups=2)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.stem(image)
        return functional.relu6(self.last(self.narrow(self.depth(maps)) + maps))


class Joined(nn.Module):
    """A first layer and a pooling of residual networks, then concatenated branches, as in SqueezeNet and Inception."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 7, 2, 3)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.squeeze = nn.Conv2d(6, 4, 1)
        self.one, self.three = nn.Conv2d(4, 5, 1), nn.Conv2d(4, 5, 3, padding=1)
        self.last = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        maps = functional.relu(self.squeeze(self.pool(self.stem(image))))
        both = torch.cat([self.one(maps).relu(), functional.relu(self.three(maps))], 1)
        return self.last(both + both.roll(1, 1) if image.shape[0] > 1 else both)


def gradient(network: Network, image: Tensor, layer: str) -> Tensor:
    return backward(forward(network, image, [layer]), lambda _, maps, before: maps.sin() if before is None else before)


def by_module(module: nn.Module, network: Network, image: Tensor, path: str) -> tuple[Tensor, Tensor]:
    """A layer's map by a plain hook, which copies, and the gradient of the same losses by autograd."""
    seen: list[Tensor] = []
    handle = module.get_submodule(path).register_forward_hook(lambda _, __, output: seen.append(output.clone()))
    variable = image.clone().requires_grad_()
    module.eval()(network.preprocess(variable, torch.float64).contiguous())
    handle.remove()
    (found,) = torch.autograd.grad(seen[-1], variable, seen[-1].sin().detach())
    return seen[-1].detach(), found


@pytest.mark.parametrize("size", [(48, 64), (45, 61), (46, 59)])
@pytest.mark.parametrize(
    ("make", "paths"),
    [
        (Vgg, ["features.0", "features.1", "features.3", "features.6", "features.7", "features", "classifier"]),
        (Joined, ["stem", "pool", "squeeze", "three", "last"]),
        (Residual, ["conv1", "layer1", "layer2.downsample", "layer3", "layer3.bn2"]),
        (Unpadded, ["layers.0", "layers.1", "layers.3", "layers.4", "layers.5", "layers"]),
        (Inverted, ["stem.0", "stem", "depth.0", "depth", "narrow", "last"]),
        (Squeeze, ["features.0", "features.2", "features.3.squeeze", "features.4", "features", "classifier.2"]),
        (SqueezeNet11, ["features.2", "features.9.expand3x3"]),
    ],
)
def test_the_pass_by_hand_is_the_module(make: type[nn.Module], paths: list[str], size: tuple[int, int]) -> None:
    module, image = scrambled(make()), random_image(*size)
    network = Network.from_module(module)
    assert isinstance(network.computation, Translated)
    for path in paths:
        maps, slope = by_module(module, network, image, path)
        found = network(image, [path])[path]
        assert found.reshape(maps.shape).sub(maps).norm() <= 1e-10 * maps.norm(), path
        own = network.canonical(path)
        is_ours = own in network.computation.translation.layers
        assert isinstance(network.computation.trace(image, [own]), HandTrace) == is_ours == (path != "classifier"), path
        back = gradient(network, image, own)
        assert (back - slope).norm() <= 1e-10 * slope.norm(), path


def test_what_is_translated() -> None:
    """All of a residual network but its classifier; of strange layers only what comes before them."""
    network = Network.from_module(Residual())
    assert isinstance(network.computation, Translated)
    own = network.computation.translation
    assert set(network.layers) - set(own.layers) == {"fc"}
    assert own.same["layer2"] == "layer2.relu:2"
    strange = Network.from_module(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding="same"), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)
        )
    )
    assert isinstance(strange.computation, Translated)
    assert set(strange.computation.translation.layers) == {"0"}
    resized = Network.from_module(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), Preprocess(multiple=8))
    assert not isinstance(resized.computation, Translated)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d(3, 2, ceil_mode=True)),
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReflectionPad2d(1)),
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Hardtanh()),
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding="same")),
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.InstanceNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GELU()),
    ],
)
def test_unknown_operations_are_left_to_the_module(module: nn.Module) -> None:
    """The map is the module's in any case, and only the known layer is one of the graph."""
    image = random_image(24, 32)
    network = Network.from_module(module.double())
    assert isinstance(network.computation, Translated)
    assert set(network.computation.translation.layers) == {"0"}
    maps, slope = by_module(module, network, image, "1")
    assert torch.allclose(network(image, ["1"])["1"], maps, rtol=1e-12)
    assert (gradient(network, image, "1") - slope).norm() <= 1e-10 * slope.norm()


class Uneven(nn.Module):
    """Strides of three, kernels that skip positions, fixed zeros on two sides, and zeros outside the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 5), nn.Conv2d(4, 4, 1, padding=2), nn.ReLU(), nn.MaxPool2d(3, 3, 1, ceil_mode=True),
            nn.ZeroPad2d((2, 0, 2, 0)), nn.Conv2d(4, 5, 1, stride=2), nn.MaxPool2d(3, 1),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


TILED = {
    Vgg: ["features.1", "features.6", "features"],
    Residual: ["conv1", "layer1", "layer2.downsample", "layer3"],
    Squeeze: ["features.0", "features.3.squeeze", "features", "classifier.2"],
    Joined: ["stem", "squeeze", "last"],
    Inverted: ["stem", "depth.0", "depth", "last"],
    Uneven: ["layers.1", "layers.3", "layers.4", "layers"],
}


def require_equal_tiles(network: Network, objective: Objective, size: Size, core: Size) -> None:
    """Losses and gradient in tiles are those of the whole picture."""
    image = random_image(*size)
    whole, whole_gradient = objective.bind(network, size).losses_and_gradient(image)
    criterion = bind_tiled(objective, network, size, core)
    assert isinstance(criterion, TiledCriterion)
    assert len(criterion.tiles) > 1
    tiled, tiled_gradient = criterion.losses_and_gradient(image)
    assert tiled == pytest.approx(whole, rel=1e-10)
    assert (tiled_gradient - whole_gradient).norm() <= 1e-10 * whole_gradient.norm()


ODD, OTHERS = (45, 61), [(48, 64), (46, 59)]  # sides of several remainders, each kind for half of the modules


@pytest.mark.parametrize(
    ("make", "size"), [(make, size) for number, make in enumerate(TILED) for size in (ODD, OTHERS[number % 2])]
)
def test_tiles_are_exact(make: type[nn.Module], size: Size) -> None:
    """Maps compared in place, statistics, regions, neighbours and self-similarity, with sides of any remainder."""
    network, layers = Network.from_module(scrambled(make())), TILED[make]
    maps = network(random_image(*size), layers)
    assert all(size_of(found) == network.layer(layer).positions(size) for layer, found in maps.items())
    reference, region = random_image(*size, seed=1), torch.zeros(1, 1, 4, 4).index_fill_(3, torch.tensor([1, 3]), 1.0)
    objective = (
        content(reference, layers[1:])
        + style(random_image(40, 51, seed=2), layers[:2], represent=mean_and_gram, distance=mean_squared_error)
        + style(reference, layers[-1:], name="region", where=WeightMap(region))
        + content(reference, layers[1:2], represent=sampled, distance=self_similarity, name="layout")
    )
    if make is not Uneven:  # among its equal features, which come from zeros, the nearest is a matter of rounding
        objective += neighbours(reference, [random_image(40, 51, seed=3)], layers[-1:])
    require_equal_tiles(network, objective, size, (16, 24))


def test_tiles_of_the_whole_squeezenet() -> None:
    """26 convolutions, whose positions see 103 pixels beyond their squares, in pictures larger than that."""
    network, size = Network.from_module(scrambled(SqueezeNet11())), (131, 230)
    reference = random_image(*size, seed=1)
    require_equal_tiles(network, content(reference, ["features.3", "features.12"]), size, (131, 64))


@pytest.mark.parametrize("make", TILED)
def test_no_position_sees_more_than_is_known(make: type[nn.Module]) -> None:
    """NaN in a row of the picture reaches the positions near it, and in some row all that are near enough."""
    module = scrambled(make())
    network = Network.from_module(module)
    for path in TILED[make]:
        layer = network.layer(path)
        fields = [(row * layer.stride, rows) for row, rows in enumerate(rows_seen(module, path)) if rows]
        above = [begin - rows[0] for begin, rows in fields if rows[0] > 0]
        below = [rows[-1] + 1 - (begin + layer.stride) for begin, rows in fields if rows[-1] < 47]
        assert (max(above), max(below)) == (layer.before_px, layer.after_px), path


def test_layers_after_functions_without_a_name() -> None:
    class Functions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, image: Tensor) -> Tensor:
            return self.second(functional.max_pool2d(functional.relu(self.first(image)), 2))

    network = Network.from_module(Functions())
    assert network.tileable(["second"])
    assert network.facts("second").reach_px == 3
    assert network.is_shallow("second")
    assert network.bytes_per_pixel(["second"], ["second"]) > 0


class Sneaky(nn.Module):
    """A map that is changed by means that no function of PyTorch shows, and another way for large pictures."""

    def __init__(self, large_px: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.large_px = large_px

    def forward(self, image: Tensor) -> Tensor:
        maps = self.first(image)
        if image.shape[2] > self.large_px:
            return self.second(maps + maps)
        maps[:, 0] = 0.5
        maps.view(-1).mul_(2)
        return self.second(maps)


@pytest.mark.parametrize("large_px", [200, 1000])
def test_changes_behind_the_back_are_noticed(large_px: int) -> None:
    module, image = Sneaky(large_px).double(), random_image(24, 32)
    network = Network.from_module(module)
    for path in ("first", "second"):
        maps, slope = by_module(module, network, image, path)
        assert torch.allclose(network(image, [path])[path], maps, rtol=1e-12)
        assert (gradient(network, image, path) - slope).norm() <= 1e-10 * slope.norm()
    assert isinstance(network.computation, Translated) == (large_px == 1000)


class PadsAsTensorFlow(nn.Module):
    """A convolution of stride 2 whose zeros depend on the size, at the end alone for even sides; then fixed zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 3, padding=1)
        self.third = nn.Conv2d(4, 4, 5, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.second(functional.pad(self.first(self.around(image, 3)), (1, 0, 0, 1)))
        return self.third(self.around(maps, 5))

    def around(self, maps: Tensor, kernel: int) -> Tensor:
        down, across = ((-(-side // 2) - 1) * 2 + kernel - side for side in maps.shape[2:])
        return functional.pad(maps, (across // 2, across - across // 2, down // 2, down - down // 2))


class PadsOddly(PadsAsTensorFlow):
    """Zeros that follow no rule, but are the same for sides that are multiples of 32."""

    def around(self, maps: Tensor, kernel: int) -> Tensor:
        return functional.pad(maps, (maps.shape[3] % 4, kernel - 2, maps.shape[2] % 4, kernel - 2))


@pytest.mark.parametrize("size", [(64, 96), (63, 96), (62, 90), (61, 75)])
@pytest.mark.parametrize("make", [PadsAsTensorFlow, PadsOddly])
def test_zeros_around_maps(make: type[nn.Module], size: Size) -> None:
    """Those of TensorFlow are known for all sizes, and tiles of such a network are exact; others for some sizes."""
    module, image = scrambled(make()), random_image(*size)
    network = Network.from_module(module)
    by_hand = make is PadsAsTensorFlow or size == (64, 96)
    for path in ("first", "second", "third"):
        maps, slope = by_module(module, network, image, path)
        assert isinstance(network.computation.trace(image, [path]), HandTrace) == by_hand
        assert (network(image, [path])[path] - maps).norm() <= 1e-10 * maps.norm()
        assert (gradient(network, image, path) - slope).norm() <= 1e-10 * slope.norm()
        assert (network.facts(path).reach_px is not None) == network.tileable([path]) == (make is PadsAsTensorFlow)
    if make is PadsOddly:
        assert network.untileable() == "PadsOddly cannot be computed in tiles from first (Conv2d) on"
    else:
        require_equal_tiles(network, content(random_image(*size, seed=1), ["first", "second", "third"]), size, (16, 20))


def rows_seen(module: nn.Module, path: str) -> list[list[int]]:
    """For each row of a layer's map, the rows of a picture of 48 × 48 pixels whose NaN reaches it."""
    images, maps = torch.zeros(48, 3, 48, 48, dtype=torch.float64), list[Tensor]()
    images[range(48), :, range(48)] = torch.nan
    handle = module.get_submodule(path).register_forward_hook(lambda _, __, output: maps.append(output.clone()))
    module.eval()(images)
    handle.remove()
    return [found.nonzero().flatten().tolist() for found in maps[0].isnan().any(3).any(1).T]


def test_reach_stride_and_smallest_picture_of_squeezenet() -> None:
    """The reach is the farthest that NaN comes from beyond a square of pixels; smaller pictures are refused."""
    module = scrambled(Squeeze())
    network = Network.from_module(module)
    for path, stride in {"features.0": 2, "features.2": 4, "features": 8}.items():
        facts = network.facts(path)
        assert facts.stride == network.stride(path) == stride
        beyond = [
            max(row * stride - rows[0], rows[-1] + 1 - (row + 1) * stride)
            for row, rows in enumerate(rows_seen(module, path))
        ]
        assert facts.reach_px == max(beyond)
        smallest = facts.smallest_px
        assert smallest is not None
        network(random_image(smallest, smallest), [path])
        with pytest.raises(ImageError, match=f"at least {smallest} × {smallest}"):
            network(random_image(smallest - 1, smallest), [path])


def test_what_a_list_of_layers_says() -> None:
    vgg = Network.from_module(Vgg())
    assert vgg.facts("features.4").reach_px == 3
    assert "also features" in vgg.facts("features.9").notes
    assert vgg.rectified("features.1") == "features.2"


def test_what_cannot_be_tiled_is_named() -> None:
    kernels = Network.from_module(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, (1, 3), padding=1)))
    assert kernels.tileable(["0"])
    assert not kernels.tileable(["1"])
    assert kernels.untileable() == "Sequential cannot be computed in tiles from 1 (Conv2d) on"
    resized = Network.from_module(nn.Sequential(nn.Conv2d(3, 4, 3)), Preprocess(multiple=8))
    assert resized.untileable() == "Sequential takes pictures resized, and cannot be computed in tiles"


def test_maps_of_one_size_by_chance_are_not_tiled() -> None:
    """A sum of maps that see different squares is taken whole: crops of other sizes would not fit together."""

    class Chance(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 1, stride=2), nn.Conv2d(3, 4, 2, stride=2)
            self.last = nn.ReLU()

        def forward(self, image: Tensor) -> Tensor:
            return self.last(self.one(image) + self.two(image))

    network = Network.from_module(Chance())
    assert network.tileable(["one", "two"])
    assert network.untileable() == "Chance cannot be computed in tiles from last (ReLU) on"
