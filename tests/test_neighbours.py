"""Neighbours: what is matched, how prices spread it, in tiles and after a stop, and what bad input gets."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import impasto.matching.banks
import impasto.objectives.neighbours
from conftest import example, make_tiny, random_image, readings
from impasto.errors import ImageError, LayerError, SpecError
from impasto.folders.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from impasto.images.image import Image, Picture, Size, quantise, resize, size_of
from impasto.matching.banks import Bank
from impasto.matching.places import Lattice, Links, Piece, Places, Read, Sample, evenly
from impasto.networks.network import Network
from impasto.networks.passes import read
from impasto.objectives.distances import cosine_error
from impasto.objectives.objective import Objective, content, neighbours, style
from impasto.objectives.representations import directions_from
from impasto.objectives.weightmaps import WeightMap
from impasto.runs.fitting import plan_memory
from impasto.runs.measures import measure
from impasto.synthesis.composition import Composition
from impasto.synthesis.inits import from_image
from impasto.synthesis.lbfgs import lbfgs
from impasto.synthesis.loop import synthesise
from impasto.synthesis.schedules import Stage, octaves, single, split
from impasto.tasks.painting import transfer
from impasto.tasks.parts import Part
from impasto.tasks.settings import TransferSettings
from impasto.tiles.budget import Limits
from impasto.tiles.criterion import bind_tiled
from impasto.tiles.reading import feature_error
from test_tiles import narrow, require_equal

Array = np.ndarray[Any, np.dtype[Any]]
SIZE = (40, 52)
PHOTO, PAINTING = random_image(*SIZE, 1), random_image(60, 44, 2)
LAYERS = {"relu1_2": 0.5, "relu2_1": 2.0}


def whole(network: Network) -> Read:
    def pieces(image: Image, layers: Collection[str]) -> Iterator[Piece]:
        return (Piece(layer, 0, 0, maps) for layer, maps in read(network, image, layers))

    return pieces


def rows_of(objective: Objective, network: Network, size: Size = SIZE) -> dict[str, Tensor]:
    (term,) = objective.neighbours
    return {layer: each.target.rows for layer, each in term.choose(network, size, whole(network)).items()}


# The distance --------------------------------------------------------------------------------------------------------


def test_the_cosine_error_is_that_of_its_formula() -> None:
    found, target = random_image(5, 7, 1), random_image(5, 7, 2)
    centre = torch.tensor([0.4, 0.5, 0.6], dtype=torch.float64)
    f, t = (each[0].numpy() - centre.numpy()[:, None, None] for each in (found, target))
    cosines = (f * t).sum(0) / np.sqrt((f**2).sum(0) * (t**2).sum(0))
    directions = directions_from(centre)
    error = cosine_error(directions(found), directions(target))
    assert float(error) == pytest.approx(float(np.mean(1 - cosines)), rel=1e-12)
    assert float(cosine_error(directions(target), directions(target))) == 0


def test_the_cosine_error_is_the_sum_of_its_parts() -> None:
    found, target = (directions_from(torch.zeros(3))(random_image(6, 7, seed)) for seed in (1, 2))
    scale = cosine_error.scale(target)
    parts = [cosine_error.scaled(found[:, :, rows], target[:, :, rows], scale) for rows in (slice(0, 2), slice(2, 6))]
    assert float(sum(parts)) == pytest.approx(float(cosine_error(found, target)), rel=1e-12)


def test_the_gradient_of_directions_is_that_of_differences() -> None:
    directions, features = directions_from(torch.full((3,), 0.3, dtype=torch.float64)), random_image(2, 3, 1)
    assert torch.autograd.gradcheck(directions, features.requires_grad_())
    slope = random_image(2, 3, 4)
    (truth,) = torch.autograd.grad(directions(features), features, slope)
    found = directions.pull_back(features.detach(), slope, None)
    torch.testing.assert_close(found, truth)
    onto = random_image(2, 3, 5)
    torch.testing.assert_close(directions.pull_back(features.detach(), slope, onto.clone()), truth + onto)


# What is matched -----------------------------------------------------------------------------------------------------


def test_the_nearest_by_centred_cosine_and_price() -> None:
    generator = torch.Generator().manual_seed(3)
    styles = [torch.rand(30, 6, generator=generator, dtype=torch.float64) for _ in range(2)]
    asking = torch.rand(50, 6, generator=generator, dtype=torch.float64)
    counts = torch.rand(30, generator=generator, dtype=torch.float64)
    samples = [Sample(styles[0], counts), Sample(styles[1], torch.ones(30, dtype=torch.float64))]
    bank = Bank.of(
        samples, [0.3, 0.7], Sample(asking, torch.ones(50, dtype=torch.float64)), Links(1, torch.full((4, 60), -1)), 6
    )
    prices, features = bank.prices.numpy(), np.concatenate([each.numpy() for each in styles])
    mean = 0.3 * np.average(styles[0].numpy(), 0, counts.numpy()) + 0.7 * styles[1].numpy().mean(0)
    expected = []
    for row in asking.numpy() - asking.numpy().mean(0):
        cosines = [row @ f / np.linalg.norm(row) / np.linalg.norm(f) for f in features - mean]
        expected.append(int(np.argmax(np.array(cosines) + prices)))
    assert bank.nearest(asking).tolist() == expected
    assert np.abs(prices).max() > 0


def test_a_photo_in_its_own_style_is_at_the_target(tiny: Network) -> None:
    photo = random_image(24, 32, 1)  # so small that prices are found from all positions
    losses = neighbours(photo, [photo], LAYERS).bind(tiny, (24, 32)).losses(photo)
    assert losses == pytest.approx({"neighbours/relu1_2": 0, "neighbours/relu2_1": 0}, abs=1e-3)
    others = neighbours(photo, [photo], LAYERS).bind(tiny, (24, 32)).losses(random_image(24, 32, 2))
    assert min(others.values()) > 0.1


def test_losses_are_weighted_means_of_one_minus_the_cosine(tiny: Network) -> None:
    objective, image = neighbours(PHOTO, [PAINTING], LAYERS), random_image(*SIZE, 5)
    (term,) = objective.neighbours
    (painting,) = term.framed(SIZE)
    assert painting.shape[2] * painting.shape[3] == pytest.approx(SIZE[0] * SIZE[1], rel=0.05)
    rows, losses = rows_of(objective, tiny), objective.bind(tiny, SIZE).losses(image)
    for layer, weight in LAYERS.items():
        bank = tiny(painting, [layer])[layer].flatten(2)[0]
        found = tiny(image, [layer])[layer].flatten(2)[0]
        mean = bank.mean(1, keepdim=True)
        target = bank[:, rows[layer].flatten().long()]
        expected = (1 - functional.cosine_similarity(found - mean, target - mean, dim=0)).mean()
        assert losses[f"neighbours/{layer}"] == pytest.approx(weight * float(expected), rel=1e-9)


def test_prices_spread_the_choice(tiny: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = 0.5 + 0.05 * PHOTO

    def used() -> list[int]:
        rows = rows_of(neighbours(flat, [PAINTING], ["relu2_1"]), tiny)["relu2_1"].flatten().long()
        counts = torch.bincount(rows)
        return [int(counts.max()), int((counts > 0).sum())]

    priced = used()
    monkeypatch.setattr(impasto.matching.banks, "ROUNDS", 0)
    free = used()
    assert priced[0] < 0.5 * free[0]
    assert priced[1] > 1.2 * free[1]


@pytest.mark.parametrize("likely", [1, 4, 40, 200])
def test_prices_are_those_of_a_choice_among_all(likely: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether few directions are likely, so that most choices are in doubt, or all are."""
    monkeypatch.setattr(impasto.matching.banks, "LIKELY", likely)
    numbers = torch.Generator().manual_seed(3)
    rows, bank = (torch.randn(n, 6, generator=numbers) for n in (50, 120))
    asking, directions = (torch.nn.functional.normalize(each, dim=1) for each in (rows, bank))
    counts, shares, styles = torch.rand(50, generator=numbers), torch.full((120,), 1 / 120), torch.arange(120) // 60
    prices = torch.zeros(120)
    for number in range(impasto.matching.banks.ROUNDS):
        chosen = (asking @ directions.T + prices).argmax(1)
        used = torch.bincount(chosen, counts, minlength=120) / counts.sum()
        apart = torch.stack([(shares - used)[styles == style].sum() for style in (0, 1)])
        prices += (1 - number / impasto.matching.banks.ROUNDS) * (
            shares - used + impasto.matching.banks.STYLE_RATE * apart[styles]
        )
    found = impasto.matching.banks._prices(asking, counts, directions, shares, styles)
    assert torch.allclose(found, prices, atol=1e-5)


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.85, 0.15), (0.15, 0.85)])
def test_each_painting_takes_up_its_fraction(tiny: Network, fractions: tuple[float, float]) -> None:
    paintings = [PAINTING, random_image(30, 70, 9)]
    objective = neighbours(PHOTO, paintings, ["relu2_1"], fractions=fractions)
    rows = rows_of(objective, tiny)["relu2_1"]
    (term,) = objective.neighbours
    first = tiny(term.framed(SIZE)[0], ["relu2_1"])["relu2_1"][0, 0].numel()
    assert float((rows < first).double().mean()) == pytest.approx(fractions[0], abs=0.03)


