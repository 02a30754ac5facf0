"""Weight maps: against sums written out, whole and in tiles, and what a stranger may hand in."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import make_tiny, random_image
from impasto.errors import ImageError, SpecError
from impasto.networks.network import Network
from impasto.networks.steps import FeatureMap
from impasto.objectives.distances import mean_squared_error, normalised_squared_error
from impasto.objectives.objective import Objective, content, style
from impasto.objectives.representations import (
    MeanOverPositions,
    Representation,
    WholeMap,
    activations,
    channel_moments,
    gram_matrix,
    mean_and_gram,
)
from impasto.objectives.wasserstein import wasserstein_distance
from impasto.objectives.weightmaps import WeightMap, weighted_by
from impasto.tiles.criterion import bind_tiled
from impasto.tiles.reading import read_once

SIZE = (37, 51)


def rectangle(height: int, width: int, *, soft: float = 0.5) -> Tensor:
    """1 in a rectangle, `soft` in three rows below, 0 elsewhere."""
    weights = torch.zeros(1, 1, height, width, dtype=torch.float64)
    weights[..., height // 5 : height // 2, width // 4 : width // 2] = 1
    weights[..., height // 2 : height // 2 + 3, width // 4 : width // 2] = soft
    return weights


def third_moments(features: FeatureMap) -> Tensor:
    """A stranger's mean over positions, without a way back of its own."""
    return features.pow(3).mean((2, 3)) + features[:, :1].mul(features).mean((2, 3))


def everything(size: tuple[int, int] = SIZE) -> Objective:
    """Terms of all kinds, of which two share the picture and one weights the reference."""
    region = rectangle(20, 30)
    here, rest = WeightMap(region), WeightMap(1 - region)
    objective = content(random_image(*size, 1), ["relu2_1"], where=WeightMap(1 + 3 * region))
    objective += content(random_image(*size, 2), ["image"], distance=mean_squared_error, where=here, name="colours")
    for where, name in ((here, "here"), (rest, "rest")):
        objective += style(random_image(33, 41, 3), ["relu1_2", "relu2_1"], name=name, where=where)
        objective += style(
            *(random_image(29, 44, 4), {"relu1_1": 0.3}),
            represent=mean_and_gram,
            distance=wasserstein_distance,
            name=f"{name} distribution",
            where=where,
            reference_where=here,
        )
    odd = MeanOverPositions(third_moments)
    return objective + style(random_image(35, 30, 5), ["pool1"], represent=odd, name="odd", where=here)


@pytest.fixture
def network() -> Network:
    return make_tiny()


def positions(network: Network, layer: str, weights: Tensor) -> np.ndarray:
    """The weights at a layer by loops: the mean over each square, divided by the mean of all."""
    stride, picture = network.stride(layer), weights[0, 0].numpy()
    height, width = (side // stride for side in picture.shape)
    squares = [
        picture[y * stride : (y + 1) * stride, x * stride : (x + 1) * stride].mean()
        for y in range(height)
        for x in range(width)
    ]
    found = np.array(squares).reshape(height, width)
    return found / found.mean()


@pytest.mark.parametrize("represent", [gram_matrix, mean_and_gram, channel_moments, MeanOverPositions(third_moments)])
@pytest.mark.parametrize("layer", ["relu1_1", "pool1", "relu2_2"])
def test_weighted_means_are_sums_over_positions(network: Network, layer: str, represent: Representation) -> None:
    """Each position alone, times its weight, added up: by the definition, with levels that rounding leaves alone."""
    weights = rectangle(16, 24)
    weights[..., -4:, :4] = 0.25
    weights = weights.repeat_interleave(2, 2).repeat_interleave(2, 3)  # even squares
    features = network(random_image(32, 48), [layer])[layer]
    at = WeightMap(weights).at((32, 48), network.layer(layer), network.device)
    wanted = torch.zeros_like(represent(features))
    known = positions(network, layer, weights)
    for y, x in np.ndindex(known.shape):
        wanted += known[y, x] * represent(features[:, :, y : y + 1, x : x + 1]) / known.size
    torch.testing.assert_close(weighted_by(represent, at, "here")(features), wanted, rtol=1e-10, atol=1e-12)


def test_gradients_are_those_of_autograd(network: Network) -> None:
    image, criterion = random_image(*SIZE, 9), everything().bind(network, SIZE)
    losses, gradient = criterion.losses_and_gradient(image)
    variable = image.clone().requires_grad_()
    features = network(variable, {term.layer for term in criterion.terms})  # type: ignore[attr-defined]
    values = [t.weight * t.loss(t.represent(features[t.layer])) for t in criterion.terms]  # type: ignore[attr-defined]
    total = torch.stack(values).sum()
    (wanted,) = torch.autograd.grad(total, variable)
    assert sum(losses.values()) == pytest.approx(float(total.detach()), rel=1e-12)
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-12)


