"""Regions changed while a run goes on: seen at the next step, repeated and resumed bit for bit."""

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from command import pixels, save_pictures
from conftest import CLASSIC
from impasto import InterruptedRunError, Recorder, RunSpec, events, read_run, resume, run
from impasto.errors import ImageError, RunFolderError, SpecError
from impasto.folders.specfiles import located, read_spec
from impasto.jobs.orders import OneRun
from impasto.runs.stopping import Steering
from impasto.synthesis.loop import Iterate
from impasto.tasks.spec import Change, changed
from impasto.tasks.table import make_settings

pytestmark = pytest.mark.slow
BOX = (16, 12, 47, 35)  # of a photo of 64 × 48
INSIDE = (slice(16, 32), slice(20, 44))


class At(Recorder):
    """Does something after some steps, and keeps all pictures and losses."""

    def __init__(self, **what: Callable[[], object]) -> None:
        self.what = {int(step[1:]): act for step, act in what.items()}
        self.pictures: list[Any] = []
        self.losses: list[dict[str, float]] = []

    def record(self, iterate: Iterate) -> None:
        self.pictures.append(iterate.image[0].permute(1, 2, 0).numpy())
        self.losses.append(dict(iterate.losses))
        if iterate.step in self.what:
            self.what.pop(iterate.step)()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path)
    for name, box in (("box.png", BOX), ("sky.png", (0, 0, 63, 23))):
        mask = Image.new("L", (64, 48))
        ImageDraw.Draw(mask).rectangle(box, fill=255)
        mask.save(tmp_path / name)
    return tmp_path


def spec(**more: Any) -> RunSpec:
    values = {"size": 64, "steps": 6, "smallest": 64, "optimiser": "adam", "frames": 0, "threads": 1, **CLASSIC}
    settings = make_settings("transfer", **{**values, "style_layers": "relu1_1,relu2_1,relu3_1", **more})
    return RunSpec(task="transfer", pictures=(Path("photo.png"), Path("painting.png")), settings=settings)


def steered(asked: RunSpec, out: str, step: int, **values: Any) -> tuple[At, list[events.Event]]:
    steering, heard = Steering(asked), list[events.Event]()
    seen = At(**{f"_{step}": lambda: steering.change(**values)})
    run(asked, Path(out), recorders=[seen], steering=steering, listener=heard.append)
    return seen, heard


def difference(image: Any) -> float:
    """The largest difference from the photo inside the box."""
    with Image.open("photo.png") as photo:
        return float(np.abs(image - np.asarray(photo.convert("RGB")) / 255)[INSIDE].max())


def test_a_region_is_left_as_it_is_from_the_next_step_on(desk: Path) -> None:
    """And given back to the painter by another change; the losses before are those of a run without a change."""
    seen, heard = steered(spec(steps=4), "kept", 2, region="box.png=photo")
    assert difference(seen.pictures[1]) > 0.01
    assert difference(seen.pictures[2]) < 1e-6
    assert any(
        isinstance(each, events.Notice) and each.text.endswith("region is box: left as it is now") for each in heard
    )
    assert read_run(Path("kept")).spec.changes == (Change(step=2, settings={"region": "box.png=photo"}),)
    page = Path("kept/report.html").read_text("utf-8")
    assert '<tr><th scope="row">step 3</th><td>region</td><td>box.png=photo</td></tr>' in page
    seen, _ = steered(spec(steps=4, region="box.png=photo"), "freed", 2, region="")
    assert difference(seen.pictures[1]) < 1e-6
    assert difference(seen.pictures[2]) > 0.001
    first, later = (Path(place).read_bytes() for place in ("freed/regions/1.jpg", "kept/regions/from-step-3/1.jpg"))
    assert first == later  # each is the photo as seen through the same mask
    assert not Path("kept/regions/1.jpg").exists()
    assert 'alt="region box from step 3 on"' in page
    page = Path("freed/report.html").read_text("utf-8")
    assert page.index("<h3>At first</h3>") < page.index('alt="region box"') < page.index("From step 3 on: no regions")


def test_a_region_takes_a_style_of_its_own(desk: Path) -> None:
    """Its terms come with the next step, and neighbours are matched anew, for the region alone."""
    seen, _ = steered(spec(neighbours=0.5), "out", 4, region="sky.png=photo.png")
    assert not any(" in sky" in name for name in seen.losses[3])
    assert {name.partition("/")[0] for name in seen.losses[4]} >= {"style", "style in sky", "neighbours in sky"}