def test_a_bank_is_bounded(tiny: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impasto.objectives.neighbours, "BANK", 100)
    (term,) = neighbours(PHOTO, [PAINTING, PAINTING], ["relu1_1", "relu2_1"]).neighbours
    for choice in term.choose(tiny, SIZE, whole(tiny)).values():
        assert 40 < len(choice.target.bank) <= 100
        assert int(choice.target.rows.max()) < len(choice.target.bank)


def test_later_stages_ask_with_the_picture_so_far(tiny: Network) -> None:
    so_far = random_image(20, 26, 7)
    mixture = 2 / 3 * resize(PHOTO, SIZE) + 1 / 3 * resize(so_far, SIZE)
    seen = rows_of(neighbours(PHOTO, [PAINTING], LAYERS).seeing(so_far), tiny)
    asked = rows_of(neighbours(mixture, [PAINTING], LAYERS), tiny)
    first = rows_of(neighbours(PHOTO, [PAINTING], LAYERS), tiny)
    for layer in LAYERS:
        assert torch.equal(seen[layer], asked[layer])
        assert not torch.equal(seen[layer], first[layer])


def test_matching_takes_bounded_memory(tiny: Network) -> None:
    (term,) = neighbours(PHOTO, [PAINTING], ["relu1_1", "relu2_1"]).neighbours
    small, large = (term.matching_bytes(tiny, (side, side)) for side in (32, 4096))
    assert small < 2e7 < 2e8 < large < 4e8
    assert term.matching_bytes(tiny, (8192, 8192)) == large


