"""Representations, distances and priors against double loops in NumPy, and properties for any numbers."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from conftest import random_image
from impasto.networks.catalogue import open_network
from impasto.networks.network import Network
from impasto.objectives.distances import mean_squared_error, normalised_squared_error
from impasto.objectives.priors import alpha_norm, out_of_range, total_variation
from impasto.objectives.representations import activations, channel_moments, gram_matrix, mean_and_gram
from impasto.objectives.wasserstein import Wasserstein, wasserstein_distance

seeds = st.integers(0, 10_000)
shapes = st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 7))
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def feature_map(shape: tuple[int, int, int], seed: int) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shuffled(features: Tensor, seed: int) -> Tensor:
    """The same positions in another order."""
    order = torch.randperm(features[0, 0].numel(), generator=torch.Generator().manual_seed(seed))
    return features.flatten(2)[:, :, order].reshape(features.shape)


# Representations -----------------------------------------------------------------------------------------------------


def gram_by_loops(features: np.ndarray) -> np.ndarray:
    channels, height, width = features.shape
    gram = np.zeros((channels, channels))
    for i in range(channels):
        for j in range(channels):
            for y in range(height):
                for x in range(width):
                    gram[i, j] += features[i, y, x] * features[j, y, x]
    return gram / (height * width)


def moments_by_loops(features: np.ndarray) -> np.ndarray:
    channels, height, width = features.shape
    moments = np.zeros((2, channels))
    for i in range(channels):
        for y in range(height):
            for x in range(width):
                moments[0, i] += features[i, y, x] / (height * width)
                moments[1, i] += features[i, y, x] ** 2 / (height * width)
    return moments


def mean_and_gram_by_loops(features: np.ndarray) -> np.ndarray:
    return np.concatenate([moments_by_loops(features)[:1], gram_by_loops(features)])


@pytest.mark.parametrize(
    ("represent", "loops"),
    [
        (gram_matrix, gram_by_loops),
        (channel_moments, moments_by_loops),
        (mean_and_gram, mean_and_gram_by_loops),
        (activations, lambda features: features[None]),
    ],
)
@given(shape=shapes, seed=seeds)
def test_representations(
    represent: Callable[[Tensor], Tensor],
    loops: Callable[[np.ndarray], np.ndarray],
    shape: tuple[int, int, int],
    seed: int,
) -> None:
    features = feature_map(shape, seed)
    assert represent(features).numpy() == pytest.approx(loops(features.numpy()[0]), rel=1e-10, abs=1e-12)


def test_gram_matrix_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[0.0, -3.0]]]])  # two channels, one row, two positions
    assert gram_matrix(features).tolist() == [[2.5, -3.0], [-3.0, 4.5]]
    assert channel_moments(features).tolist() == [[1.5, -1.5], [2.5, 4.5]]


@given(shapes, seeds)
def test_gram_matrices_are_symmetric_and_positive(shape: tuple[int, int, int], seed: int) -> None:
    gram = gram_matrix(feature_map(shape, seed))
    assert torch.allclose(gram, gram.T, atol=1e-14)
    assert torch.linalg.eigvalsh(gram).min() >= -1e-12


@pytest.mark.parametrize("represent", [gram_matrix, channel_moments, mean_and_gram])
@given(shape=shapes, seed=seeds)
def test_statistics_do_not_know_where(
    represent: Callable[[Tensor], Tensor], shape: tuple[int, int, int], seed: int
) -> None:
    features = feature_map(shape, seed)
    truth = represent(features)
    assert torch.allclose(represent(shuffled(features, seed)), truth, atol=1e-12)
    assert torch.allclose(represent(features.tile(1, 1, 2, 3)), truth, atol=1e-12)  # nor how many there are


@given(seeds)
def test_activations_know_where(seed: int) -> None:
    features = feature_map((2, 4, 4), seed)
    assert not torch.equal(activations(shuffled(features, seed)), features)


# Distances -----------------------------------------------------------------------------------------------------------


@given(shapes, seeds)
def test_distances(shape: tuple[int, int, int], seed: int) -> None:
    found, target = feature_map(shape, seed), feature_map(shape, seed + 1)
    squares = energy = 0.0
    for a, b in zip(found.flatten().tolist(), target.flatten().tolist(), strict=True):
        squares += (a - b) ** 2
        energy += b**2
    assert mean_squared_error(found, target).item() == pytest.approx(squares / found.numel())
    assert normalised_squared_error(found, target).item() == pytest.approx(squares / energy)


@pytest.mark.parametrize("distance", [mean_squared_error, normalised_squared_error])
@given(shape=shapes, seed=seeds)
def test_distances_are_zero_only_where_equal(
    distance: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, int, int], seed: int
) -> None:
    target = feature_map(shape, seed)
    assert distance(target, target).item() == 0
    assert distance(target + 0.1, target).item() > 0


@given(shapes, seeds, st.floats(1e-3, 1e3))
def test_the_normalised_distance_is_relative(shape: tuple[int, int, int], seed: int, factor: float) -> None:
    found, target = feature_map(shape, seed), feature_map(shape, seed + 1)
    assert normalised_squared_error(torch.zeros_like(target), target).item() == pytest.approx(1)
    assert normalised_squared_error(factor * found, factor * target).item() == pytest.approx(
        normalised_squared_error(found, target).item()
    )


def test_a_target_of_zeros() -> None:
    found, target = torch.full((2, 3), 2.0, requires_grad=True), torch.zeros(2, 3)
    loss = normalised_squared_error(found, target)
    loss.backward()
    assert loss.item() == 24
    assert found.grad is not None
    assert torch.equal(found.grad, torch.full((2, 3), 4.0))


def wasserstein_by_numpy(found: np.ndarray, target: np.ndarray, blur: float) -> float:
    """The trace of the root of the product of both covariances, by the eigenvalues of a matrix with no symmetry."""
    noise = blur * np.trace(target[1:]) / target.shape[1] * np.eye(target.shape[1])
    first, second = (moments[1:] - np.outer(moments[0], moments[0]) + noise for moments in (found, target))
    roots = np.sqrt(np.linalg.eigvals(first @ second).real.clip(0)).sum()
    means = ((found[0] - target[0]) ** 2).sum()
    return float((means + np.trace(first) + np.trace(second) - 2 * roots) / np.trace(target[1:]))


@given(st.integers(1, 6), seeds, st.sampled_from([1e-3, 0.1, 1.0]))
def test_wasserstein_distance(channels: int, seed: int, blur: float) -> None:
    features = [feature_map((channels, 5, 6), seed + more) for more in (0, 1)]
    found, target = map(mean_and_gram, features)
    truth = wasserstein_by_numpy(found.numpy(), target.numpy(), blur)
    assert float(Wasserstein(blur)(found, target)) == pytest.approx(truth, rel=1e-8)
    assert float(Wasserstein(blur)(target, target)) == pytest.approx(0, abs=1e-12)
    doubled = (mean_and_gram(2 * maps) for maps in features)
    assert float(Wasserstein(blur)(*doubled)) == pytest.approx(truth, rel=1e-8)  # the same in any unit


def test_wasserstein_distance_by_hand() -> None:
    """Channels that vary apart: (difference of means)² + (difference of deviations)², in units of the energy."""
    mean, deviation = torch.tensor([1.0, -2.0]), torch.tensor([2.0, 0.5])
    wanted, other = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0])

    def moments(mean: Tensor, deviation: Tensor) -> Tensor:
        return torch.cat([mean[None], torch.outer(mean, mean) + torch.diag(deviation**2)]).double()

    found = Wasserstein(blur=0.0)(moments(mean, deviation), moments(wanted, other))
    assert float(found) == pytest.approx((1 + 9 + 1 + 6.25) / (1 + 1 + 9))


@pytest.mark.slow
@given(st.integers(1, 4), seeds)
def test_slope_of_the_wasserstein_distance(channels: int, seed: int) -> None:
    target = mean_and_gram(feature_map((channels, 3, 4), seed + 1))
    features = feature_map((channels, 3, 3), seed).requires_grad_()
    assert torch.autograd.gradcheck(lambda maps: wasserstein_distance(mean_and_gram(maps), target), features)


@pytest.mark.slow
@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_wasserstein_distance_of_flat_pictures(grey: float, plain: Network) -> None:
    """Where nothing varies, and where a layer sees nothing, there is a distance and a slope, also in bfloat16."""
    flat, other = torch.full((1, 3, 32, 48), grey), random_image(32, 48, dtype=torch.float32)
    layers = ["relu1_1", "relu3_1", "relu5_1"]
    for network in (plain, open_network("vgg16", precision="bfloat16", device="cpu")):
        seen, wanted = network(other, layers), network(flat, layers)
        for layer in layers:
            for first, second in ((seen, wanted), (wanted, seen), (wanted, wanted)):
                found = mean_and_gram(first[layer]).requires_grad_()
                distance = wasserstein_distance(found, mean_and_gram(second[layer]))
                (slope,) = torch.autograd.grad(distance, found)
                assert torch.isfinite(distance)
                assert torch.isfinite(slope).all()
    wrong = torch.cat([torch.zeros(1, 3), torch.diag(torch.tensor([1.0, 1.0, -1.0]))]).requires_grad_()
    (slope,) = torch.autograd.grad(wasserstein_distance(wrong, torch.cat([torch.zeros(1, 3), torch.eye(3)])), wrong)
    assert torch.isfinite(slope).all()  # as rounding of strong features may leave it
    nothing = torch.zeros(4, 3)
    assert float(wasserstein_distance(nothing, nothing)) == 0


# Priors --------------------------------------------------------------------------------------------------------------


def variation_by_loops(image: np.ndarray, beta: float) -> float:
    channels, height, width = image.shape
    total = 0.0
    for channel in range(channels):
        for y in range(height):
            for x in range(width):
                across = image[channel, y, x + 1] - image[channel, y, x] if x + 1 < width else 0.0
                down = image[channel, y + 1, x] - image[channel, y, x] if y + 1 < height else 0.0
                total += (across**2 + down**2) ** (beta / 2)
    return total / (height * width)


def extremes_by_loops(image: np.ndarray, alpha: float) -> float:
    return sum(abs(2 * value - 1) ** alpha for value in image.flatten()) / image.size


def excess_by_loops(image: np.ndarray) -> float:
    total = 0.0
    for value in image.flatten():
        if value < 0:
            total += value**2
        elif value > 1:
            total += (value - 1) ** 2
    return total / image.size


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 3.0])
@given(size=sizes, seed=seeds)
def test_total_variation(beta: float, size: tuple[int, int], seed: int) -> None:
    image = random_image(*size, seed)
    truth = variation_by_loops(image.numpy()[0], beta)
    floor = 1e-8 if beta != 2 else 0  # on the squares, for the sake of the gradient: it shifts each power by as much
    assert total_variation(image, beta).item() == pytest.approx(truth, rel=1e-9, abs=3.01 * floor ** (beta / 2) + 1e-12)


@given(sizes, seeds, st.sampled_from([2.0, 6.0, 7.5]))
def test_alpha_norm(size: tuple[int, int], seed: int, alpha: float) -> None:
    image = random_image(*size, seed)
    assert alpha_norm(image, alpha).item() == pytest.approx(extremes_by_loops(image.numpy()[0], alpha))


@given(sizes, seeds)
def test_out_of_range(size: tuple[int, int], seed: int) -> None:
    image = 3 * random_image(*size, seed) - 1
    assert out_of_range(image).item() == pytest.approx(excess_by_loops(image.numpy()[0]))
    assert out_of_range(image.clamp(0, 1)).item() == 0


PRIORS = [total_variation, lambda image: total_variation(image, 1.0), alpha_norm, out_of_range]


@pytest.mark.parametrize("penalty", PRIORS)
@given(size=sizes)
def test_mid_grey_is_free(penalty: Callable[[Tensor], Tensor], size: tuple[int, int]) -> None:
    image = torch.full((1, 3, *size), 0.5, requires_grad=True)
    loss = penalty(image)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert image.grad is not None
    assert image.grad.abs().max().item() == 0  # and finite: no division by the length of no gradient


@pytest.mark.parametrize(("level", "extreme"), [(0.0, 1.0), (1.0, 1.0), (0.75, 0.5**6)])
def test_flat_pictures(level: float, extreme: float) -> None:
    image = torch.full((1, 3, 4, 5), level)
    assert total_variation(image).item() == 0
    assert alpha_norm(image).item() == pytest.approx(extreme)
    assert out_of_range(image).item() == 0


@pytest.mark.parametrize("penalty", PRIORS)
def test_gradients_of_priors(penalty: Callable[[Tensor], Tensor]) -> None:
    image = (1.6 * random_image(5, 6) - 0.3).requires_grad_()
    assert torch.autograd.gradcheck(penalty, (image,))
