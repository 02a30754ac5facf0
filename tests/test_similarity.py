"""The layout: self-similarity against loops, what it sees and does not see, and tiles."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import impasto.objectives.similarity
from conftest import example, random_image
from impasto.errors import SpecError
from impasto.images.image import Image, resize
from impasto.matching.places import Lattice
from impasto.networks.network import Network
from impasto.objectives.objective import content, style
from impasto.objectives.representations import autocorrelation
from impasto.objectives.similarity import Sampling, sampled, self_similarity
from impasto.synthesis.loop import synthesise
from impasto.tasks.painting import transfer
from impasto.tasks.recipes import texture
from impasto.tasks.settings import TextureSettings, TransferSettings
from impasto.tiles.criterion import bind_tiled
from test_tiles import narrow, require_equal

# Lattices ------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 400))
def test_a_lattice_has_at_most_so_many_positions(height: int, width: int, most: int) -> None:
    lattice = Lattice.over((height, width), most)
    rows, columns = lattice.shape
    assert 1 <= rows * columns <= most
    finer = lattice.step - 1
    assert finer == 0 or -(-height // finer) * -(-width // finer) > most


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 20), st.integers(0, 20), st.integers(1, 5))
def test_parts_of_a_lattice_make_the_whole(height: int, width: int, row: int, column: int, step: int) -> None:
    """Also parts that hold no position of the lattice."""
    maps, lattice = torch.rand(1, 2, height, width), Lattice((height, width), step)
    row, column = min(row, height), min(column, width)
    parts = [
        Sampling(lattice, top, left)(maps[:, :, top:bottom, left:right])
        for top, bottom in ((0, row), (row, height))
        for left, right in ((0, column), (column, width))
        if bottom > top and right > left
    ]
    assert torch.equal(sum(parts), maps[0, :, ::step, ::step].flatten(1).T)


def test_the_way_back_of_samples_is_autograds() -> None:
    maps, slope = random_image(9, 11, 1), torch.rand(5 * 6, 3, dtype=torch.float64)
    sampling = Sampling(Lattice((9, 11), 2))
    variable = maps.clone().requires_grad_()
    (expected,) = torch.autograd.grad(sampling(variable), variable, slope)
    assert torch.equal(sampling.pull_back(maps, slope, None), expected)
    assert torch.equal(sampling.pull_back(maps, slope, torch.ones_like(maps)), expected + 1)


# Self-similarity -----------------------------------------------------------------------------------------------------


def test_it_is_that_of_loops() -> None:
    generator = np.random.default_rng(1)
    found, target = generator.random((2, 7, 4))

    def distances(rows: np.ndarray) -> np.ndarray:
        table = np.array([[1 - a @ b / np.sqrt((a @ a) * (b @ b)) for b in rows] for a in rows])
        return np.stack([column / column.mean() for column in table.T], axis=1)

    d, wanted = distances(found), distances(target)
    expected = ((d - wanted) ** 2).sum() / ((wanted - 1) ** 2).sum()
    assert float(self_similarity(torch.tensor(found), torch.tensor(target))) == pytest.approx(expected, rel=1e-9)
    assert float(self_similarity(torch.tensor(target), torch.tensor(target))) == 0


def test_features_may_change_if_what_was_alike_stays_alike() -> None:
    """Blind to a rotation of all features and to their lengths, not to their order."""
    rows = torch.randn(20, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)).Q
    assert float(self_similarity(3 * rows @ turn, rows)) == pytest.approx(0, abs=1e-12)
    assert float(self_similarity(rows.roll(1, 0), rows)) > 0.5


def test_its_gradient_is_that_of_differences() -> None:
    target = torch.rand(6, 4, dtype=torch.float64)
    found = torch.rand(6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(self_similarity.to(target), found)


def test_plain_features_are_no_trouble() -> None:
    plain, other = torch.ones(5, 3), torch.rand(5, 3)
    assert torch.isfinite(self_similarity(plain, plain))
    assert torch.isfinite(self_similarity(torch.zeros(5, 3), other))


def test_a_coarse_lattice_has_the_means_of_its_cells() -> None:
    """Against loops; its parts add up, and its gradient goes to all positions alike."""
    maps, lattice = random_image(23, 30, 1), Lattice((23, 30), 8)
    found = Sampling(lattice)(maps).reshape(3, 4, 3)
    for row in range(3):
        for column in range(4):
            cell = maps[0, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            torch.testing.assert_close(found[row, column], cell.mean((1, 2)))
    bands, strips = (slice(0, 5), slice(5, 23)), (slice(0, 17), slice(17, 30))
    cuts = [(rows, columns) for rows in bands for columns in strips]
    parts = [Sampling(lattice, rows.start, columns.start)(maps[..., rows, columns]) for rows, columns in cuts]
    torch.testing.assert_close(sum(parts), found.flatten(0, 1))
    slope = torch.rand(12, 3, dtype=torch.float64)
    (truth,) = torch.autograd.grad(Sampling(lattice)(maps.requires_grad_()), maps, slope)
    torch.testing.assert_close(Sampling(lattice).pull_back(maps.detach(), slope, None), truth)
    onto = random_image(18, 13, 2)
    rows, columns = cuts[3]
    here = Sampling(lattice, 5, 17).pull_back(maps.detach()[..., rows, columns], slope, onto.clone())
    torch.testing.assert_close(here, truth[..., rows, columns] + onto)


def test_a_large_picture_gets_no_grid_of_dots(plain: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layout changes all pixels, and not those alone that the lattice's positions see."""
    photo, other = (example(name, (400, 400)) for name in ("red-panda", "night-cafe"))

    def unevenness() -> float:
        term = content(photo, ["relu2_1"], represent=sampled, distance=self_similarity)
        gradient = term.bind(plain, (400, 400)).losses_and_gradient(other)[1].abs().mean(1)
        squares = torch.nn.functional.avg_pool2d(gradient, 5)
        return float(squares.quantile(0.98) / squares.quantile(0.5))

    evenly = unevenness()
    monkeypatch.setattr(impasto.objectives.similarity, "SINGLE", 100)
    assert evenly < 10
    assert unevenness() > 3 * evenly