# Agreement with neighbours --------------------------------------------------------------------------------------------


def test_pictures_of_one_bank_have_places_equally_far_apart() -> None:
    """So strokes go on in each picture, whatever its size and the outline of what counts."""
    disc = ((torch.arange(40)[:, None] - 20) ** 2 + (torch.arange(60) - 25) ** 2 < 300).float()
    found = evenly([((40, 60), None), ((37, 41), None), ((40, 60), disc)], 900)
    assert [places.step for places in found] == [3, 3, 3]
    assert 450 < sum(len(places.y) for places in found) <= 900
    assert disc[found[2].y, found[2].x].eq(1).all()
    links, first = Links.of(found), 0
    for places in found:
        beside = links.rows[:, first : first + len(places.y)]
        assert (beside >= 0).float().mean() > 0.75  # all but those at the edges
        first += len(places.y)


def test_a_thin_region_of_a_bank_is_not_missed() -> None:
    lines = torch.zeros(48, 48)
    lines[1::4] = 1  # no lattice of an even step has one of its positions
    whole, thin = evenly([((48, 48), None), ((48, 48), lines)], 900)
    assert whole.step == thin.step == 2
    assert len(thin.y) > 100
    assert lines[thin.y, thin.x].eq(1).all()
    for most in (300, 900, 2000, 3000):
        found = evenly([((48, 48), None), ((48, 48), lines), ((30, 20), None)], most)
        assert most / 4 < sum(len(places.y) for places in found) <= most


@pytest.mark.parametrize("width", [512, 256, 100, 4])
def test_a_region_is_sampled_in_all_its_columns_and_rows(width: int) -> None:
    """Every n-th position, row after row, would be in few columns of a map whose width is a power of 2."""
    levels = torch.zeros(512, 512)
    levels[:, :width] = 1
    (taken,) = evenly([((512, 512), levels)], 2048)
    assert 1024 < len(taken.y) <= 2048
    side = min(width, (512 * width / 2048) ** -0.5 * width)  # columns of an even lattice
    assert len(taken.x.unique()) >= 0.8 * side
    halves = [
        ((low <= place) & (place < high)).sum()
        for place, most in ((taken.x, width), (taken.y, 512))
        for low, high in ((0, most / 2), (most / 2, most))
    ]
    assert max(halves) - min(halves) < 0.1 * len(taken.y)


