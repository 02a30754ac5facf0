"""Rescaling to mean activations of 1 keeps the network's function, for a small network and the real one."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from conftest import EXAMPLES, make_tiny, random_image, tiny_weights
from impasto.errors import ImageError, WeightsError
from impasto.files import bundled
from impasto.images.files import save_image
from impasto.networks.calibration import squashed_pictures
from impasto.networks.catalogue import NETWORKS, open_network
from impasto.networks.means import Means, load_means, mean_activations, normalise, save_means
from impasto.networks.network import Network, Padding, Pooling
from impasto.networks.vgg import vgg

CONVOLUTIONS = ("conv1_1", "conv1_2", "conv2_1", "conv2_2")
DEAD = ("conv1_2", 3)
IMAGES = [random_image(*size, seed) for seed, size in enumerate([(20, 24), (20, 24), (17, 13), (8, 31)])]

# Mean over filters, over 1000 photographs that were squashed to 224 × 224; the bundled means are over 500 of them.
MEASURED = {
    "conv1_1": 21.1,
    "conv1_2": 110.7,
    "conv2_1": 181.3,
    "conv2_2": 199.2,
    "conv3_1": 253.0,
    "conv3_2": 275.9,
    "conv3_3": 179.3,
    "conv4_1": 151.0,
    "conv4_2": 84.5,
    "conv4_3": 21.1,
    "conv5_1": 21.9,
    "conv5_2": 9.4,
    "conv5_3": 1.32,
}


def small(weights: Mapping[str, Tensor], pooling: Pooling = "max", padding: Padding = "zero") -> Network:
    return vgg(
        "small",
        weights,
        convolutions=(2, 2),
        pooling=pooling,
        padding=padding,
        precision="float64",
        device="cpu",
    )


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Random weights with one filter that never fires."""
    weights = tiny_weights(seed=3)
    layer, index = DEAD
    weights[f"{layer}.bias"][index] = -1e6
    return weights


@pytest.fixture(scope="module")
def means(weights: dict[str, Tensor]) -> Means:
    return mean_activations(small(weights), IMAGES)


def rectified_means(network: Network, images: list[Tensor]) -> dict[str, np.ndarray]:
    """Mean over images of the mean over positions, in numpy, from the convolutions."""
    maps = [network(image, CONVOLUTIONS) for image in images]
    return {
        layer: np.mean([np.maximum(each[layer].numpy()[0], 0).mean((1, 2)) for each in maps], 0)
        for layer in CONVOLUTIONS
    }


def divided(value: Tensor, scales: Tensor) -> Tensor:
    return value / scales.reshape(-1, 1, 1).to(value.dtype)


# The small network ---------------------------------------------------------------------------------------------------


def test_means_are_taken_after_the_activation_and_images_weigh_the_same(
    weights: dict[str, Tensor], means: Means
) -> None:
    truth = rectified_means(small(weights), IMAGES)
    assert list(means.by_layer) == list(CONVOLUTIONS)
    for layer, found in means.by_layer.items():
        assert found.numpy() == pytest.approx(truth[layer], rel=1e-12)
    assert means.metadata == {"network": "small", "pooling": "max", "padding": "zero", "pictures": "4"}


def test_dead_filters_are_listed_and_keep_their_scale(means: Means) -> None:
    assert means.dead_filters() == [DEAD]
    for layer in CONVOLUTIONS:
        scales = means.scales(layer)
        assert torch.isfinite(scales).all()
        assert (scales > 0).all()
    layer, index = DEAD
    assert means.scales(layer)[index] == 1
    kept = torch.arange(len(means.by_layer[layer])) != index
    assert torch.equal(means.scales(layer)[kept], means.by_layer[layer][kept])


def test_almost_dead_filters_are_dead() -> None:
    means = Means({"conv1_1": torch.tensor([2.0, 1e-7, 1.0, 3.0, 1e-5]), "conv1_2": torch.zeros(3)})
    assert means.dead_filters() == [("conv1_1", 1), ("conv1_2", 0), ("conv1_2", 1), ("conv1_2", 2)]
    assert means.scales("conv1_1").tolist() == pytest.approx([2, 1, 1, 3, 1e-5])
    assert means.scales("conv1_2").tolist() == [1, 1, 1]