# In objectives -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("most", [512, 40, 6])
def test_tiles_are_the_whole(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impasto.objectives.similarity, "MOST", most)
    size, network = (71, 90), narrow(padding="replicate")
    photo = random_image(80, 80, 1)
    objective = content(photo, {"relu3_1": 0.5, "relu4_1": 1.0}, represent=sampled, distance=self_similarity)
    objective += content(photo, ["relu3_1"]) + style(random_image(50, 60, 2), ["relu1_1", "relu3_1"])
    tiled = bind_tiled(objective, network, size, (32, 32))
    assert len(tiled.tiles) > 4
    require_equal(tiled, objective.bind(network, size), random_image(*size, 2), 1e-9)


def test_a_photo_has_its_own_layout(tiny: Network) -> None:
    photo = random_image(20, 30, 1)
    criterion = content(photo, ["relu2_1"], represent=sampled, distance=self_similarity, name="layout").bind(
        tiny, (20, 30)
    )
    assert criterion.losses(photo) == {"layout/relu2_1": 0}
    assert criterion.losses(random_image(20, 30, 2))["layout/relu2_1"] > 0.1


def test_the_recipe_takes_it() -> None:
    photo, painting = random_image(40, 40, 1, torch.float32), random_image(40, 40, 2, torch.float32)
    composed = transfer(photo, [painting], TransferSettings(size=64, layout=0.4, layout_layers="relu2_1=1,relu3_1=3"))
    weights = composed.objective.weights()
    assert {name: weights[name] for name in weights if name.startswith("layout")} == pytest.approx(
        {"layout/relu2_1": 0.1, "layout/relu3_1": 0.3}
    )
    plain = transfer(photo, [painting], TransferSettings(size=64, layout=0.0))
    assert not [name for name in plain.objective.weights() if name.startswith("layout")]