def test_gradients_are_those_of_differences(network: Network) -> None:
    image, criterion = random_image(*SIZE, 9), everything().bind(network, SIZE)
    _, gradient = criterion.losses_and_gradient(image)
    direction = random_image(*SIZE, 10) - 0.5
    step = 1e-6
    ahead, behind = (sum(criterion.losses(image + sign * step * direction).values()) for sign in (1, -1))
    assert float((gradient * direction).sum()) == pytest.approx((ahead - behind) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("core", [(8, 8), (12, 20), (37, 16)])
def test_tiles_give_the_whole(network: Network, core: tuple[int, int]) -> None:
    image, objective = random_image(*SIZE, 9), everything()
    whole, tiled = objective.bind(network, SIZE), bind_tiled(objective, network, SIZE, core)
    assert len(tiled.tiles) > 1
    (losses, gradient), (found, slope) = whole.losses_and_gradient(image), tiled.losses_and_gradient(image)
    assert list(found) == list(losses)
    assert found == pytest.approx(losses, rel=1e-10)
    assert tiled.losses(image) == pytest.approx(whole.losses(image), rel=1e-10)
    torch.testing.assert_close(slope, gradient, rtol=1e-9, atol=1e-13)


def test_pictures_read_in_tiles_have_the_same_means(network: Network) -> None:
    image, region = random_image(*SIZE, 9), WeightMap(rectangle(20, 30))
    key = ("relu2_1", weighted_by(gram_matrix, region.at(SIZE, network.layer("relu2_1"), network.device), "here"))
    whole, _ = read_once(network, image, [key])
    tiles, _ = read_once(network, image, [key], (12, 12))
    torch.testing.assert_close(tiles[key], whole[key], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("distance", [normalised_squared_error, mean_squared_error])
def test_a_map_that_is_the_same_everywhere_changes_nothing(network: Network, distance: Callable[..., Tensor]) -> None:
    """And its scale does not matter."""
    photo, painting, image = random_image(*SIZE, 1), random_image(33, 41, 2), random_image(*SIZE, 3)

    def objective(where: WeightMap | None) -> Objective:
        both = partial(content, photo, ["relu2_1"], distance=distance), partial(style, painting, ["relu1_1"])
        return both[0](where=where) + both[1](where=where, distance=distance, reference_where=where)

    plain, gradient = objective(None).bind(network, SIZE).losses_and_gradient(image)
    for level in (1.0, 0.3, 7.0):
        where = WeightMap(torch.full((1, 1, 5, 4), level, dtype=torch.float64))
        losses, slope = objective(where).bind(network, SIZE).losses_and_gradient(image)
        assert losses == pytest.approx(plain, rel=1e-10)
        torch.testing.assert_close(slope, gradient, rtol=1e-9, atol=1e-13)


def test_only_the_region_is_changed(network: Network) -> None:
    """The gradient is 0 beyond what the positions of the region see, and not 0 inside."""
    region = torch.zeros(1, 1, *SIZE)
    region[..., 10:20, 10:20] = 1
    objective = style(random_image(33, 41, 2), ["relu2_1"], where=WeightMap(region))
    _, gradient = objective.bind(network, SIZE).losses_and_gradient(random_image(*SIZE, 3))
    reach = network.reach_px("relu2_1")
    assert gradient[..., 10:20, 10:20].abs().min() > 0
    assert gradient[..., : 10 - reach, :].abs().max() == 0
    assert gradient[..., 20 + reach :].abs().max() == 0


@pytest.mark.parametrize("size", [(32, 48), (64, 64), (97, 131)])
def test_regions_leave_no_gap(network: Network, size: tuple[int, int]) -> None:
    """Maps that add up to 1 have weights, times the share of the picture that each covers, that add up to 1."""
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(1, 3, 23, 31, generator=generator).softmax(1)
    maps[:, :, :10, :10] = torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1)
    for layer in ("relu1_1", "relu2_1"):
        total = torch.zeros(())
        for number in range(3):
            at = WeightMap(maps[:, number : number + 1]).at(size, network.layer(layer), network.device)
            fraction = maps[:, number : number + 1].mean()
            total = total + at.numbers(maps) * fraction
        assert (total - 1).abs().max() < 0.07  # rounding to levels, three times


def test_references_count_inside_their_region(network: Network) -> None:
    """Positions that see half of the outside count little; far inside all count alike."""
    region = torch.zeros(1, 1, 64, 64)
    region[..., :32, :] = 1
    layer = network.layer("relu2_2")
    at = WeightMap(region).inside((64, 64), layer, network.device).numbers(region)
    border = 32 // layer.stride - 1
    assert at[border + 1 :].max() == 0
    assert at[border].max() < 0.4 * at[0].max()
    assert at[: border - layer.reach_px // layer.stride - 1].std() < 1e-6


def test_a_small_region_of_a_reference_still_counts(network: Network) -> None:
    region = torch.zeros(1, 1, 64, 64)
    region[..., 30:33, 30:33] = 1
    at = WeightMap(region).inside((64, 64), network.layer("relu2_2"), network.device)
    assert at.numbers(region).max() > 0


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (torch.zeros(1, 1, 4, 4), "the weights of a weight map are all 0"),
        (-torch.ones(1, 1, 4, 4), "a weight map has a weight that is below 0 or not finite"),
        (torch.full((1, 1, 4, 4), torch.nan), "a weight map has a weight that is below 0 or not finite"),
        (torch.ones(4, 4), r"a weight map has the shape \(1, 1, height, width\), not \(4, 4\)"),
    ],
)
def test_odd_maps(weights: Tensor, sentence: str) -> None:
    with pytest.raises(SpecError, match=f"^{sentence}$"):
        WeightMap(weights)


def test_a_region_without_a_position(network: Network) -> None:
    region = torch.zeros(1, 1, 64, 64)
    region[..., 0, 0] = 1
    objective = style(random_image(64, 64), ["relu2_1"], where=WeightMap(region), name="style in eye")
    with pytest.raises(ImageError, match=r"^the part of the picture for style in eye covers about 1 px, and one"):
        objective.bind(network, (64, 64))


def test_functions_of_the_whole_map_have_no_positions(network: Network) -> None:
    largest = WholeMap(lambda features: features.amax((2, 3)))
    objective = style(random_image(64, 64), ["relu2_1"], represent=largest, where=WeightMap(torch.ones(1, 1, 2, 2)))
    with pytest.raises(SpecError, match="cannot be weighted by position; wrap the function as a MeanOverPositions"):
        objective.bind(network, (64, 64))


def test_windows_of_weights_are_their_own(network: Network) -> None:
    """A window sent to another process is not sent with the whole map behind it."""
    at = WeightMap(rectangle(64, 64)).at((64, 64), network.layer("relu1_1"), network.device)
    window = weighted_by(activations, at, "here").cut(slice(0, 4), slice(8, 12))
    assert window.weights.levels.untyped_storage().nbytes() == 16  # type: ignore[attr-defined]
