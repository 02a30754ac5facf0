"""Regions: masks and their words, how a picture is divided, and whole runs with a picture painted by regions."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from PIL import ImageDraw

from command import StopAfter, call, pixels, read_json, save_pictures
from conftest import CLASSIC, CLASSIC_WORDS, random_image
from impasto.errors import ImageError, InterruptedRunError, SpecError
from impasto.events import Notice
from impasto.folders.specfiles import fingerprint, read_spec
from impasto.images.files import load_image, load_picture
from impasto.images.image import resize, size_of
from impasto.images.masks import load_mask
from impasto.objectives.terms import Match
from impasto.runs.start import resume, run
from impasto.synthesis.keeping import Keeping
from impasto.synthesis.parameterisations import Fourier, Pixels
from impasto.tasks.divisions import divide
from impasto.tasks.painting import transfer
from impasto.tasks.regions import Region
from impasto.tasks.settings import TransferSettings
from impasto.tasks.spec import RunSpec
from impasto.tasks.values import PrintSize

SETTINGS = ("--size", "48", "--smallest", "48", "--frames", "2", "--precision", "float32", "--threads", "1")
LIGHT = ("--style-layers", "relu1_1,relu2_1", *CLASSIC_WORDS)
WORDS = (*SETTINGS, "--steps", "3", *LIGHT)
SHALLOW = {"style_layers": "relu1_1,relu2_1", "content_layers": "relu2_2", "neighbour_layers": "relu3_1"}
SMALL = {"size": 48, "smallest": 48, "steps": 4, "frames": 0, "precision": "float32", "threads": 1, **SHALLOW}


def paint(path: Path, size: tuple[int, int], *boxes: tuple[Sequence[int], object], ground: object = 0) -> Path:
    """A picture of that (width, height) with rectangles on a ground, and return its path."""
    mode = "L" if isinstance(ground, int) else "RGBA" if len(ground) == 4 else "RGB"  # type: ignore[arg-type]
    picture = PillowImage.new(mode, size, ground)  # type: ignore[arg-type]
    for box, colour in boxes:
        ImageDraw.Draw(picture).rectangle(box, fill=colour)  # type: ignore[arg-type]
    picture.save(path)
    return path


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photo.png, 64 × 48; painting.png and other.png; sky.png is its upper half, hut.png a box in the lower half."""
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path)
    PillowImage.open("painting.png").transpose(PillowImage.Transpose.ROTATE_90).save("other.png")
    paint(Path("sky.png"), (64, 48), ((0, 0, 63, 23), 255))
    paint(Path("hut.png"), (64, 48), ((16, 28, 47, 43), 255))
    return tmp_path


# The words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "sky.png=wave.jpg",
        "sky.png",
        "a/b c/sky.png=photo",
        "map.png#ff0000=wave.jpg,strength=0.7,strokes=2,detail=3,from=parts.png#blue",
        r"sky.png=one\, two.jpg,strength=.5",
        r"a\=b\,c/sky.png=a\=b.jpg,from=d\=e/map.png#red",
    ],
)
def test_the_text_of_a_region_comes_back(text: str) -> None:
    region = Region(text)
    assert region == text
    same = region.with_files(lambda file: file)
    assert same == text
    assert same.files == region.files
    moved = region.with_files(lambda file: Path("there") / file)
    assert moved.files == tuple(Path("there") / file for file in region.files)
    assert (moved.strength, moved.strokes, moved.detail, moved.is_photo) == (
        *(region.strength, region.strokes, region.detail, region.is_photo),
    )


def test_what_a_region_says() -> None:
    region = Region("map.png#Red=wave.jpg,strength=0.7,strokes=2,detail=3,from=parts.png#0000ff")
    assert (*region.mask, region.painting) == (Path("map.png"), "red", Path("wave.jpg"))
    assert region.source == (Path("parts.png"), "0000ff")
    assert (region.strength, region.strokes, region.detail) == (0.7, 2, 3)
    assert region.words == "wave.jpg, strength 0.7, strokes 2, detail 3, from parts 0000ff"
    assert Region("a.png=photo").words == "left as it is"
    assert Region("a.png").words == "as the rest"