# Autocorrelation -----------------------------------------------------------------------------------------------------


def test_the_autocorrelation_is_that_of_its_definition() -> None:
    maps = random_image(7, 10, 1)
    found = autocorrelation(maps)
    assert found.shape == (3, 7, 4)
    values = (maps - maps.mean((2, 3), keepdim=True))[0].numpy()
    for channel in range(3):
        for down in range(-3, 4):
            for across in range(4):
                products = [
                    values[channel, y, x] * values[channel, y + down, x + across]
                    for y in range(7)
                    for x in range(10)
                    if 0 <= y + down < 7 and x + across < 10
                ]
                expected = sum(products) / len(products)
                assert float(found[channel, down + 3, across]) == pytest.approx(expected, abs=1e-12)


def test_a_resized_picture_of_one_colour_has_no_pattern() -> None:
    flat = resize(torch.full((1, 3, 90, 160), 0.7), (64, 114))
    assert autocorrelation(flat).count_nonzero() == 0
    flat[..., ::4] += 1 / 255
    assert autocorrelation(flat).count_nonzero() > 0


def test_the_autocorrelations_gradient_is_that_of_differences() -> None:
    assert torch.autograd.gradcheck(autocorrelation, random_image(5, 6, 1).requires_grad_())


def test_pictures_of_other_sizes_are_compared_at_the_references_shifts(tiny: Network) -> None:
    """The same stripes in other frames are alike; stripes of another period, and across, are not."""

    def stripes(height: int, width: int, period: int) -> Image:
        wave = (torch.arange(width, dtype=torch.float64) * 2 * math.pi / period).sin()
        return (0.5 + 0.4 * wave).expand(1, 3, height, width).contiguous()

    def loss(image: Image) -> float:
        objective = style(stripes(40, 40, 8), ["image"], represent=autocorrelation)
        return objective.bind(tiny, (40, 40)).losses(image)["style/image"]

    assert autocorrelation.fitted(autocorrelation(stripes(40, 48, 8)))(stripes(16, 80, 8)).shape == (3, 41, 21)
    assert loss(torch.roll(stripes(40, 40, 8), 3, 3)) < 0.02
    assert loss(stripes(40, 64, 8)) < 0.02
    assert loss(stripes(40, 40, 11)) > 0.3
    assert loss(stripes(40, 40, 8).transpose(2, 3)) > 0.3


def test_a_pattern_is_not_taken_in_tiles(tiny: Network) -> None:
    objective = style(random_image(32, 32, 1), ["image"], represent=autocorrelation, name="pattern")
    with pytest.raises(SpecError, match="pattern: this representation needs the whole feature map"):
        bind_tiled(objective, tiny, (32, 32), (16, 16))


@pytest.mark.slow
def test_bricks_stay_in_their_rows(plain: Network) -> None:
    """The measure is another than the loss: how much darker rows at multiples of the height are, in the result."""
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    mortar = (y % 16 < 4) | ((x + 16 * (y // 16 % 2)) % 32 < 4)
    wall = torch.where(mortar, torch.tensor(0.8), torch.tensor(0.3)).expand(1, 3, 96, 96).contiguous()

    def striped(statistics: str) -> float:
        layers = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0}
        settings = TextureSettings(size=96, smallest=96, steps=25, statistics=statistics)
        *_, last = synthesise(texture(wall, layers, settings), plain)
        spectrum = torch.fft.rfft(last.image.mean((0, 1, 3)) - last.image.mean()).abs().square()
        return float(spectrum[6::6].sum() / spectrum.sum())

    assert striped("pattern") > 0.8
    assert striped("wasserstein") < 0.7
