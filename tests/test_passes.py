"""The hand-written pass gives the results of autograd, for every layer, pooling, padding and size."""

from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from conftest import make_tiny, random_image
from impasto.errors import ImageError, LayerError
from impasto.networks.catalogue import open_network
from impasto.networks.network import Network, Padding, Pooling
from impasto.networks.passes import backward, forward
from impasto.objectives.representations import (
    Representation,
    WholeMap,
    activations,
    channel_moments,
    gram_matrix,
    mean_and_gram,
)

LAYERS = ("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1", "relu2_1", "conv2_2", "relu2_2", "pool2")


def by_hand(network: Network, image: Tensor, layers: Iterable[str]) -> Tensor:
    """Gradient of half the sum of squares of all features read: each layer's own part is the features themselves."""

    def visit(layer: str, features: Tensor, gradient: Tensor | None) -> Tensor:
        return features.clone() if gradient is None else gradient.add_(features)

    return backward(forward(network, image, layers), visit)


def by_autograd(network: Network, image: Tensor, layers: Iterable[str]) -> Tensor:
    variable = image.clone().requires_grad_()
    features = network(variable, layers)
    total = torch.stack([maps.square().sum() / 2 for maps in features.values()]).sum()
    return torch.autograd.grad(total, variable)[0]


@settings(max_examples=60, deadline=None)
@given(
    layers=st.sets(st.sampled_from(LAYERS), min_size=1),
    height=st.integers(4, 13),
    width=st.integers(4, 13),
    pooling=st.sampled_from(["max", "average"]),
    padding=st.sampled_from(["zero", "replicate"]),
)
def test_the_gradient_is_autograds(
    layers: set[str], height: int, width: int, pooling: Pooling, padding: Padding
) -> None:
    network, image = make_tiny(pooling=pooling, padding=padding), random_image(height, width)
    found, truth = by_hand(network, image, layers), by_autograd(network, image, layers)
    assert (found - truth).norm() <= 1e-12 * truth.norm()


def test_of_equals_the_first_takes_it_all() -> None:
    """On a flat picture all of a window are equal; max_pool2d gives the gradient to the first, and so does this."""
    image = torch.full((1, 3, 8, 8), 0.7, dtype=torch.float64)
    network = make_tiny()
    found, truth = by_hand(network, image, ["relu2_2"]), by_autograd(network, image, ["relu2_2"])
    assert truth.norm() > 0
    assert (found - truth).norm() <= 1e-12 * truth.norm()


@pytest.mark.slow
@pytest.mark.parametrize("layers", [("relu1_1", "conv4_2", "relu5_1"), ("conv1_2", "pool3"), ("relu1_2", "relu2_2")])
def test_the_real_network(normalised: Network, layers: tuple[str, ...]) -> None:
    """In float32 within rounding; in bfloat16 as near to float32's gradient as autograd's own."""
    image = random_image(48, 80, dtype=torch.float32)
    truth = by_autograd(normalised, image, layers)
    assert (by_hand(normalised, image, layers) - truth).norm() <= 1e-4 * truth.norm()
    narrow = open_network(precision="bfloat16", device="cpu")
    own = (by_autograd(narrow, image, layers) - truth).norm()
    assert (by_hand(narrow, image, layers) - truth).norm() <= 1.2 * own
    assert own < 0.2 * truth.norm()


@pytest.mark.parametrize(
    "represent",
    [activations, gram_matrix, mean_and_gram, channel_moments, WholeMap(lambda maps: maps.float().amax((2, 3)))],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_pull_back_adds_in_place(represent: Representation, dtype: torch.dtype) -> None:
    maps = torch.randn(1, 5, 4, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    maps = maps.contiguous(memory_format=torch.channels_last)
    variable = maps.clone().requires_grad_()
    out = represent(variable)
    slope = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out.dtype)
    (truth,) = torch.autograd.grad(out, variable, slope)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-2
    onto = torch.ones_like(maps)
    found = represent.pull_back(maps, slope, onto)
    assert found.data_ptr() == onto.data_ptr()
    assert (found - 1 - truth).norm() <= tolerance * (1 + truth).norm()
    fresh = represent.pull_back(maps, slope, None)
    assert fresh.data_ptr() != maps.data_ptr()
    assert fresh.is_contiguous(memory_format=torch.channels_last)
    assert (fresh - truth).norm() <= tolerance * truth.norm()


def test_what_is_kept(normalised: Network) -> None:
    """One map for each ReLU and pooling in the network's precision, one more for a convolution read; no indices.

    A ReLU that only a pooling reads is part of it, and the convolution's own map is kept in its place.
    """
    trace = forward(normalised, random_image(16, 16, dtype=torch.float32), ["conv2_1", "relu2_2"])
    kept = {"relu1_1", "conv1_2", "pool1", "conv2_1", "relu2_1", "relu2_2"}
    assert set(trace.maps) == kept
    assert {maps.dtype for maps in trace.maps.values()} == {torch.float32}
    assert len({maps.data_ptr() for maps in trace.maps.values()}) == len(kept)
    seen = []

    def visit(layer: str, features: Tensor, gradient: Tensor | None) -> Tensor:
        seen.append((layer, gradient is None))
        return features.clone() if gradient is None else gradient.add_(features)

    backward(trace, visit)
    assert seen == [("relu2_2", True), ("conv2_1", False)]
    assert not trace.maps


def test_bad_input(normalised: Network) -> None:
    with pytest.raises(LayerError, match="conv6_1"):
        forward(normalised, random_image(16, 16, dtype=torch.float32), ["conv6_1"])
    with pytest.raises(ImageError, match="too small"):
        forward(normalised, random_image(8, 8, dtype=torch.float32), ["conv5_1"])