def test_commas_and_equals_signs_that_are_clear_need_no_backslash() -> None:
    assert Region("sky.png=one, two.jpg,strength=.5").files == (Path("sky.png"), Path("one, two.jpg"))
    assert Region("sky.png=a=b.jpg").files == (Path("sky.png"), Path("a=b.jpg"))
    assert Region(r"a\=b\,c.png = d.jpg , from = e\,f.png").files == tuple(map(Path, ("a=b,c.png", "d.jpg", "e,f.png")))
    assert Region("sky.png = photo").is_photo
    picture = Region("sky.png=./photo").with_files(lambda file: file)
    assert (picture.is_photo, picture.painting) == (False, Path("photo"))
    with pytest.raises(SpecError, match="a comma in a file's name follows a backslash"):
        Region("sky,2.png=wave.jpg")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the region '' is not MASK=PAINTING; write sky.png=wave.jpg for instance"),
        ("=wave.jpg", "the region '=wave.jpg' is not MASK=PAINTING; write sky.png=wave.jpg for instance"),
        ("sky.png=", "the region 'sky.png=' is not MASK=PAINTING; write sky.png=wave.jpg for instance"),
        ("sky.png=a.jpg,stroke=2", "a region has no option 'stroke'; did you mean 'strokes'?"),
        ("sky.png=a.jpg,strength=", "the region 'sky.png=a.jpg,strength=' gives strength no value"),
        ("s.png,detail=1,detail=2", "the region 's.png,detail=1,detail=2' gives detail twice"),
        ("s.png=a.jpg,strength=-1", "the strength of the region s.png is '-1'; it must be a number from 0 upwards"),
        ("s.png,detail=64", "the detail of the region s.png is '64'; it can be at most 30 times that of the rest"),
        ("s.png=a.jpg,strokes=0", "the strokes of the region s.png are '0'; give a size above 0 and up to 10"),
        ("s.png,strokes=1e9", "the strokes of the region s.png are '1e9'; give a size above 0 and up to 10"),
        (
            "s.png=photo,strength=2",
            "the region 's.png=photo,strength=2' stays as the photo has it and takes no strength",
        ),
    ],
)
def test_wrong_words(text: str, sentence: str) -> None:
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}"):
        Region(text)


# Masks ---------------------------------------------------------------------------------------------------------------


def test_white_is_inside(desk: Path) -> None:
    mask = load_mask(paint(Path("m.png"), (8, 4), ((0, 0, 3, 3), 255), ((4, 0, 5, 3), 51)))[0, 0]
    assert mask[:, :4].eq(1).all()
    torch.testing.assert_close(mask[:, 4:6], torch.full((4, 2), 0.2))
    assert mask[:, 6:].eq(0).all()


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (10, 200, 30)])
def test_paint_on_a_transparent_ground_is_inside(desk: Path, colour: tuple[int, int, int]) -> None:
    mask = load_mask(paint(Path("m.png"), (8, 4), ((0, 0, 3, 3), (*colour, 255)), ground=(0, 0, 0, 0)))[0, 0]
    assert mask[:, :4].eq(1).all()
    assert mask[:, 4:].eq(0).all()


def test_black_on_white_with_a_transparent_corner(desk: Path) -> None:
    boxes = (((0, 0, 3, 3), (255, 255, 255, 255)), ((6, 0, 7, 1), (255, 255, 255, 0)))
    mask = load_mask(paint(Path("m.png"), (8, 4), *boxes, ground=(0, 0, 0, 255)))[0, 0]
    assert mask[:, :4].eq(1).all()
    assert mask[:, 4:].eq(0).all()


def test_a_photo_that_is_cut_out_is_inside(desk: Path) -> None:
    """And a map of few colours is asked for one of them, also on a transparent ground."""
    photo = PillowImage.open("photo.png").convert("RGBA")
    photo.putalpha(PillowImage.open("hut.png"))
    photo.save("cut.png")
    torch.testing.assert_close(load_mask(Path("cut.png")), load_mask(Path("hut.png")))
    boxes = (((0, 0, 3, 3), (255, 0, 0, 255)), ((4, 0, 5, 3), (0, 0, 255, 255)))
    with pytest.raises(ImageError, match=r"^m.png is in colour; name the colour that marks the region, m.png#ff0000"):
        load_mask(paint(Path("m.png"), (8, 4), *boxes, ground=(0, 0, 0, 0)))


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_colours_of_one_file(desk: Path, ending: str) -> None:
    """Each pixel belongs to one colour, also on soft edges and in files with losses: no gap, no overlap."""
    large = PillowImage.new("RGB", (640, 480), "red")
    ImageDraw.Draw(large).ellipse((100, 100, 400, 300), fill="blue")
    ImageDraw.Draw(large).rectangle((300, 200, 639, 400), fill="white")
    file = Path(f"map.{ending}")
    large.resize((160, 120), PillowImage.Resampling.LANCZOS).save(file)
    masks = [load_mask(file, colour) for colour in ("red", "0000ff", "white")]
    assert torch.stack(masks).sum(0).eq(1).float().mean() > 0.999
    known = np.asarray(large.resize((160, 120), PillowImage.Resampling.NEAREST))
    assert (masks[1][0, 0].numpy() == (known == (0, 0, 255)).all(-1)).mean() > 0.99


