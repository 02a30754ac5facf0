"""Settings changed while a run goes on: they take effect, and repeat and resume bit for bit."""

import re
from pathlib import Path
from typing import Any

import pytest

from command import call, save_pictures
from impasto import InterruptedRunError, Recorder, RunSpec, preset, read_run, resume, run
from impasto.errors import SpecError
from impasto.events import Event, Notice
from impasto.folders.specfiles import read_spec
from impasto.runs.stopping import Steering
from impasto.series.sweep import make_cells
from impasto.synthesis.loop import Iterate
from impasto.synthesis.schedules import Stage, remaining
from impasto.tasks.spec import Change, changed, in_force
from impasto.tasks.table import make_settings

FEW = {"style_layers": "relu1_1,relu2_1,relu3_1"}  # deeper layers have larger covariances, whose roots are dear


class At(Recorder):
    """Does something after some steps."""

    def __init__(self, **what: Any) -> None:
        self.what, self.losses = {int(step[1:]): act for step, act in what.items()}, []

    def record(self, iterate: Iterate) -> None:
        self.losses.append(dict(iterate.losses))
        if iterate.step in self.what:
            self.what.pop(iterate.step)()


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    folder = tmp_path_factory.mktemp("pictures")
    save_pictures(folder)
    pictures = (folder / "photo.png", folder / "painting.png")
    settings = preset("transfer", "classic", size=88, steps=3, smallest=40, frames=0, threads=1, **FEW)
    return RunSpec(task="transfer", pictures=pictures, settings=settings)