@pytest.mark.parametrize("size", [(16, 16), (13, 21), (4, 4)])
@pytest.mark.parametrize("padding", ["zero", "replicate"])
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_the_function_stays(
    weights: dict[str, Tensor], means: Means, pooling: Pooling, padding: Padding, size: tuple[int, int]
) -> None:
    plain, rescaled = small(weights, pooling, padding), small(normalise(weights, means), pooling, padding)
    image = random_image(*size, seed=9)
    before, after = plain(image, plain.layers), rescaled(image, plain.layers)
    for layer in plain.layers:
        convolution = {"pool1": "conv1_2", "pool2": "conv2_2"}.get(layer, f"conv{layer[4:]}")
        truth = divided(before[layer], means.scales(convolution))
        assert (after[layer] - truth).norm() <= 1e-12 * truth.norm(), layer


def test_measured_again_every_live_filter_is_one(weights: dict[str, Tensor], means: Means) -> None:
    again = mean_activations(small(normalise(weights, means)), IMAGES)
    assert again.dead_filters() == [DEAD]
    for layer, found in again.by_layer.items():
        live = [index for index in range(len(found)) if (layer, index) != DEAD]
        assert found[live].numpy() == pytest.approx(1, rel=1e-12)


def test_normalising_twice_changes_nothing_more(weights: dict[str, Tensor], means: Means) -> None:
    once = normalise(weights, means)
    twice = normalise(once, mean_activations(small(once), IMAGES))
    assert set(once) == set(twice) == set(weights)
    for key, value in once.items():
        assert value.dtype == torch.float64
        assert torch.allclose(twice[key], value, rtol=1e-12, atol=0)


def test_means_can_be_read_off_the_weights(weights: dict[str, Tensor], means: Means) -> None:
    rescaled, previous = normalise(weights, means), torch.ones(3, dtype=torch.float64)
    for layer in CONVOLUTIONS:
        scales = means.scales(layer)
        assert torch.allclose(weights[f"{layer}.bias"] / rescaled[f"{layer}.bias"], scales)
        ratio = rescaled[f"{layer}.weight"] / weights[f"{layer}.weight"]
        assert torch.allclose(ratio, (previous[None] / scales[:, None])[..., None, None].expand_as(ratio))
        previous = scales


def before_the_activation(weights: dict[str, Tensor], means: Means) -> dict[str, Tensor]:
    maps = [small(weights)(image, CONVOLUTIONS) for image in IMAGES]
    wrong = {layer: sum(each[layer].mean((0, 2, 3)) for each in maps) / len(maps) for layer in CONVOLUTIONS}
    assert any((each < 0).any() for each in wrong.values())
    previous, rescaled = torch.ones(3, dtype=torch.float64), {}
    for layer, scales in wrong.items():  # signs flip where such a mean is negative
        rescaled[f"{layer}.weight"] = weights[f"{layer}.weight"] * previous[:, None, None] / scales[:, None, None, None]
        rescaled[f"{layer}.bias"] = weights[f"{layer}.bias"] / scales
        previous = scales
    return rescaled


def without_the_previous_layer(weights: dict[str, Tensor], means: Means) -> dict[str, Tensor]:
    scales = {layer: means.scales(layer) for layer in CONVOLUTIONS}
    return {
        key: value / scales[key.split(".")[0]].reshape(-1, *[1] * (value.ndim - 1)) for key, value in weights.items()
    }


@pytest.mark.parametrize("rescale", [before_the_activation, without_the_previous_layer])
def test_usual_mistakes_would_be_seen(
    weights: dict[str, Tensor], means: Means, rescale: Callable[[dict[str, Tensor], Means], dict[str, Tensor]]
) -> None:
    wrong, image = small(rescale(weights, means)), random_image(16, 16, seed=9)
    before, after = (network(image, ["conv2_2"])["conv2_2"].flatten(2)[0] for network in (small(weights), wrong))
    # No positive factor a filter turns one into the other.
    assert torch.cosine_similarity(before, after).min() < 0.9


# Pictures and files --------------------------------------------------------------------------------------------------


def test_no_picture_at_all(weights: dict[str, Tensor]) -> None:
    with pytest.raises(ImageError, match="no readable picture"):
        mean_activations(small(weights), [])