@pytest.mark.parametrize("edge_px", [40, 120])
def test_wide_soft_edges_between_colours_leave_no_gap(tmp_path: Path, edge_px: int) -> None:
    """Each pixel belongs to one of two colours, in a gradient from red to blue; a purple of its own stays a colour."""
    ramp = np.clip((np.arange(400) - 200) / edge_px + 0.5, 0, 1)[None].repeat(300, 0)
    levels = (np.stack([1 - ramp, 0 * ramp, ramp], -1) * 255).round().astype(np.uint8)
    PillowImage.fromarray(levels).save(tmp_path / "map.png")
    red, blue = (load_mask(tmp_path / "map.png", colour) for colour in ("red", "blue"))
    assert torch.equal(red + blue, torch.ones_like(red))
    levels[:60, :60] = (128, 0, 128)  # 3 % of the map
    PillowImage.fromarray(levels).save(tmp_path / "map.png")
    purple = load_mask(tmp_path / "map.png", "800080")
    assert purple[..., :60, :60].eq(1).all()
    assert load_mask(tmp_path / "map.png", "red")[..., :60, :60].eq(0).all()


@pytest.mark.parametrize("blue", [[], [((30, 0, 31, 19), (0, 0, 255, 255))]])
def test_transparent_parts_of_a_map_are_outside(desk: Path, blue: list[tuple[Sequence[int], object]]) -> None:
    """Whatever colour the file has there, and however little of another colour."""
    boxes = (((0, 0, 9, 19), (255, 0, 0, 255)), *blue)
    mask = load_mask(paint(Path("m.png"), (40, 20), *boxes, ground=(200, 0, 0, 0)), "red")[0, 0]
    assert mask[:, :10].eq(1).all()
    assert mask[:, 10:].eq(0).all()


@pytest.mark.parametrize("green", [(0, 255, 0), (0, 128, 0)])
def test_green_is_the_green_that_is_there(desk: Path, green: tuple[int, int, int]) -> None:
    """CSS calls pure green lime, and #008000 green."""
    file = paint(Path("m.png"), (8, 4), ((0, 0, 3, 3), green), ground=(255, 0, 0))
    mask = load_mask(file, "green")[0, 0]
    assert mask[:, :4].eq(1).all()
    assert mask[:, 4:].eq(0).all()


@pytest.mark.parametrize(
    ("ground", "colour", "sentence"),
    [
        (0, "", "m.png marks no region: it is black everywhere; make the region white and the rest black"),
        (255, "", "m.png marks no region: it is white everywhere; make the region white and the rest black"),
        (
            (255, 0, 0),
            "",
            "m.png is in colour; name the colour that marks the region, m.png#ff0000 for instance, or make "
            "the region white and the rest black",
        ),
        (128, "", "m.png marks no region: it is grey everywhere; make the region white and the rest black"),
        ((255, 0, 0), "blue", "m.png has no region of the colour blue; its colours are #ff0000"),
        ((255, 0, 0), "bleu", "m.png#bleu names no colour; write a colour such as red or ff0000 after the #"),
        ((255, 0, 0), "red", "m.png marks no region: it is red everywhere; give the rest another colour"),
        ((0, 128, 0), "blue", "m.png has no region of the colour blue; its colours are #008000"),
        (
            (255, 255, 255, 0),
            "",
            "m.png marks no region: it is transparent everywhere; make the region white and the rest black",
        ),
    ],
)
def test_masks_that_mark_nothing(desk: Path, ground: object, colour: str, sentence: str) -> None:
    with pytest.raises(ImageError, match=f"^{re.escape(sentence)}$"):
        load_mask(paint(Path("m.png"), (8, 4), ground=ground), colour)


# Dividing ------------------------------------------------------------------------------------------------------------


def test_shares_add_up_to_one(desk: Path) -> None:
    soft = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    PillowImage.fromarray(soft).save("soft.png")
    division = divide([Region("sky.png=photo"), Region("soft.png"), Region("hut.png")], load_image("photo.png"), 64)
    assert division.rest is not None
    assert division.kept is not None
    shares = [division.kept, division.rest, *(area.share for area in division.areas)]
    torch.testing.assert_close(torch.stack(shares).sum(0), torch.ones(1, 1, 48, 64))
    assert division.kept[..., :24, :].eq(1).all()  # what is left as it is comes first
    hut, sheet = division.areas[1].share[0, 0, 30, 40], division.areas[0].share[0, 0, 30, 40]
    assert hut / sheet == pytest.approx(255 / soft[30, 40], rel=1e-4)  # the others share in proportion
    (note,) = division.notes
    assert note.startswith("masks overlap on ")