@pytest.fixture(scope="module")
def tripled(spec: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose style's weight was made three times as large after step 5."""
    return changing(spec, tmp_path_factory.mktemp("tripled") / "run", style_weight=3.0)[0]


pytestmark = pytest.mark.slow


def changing(spec: RunSpec, out: Path, at: int = 5, **values: Any) -> tuple[Path, At, list[Event]]:
    steering, events = Steering(spec), list[Event]()
    recorder = At(**{f"_{at}": lambda: steering.change(**values)})
    run(spec, out, recorders=[recorder], steering=steering, listener=events.append)
    return out, recorder, events


def picture(folder: Path) -> bytes:
    from PIL import Image

    with Image.open(folder / "result.png") as opened:
        return opened.tobytes()


def test_a_change_is_seen_at_the_next_step(spec: RunSpec, tmp_path: Path) -> None:
    """The losses after the change are weighted anew; the ones before are those of a run without a change."""
    plain = At()
    run(spec, tmp_path / "plain", recorders=[plain])
    folder, recorder, events = changing(spec, tmp_path / "changed", style_weight=7.0)
    assert recorder.losses[:5] == plain.losses[:5]
    name = "style/relu3_1"
    assert recorder.losses[5][name] == pytest.approx(7 * plain.losses[5][name], rel=1e-5)
    assert recorder.losses[5]["content/relu4_2"] == plain.losses[5]["content/relu4_2"]
    assert picture(folder) != picture(tmp_path / "plain")
    assert any(
        isinstance(event, Notice) and "from step 6 on, style_weight is 7.0 now" in event.text for event in events
    )
    record = read_run(folder)
    assert record.spec.changes == (Change(step=5, settings={"style_weight": 7.0}),)
    page = (folder / "report.html").read_text("utf-8")
    assert '<tr><th scope="row">step 6</th><td>style_weight</td><td>7.0</td></tr>' in page
    assert "Changed while it was painted" not in (tmp_path / "plain/report.html").read_text("utf-8")
    assert record.parts[0].summary is not None
    assert sum(w for n, w in record.parts[0].summary.weights.items() if n.startswith("style")) == pytest.approx(7)


@pytest.mark.parametrize("at", [1, 5, 6])  # 6: the last step of the first size
def test_a_changed_run_repeats_bit_for_bit(spec: RunSpec, tmp_path: Path, at: int) -> None:
    folder, *_ = changing(spec, tmp_path / "changed", at, style_weight=3.0, style_layers="relu1_1,relu2_1=4")
    run(read_spec(folder).spec, tmp_path / "again")
    assert picture(folder) == picture(tmp_path / "again")
    assert read_spec(tmp_path / "again").spec.changes == read_spec(folder).spec.changes


@pytest.mark.parametrize("stopped", [3, 5, 6])  # before the change, at the change, after it
def test_a_changed_run_resumes_bit_for_bit(tripled: Path, tmp_path: Path, stopped: int) -> None:
    stop: list[bool] = []
    with pytest.raises(InterruptedRunError):
        run(
            read_spec(tripled).spec,
            tmp_path / "resumed",
            recorders=[At(**{f"_{stopped}": lambda: stop.append(True)})],
            stop=lambda: bool(stop),
        )
    resume(tmp_path / "resumed")
    assert picture(tripled) == picture(tmp_path / "resumed")


def test_a_run_killed_after_a_change_makes_the_change_again(spec: RunSpec, tripled: Path, tmp_path: Path) -> None:
    """Resumed from a checkpoint before the change: run.toml has the change, which is made again at its step."""
    stop: list[bool] = []
    with pytest.raises(InterruptedRunError):
        run(spec, tmp_path / "killed", recorders=[At(_3=lambda: stop.append(True))], stop=lambda: bool(stop))
    toml = (tmp_path / "killed/run.toml").read_text()
    (tmp_path / "killed/run.toml").write_text(f"{toml}\n[[changes]]\nstep = 5\nsettings = {{style_weight = 3.0}}\n")
    resume(tmp_path / "killed")
    assert picture(tripled) == picture(tmp_path / "killed")


def test_a_resumed_run_is_steered(spec: RunSpec, tripled: Path, tmp_path: Path) -> None:
    stop: list[bool] = []
    with pytest.raises(InterruptedRunError):
        run(spec, tmp_path / "resumed", recorders=[At(_5=lambda: stop.append(True))], stop=lambda: bool(stop))
    steering = Steering(read_spec(tmp_path / "resumed").spec)
    steering.change(style_weight=3.0)
    resume(tmp_path / "resumed", steering=steering)
    assert picture(tripled) == picture(tmp_path / "resumed")


def test_what_is_given_for_a_whole_run_is_not_changed_in_its_middle(tripled: Path, tmp_path: Path) -> None:
    """By an option, by a value of a sweep; a batch has the settings of the end, and `show` tells of the change."""
    few = ("--size", 40, "--steps", 6)
    for words, weight in (((), 3.0), (("--style-weight", 2), 2.0)):
        ended = call("run", tripled, *few, *words, "-o", tmp_path / f"again-{weight:g}")
        assert ended.code == 0, ended.err
        spec = read_spec(tmp_path / f"again-{weight:g}").spec
        assert len(spec.changes) == (weight == 3.0)
        assert in_force(spec.task, spec.settings, spec.changes).style_weight == weight  # type: ignore[attr-defined]
    cells = make_cells(read_spec(tripled).spec, {"style_weight": ("1", "9")})
    assert [cell.spec.changes for cell in cells] == [(), ()]
    assert len(make_cells(read_spec(tripled).spec, {"seed": ("1",)})[0].spec.changes) == 1
    (photo, painting), shown = read_spec(tripled).spec.pictures, call("show", tripled).out
    assert re.search(r"^style_weight +3.0 +from step 6 on *$", shown, re.MULTILINE)
    batch = call("batch", photo, "--styles", painting, "--spec", tripled, *few, "-o", tmp_path / "batch")
    assert batch.code == 0, batch.err
    (made,) = (tmp_path / "batch").glob("*/run.toml")
    assert read_spec(made.parent).spec.settings.style_weight == 3.0  # type: ignore[attr-defined]
    late = call("run", tripled, "--size", 40, "--steps", 2, "-o", tmp_path / "late")
    assert "the change of style_weight after step 5 is not made, because there are only 2 steps" in late.err


def test_later_parts_keep_a_change(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    settings = make_settings("amalgamate", size=32, steps=2, layers="conv1_1,conv2_1", frames=0, threads=1)
    spec = RunSpec(task="amalgamate", pictures=(tmp_path / "photo.png", tmp_path / "painting.png"), settings=settings)
    steering = Steering(spec)
    folder = run(spec, tmp_path / "run", recorders=[At(_1=lambda: steering.change(smoothness=0.25))], steering=steering)
    parts = read_run(folder).parts
    assert [part.summary.weights["smoothness"] for part in parts if part.summary] == [0.25, 0.25]
    run(read_spec(folder).spec, tmp_path / "again")
    for name in ("conv1_1", "conv2_1"):
        assert picture(folder / name) == picture(tmp_path / "again" / name)


def test_a_change_that_cannot_be_made_is_reported_and_the_run_goes_on(spec: RunSpec, tmp_path: Path) -> None:
    folder, _, events = changing(spec, tmp_path / "run", style_layers="relu9_9")
    assert any("the change is not made" in event.words and "relu9_9" in event.words for event in events)
    assert read_spec(folder).spec.changes == ()
    run(spec, tmp_path / "plain")
    assert picture(folder) == picture(tmp_path / "plain")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 99}, "size cannot be changed while a run goes on"),
        ({"stile_weight": 1}, "did you mean 'style_weight'?"),
        ({"style_weight": -1}, "style_weight is -1"),
        ({"style_weight": 0, "content_weight": 0}, "all 0"),
    ],
)
def test_changes_that_are_not_allowed(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words.replace("?", r"\?")):
        changed("transfer", make_settings("transfer", layout=0), values)