def test_unreadable_pictures_are_skipped_and_listed(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.txt", "c.png", "nowhere.png")]
    save_image(random_image(30, 50, dtype=torch.float32), paths[0])
    paths[1].write_text("words")
    save_image(random_image(50, 30, seed=1, dtype=torch.float32), paths[2])
    unreadable: list[Path] = []
    images = list(squashed_pictures(paths, unreadable))
    assert [tuple(image.shape) for image in images] == [(1, 3, 224, 224)] * 2
    assert unreadable == [paths[1], paths[3]]
    found = mean_activations(make_tiny("float32"), squashed_pictures(paths, [], (16, 16)))
    assert found.metadata["pictures"] == "2"


def test_means_survive_a_file(tmp_path: Path, weights: dict[str, Tensor], means: Means) -> None:
    save_means(means, tmp_path / "means.safetensors")
    found = load_means(tmp_path / "means.safetensors", weights)
    assert found.metadata == means.metadata
    assert list(found.by_layer) == list(CONVOLUTIONS)
    for layer, values in found.by_layer.items():
        assert torch.equal(values, means.by_layer[layer].float())
    assert set(load_file(tmp_path / "means.safetensors")) == set(CONVOLUTIONS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conv2_1": torch.ones(8)}, "conv2_1 is missing or differs"),
        ({"conv2_1": None}, "conv2_1 is missing or differs"),
        ({"conv2_2": torch.tensor([1.0, -0.1, 1, 1, 1, 1, 1])}, "negative means for conv2_2"),
        ({"conv1_1": torch.full((5,), torch.inf)}, "not finite"),
    ],
)
def test_means_that_do_not_serve(
    tmp_path: Path, weights: dict[str, Tensor], means: Means, change: dict[str, Tensor | None], words: str
) -> None:
    changed = {layer: values for layer, values in (dict(means.by_layer) | change).items() if values is not None}
    save_means(replace(means, by_layer=changed), tmp_path / "means")
    with pytest.raises(WeightsError, match=words):
        load_means(tmp_path / "means", weights)


def test_a_missing_file_of_means(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no file of mean activations"):
        open_network(means=tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="conv1_1 is missing"):
        open_network(means=bundled("vgg16.safetensors"))


# The bundled network -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundled_means() -> Means:
    return load_means(bundled("vgg16-means.safetensors"), NETWORKS["vgg16"].load_weights())


def test_bundled_means_are_the_measured_ones(bundled_means: Means) -> None:
    assert {layer: float(values.mean()) for layer, values in bundled_means.by_layer.items()} == pytest.approx(
        MEASURED, rel=0.05
    )
    assert bundled_means.dead_filters() == []
    assert min(float(values.min()) for values in bundled_means.by_layer.values()) == pytest.approx(0.58, rel=0.05)
    taken = {"network": "vgg16", "pooling": "max", "padding": "zero"}
    assert taken.items() <= bundled_means.metadata.items()


@pytest.mark.slow
def test_bundled_means_are_those_of_photographs(plain: Network, bundled_means: Means) -> None:
    names = ("kingfisher", "red-panda", "neuschwanstein-castle", "schwerin-palace")
    found = mean_activations(plain, squashed_pictures([EXAMPLES / f"{name}.webp" for name in names], []))
    for layer, expected in bundled_means.by_layer.items():
        assert found.by_layer[layer].mean() / expected.mean() == pytest.approx(1, abs=0.2)
        if layer < "conv4":  # four pictures tell little about what single deep filters do
            together = torch.stack([found.by_layer[layer], expected.double()])
            assert torch.corrcoef(together)[0, 1] > 0.75


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_vgg16_normalised_is_vgg16_divided_by_the_means(photo: Tensor, bundled_means: Means, pooling: Pooling) -> None:
    plain, rescaled = (
        open_network(name, pooling=pooling, precision="float32", device="cpu") for name in ("vgg16", "vgg16-normalised")
    )
    deepest = {f"pool{block}": f"conv{block}_{count}" for block, count in enumerate((2, 2, 3, 3, 3), start=1)}
    before, after = plain(photo, plain.layers), rescaled(photo, plain.layers)
    for layer in plain.layers:
        means = bundled_means.by_layer[deepest.get(layer, f"conv{layer[4:]}")]
        truth = divided(before[layer], means)
        assert (after[layer] - truth).norm() <= 1e-4 * truth.norm(), layer


def test_own_means_for_the_bundled_network(tmp_path: Path, plain: Network, photo: Tensor) -> None:
    means = mean_activations(plain, [photo])
    save_means(means, tmp_path / "means")
    for name in ("vgg16", "vgg16-normalised"):
        network = open_network(name, means=tmp_path / "means", precision="float32", device="cpu")
        for layer, found in mean_activations(network, [photo]).by_layer.items():
            live = means.by_layer[layer] > 1e-6 * means.by_layer[layer].median()
            assert found[live].numpy() == pytest.approx(1, abs=1e-3)