def test_masks_of_other_sizes_are_stretched_and_named(desk: Path) -> None:
    paint(Path("small.png"), (32, 24), ((0, 0, 31, 11), 255))
    paint(Path("square.png"), (32, 32), ((0, 20, 31, 31), 255))
    division = divide([Region("small.png"), Region("square.png")], load_image("photo.png"), 32)
    assert division.notes == (
        "the mask small.png has 32 × 24 px, the photo 64 × 48: the mask is scaled",
        "the mask square.png has 32 × 32 px, the photo 64 × 48: the mask is stretched over the photo, whose "
        "proportions are others",
    )
    assert float(division.areas[0].share.mean()) == pytest.approx(1 / 2, abs=0.02)
    assert float(division.areas[1].share.mean()) == pytest.approx(12 / 32, abs=0.02)


@pytest.mark.parametrize("size", [(64, 48), (32, 24), (128, 96), (64, 96)])
@pytest.mark.parametrize(("print_size", "kept"), [("2x2cm@50", (8, 0, 56, 48)), ("4x1cm@50", (0, 16, 64, 32))])
def test_masks_are_cropped_as_the_photo_is(
    desk: Path, size: tuple[int, int], print_size: str, kept: tuple[int, int, int, int]
) -> None:
    """A box of the photo as it was given is where it was in the photo, for masks of any size."""
    x, y = size[0] / 64, size[1] / 48
    box = (12, 18, 40, 30)  # left, top, right and bottom, in pixels of the photo
    paint(Path("box.png"), size, ((box[0] * x, box[1] * y, box[2] * x - 1, box[3] * y - 1), 255))
    truth = torch.zeros(48, 64)
    truth[box[1] : box[3], box[0] : box[2]] = 1
    truth = truth[kept[1] : kept[3], kept[0] : kept[2]]

    photo = load_picture(Path("photo.png")).cropped(PrintSize(print_size).size)
    division = divide([Region("box.png=photo")], photo.image, 64, photo.before)
    assert division.kept is not None
    torch.testing.assert_close(resize(division.kept, photo.size)[0, 0].round(), truth)
    how = {(64, 48): [], (64, 96): ["stretched over the photo, whose proportions are others"]}.get(size, ["scaled"])
    words = f"the mask box.png has {size[0]} × {size[1]} px, the photo 64 × 48: the mask is "
    assert list(division.notes) == [words + each for each in how]


def test_a_mask_of_the_middle_is_not_cropped(desk: Path) -> None:
    paint(Path("square.png"), (32, 32), ((0, 0, 15, 31), 255))
    photo = load_picture(Path("photo.png")).cropped((10, 10))
    division = divide([Region("square.png=photo")], photo.image, 64, photo.before)
    assert division.kept is not None
    assert division.kept[..., :16].eq(1).all()
    assert division.kept[..., 16:].eq(0).all()
    assert division.notes == (
        "the mask square.png has 32 × 32 px, the photo 64 × 48: the mask is scaled over the part of the photo that is "
        "printed",
    )


def test_a_region_that_is_cut_off(desk: Path) -> None:
    paint(Path("edge.png"), (64, 48), ((0, 0, 7, 47), 255))
    photo = load_picture(Path("photo.png")).cropped((10, 10))
    sentence = "nothing is left of the region edge.png: the photo is cropped for the print, and all of it is cut off"
    with pytest.raises(ImageError, match=f"^{re.escape(sentence)}$"):
        divide([Region("edge.png=photo")], photo.image, 64, photo.before)


def test_masks_that_meet_leave_no_rest(desk: Path) -> None:
    paint(Path("ground.png"), (64, 48), ((0, 24, 63, 47), 255))
    division = divide([Region("sky.png=other.png"), Region("ground.png=other.png")], load_image("photo.png"), 64)
    assert division.rest is None
    assert division.notes == (
        "the masks cover the whole picture, so nothing is painted in the style given without a mask",
    )
    assert [area.name for area in division.areas] == ["sky", "ground"]


def test_regions_that_cannot_be(desk: Path) -> None:
    photo = load_image("photo.png")
    with pytest.raises(SpecError, match=r"^the mask sky\.png is given twice; give each region once$"):
        divide([Region("sky.png"), Region("sky.png=photo")], photo, 64)
    paint(Path("cloud.png"), (64, 48), ((8, 2, 20, 10), 255))
    with pytest.raises(ImageError, match=r"^nothing is left of the region cloud\.png: other masks cover all of it$"):
        divide([Region("sky.png=photo"), Region("cloud.png")], photo, 64)
    with pytest.raises(ImageError, match=r"^there is no file fog\.png$"):
        divide([Region("fog.png")], photo, 64)


# The composition -----------------------------------------------------------------------------------------------------