def test_layers_of_their_own_cannot_be_changed() -> None:
    settings = make_settings("reconstruct")
    with pytest.raises(SpecError, match="a part of its own"):
        changed("reconstruct", settings, {"layers": "conv1_1"})
    assert str(changed("texture", make_settings("texture"), {"layers": "relu1_1=2"}).layers) == "relu1_1=2"  # type: ignore[attr-defined]


def test_the_settings_in_force() -> None:
    settings = make_settings("amalgamate", layers="conv1_1,conv2_1", smoothness=1.0)
    changes = [Change(part="conv1_1", step=2, settings={"smoothness": 2.0})]
    found = [
        in_force("amalgamate", settings, changes, part, step).smoothness  # type: ignore[attr-defined]
        for part, step in (("conv1_1", 1), ("conv1_1", 2), ("conv2_1", 0))
    ]
    assert found == [1.0, 2.0, 2.0]


def test_changes_hold_in_the_order_of_their_steps() -> None:
    """A change that is added to a repeated run may come before one that the run has already."""
    later, earlier = (Change(step=step, settings={"smoothness": float(step)}) for step in (60, 30))
    found = [
        in_force("transfer", make_settings("transfer"), (later, earlier), "", step).smoothness  # type: ignore[attr-defined]
        for step in (29, 30, 59, 60, None)
    ]
    assert found == [found[0], 30.0, 30.0, 60.0, 60.0]


def test_stages_that_remain() -> None:
    stages = Stage((8, 8), 3), Stage((16, 16), 2)
    assert [remaining(stages, step) for step in (0, 2)] == [stages, stages]
    assert [remaining(stages, step) for step in (3, 4, 5)] == [stages[1:]] * 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("changes = 3", "changes must be tables"),
        ("[[changes]]\nstep = -1\nsettings = {}", "changes.0.step is -1"),
        ("[[changes]]\nstep = 1\npart = 'x'\nsettings = {}", "names the part 'x'"),
        ("[[changes]]\nstep = 1\nsettings = {size = 3}", "size cannot be changed"),
    ],
)
def test_changes_in_a_file_are_checked(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "spec.toml"
    file.write_text(f'task = "transfer"\npictures = ["a.png", "b.png"]\n{text}\n')
    with pytest.raises(SpecError, match=words):
        read_spec(file)