@pytest.mark.parametrize("colours", ["photo-late", "luminance"])
def test_what_is_left_or_given_back_during_a_run_has_its_colours(desk: Path, colours: str) -> None:
    """Where the photo's colours are put back at the end, and in a run that was stopped after the change."""
    steered(spec(colours=colours, region="box.png=photo"), "freed", 2, region="")
    assert difference(pixels(Path("freed/result.png")) / 255) > 0.01
    steered(asked := spec(colours=colours), "kept", 2, region="box.png=photo")
    assert difference(pixels(Path("kept/result.png")) / 255) < 1e-6
    recorder = At(_4=(stop := Event()).set)
    with pytest.raises(InterruptedRunError):
        run(read_spec(Path("kept")).spec, Path("stopped"), recorders=[recorder], stop=stop)
    resume(Path("stopped"))
    assert asked.changes == ()
    assert (pixels(Path("kept/result.png")) == pixels(Path("stopped/result.png"))).all()


def test_neighbours_layout_and_strokes_change_the_next_loss(desk: Path) -> None:
    """The terms come with the step after the change; strokes along ask for neighbours."""
    asked = spec(neighbours=0.0, layout=0.0)
    seen, _ = steered(asked, "out", 4, neighbours=0.5, layout=0.1, strokes="along")
    before, after = ({name.partition("/")[0] for name in losses} for losses in (seen.losses[3], seen.losses[4]))
    assert after - before == {"neighbours", "layout"}
    _, heard = steered(asked, "refused", 4, strokes="along")
    notices = [each.text for each in heard if isinstance(each, events.Notice)]
    assert any("the change is not made: strokes along" in text for text in notices), notices


@pytest.mark.parametrize(
    ("before", "after", "neighbours", "stopped"),
    [
        ("", {"region": "box.png=photo; sky.png,strength=2"}, 0.0, 5),
        ("box.png=photo", {"region": "sky.png=photo.png"}, 0.5, 4),
        ("", {"style_weight": 0.0}, 0.5, 5),  # without neighbours a composition has other stages
        ("", {"layout": 1.0, "neighbours": 0.0}, 0.5, 5),
        ("", {"neighbours": 0.5, "strokes": "along"}, 0.0, 4),
    ],
    ids=["after", "at-the-change", "no-neighbours", "layout", "neighbours-along"],
)
def test_changed_runs_repeat_and_resume_bit_for_bit(
    desk: Path, before: str, after: dict[str, Any], neighbours: float, stopped: int
) -> None:
    """Repeated, stopped at the change or after it, and resumed; the masks are found where they were moved."""
    steered(asked := spec(region=before, neighbours=neighbours), "whole", 4, **after)
    recorder = At(**{f"_{stopped}": (stop := Event()).set})
    with pytest.raises(InterruptedRunError):
        run(read_spec(Path("whole")).spec, Path("stopped"), recorders=[recorder], stop=stop)
    (desk / "moved").mkdir()
    for name in ("sky.png", "box.png"):
        Path(name).rename(desk / "moved" / name)
    resume(Path("stopped"), pictures=[desk / "moved"])
    assert (pixels(Path("whole/result.png")) == pixels(Path("stopped/result.png"))).all()
    there, changed_files = located(read_spec(Path("whole")), [desk / "moved"])
    assert (changed_files, there.settings == asked.settings) == ([], before == "")
    assert all(file.parent == desk / "moved" for change in there.changes for file in change.files if "sky" in file.name)


def test_tiles_paint_changed_regions_too(desk: Path) -> None:
    """In tiles the losses are the same."""
    regions = "box.png=photo; sky.png=photo.png"
    one, _ = steered(spec(size=128, smallest=128, tile=64, steps=2), "tiled", 1, region=regions)
    other, _ = steered(spec(size=128, smallest=128, steps=2), "whole", 1, region=regions)
    assert one.losses[1] == pytest.approx(other.losses[1], rel=0.01)


def test_a_mask_that_has_changed_since_ends_a_resumed_run(desk: Path) -> None:
    steering, stop = Steering(asked := spec()), Event()
    recorder = At(_2=lambda: steering.change(region="box.png=photo"), _3=stop.set)
    with pytest.raises(InterruptedRunError):
        run(asked, Path("out"), recorders=[recorder], steering=steering, stop=stop)
    Image.new("L", (64, 48), 255).save("box.png")
    with pytest.raises(RunFolderError, match=r"box\.png has changed since that run"):
        resume(Path("out"))


def test_masks_are_cropped_for_a_print_as_the_photo_is(desk: Path) -> None:
    """At first, after a change and in a resumed run; the pictures that show regions show the same places."""
    printed = spec(
        print="2.44x2.44cm@50", size=48, region="box.png=photo"
    )  # 48 px, as the photo is high: 8 columns are cut off
    steering, stop = Steering(printed), Event()
    recorder = At(_2=lambda: steering.change(region="left.png=photo"), _4=stop.set)
    Image.open("box.png").transform((64, 48), Image.Transform.AFFINE, (1, 0, 8, 0, 1, 0)).save("left.png")
    with pytest.raises(InterruptedRunError):
        run(printed, Path("out"), recorders=[recorder], steering=steering, stop=stop)
    resume(Path("out"))
    photo = pixels(Path("photo.png"))[:, 8:56].astype(float) / 255
    inside = np.zeros((2, 48, 48), dtype=bool)
    inside[0, 12:36, 8:40], inside[1, 12:36, 0:32] = True, True

    same = [np.abs(picture - photo).max(-1) < 1e-6 for picture in (recorder.pictures[1], recorder.pictures[3])]
    same.append(np.abs(pixels(Path("out/result.png")).astype(float) / 255 - photo).max(-1) < 1e-6)
    for found, wanted in zip(same, inside[[0, 1, 1]], strict=True):
        assert found[wanted].all()
        assert found[~wanted].mean() < 0.3
    for file, wanted in zip(("regions/1.jpg", "regions/from-step-3/1.jpg"), inside, strict=True):
        shown = pixels(Path("out") / file)
        assert np.abs(shown - 255 * photo)[wanted].mean() < 20
        assert shown[~wanted].mean() < 40