def matches(*regions: str, count: int = 1, **more: object) -> dict[str, Match]:
    settings = TransferSettings(region=regions, size=64, **{**CLASSIC, **more})  # type: ignore[arg-type]
    paintings = [load_image("painting.png")] * count
    return {each.name: each for each in transfer(load_image("photo.png"), paintings, settings).objective.matches()}


def test_weights_are_area_times_strength(desk: Path) -> None:
    found = matches("sky.png=other.png,strength=3", "hut.png,strokes=2", style_scale=0.5)
    assert list(found) == ["content", "style", "style in sky", "style in hut"]
    hut = 32 * 16 / (64 * 48)
    areas = {"style": 1 / 2 - hut, "style in sky": 3 / 2, "style in hut": hut}
    for name, weight in areas.items():
        assert sum(found[name].layers.values()) == pytest.approx(weight, rel=1e-5)
    sizes = {name: max(found[name].framed_size((48, 64))) for name in areas}
    assert sizes["style"] == sizes["style in sky"]
    assert sizes["style in hut"] == pytest.approx(4 * sizes["style"], abs=2)
    assert torch.equal(found["style in sky"].reference, load_image("other.png"))


def test_each_region_is_matched_to_its_own_paintings(desk: Path) -> None:
    """The weights of neighbours are the style's, times `neighbours`; places, paintings and strokes are the style's."""
    paint(Path("half.png"), (64, 48), ((0, 0, 31, 47), 255))
    regions = ("sky.png=other.png,strength=3,from=half.png", "hut.png,strokes=2", "half.png=photo")
    settings = TransferSettings(region=regions, size=64, neighbours=0.5, style_weights="3,1", content_weight=0)
    paintings = [load_image("painting.png"), load_image("other.png")]
    objective = transfer(load_image("photo.png"), paintings, settings).objective
    found, styles = (
        {each.name: each for each in objective.neighbours},
        {each.name: each for each in objective.matches()},
    )
    assert list(found) == ["neighbours", "neighbours in sky", "neighbours in hut"]
    for name in ("", " in sky", " in hut"):
        term = found[f"neighbours{name}"]
        alike = [
            style
            for key, style in styles.items()
            if key.startswith("style")
            and key.removeprefix("style 1").removeprefix("style 2").removeprefix("style") == name
        ]
        assert sum(term.weights().values()) == pytest.approx(0.5 * sum(sum(each.layers.values()) for each in alike))
        assert [size_of(framed) for framed in term.framed((48, 64))] == [each.framed_size((48, 64)) for each in alike]
        assert all(own.image.equal(each.reference) for own, each in zip(term.styles, alike, strict=True))
        for ours, theirs in ((term.where, alike[0].where), (term.styles[0].where, alike[0].reference_where)):
            assert (ours is None and theirs is None) or torch.equal(ours.weights, theirs.weights)
    assert [style.fraction for style in found["neighbours in hut"].styles] == [0.75, 0.25]
    assert [style.fraction for style in found["neighbours in sky"].styles] == [1]
    assert len(found["neighbours"].styles) == 2
    none = settings.model_copy(update={"region": (Region("sky.png=other.png,strength=0"),)})
    terms = transfer(load_image("photo.png"), paintings, none).objective.neighbours
    assert [each.name for each in terms] == ["neighbours"]


def test_several_styles_share_each_region(desk: Path) -> None:
    found = matches("sky.png,strength=2,strokes=1", "hut.png=other.png", count=2, style_weights="3,1")
    assert [*found] == [
        *("content", "style 1", "style 2", "style 1 in sky", "style 2 in sky", "style in hut"),
    ]
    assert sum(found["style 1 in sky"].layers.values()) == pytest.approx(3 / 4, rel=1e-5)


def test_detail_weights_the_photo(desk: Path) -> None:
    found, plain = matches("sky.png,detail=5"), matches()
    assert plain["content"].where is None
    content = found["content"]
    assert content.where is not None
    weights = content.where.weights[0, 0]
    assert weights[:24].eq(5).all()
    assert weights[24:].eq(1).all()
    assert sum(content.layers.values()) == pytest.approx(3 * sum(plain["content"].layers.values()), rel=1e-5)


def test_no_detail_anywhere(desk: Path) -> None:
    """Soft masks that meet: nothing is left of the photo's detail, and rounding makes no weight negative."""
    soft = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    PillowImage.fromarray(soft).save("soft.png")
    PillowImage.fromarray(255 - soft).save("other-side.png")
    paint(Path("ground.png"), (64, 48), ((0, 24, 63, 47), 255))
    assert "content" not in matches("sky.png,detail=0", "ground.png,detail=0")
    where = matches("soft.png,detail=0", "other-side.png,detail=0.1")["content"].where
    assert where is not None
    assert where.weights.min() >= 0


