"""Terms, their sums, their targets and their gradients, on a small network in float64."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from conftest import make_tiny, random_image, readings
from impasto.errors import ImageError, LayerError, SpecError
from impasto.images.image import Picture, Size, require_image, resize
from impasto.networks.network import Network, Padding, Pooling
from impasto.objectives.criterion import WholeCriterion
from impasto.objectives.distances import mean_squared_error
from impasto.objectives.objective import Objective, content, neighbours, prior, style, weighted
from impasto.objectives.priors import alpha_norm, out_of_range, total_variation
from impasto.objectives.representations import channel_moments, gram_matrix
from impasto.objectives.similarity import sampled, self_similarity
from impasto.objectives.terms import Match
from impasto.tasks.painting import transfer

SIZE = (12, 16)
STYLES = ("conv1_1", "relu1_2", "pool1", "conv2_1")
REFERENCE, PAINTING = random_image(*SIZE, seed=1), random_image(14, 10, seed=2)

OBJECTIVES = {
    "content": content(REFERENCE, ["conv2_1"]),
    "activated": content(REFERENCE, {"relu1_1": 0.5, "relu2_2": 2.0}),
    "style": style(PAINTING, STYLES),
    "moments": style(PAINTING, STYLES, represent=channel_moments),
    "priors": prior("smoothness", 0.3, total_variation) + prior("contrast", 0.2, alpha_norm),
    "all": content(REFERENCE, {"conv2_2": 3.0})
    + style(PAINTING, STYLES)
    + prior("smoothness", 0.1, lambda image: total_variation(image, 1.5))
    + prior("range", 5.0, out_of_range),
}


def total(objective: Objective, network: Network, image: Tensor, size: Size = SIZE) -> float:
    return sum(objective.bind(network, size).losses(image).values())


# Values --------------------------------------------------------------------------------------------------------------


def test_content_by_hand(tiny: Network) -> None:
    image, weights = random_image(*SIZE), {"relu1_1": 0.5, "conv2_1": 2.0}
    found = content(REFERENCE, weights).bind(tiny, SIZE).losses(image)
    for layer, weight in weights.items():
        a, b = (tiny(picture, [layer])[layer].numpy() for picture in (image, REFERENCE))
        assert found[f"content/{layer}"] == pytest.approx(weight * ((a - b) ** 2).sum() / (b**2).sum())
    assert list(found) == ["content/relu1_1", "content/conv2_1"]


def test_style_by_hand(tiny: Network) -> None:
    image = random_image(*SIZE)
    painting = random_image(*SIZE, seed=2)  # of the canvas' size: it is taken as it is
    found = style(painting, STYLES, name="brush").bind(tiny, SIZE).losses(image)

    def gram(picture: Tensor, layer: str) -> np.ndarray:
        rows = tiny(picture, [layer])[layer].numpy()[0].reshape(-1, tiny(picture, [layer])[layer][0, 0].numel())
        return np.einsum("ip,jp->ij", rows, rows) / rows.shape[1]

    for layer in STYLES:
        a, b = gram(image, layer), gram(painting, layer)
        assert found[f"brush/{layer}"] == pytest.approx(0.25 * ((a - b) ** 2).sum() / (b**2).sum())


def test_another_distance(tiny: Network) -> None:
    term = Match(
        "plain", REFERENCE, {"conv1_1": 1.0}, gram_matrix, lambda reference, canvas: canvas, mean_squared_error
    )
    image = random_image(*SIZE)
    a, b = (gram_matrix(tiny(picture, ["conv1_1"])["conv1_1"]) for picture in (image, REFERENCE))
    assert total(Objective((term,)), tiny, image) == pytest.approx(float((a - b).square().mean()))


@pytest.mark.parametrize("objective", [content(REFERENCE, STYLES), style(REFERENCE, STYLES)], ids=["content", "style"])
def test_zero_at_its_own_target(tiny: Network, objective: Objective) -> None:
    losses, gradient = objective.bind(tiny, SIZE).losses_and_gradient(REFERENCE)
    assert all(value == 0 for value in losses.values())
    assert gradient.abs().max() == 0
    assert total(objective, tiny, random_image(*SIZE)) > 1e-3


def test_a_style_does_not_know_where(tiny: Network) -> None:
    """Swapping halves of a picture moves everything but the seams; a single pixel layer sees no seams at all."""
    image = random_image(*SIZE)
    moved = torch.cat([image[..., 8:], image[..., :8]], -1)
    assert total(style(image, ["image"]), tiny, moved) == pytest.approx(0, abs=1e-25)
    assert total(content(image, ["image"]), tiny, moved) > 0.1


@pytest.mark.parametrize(
    ("canvas", "scale", "framed"),
    [((16, 16), 1.0, (16, 16)), ((16, 16), 2.0, (32, 32)), ((8, 32), 1.0, (16, 16)), ((32, 32), 0.25, (8, 8))],
)
def test_a_style_has_as_many_pixels_as_the_canvas(
    tiny: Network, canvas: Size, scale: float, framed: tuple[int, int]
) -> None:
    painting = random_image(32, 32, seed=2)
    criterion = style(painting, STYLES, scale=scale).bind(tiny, canvas)
    assert sum(criterion.losses(resize(painting, framed)).values()) == pytest.approx(0, abs=1e-20)
    assert sum(criterion.losses(resize(painting, (20, 20))).values()) > 1e-5


def test_a_style_keeps_its_proportions(tiny: Network) -> None:
    painting = random_image(40, 10, seed=2)
    criterion = style(painting, STYLES).bind(tiny, (20, 20))
    assert sum(criterion.losses(painting).values()) == 0


def test_a_content_is_squeezed_into_the_canvas(tiny: Network) -> None:
    criterion = content(REFERENCE, ["conv2_1"]).bind(tiny, (20, 8))
    assert sum(criterion.losses(resize(REFERENCE, (20, 8))).values()) == 0


# Sums ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", OBJECTIVES)
@pytest.mark.parametrize("first", OBJECTIVES)
def test_a_sum_has_the_terms_of_both(tiny: Network, first: str, second: str) -> None:
    """Also where terms share their names, as two styles do."""
    image = random_image(*SIZE)
    parts = [OBJECTIVES[name].bind(tiny, SIZE).losses_and_gradient(image) for name in (first, second)]
    losses, gradient = (OBJECTIVES[first] + OBJECTIVES[second]).bind(tiny, SIZE).losses_and_gradient(image)
    assert set(losses) == set(parts[0][0]) | set(parts[1][0])
    assert sum(losses.values()) == pytest.approx(sum(sum(part.values()) for part, _ in parts))
    assert torch.allclose(gradient, parts[0][1] + parts[1][1], atol=1e-14)


@given(st.floats(0, 1e4))
def test_weights_are_factors(weight: float) -> None:
    network, image = make_tiny(), random_image(*SIZE)
    single = total(content(REFERENCE, {"conv1_1": 1.0}), network, image)
    assert total(content(REFERENCE, {"conv1_1": weight}), network, image) == pytest.approx(weight * single)


def test_layers_without_weights_weigh_one_in_all() -> None:
    assert weighted(["a", "b", "c", "d"]) == dict.fromkeys("abcd", 0.25)
    assert weighted(name for name in "ab") == {"a": 0.5, "b": 0.5}
    assert weighted(["a", "b", "a"]) == {"a": 0.5, "b": 0.5}
    assert weighted({"a": 2.0, "b": 0.0}) == {"a": 2.0, "b": 0.0}


@pytest.mark.parametrize("layers", [[], {}, {"a": -1.0}, {"a": float("nan")}, {"a": float("inf")}])
def test_weights_that_make_no_sense(layers: Iterable[str] | Mapping[str, float]) -> None:
    with pytest.raises(SpecError, match=r"at least one layer|the weight of a is"):
        weighted(layers)


def test_a_prior_of_weight_zero_is_none_at_all(tiny: Network) -> None:
    nothing = prior("smoothness", 0.0, total_variation)
    assert nothing.terms == ()
    assert (nothing + OBJECTIVES["content"]).terms == OBJECTIVES["content"].terms
    with pytest.raises(SpecError, match="the objective has no term"):
        nothing.bind(tiny, SIZE)


# Gradients -----------------------------------------------------------------------------------------------------------


def central_differences(loss: Callable[[Tensor], float], image: Tensor, step: float = 1e-6) -> Tensor:
    gradient = torch.zeros_like(image)
    for index in np.ndindex(*image.shape):
        there, back = image.clone(), image.clone()
        there[index] += step
        back[index] -= step
        gradient[index] = (loss(there) - loss(back)) / (2 * step)
    return gradient


@pytest.mark.slow
@pytest.mark.parametrize(("pooling", "padding"), [("max", "zero"), ("average", "replicate")])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_gradients(objective: Objective, pooling: Pooling, padding: Padding) -> None:
    size, image = (6, 7), 1.2 * random_image(6, 7) - 0.1  # a little out of range
    criterion = objective.bind(make_tiny(pooling=pooling, padding=padding), size)
    losses, gradient = criterion.losses_and_gradient(image)
    truth = central_differences(lambda picture: sum(criterion.losses(picture).values()), image)
    assert (gradient - truth).norm() <= 1e-6 * truth.norm()
    assert losses == pytest.approx(criterion.losses(image))
    assert gradient.is_contiguous()
    assert gradient.shape == image.shape
    assert not image.requires_grad


def test_the_gradient_mode_of_the_caller_does_not_matter(tiny: Network) -> None:
    image, objective = random_image(*SIZE), OBJECTIVES["all"]
    with torch.no_grad():
        criterion = objective.bind(tiny, SIZE)
        _, without = criterion.losses_and_gradient(image)
        assert not torch.is_grad_enabled()
    tracked = image.clone().requires_grad_()
    _, gradient = objective.bind(tiny, SIZE).losses_and_gradient(tracked)
    assert torch.equal(gradient, without)
    assert tracked.grad is None
    assert not gradient.requires_grad


def test_targets_are_fixed_once(tiny: Network) -> None:
    reference = REFERENCE.clone()
    criterion = content(reference, ["conv1_1"]).bind(tiny, SIZE)
    assert isinstance(criterion, WholeCriterion)
    image = random_image(*SIZE)
    before = criterion.losses(image)
    reference.zero_()
    assert criterion.losses(image) == before


# Mistakes ------------------------------------------------------------------------------------------------------------


def test_each_reference_is_read_once_for_all_terms(tiny: Network) -> None:
    """The photo for two terms, the painting for statistics and neighbours, and the picture that asks."""
    layers = {"relu1_2": 0.5, "relu2_1": 2.0}
    terms = [
        content(REFERENCE, ["conv2_1"]),
        content(REFERENCE, ["Relu2_1"], represent=sampled, distance=self_similarity, name="layout"),
        style(PAINTING, STYLES),
        neighbours(REFERENCE, [PAINTING], layers).seeing(random_image(*SIZE, seed=3)),
        style(PAINTING, ["conv2_1"], scale=0.5, name="small"),
    ]
    image = random_image(*SIZE, seed=4)
    with readings() as read:
        criterion = sum(terms, Objective(())).bind(tiny, SIZE)
    assert len(read) == 4
    alone = [term.bind(tiny, SIZE).losses(image) for term in terms]
    assert criterion.losses(image) == {name: value for losses in alone for name, value in losses.items()}


@pytest.mark.parametrize("make", [content, style])
def test_pictures_too_small_for_a_layer(tiny: Network, make: Callable[..., Objective]) -> None:
    with pytest.raises(ImageError, match=r"a picture of \d+ × \d+ pixels is too small for pool2, .* at least 4 × 4"):
        make(REFERENCE, ["conv1_1", "pool2"]).bind(tiny, (3, 5))


def test_a_style_picture_too_narrow_for_a_layer(tiny: Network) -> None:
    with pytest.raises(ImageError, match=r"a picture of 2 × 83 pixels is too small for pool2"):
        style(random_image(144, 4), ["pool2"]).bind(tiny, SIZE)


@pytest.mark.parametrize("make", [content, style])
def test_unknown_layers(tiny: Network, make: Callable[..., Objective]) -> None:
    with pytest.raises(LayerError, match=r"tiny has no layer 'conv3_1'; did you mean"):
        make(REFERENCE, ["conv1_1", "conv3_1"]).bind(tiny, SIZE)


@pytest.mark.slow  # which leaves types unchecked, as users have them
def test_what_is_no_image_is_refused() -> None:
    """Levels of 8 bits above all, which would be clipped to white."""
    photo = random_image(16, 16, 1, torch.float32)
    for wrong, words in (
        (255 * photo, "values up to .*, and white is 1; divide by 255"),
        ((255 * photo).byte(), r"floats of shape \(1, 3, height, width\), not torch.uint8"),
        (photo[0], r"not torch.float32 of \(3, 16, 16\)"),
        (photo.repeat(2, 1, 1, 1), r"of \(2, 3, 16, 16\)"),
        (photo * float("nan"), "values that are not finite"),
        ("photo.png", "a tensor, not a str; load_image reads one from a file"),
    ):
        with pytest.raises(ImageError, match=words):
            require_image(wrong)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="divide by 255"):
        content(255 * photo, "relu1_1")
    assert content(photo, "relu1_1").layers() == ["relu1_1"]
    with pytest.raises(SpecError, match=r"put a single one into brackets: \[painting\]"):
        transfer(photo, Picture(photo))  # type: ignore[arg-type]
