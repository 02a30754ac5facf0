"""Strokes along the photo's lines: where lines run, what that adds to a cosine, and a quarter turn of the painting."""

import math
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from conftest import random_image
from impasto.errors import SpecError
from impasto.images.files import save_image
from impasto.images.image import Image, Size, size_of
from impasto.matching.banks import Bank
from impasto.matching.lines import Grain, following, lines
from impasto.matching.places import Lattice, Links, Piece, Places, Read, Sample
from impasto.networks.network import Network
from impasto.networks.passes import read
from impasto.objectives.objective import neighbours
from impasto.series.explore import Choices, candidates
from impasto.tasks.formulas import transferred
from impasto.tasks.painting import ALONG, transfer
from impasto.tasks.regions import Region
from impasto.tasks.settings import TransferSettings
from impasto.tiles.criterion import bind_tiled
from test_neighbours import PAINTING, PHOTO, SIZE
from test_tiles import narrow, require_equal


def stripes(size: Size, degrees: float, period_px: float = 8.0) -> Image:
    """Soft stripes that run at an angle from the horizontal, anticlockwise."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
    across = x * math.sin(math.radians(degrees)) + y * math.cos(math.radians(degrees))
    return (0.5 + 0.4 * torch.sin(2 * math.pi * across / period_px)).expand(1, 3, *size).clone()


@pytest.mark.parametrize("degrees", [0, 20, 45, 90, 120, 170])
def test_lines_run_at_the_angle_of_stripes(degrees: float) -> None:
    field = lines(stripes((60, 80), degrees), Grain(256, 10))
    assert field.shape == (1, 2, 6, 8)
    inside = field[0, :, 1:-1, 1:-1].flatten(1).mean(1)
    expected = torch.tensor([math.cos(2 * math.radians(degrees)), math.sin(2 * math.radians(degrees))])
    torch.testing.assert_close(inside, expected.double(), atol=0.08, rtol=0)
    assert field.norm(dim=1).max() <= 1 + 1e-9


def test_where_nothing_runs_there_are_no_lines() -> None:
    flat = torch.full((1, 3, 40, 40), 0.3, dtype=torch.float64)
    assert lines(flat, Grain(256, 10)).abs().max() == 0
    faint = flat + 1e-4 * stripes((40, 40), 30)
    assert lines(faint, Grain(256, 10)).abs().max() < 0.05
    crossing = stripes((80, 80), 0) + stripes((80, 80), 90)
    assert lines(crossing / 2, Grain(256, 20))[0, :, 1:-1, 1:-1].abs().max() < 0.2


def test_the_grain_bounds_what_is_read() -> None:
    large = stripes((400, 600), 30, period_px=40)
    assert lines(large, Grain(150, 10)).shape == (1, 2, 10, 15)
    assert lines(random_image(1, 3, 1), Grain(256, 20)).shape == (1, 2, 1, 1)


def test_places_are_turned_as_the_picture_is() -> None:
    picture = random_image(7, 9, 1)
    for most in (63, 20):
        places = Places.on(Lattice.over((7, 9), most))
        turned = places.turned
        assert turned.size == (9, 7)
        assert torch.equal(torch.rot90(picture, dims=(2, 3))[..., turned.y, turned.x], picture[..., places.y, places.x])


def test_lines_add_to_the_cosine_and_a_place_has_one_price() -> None:
    generator = torch.Generator().manual_seed(5)
    rows = [torch.rand(20, 8, generator=generator, dtype=torch.float64) for _ in range(3)]
    ones, links = torch.ones(20, dtype=torch.float64), Links(1, torch.full((4, 40), -1))
    asking, *copies = (Sample(each, ones) for each in rows)
    bank = Bank.of(copies, [1.0], asking, links, channels=6)
    assert torch.equal(bank.prices[:20], bank.prices[20:])
    assert bank.prices.abs().max() > 0
    features = torch.cat([each.rows for each in copies])
    assert torch.equal(bank.features, features[:, :6])
    f, t = rows[0][:, :6] - rows[0][:, :6].mean(0), features[:, :6] - features[:, :6].mean(0)
    worth = functional.cosine_similarity(f[:, None], t[None], dim=2) + rows[0][:, 6:] @ features[:, 6:].T + bank.prices
    assert torch.equal(bank.nearest(rows[0]), worth.argmax(1))


def pieces_of(network: Network) -> Read:
    def pieces(image: Image, layers: Collection[str]) -> Iterator[Piece]:
        return (Piece(layer, 0, 0, maps) for layer, maps in read(network, image, layers))

    return pieces


def test_a_field_follows_each_feature_also_in_pieces(tiny: Network) -> None:
    field, shapes = torch.rand(1, 2, 3, 4, dtype=torch.float64), {"relu1_1": SIZE}
    (whole,) = following(pieces_of(tiny), field, shapes)(PHOTO, ["relu1_1"])
    features = tiny(PHOTO, ["relu1_1"])["relu1_1"]
    assert torch.equal(whole.maps[:, :-2], features)
    assert whole.maps[0, -2:].amax() <= field.amax()

    def cut(image: Image, layers: Collection[str]) -> Iterator[Piece]:
        return (Piece(layer, 8, 4, features[..., 8:20, 4:40]) for layer in layers)

    (piece,) = following(cut, field, shapes)(PHOTO, ["relu1_1"])
    assert torch.equal(piece.maps, whole.maps[..., 8:20, 4:40])


def turned_share(photo: Image, painting: Image, network: Network) -> float:
    """The fraction of positions that take a feature of the turned painting."""
    (term,) = neighbours(photo, [painting], ["relu1_2"], along=ALONG).neighbours
    target = term.choose(network, size_of(photo), pieces_of(network))["relu1_2"].target
    return float((target.rows >= len(target.bank) // 2).double().mean())


@pytest.mark.parametrize(("degrees", "least", "most"), [(0, 0.0, 0.2), (90, 0.8, 1.0)])
def test_the_painting_is_turned_where_the_photo_runs_across_it(
    tiny: Network, degrees: float, least: float, most: float
) -> None:
    photo = stripes((64, 64), degrees, 10) + 0.05 * random_image(64, 64, 3)
    painting = stripes((64, 64), 0) + 0.05 * random_image(64, 64, 4)
    assert least <= turned_share(photo / 1.1, painting / 1.1, tiny) <= most


@pytest.mark.slow
def test_tiles_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.objectives.neighbours.BANK", 300)
    monkeypatch.setattr("impasto.objectives.neighbours.SAMPLE", 200)
    network, size = narrow(padding="replicate"), (70, 83)
    paintings = [random_image(90, 61, 2), random_image(40, 100, 3)]
    objective = neighbours(random_image(*size, 1), paintings, {"relu3_1": 1.0, "image": 0.2}, along=ALONG)
    objective = objective.seeing(random_image(*size, 4))
    tiled = bind_tiled(objective, network, size, (16, 48))
    assert len(tiled.tiles) > 1
    require_equal(tiled, objective.bind(network, size), random_image(*size, 5), 1e-9)


def test_copies_count_in_the_memory(tiny: Network) -> None:
    plain, along = (neighbours(PHOTO, [PAINTING], ["relu1_1"], along=each).neighbours[0] for each in (0.0, ALONG))
    for side in (32, 4096):
        assert along.matching_bytes(tiny, (side, side)) == pytest.approx(
            2 * plain.matching_bytes(tiny, (side, side)), rel=0.01
        )


# The recipe ----------------------------------------------------------------------------------------------------------


def along_of(settings: TransferSettings) -> dict[str, float]:
    composed = transfer(PHOTO.float(), [PAINTING.float()], settings)
    return {term.name: term.along for term in composed.objective.neighbours}


def test_transfer_and_its_regions_choose_how_strokes_run(tmp_path: Path) -> None:
    assert along_of(TransferSettings(size=64)) == {"neighbours": 0}
    assert along_of(TransferSettings(size=64, strokes="along")) == {"neighbours": ALONG}
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., :20] = 1
    save_image(mask.expand(1, 3, -1, -1), tmp_path / "left.png")
    for inside, elsewhere in (("along", "as-painted"), ("as-painted", "along")):
        region = f"{tmp_path / 'left.png'},strokes={inside}"
        found = along_of(TransferSettings(size=64, strokes=elsewhere, region=region))
        assert found == {
            "neighbours": ALONG * (elsewhere == "along"),
            "neighbours in left": ALONG * (inside == "along"),
        }
    assert Region("a.png,strokes=along").strokes is None
    assert Region("a.png,strokes=2").along is None
    with pytest.raises(
        SpecError, match=r"the strokes of the region a\.png are 'across'; give a size .*, or one of along, as-painted"
    ):
        Region("a.png,strokes=across")


def test_the_page_of_a_run_says_how_strokes_run() -> None:
    for strokes, said in (("along", True), ("as-painted", False)):
        symbols = transferred(TransferSettings(strokes=strokes), ["photo.png", "painting.png"]).symbols
        assert any("lines that run as the photo's do are preferred" in each for each in symbols) is said


@pytest.mark.parametrize("along", [-1.0, float("nan"), float("inf")])
def test_along_is_a_number_from_0_upwards(along: float) -> None:
    with pytest.raises(SpecError, match=r"along is .*; it must be a number of at least 0"):
        neighbours(PHOTO, [PAINTING], ["relu1_1"], along=along)


def test_strokes_along_need_neighbours() -> None:
    with pytest.raises(SpecError, match="strokes along the photo's lines need neighbours, whose weight is 0"):
        along_of(TransferSettings(size=64, strokes="along", neighbours=0.0))


def test_a_sheet_may_have_strokes_along(tmp_path: Path) -> None:
    pictures = [Path("photo.png"), Path("painting.png")]
    cells = candidates(pictures, Choices(strengths=(1.0,), strokes=(0.6, "along")))
    found = [cell.spec.settings for cell in cells]
    assert [(each.style_scale, each.strokes) for each in found] == [(0.6, "as-painted"), (1.0, "along")]
    assert [dict(cell.values)["strokes"] for cell in cells] == ["0.6", "along"]
    with pytest.raises(SpecError, match="across is neither a strength nor a size of strokes"):
        Choices(strokes=(1.0, "across"))