def test_regions_that_differ_in_strength_or_detail_alone_are_painted_with_the_rest(desk: Path) -> None:
    """The whole picture has one set of statistics, in which the positions of such a region count by its strength."""
    found = matches("sky.png,detail=5")
    assert list(found) == ["content", "style"]
    assert found["style"].where is None
    assert found["style"].layers == matches()["style"].layers
    found = matches("sky.png,strength=0.5", "hut.png=other.png")
    assert list(found) == ["content", "style", "style in hut"]
    where = found["style"].where
    assert where is not None
    assert where.weights[..., :24, :].eq(0.5).all()
    assert where.weights[..., 45:, :].eq(1).all()
    hut = 32 * 16 / (64 * 48)
    assert sum(found["style"].layers.values()) == pytest.approx(3 / 4 - hut, rel=1e-5)


def test_one_style_in_two_regions_is_nearly_that_style_everywhere(desk: Path) -> None:
    """The statistics of regions of one style, and that of the whole: the gradients point the same way."""
    from impasto.networks.catalogue import open_network

    network, image = open_network("vgg16", device="cpu", precision="float32"), random_image(48, 64, 3, torch.float32)
    settings = TransferSettings(size=64, content_weight=0.0, smoothness=0.0)
    divided = settings.model_copy(update={"region": (Region("sky.png=painting.png"),)})
    gradients = [
        transfer(load_image("photo.png"), [load_image("painting.png")], each)
        .objective.bind(network, (48, 64))
        .losses_and_gradient(image)[1]
        .flatten()
        for each in (settings, divided)
    ]
    assert torch.cosine_similarity(*gradients, dim=0) > 0.9
    assert float(gradients[1].norm() / gradients[0].norm()) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("inner", [Pixels(), Fourier()])
def test_what_is_kept_is_the_photo(inner: Pixels | Fourier) -> None:
    photo, where = random_image(20, 30, 1), torch.zeros(1, 1, 20, 30)
    where[..., 5:10, 5:15], where[..., 10, 5:15] = 1, 0.25
    keeping, image = Keeping(inner, photo, where), random_image(20, 30, 2)
    parameters = keeping.project(keeping.encode(image)).requires_grad_()
    found = keeping.decode(parameters, (20, 30))
    assert torch.equal(found[..., 5:10, 5:15], photo[..., 5:10, 5:15])
    torch.testing.assert_close(found[..., :5, :], image[..., :5, :])
    torch.testing.assert_close(found[..., 10, 5:15], 0.75 * image[..., 10, 5:15] + 0.25 * photo[..., 10, 5:15])
    (slope,) = torch.autograd.grad(found[..., 5:10, 5:15].sum(), parameters)
    assert slope.abs().max() == 0
    assert keeping.decode(parameters, (20, 30)).equal(found)
    small = keeping.encode(resize(image, (10, 15)))
    assert keeping.decode(small, (10, 15)).shape[2:] == (10, 15)


# Whole runs ----------------------------------------------------------------------------------------------------------


def test_a_run_with_regions(desk: Path) -> None:
    words = ("--region", "sky.png=other.png,strokes=2", "--region", "hut.png=photo", "-o", "out")
    done = call("transfer", "photo.png", "painting.png", *words, *WORDS)
    assert done.code == 0, done.err
    wanted = resize(load_image("photo.png"), (36, 48))[0].permute(1, 2, 0).numpy() * 255
    off = np.abs(pixels(Path("out/result.png")) - wanted).max(-1)
    assert off[22:32, 13:35].max() <= 1
    assert off[:18].mean() > 5
    known = tomllib.loads(Path("out/run.toml").read_text())
    assert known["settings"]["region"] == ["sky.png=other.png,strokes=2", "hut.png=photo"]
    assert len(known["provenance"]["region_files_sha256"]) == 3
    assert {path.name for path in Path("out/regions").iterdir()} == {"1.jpg", "2.jpg", "3.jpg"}
    page = Path("out/report.html").read_text()
    assert page.count('alt="region ') == 3
    assert 'alt="style in sky: other"' in page
    command = " ".join(re.sub(r"<[^>]*>", "", page).split())
    assert "--region sky.png=other.png,strokes=2 --region hut.png=photo" in command
    assert "left as it is" in page
    assert {"style in sky/relu1_1", "style/relu1_1"} <= read_json(Path("out/summary.json"))["losses"].keys()