def test_masks_that_cannot_be_read_are_reported_and_the_run_goes_on(desk: Path) -> None:
    _, heard = steered(spec(steps=2), "out", 1, region="none.png=photo")
    assert any("the change is not made" in each.words and "none.png" in each.words for each in heard)
    assert read_spec(Path("out")).spec.changes == ()


def test_a_mask_that_was_edited_during_a_run_is_not_read_again(desk: Path) -> None:
    """Neither by a change of something else, nor under its old name."""
    asked, heard = spec(steps=4, region="box.png=photo"), list[events.Event]()
    steering = Steering(asked)

    def edit() -> None:
        Path("box.png").write_bytes(Path("sky.png").read_bytes())
        steering.change(style_weight=9.0, region="box.png=photo")

    run(asked, Path("out"), recorders=[At(_2=edit)], steering=steering, listener=heard.append)
    notices = [each.text for each in heard if isinstance(each, events.Notice)]
    assert (
        notices.count("the change is not made: box.png has changed since the run began; give the new file another name")
        == 2
    )  # for each setting
    assert read_spec(Path("out")).spec.changes == ()


@pytest.mark.parametrize(("step", "is_made"), [(1, False), (5, True)])
def test_a_region_must_be_large_enough_for_what_is_left_of_the_run(desk: Path, step: int, is_made: bool) -> None:
    """A small region may be given once the picture is large."""
    dot = Image.new("L", (64, 48))
    ImageDraw.Draw(dot).rectangle((20, 20, 22, 22), fill=255)
    dot.save("dot.png")
    asked = spec(size=128, smallest=64, growth=2.0, step_ratio=0.5, steps=2)  # four steps at 64 px come first
    _, heard = steered(asked, "out", step, region="dot.png,strokes=0.9")
    refused = [each.words for each in heard if isinstance(each, events.Notice) and "is not made" in each.words]
    assert (refused == []) == is_made, refused
    assert len(read_spec(Path("out")).spec.changes) == is_made


def test_one_change_that_cannot_be_made_does_not_spoil_another(desk: Path) -> None:
    """They may be asked for between the same two steps."""
    Image.new("L", (64, 48)).save("black.png")
    asked = spec(steps=3)
    steering, heard = Steering(asked), list[events.Event]()

    def act() -> None:
        steering.change(region="black.png=photo")
        steering.change(style_weight=2.0)

    run(asked, Path("out"), recorders=[At(_1=act)], steering=steering, listener=heard.append)
    refused = [each.words for each in heard if isinstance(each, events.Notice) and "is not made" in each.words]
    assert len(refused) == 1
    assert "black.png" in refused[0]
    assert [dict(change.settings) for change in read_spec(Path("out")).spec.changes] == [{"style_weight": 2.0}]
    assert (steering.settings.style_weight, steering.settings.region) == (2.0, ())  # type: ignore[attr-defined]


def test_a_change_that_cannot_be_made_is_said_before_a_repeated_run_begins(desk: Path) -> None:
    Image.new("L", (64, 48)).save("black.png")
    changes = (Change(step=2, settings={"region": "black.png=photo"}),)
    with pytest.raises(ImageError, match=r"the change after step 2 cannot be made: black\.png marks no region"):
        run(spec().model_copy(update={"changes": changes}), Path("out"))
    assert not Path("out").exists()


def test_a_missing_mask_of_a_change_ends_a_repeated_run_before_it_begins(desk: Path) -> None:
    changes = (Change(step=2, settings={"region": "none.png=photo"}),)
    with pytest.raises(ImageError, match=r"the change after step 2 cannot be made: there is no file none\.png"):
        run(spec().model_copy(update={"changes": changes}), Path("out"))
    assert not Path("out").exists()


def test_regions_that_cannot_be_changed() -> None:
    with pytest.raises(SpecError, match="no setting 'region'"):
        changed("texture", make_settings("texture"), {"region": "a.png=photo"})
    three = RunSpec(task="transfer", pictures=(Path("a"), Path("b"), Path("c")), settings=make_settings("transfer"))
    with pytest.raises(SpecError, match="there are 2 styles"):
        OneRun(three).changed(three.settings, {"region": "a.png,from=b.png"})