def test_links_are_the_positions_beside() -> None:
    sizes = [(7, 9), (3, 4), (8, 8)]
    links = Links.of([Places.on(Lattice(size, 3)) for size in sizes])
    places = list[tuple[int, int, int]]()
    for number, (height, width) in enumerate(sizes):
        places += [(number, y, x) for y in range(0, height, 3) for x in range(0, width, 3)]
    assert links.step == 3
    for side, (down, across) in enumerate([(-1, 0), (1, 0), (0, -1), (0, 1)]):
        for row, (number, y, x) in enumerate(places):
            beside = (number, y + 3 * down, x + 3 * across)
            assert int(links.rows[side, row]) == (places.index(beside) if beside in places else -1)


def test_choices_come_to_agree_without_losing_more_than_agreement_is_worth() -> None:
    generator = torch.Generator().manual_seed(1)
    style, asking = (torch.rand(30, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    counts = torch.ones(30, dtype=torch.float64)
    links = Links.of([Places.on(Lattice((5, 6), 1))])
    bank = Bank.of([Sample(style, counts)], [1.0], Sample(asking, counts), links, 6)
    directions = functional.normalize(asking - asking.mean(0), dim=1)
    chosen = bank.nearest(asking).reshape(6, 5)

    def worth(chosen: Tensor) -> float:
        rows, pairs = chosen.flatten(), 0
        own = float((directions * bank.directions[rows]).sum() + bank.prices[rows].sum())
        for y in range(6):
            for x in range(5):
                at = divmod(int(chosen[y, x]), 6)
                pairs += x < 4 and at[1] < 5 and int(chosen[y, x + 1]) == 6 * at[0] + at[1] + 1
                pairs += y < 5 and at[0] < 4 and int(chosen[y + 1, x]) == 6 * (at[0] + 1) + at[1]
        return own + 0.1 * pairs

    worths = [worth(chosen)]
    for number in range(4):
        before = chosen.clone()
        bank.agree(chosen, Piece("", 0, 0, asking.T.reshape(1, 6, 6, 5)), number % 2)
        changed = (chosen != before).nonzero()
        assert all((int(y) + int(x)) % 2 == number % 2 for y, x in changed)
        worths.append(worth(chosen))
    assert worths == sorted(worths)
    assert worths[1] > worths[0]


def test_agreement_finds_a_copy_under_noise(tiny: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    painting = random_image(*SIZE, 2)
    noisy = neighbours(painting + 0.4 * random_image(*SIZE, 3), [painting], ["relu1_1"])

    def found() -> float:
        rows = rows_of(noisy, tiny)["relu1_1"].flatten()
        return float((rows == torch.arange(len(rows))).double().mean())

    with_agreement = found()
    monkeypatch.setattr(impasto.objectives.neighbours, "PASSES", 0)
    assert with_agreement > 1.3 * found() > 0


# Regions --------------------------------------------------------------------------------------------------------------


def soft_edge(height: int, width: int) -> Tensor:
    """A region: inside at the left, outside at the right, and an edge between them. (1, 1, height, width)."""
    return (1.5 - 3 * torch.linspace(0, 1, width, dtype=torch.float64)).clamp(0, 1).expand(1, 1, height, width)


def slow_rows(asked: Array, weights: Array, banks: Sequence[Array], shares: Sequence[Array]) -> tuple[Array, Array]:
    """The target at each asking position whose weight is not 0, and the styles' mean, by loops and in float64.

    `asked` is (positions, channels), each of `banks` too; `shares` says how often each feature is to be used.
    """
    features, share = np.concatenate(banks), np.concatenate(shares)
    of = np.repeat(np.arange(len(banks)), [len(bank) for bank in banks])
    mean, inside = share @ features, np.flatnonzero(weights)
    centre = weights @ asked / weights.sum()

    def cosine(row: Array, feature: Array) -> float:
        return float((row - centre) @ (feature - mean) / np.linalg.norm(row - centre) / np.linalg.norm(feature - mean))

    cosines = np.array([[cosine(asked[number], feature) for feature in features] for number in inside])
    prices = np.zeros(len(features))
    for turn in range(60):
        used = np.zeros(len(features))
        for number, chosen in zip(inside, (cosines + prices).argmax(1), strict=True):
            used[chosen] += weights[number] / weights.sum()
        by_style = [(share - used)[of == style].sum() for style in range(len(banks))]
        prices += (1 - turn / 60) * (share - used + 0.1 * np.array(by_style)[of])
    rows = np.full(len(asked), -1)
    rows[inside] = (cosines + prices).argmax(1)
    return np.where(rows[:, None] < 0, 0, features[rows]), mean


def test_a_region_takes_after_its_own_styles(tiny: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a slow reference: two styles, each with a region, and a region of the picture with a soft edge."""
    monkeypatch.setattr(impasto.objectives.neighbours, "PASSES", 0)
    size, layer = (16, 20), "relu2_1"
    photo, paintings, image = (
        random_image(*size, 1),
        [random_image(16, 20, 2), random_image(20, 16, 3)],
        random_image(*size, 4),
    )
    where, inside, fractions = WeightMap(soft_edge(*size)), WeightMap(soft_edge(30, 30)), (0.3, 0.7)
    weights = where.at(size, tiny.layer(layer), tiny.device).numbers(photo).flatten().numpy()
    banks, shares = [], []
    for painting, fraction in zip(paintings, fractions, strict=True):
        levels = inside.inside(size_of(painting), tiny.layer(layer), tiny.device).levels.flatten().double().numpy()
        own = np.flatnonzero(levels >= levels.max() / 2)
        banks.append(tiny(painting, [layer])[layer][0].flatten(1).T.numpy()[own])
        shares.append(fraction * levels[own] / levels[own].sum())
        assert 0 < len(own) < len(levels)
    asked, found = (tiny(each, [layer])[layer][0].flatten(1).T.numpy() for each in (photo, image))
    target, mean = slow_rows(asked, weights, banks, shares)
    expected = 0.0
    for weight, f, t in zip(weights, found - mean, target - mean, strict=True):
        expected += weight * (1 - f @ t / np.linalg.norm(f) / np.linalg.norm(t)) / weights.sum()
    objective = neighbours(photo, paintings, {layer: 2.0}, fractions=fractions, where=where, reference_where=inside)
    losses, gradient = objective.bind(tiny, size).losses_and_gradient(image)
    assert losses == pytest.approx({f"neighbours/{layer}": 2 * expected}, rel=1e-9)
    assert 0 < (weights > 0).sum() < len(weights)
    assert gradient[..., :10].abs().max() > 0
    assert gradient[..., 17:].abs().max() == 0  # beyond the region and what its positions see


def test_a_gradient_in_a_region_is_that_of_differences(tiny: Network) -> None:
    criterion = neighbours(PHOTO, [PAINTING], LAYERS, where=WeightMap(soft_edge(*SIZE))).bind(tiny, SIZE)
    image, towards = random_image(*SIZE, 5), torch.randn(1, 3, *SIZE, dtype=torch.float64)
    above, below = (sum(criterion.losses(image + step * towards).values()) for step in (1e-6, -1e-6))
    slope = float((criterion.losses_and_gradient(image)[1] * towards).sum())
    assert slope == pytest.approx((above - below) / 2e-6, rel=1e-5)


def test_a_region_of_everything_is_none(tiny: Network) -> None:
    """The weights are the same everywhere, whatever they are; so few positions that no sample is taken."""
    size, image = (24, 32), random_image(24, 32, 5)
    photo, painting, ones = random_image(*size, 1), random_image(30, 24, 2), WeightMap(torch.full((1, 1, 3, 3), 0.4))
    plain = neighbours(photo, [painting], LAYERS).bind(tiny, size).losses(image)
    weighted = neighbours(photo, [painting], LAYERS, where=ones, reference_where=ones).bind(tiny, size).losses(image)
    assert weighted == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("most", [7, 40, 10_000])
def test_no_region_is_missed_by_a_sample(tiny: Network, most: int) -> None:
    """Thin lines too, whatever their distance."""
    layer = tiny.layer("relu1_1")
    for distance in (2, 3, 8):
        lines = torch.zeros(1, 1, 48, 48)
        lines[..., 1::distance, :] = 1
        weights = WeightMap(lines).at((48, 48), layer, tiny.device)
        (taken,) = evenly([((48 // layer.stride, 48 // layer.stride), weights.levels)], most)
        counting = int((lines > 0).sum())
        assert min(most, counting) / 2 < len(taken.y) <= min(most, counting)
        assert lines[0, 0][taken.y, taken.x].eq(1).all()


def test_fractions_are_proportions(tiny: Network) -> None:
    paintings = [PAINTING, 1 - PAINTING]
    one, other = (
        neighbours(PHOTO, paintings, LAYERS, fractions=each).bind(tiny, SIZE).losses(PHOTO)
        for each in ([2.0, 1.0], [2 / 3, 1 / 3])
    )
    assert one == other
    for wrong in ([0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0]):
        with pytest.raises(SpecError, match="they must be numbers of at least 0, one of them above 0"):
            neighbours(PHOTO, paintings, LAYERS, fractions=wrong)


def test_a_region_too_small_for_a_layer_is_refused(tiny: Network) -> None:
    small = torch.zeros(1, 1, *SIZE)
    small[..., 3, 3] = 1
    with pytest.raises(ImageError, match="the part of the picture for neighbours covers about 1 px, and one"):
        neighbours(PHOTO, [PAINTING], ["pool1"], where=WeightMap(small)).bind(tiny, SIZE)
    with pytest.raises(ImageError, match="the part of the painting that counts for neighbours covers less than 1 px"):
        neighbours(PHOTO, [PAINTING], ["pool1"], reference_where=WeightMap(small)).bind(tiny, SIZE)


# In tiles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "core", "most", "regions"),
    [
        ((97, 83), (16, 48), 1000, True),
        ((97, 83), (16, 48), 150, False),
        ((50, 33), (24, 16), 1000, False),
        ((50, 33), (24, 16), 150, True),
    ],
)
@pytest.mark.slow
def test_tiles_are_the_whole(size: Size, core: Size, most: int, regions: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impasto.objectives.neighbours, "BANK", most)
    monkeypatch.setattr(impasto.objectives.neighbours, "SAMPLE", 300)
    network, image = narrow(padding="replicate"), random_image(*size, 4)
    paintings = [random_image(90, 61, 2), random_image(40, 100, 3)]
    layers, places = {"relu3_1": 1.0, "relu4_1": 0.5, "image": 0.2}, dict[str, WeightMap]()
    if regions:
        places = {"where": WeightMap(soft_edge(*size)), "reference_where": WeightMap(soft_edge(50, 50))}
    objective = neighbours(random_image(*size, 1), paintings, layers, **places)
    if regions:
        rest = WeightMap(1 - soft_edge(*size))
        objective += neighbours(random_image(*size, 1), paintings[:1], layers, where=rest, name="neighbours in rest")
    objective = (objective + style(paintings[0], ["relu1_1"]) + content(image + 0.1, ["relu3_1"])).seeing(image)
    tiled = bind_tiled(objective, network, size, core)
    assert len(tiled.tiles) > 1
    require_equal(tiled, objective.bind(network, size), random_image(*size, 5), 1e-9)


# In the loop ---------------------------------------------------------------------------------------------------------


def composition(stages: int = 3) -> Composition:
    photo, painting = PHOTO.float(), PAINTING.float()
    objective = neighbours(photo, [painting], LAYERS) + style(painting, ["relu1_1", "relu2_1"])
    schedule = split(octaves((64, 80), 6, smallest_px=40, ratio=1.0), stages - 1)
    return Composition(from_image(photo), objective, schedule, optimiser=lbfgs())


def test_targets_are_chosen_anew_by_the_picture_that_begins_a_stage(tiny32: Network) -> None:
    composed, seen = composition(), list[Image | None]()

    def bind(objective: Objective, network: Network, size: Size) -> object:
        seen.append(objective.neighbours[0].current)
        return objective.bind(network, size)

    iterates = list(synthesise(composed, tiny32, bind=bind))
    assert [stage.steps for stage in composed.schedule] == [6, 3, 3]
    assert seen[0] is None
    assert torch.equal(seen[1], resize(iterates[5].image, (64, 80)))
    assert torch.equal(seen[2], iterates[8].image)
    assert iterates[-1].loss < iterates[9].loss


def test_a_stopped_synthesis_goes_on_bit_for_bit(tiny32: Network, tmp_path: Path) -> None:
    """In the middle of each stage, and at its end."""
    iterates, stops = [], (3, 6, 8, 9, 10)
    for iterate in synthesise(composition(), tiny32):
        iterates.append(iterate)
        if iterate.step in stops:
            write_checkpoint(Checkpoint("", 0, 1.0, iterate.state()), tmp_path / f"{iterate.step}.safetensors")
    for stopped in stops:
        state = read_checkpoint(tmp_path / f"{stopped}.safetensors").state
        rest = list(synthesise(composition(), tiny32, state))
        assert [each.step for each in rest] == list(range(stopped + 1, 13))
        for found, expected in zip(rest, iterates[stopped:], strict=True):
            assert torch.equal(found.image, expected.image)
            assert found.losses == expected.losses


def test_a_schedule_is_split_at_its_end() -> None:
    schedule = (Stage((8, 8), 5), Stage((16, 16), 7, history=3))
    parts = split(schedule, 3)
    assert parts[0] == schedule[0]
    assert [(part.size, part.steps, part.history) for part in parts[1:]] == [((16, 16), n, 3) for n in (2, 2, 3)]
    assert split(schedule, 1) == schedule
    assert [part.steps for part in split(single((8, 8), 2), 5)] == [1, 1]


# The recipe ----------------------------------------------------------------------------------------------------------


def test_transfer_divides_the_picture_among_its_paintings() -> None:
    photo, paintings = PHOTO.float(), [random_image(20, 20, n, torch.float32) for n in (1, 2, 3)]
    settings = TransferSettings(size=64, style_weights="1,0,3", neighbours=0.5, style_weight=2.0, rematches=2)
    composed = transfer(photo, paintings, settings)
    (term,) = composed.objective.neighbours
    assert [(style is paintings[0], fraction) for style, fraction, _ in term.styles] == [(True, 0.25), (False, 0.75)]
    assert sum(term.weights().values()) == pytest.approx(1.0)
    assert [stage.size for stage in composed.schedule].count(composed.schedule[-1].size) == 3
    assert not transfer(photo, paintings, TransferSettings(size=64, neighbours=0.0)).objective.neighbours


def test_a_saved_picture_is_measured_as_if_a_stage_began_with_it(plain: Network) -> None:
    """The saved picture, the photo, the painting and the picture that asks are read once each."""
    pictures = [Picture(example(name, (48, 64))) for name in ("neuschwanstein-castle", "cafe-terrace-at-night")]
    settings = TransferSettings(
        size=64, neighbours=0.3, neighbour_layers="relu2_1", style_layers="relu1_1,relu2_1", content_layers="relu2_2"
    )
    composed = transfer(pictures[0].image, [pictures[1].image], settings)
    plan = plan_memory(composed, plain, Limits(1e12), settings)
    image = random_image(48, 64, 3, torch.float32)
    saved = quantise(image)
    with readings() as read:
        found = measure(Part("", composed, ("relu2_2",)), saved, pictures[0], plan)
    assert len(read) == 4
    truth = composed.objective.seeing(saved).bind(plain, (48, 64)).losses(saved)
    assert found["losses"] == pytest.approx(truth, rel=1e-5)
    error = feature_error(plain, saved, pictures[0].image, ["relu2_2"])
    assert found["metrics"]["feature_error"] == pytest.approx(error, rel=1e-5)


# Bad input -----------------------------------------------------------------------------------------------------------


def test_bad_input_is_refused() -> None:
    network = make_tiny()
    with pytest.raises(SpecError, match="give one for each"):
        neighbours(PHOTO, [], LAYERS)
    with pytest.raises(SpecError, match="2 fractions are given for 1 painting"):
        neighbours(PHOTO, [PAINTING], LAYERS, fractions=[1.0, 2.0])
    with pytest.raises(LayerError, match="relu9_1"):
        neighbours(PHOTO, [PAINTING], ["relu9_1"]).bind(network, SIZE)
    with pytest.raises(ImageError, match="too small"):
        neighbours(PHOTO, [random_image(1, 400)], ["pool2"]).bind(network, (16, 16))
    assert size_of(PHOTO) == SIZE