@pytest.mark.parametrize("colours", ["photo-late", "luminance"])
def test_what_is_kept_stays_also_where_colours_are_put_back(desk: Path, colours: str) -> None:
    words = ("--region", "hut.png=photo", "--colours", colours, "-o", "out")
    assert call("transfer", "photo.png", "painting.png", *words, *WORDS).code == 0
    wanted = resize(load_image("photo.png"), (36, 48))[0].permute(1, 2, 0).numpy() * 255
    off = np.abs(pixels(Path("out/result.png")) - wanted).max(-1)
    assert off[22:32, 13:35].max() <= 1
    assert off[:18].mean() > 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statistics", "parameterisation"), [("wasserstein", "pixels"), ("gram", "fourier"), ("moments", "pixels")]
)
def test_tiles_paint_the_same_regions(desk: Path, statistics: str, parameterisation: str) -> None:
    words = (
        "--region",
        "sky.png=other.png,from=side.png",
        "--region",
        "hut.png=photo",
        "--region",
        "hill.png,detail=3",
    )
    paint(Path("side.png"), (60, 48), ((0, 0, 30, 47), 255))
    paint(Path("hill.png"), (64, 48), ((0, 24, 20, 47), 255))
    more = (*SETTINGS, "--steps", "2", "--statistics", statistics, "--parameterisation", parameterisation)
    more = (*more, "--neighbours", "0.3", "--neighbour-layers", "relu3_1")
    more = (*more, "--style-layers", "relu1_1,relu2_1,relu3_1", "--content-layers", "relu2_2")
    for name, tiles in (("whole", ()), ("tiled", ("--tile", "16"))):
        ended = call("transfer", "photo.png", "painting.png", *words, *more, *tiles, "-o", name)
        assert ended.code == 0, ended.err
    found, wanted = (read_json(Path(name) / "summary.json")["losses"] for name in ("tiled", "whole"))
    assert found == pytest.approx(wanted, rel=2e-2)
    assert np.abs(pixels(Path("tiled/result.png")) - pixels(Path("whole/result.png"))).mean() < 0.5


def spec(*regions: str, **more: object) -> RunSpec:
    settings = TransferSettings(**SMALL, **more, region=regions)  # type: ignore[arg-type]
    return RunSpec(task="transfer", pictures=(Path("photo.png"), Path("painting.png")), settings=settings)


@pytest.mark.slow
@pytest.mark.parametrize(("neighbours", "stopped"), [(0.3, 1), (0.0, 2), (0.3, 3)])
def test_a_run_with_regions_resumes_bit_for_bit(desk: Path, neighbours: float, stopped: int) -> None:
    asked = spec("sky.png=other.png,detail=2", "hut.png=photo", neighbours=neighbours)
    whole = run(asked, Path("whole"))
    stop = StopAfter(stopped)
    with pytest.raises(InterruptedRunError):
        run(asked, Path("halved"), stop=stop, recorders=[stop])
    (desk / "moved").mkdir()
    for name in ("sky.png", "other.png"):
        Path(name).rename(Path("halved") / name)
    halved = resume(Path("halved"))
    assert (pixels(whole / "result.png") == pixels(halved / "result.png")).all()


@pytest.mark.slow
def test_a_mask_that_has_changed_ends_a_resumed_run(desk: Path) -> None:
    stop = StopAfter(2)
    with pytest.raises(InterruptedRunError):
        run(spec("sky.png=other.png"), Path("out"), stop=stop, recorders=[stop])
    paint(Path("sky.png"), (64, 48), ((0, 0, 63, 20), 255))
    ended = call("resume", "out")
    assert ended.code == 1
    assert "sky.png has changed since that run" in ended.err


@pytest.mark.slow
def test_notes_are_events(desk: Path) -> None:
    paint(Path("small.png"), (32, 24), ((0, 0, 31, 11), 255))
    events: list[object] = []
    run(spec("small.png=other.png"), Path("out"), listener=events.append)
    (note,) = [event for event in events if isinstance(event, Notice)]
    assert "the mask small.png has 32 × 24 px" in note.words


@pytest.mark.slow
def test_a_spec_with_regions_finds_its_files(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--region", "sky.png=other.png", "--save-spec", "there/spec.toml")
    assert call("transfer", "photo.png", "painting.png", *words, *WORDS).code == 0
    saved = read_spec(Path("there/spec.toml"))
    assert saved.spec.settings.files == (Path("../sky.png"), Path("../other.png"))
    monkeypatch.chdir("there")
    assert call("run", "spec.toml", "-o", "out").code == 0
    again = call("run", "out/result.png", "-o", "again")
    assert again.code == 0, again.err
    assert (pixels(Path("out/result.png")) == pixels(Path("again/result.png"))).all()


@pytest.mark.slow
def test_moved_masks_are_the_same_run(desk: Path) -> None:
    """The fingerprint by which checkpoints know their run names files by their content."""
    assert call("transfer", "photo.png", "painting.png", "--region", "sky.png=other.png", *WORDS, "-o", "out").code == 0
    toml = Path("out/run.toml").read_text()
    moved = toml.replace("sky.png=other.png", "far/sky.png=far/other.png")
    assert moved != toml
    assert fingerprint(moved) == fingerprint(toml)
    assert fingerprint(toml.replace("sky.png=other.png", "sky.png=other.png,strength=2")) != fingerprint(toml)


@pytest.mark.slow
def test_a_batch_with_regions(desk: Path) -> None:
    """Regions as an option for all, and as a column of a list, whose files lie beside the list."""
    (desk / "photos").mkdir()
    Path("photo.png").rename("photos/one.png")
    words = (*SETTINGS, *LIGHT, "--steps", "1", "--region", "sky.png=other.png;hut.png=photo")
    ended = call("batch", "photos", "--styles", "painting.png", *words, "-o", "all")
    assert ended.code == 0, ended.err
    (done,) = Path("all").glob("*/run.toml")
    assert len(tomllib.loads(done.read_text())["settings"]["region"]) == 2
    (desk / "list").mkdir()
    for name in ("sky.png", "other.png"):
        Path(name).rename(Path("list") / name)
    Path("list/runs.csv").write_text(
        "content,style,region\n../photos/one.png,../painting.png,sky.png=other.png;../hut.png=photo\n", "utf-8"
    )
    ended = call("batch", "list/runs.csv", *SETTINGS, *LIGHT, "--steps", "1", "-o", "listed")
    assert ended.code == 0, ended.err
    (summary,) = Path("listed").glob("*/summary.json")
    assert "style in sky/relu1_1" in read_json(summary)["losses"]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ('region = "sky.png="', "the region 'sky.png=' is not MASK=PAINTING"),
        ("region = 3", "region is 3; write MASK=PAINTING, several separated by semicolons"),
        ("region = [3]", "region is [3]; write MASK=PAINTING, several separated by semicolons"),
    ],
)
def test_regions_of_a_list_that_cannot_be(desk: Path, row: str, sentence: str) -> None:
    Path("list.toml").write_text(f'[[run]]\ncontent = "photo.png"\nstyle = "painting.png"\n{row}\n', "utf-8")
    ended = call("batch", "list.toml", *WORDS, "-o", "out")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"list.toml run 1: {sentence}" in ended.err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("regions", "code", "sentence"),
    [
        (["fog.png=other.png"], 1, "there is no file fog.png"),
        (["sky.png=fog.png"], 1, "there is no file fog.png"),
        (["sky.png=other.png,from=fog.png"], 1, "there is no file fog.png"),
        (
            ["sky.png=other.png,force=2"],
            2,
            "a region has no option 'force'; choose from strength, strokes, detail, from",
        ),
        (["painting.toml=other.png"], 1, "there is no file painting.toml"),
        (["black.png=other.png"], 1, "black.png marks no region: it is black everywhere"),
        (["dot.png=other.png"], 1, "at 48 × 36 px the part of the picture for style in dot covers about"),
        (["sky.png=other.png,from=dot.png"], 1, "the part of the painting that counts for style in sky covers about"),
        (
            ["sky.png=one.png"],
            1,
            "one.png, cropped from 64 × 48 pixels: a picture of 1 × 1 pixels is too small for relu4_2",
        ),
        (
            ["sky.png=one.png,from=dot.png"],
            1,
            "nothing of the painting counts for style in sky: its mask, given as from, shows transparent parts",
        ),
        (["sky.png", "sky.png=photo"], 2, "the mask sky.png is given twice"),
    ],
)
def test_what_cannot_be_painted(desk: Path, regions: list[str], code: int, sentence: str) -> None:
    paint(Path("black.png"), (64, 48))
    paint(Path("dot.png"), (64, 48), ((10, 10, 12, 12), 255))
    paint(Path("one.png"), (64, 48), ((40, 40, 40, 40), (255, 0, 0, 255)), ground=(0, 0, 0, 0))
    words = [word for region in regions for word in ("--region", region)]
    deep = (*SETTINGS, "--steps", "3", *CLASSIC_WORDS)  # whose deepest positions are larger than the dot
    ended = call("transfer", "photo.png", "painting.png", *words, *deep, "-o", "out")
    assert (ended.code, ended.err.count("\n")) == (code, 1), ended.err
    assert sentence in ended.err
    assert not Path("out").exists()


def test_a_part_of_which_painting(desk: Path) -> None:
    ended = call("transfer", "photo.png", "painting.png", "other.png", "--region", "sky.png,from=hut.png", *WORDS)
    assert ended.code == 2
    assert "the region sky.png takes its style from hut.png, but there are 2 styles; name one" in ended.err
