"""Recorders of a run: lines, curves, frames, bars."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from command import pixels, read_json, read_lines
from conftest import random_image
from impasto.cli.listeners import Bar, PlainLines, Progression, json_lines
from impasto.events import PartBegun, silent
from impasto.files import save_json
from impasto.folders.results import Curves
from impasto.images.animations import ANIMATION_PX, frame_steps
from impasto.runs.recorders import Frames, MetricsFile, Recorder, Recording, Steps, step_of
from impasto.runs.tracking import Tracking
from impasto.synthesis.loop import Iterate


def flat(value: float, height: int = 20, width: int = 30) -> torch.Tensor:
    return torch.full((1, 3, height, width), value)


def iterate(step: int, steps: int = 10, image: torch.Tensor | None = None) -> Iterate:
    losses = {"content/conv1_1": 8.0 / step, "smoothness": 0.5}
    picture = flat(step / steps) if image is None else image
    return Iterate(2, 3, step, steps, 2 * step, picture, losses)


def test_all_are_recordings(tmp_path: Path) -> None:
    recordings: list[object] = [
        MetricsFile(tmp_path / "metrics.jsonl", ""),
        Steps(silent, ""),
        Curves(),
        Frames(tmp_path, flat(0.0), 3, 2),
        Recorder(),
        Tracking(()),
    ]
    for recording in recordings:
        assert isinstance(recording, Recording)
        recording.close()


# Lines ---------------------------------------------------------------------------------------------------------------


def test_a_line() -> None:
    line = {
        "step": 4,
        "steps": 10,
        "stage": 2,
        "size": [20, 30],
        "seconds": 1.235,
        "evaluations": 8,
        "total": 2.5,
        "losses": {"content/conv1_1": 2.0, "smoothness": 0.5},
    }
    assert step_of(iterate(4), "", 1.23456).line() == line
    assert step_of(iterate(4), "conv1_1", 1.23456).line() == {"part": "conv1_1", **line}


def test_the_file_has_each_line_at_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, "a")
    for step in (1, 2):
        first.record(iterate(step))
        assert [line["step"] for line in read_lines(path)] == list(range(1, step + 1))
    first.close()
    second = MetricsFile(path, "b")
    second.record(iterate(1))
    second.close()
    lines = read_lines(path)
    assert [(line["part"], line["step"], line["total"]) for line in lines] == [
        ("a", 1, 8.5),
        ("a", 2, 4.5),
        ("b", 1, 8.5),
    ]
    assert path.read_text("utf-8").endswith("}\n")


def test_lines_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Steps(json_lines, "conv1_1")
    lines.record(iterate(3))
    lines.close()
    out, err = capsys.readouterr()
    assert not err
    found = json.loads(out)
    assert found.pop("seconds") >= 0
    expected = step_of(iterate(3), "conv1_1", 0.0).line()
    del expected["seconds"]
    assert found == {"event": "step", **expected}


def test_curves() -> None:
    curves = Curves()
    for step in (1, 2, 4):
        curves.record(iterate(step))
    assert curves.total == [8.5, 4.5, 2.5]
    assert curves.terms == {"content/conv1_1": [8, 4, 2], "smoothness": [0.5, 0.5, 0.5]}


@pytest.mark.parametrize("steps", [1, 3, 10, 99, 100, 1000])
def test_plain_lines_are_few(steps: int, capsys: pytest.CaptureFixture[str]) -> None:
    listener = Progression()
    listener(PartBegun("invert", "", steps))
    lines = Steps(listener, "")
    for step in range(1, steps + 1):
        lines.record(iterate(step, steps, flat(0.5)))
    lines.close()
    out, err = capsys.readouterr()
    assert not out
    written = err.splitlines()
    assert min(steps, 10) <= len(written) <= 12
    assert written[-1].startswith(f"invert: step {steps}/{steps}, loss {iterate(steps, steps).loss:.4g}, ")
    assert written[-1].endswith(" 0 s left")


def test_time_left_counts_work_not_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """After half of the steps, a fifth of the work: four fifths of the time are left."""
    lines = PlainLines(PartBegun("transfer", "", 2))
    lines.step(replace(step_of(iterate(1, 2), "", 3.0), share=0.2))
    assert "step 1/2" in (written := capsys.readouterr().err)
    assert written.endswith(" 12 s left\n")
    assert step_of(iterate(1, 4), "", 3.0).seconds_left == pytest.approx(9)  # by steps, if no share is known


def test_the_bar_is_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar(PartBegun("invert", "conv1_1", 10))
    for step in range(1, 11):
        bar.step(step_of(iterate(step), "conv1_1", 0.0))
    bar.end()
    out, err = capsys.readouterr()
    assert not out
    assert "invert conv1_1" in err
    assert "10/10" in err
    assert "loss 1.3" in err


# Frames --------------------------------------------------------------------------------------------------------------


@example(3, 10**12)
@given(st.integers(1, 600), st.integers(2, 80))
def test_as_many_frames_as_asked_for(steps: int, count: int) -> None:
    wanted = sorted(frame_steps(steps, count))
    assert len(wanted) == min(count - 1, steps)
    assert wanted[-1] == steps
    assert wanted[0] >= 1
    gaps = np.diff([0, *wanted])
    assert gaps.min() >= 1
    half = len(gaps) // 2
    assert gaps[:half].sum() <= gaps[len(gaps) - half :].sum()  # early steps lie closer


def test_one_frame_is_the_last(tmp_path: Path) -> None:
    assert frame_steps(50, 1) == {50}
    frames = Frames(tmp_path, flat(0.0), 3, 1)
    for step in (1, 2, 3):
        frames.record(iterate(step, 3))
    frames.close()
    assert kept(tmp_path) == ["000003"]
    with PillowImage.open(tmp_path / "progress.webp") as animation:
        assert animation.n_frames == 1


def kept(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "frames").iterdir())


def test_frames_are_numbered_by_step(tmp_path: Path) -> None:
    frames = Frames(tmp_path, flat(0.0), 10, 4)
    for step in range(1, 11):
        frames.record(iterate(step))
    frames.close()
    wanted = [0, *sorted(frame_steps(10, 4))]
    assert [path.name for path in sorted((tmp_path / "frames").iterdir())] == [f"{step:06}.jpg" for step in wanted]
    for step in wanted:
        found = pixels(tmp_path / "frames" / f"{step:06}.jpg")
        assert found.shape == (20, 30, 3)
        assert abs(found - 25.5 * step).max() <= 2
    with PillowImage.open(tmp_path / "progress.gif") as animation:
        assert animation.n_frames == 4
        assert animation.size == (30, 20)


def test_a_run_that_ends_early_has_its_last_picture(tmp_path: Path) -> None:
    frames = Frames(tmp_path, flat(0.0), 100, 3)
    for step in range(1, 8):
        frames.record(iterate(step, 100))
    frames.close()
    assert [path.stem for path in sorted((tmp_path / "frames").iterdir())] == ["000000", "000007"]
    with PillowImage.open(tmp_path / "progress.gif") as animation:
        assert animation.n_frames == 2


@pytest.mark.parametrize("count", [4, 10])
def test_a_run_that_diverges_ends_with_its_last_good_picture(tmp_path: Path, count: int) -> None:
    """Step 9 is the bad one: kept already (10 frames), or only the last (4)."""
    frames = Frames(tmp_path, flat(0.0), 12, count)
    for step in range(1, 10):
        frames.record(iterate(step, 12, flat(1.0) if step == 9 else flat(0.05 * step)))
    frames.replace_last(flat(0.4))
    frames.close()
    assert kept(tmp_path)[-1] == "000008"
    assert abs(pixels(tmp_path / "frames" / "000008.jpg") - 0.4 * 255).max() <= 2
    for name in ("progress.gif", "progress.webp"):
        with PillowImage.open(tmp_path / name) as animation:
            assert animation.n_frames == len(kept(tmp_path))
            animation.seek(animation.n_frames - 1)
            assert abs(np.asarray(animation.convert("RGB"), dtype=float) - 0.4 * 255).max() <= 4


@pytest.mark.parametrize("good", [flat(0.9), flat(0.9, 40, 60)], ids=["same picture", "enlarged for the next stage"])
def test_a_last_picture_that_is_good_stays(tmp_path: Path, good: torch.Tensor) -> None:
    """Where a gradient is not finite, or the next stage begins with a loss that is not."""
    frames = Frames(tmp_path, flat(0.0), 12, 4)
    for step in range(1, 10):
        frames.record(iterate(step, 10))
    frames.replace_last(good)
    frames.close()
    assert kept(tmp_path)[-1] == "000009"
    Frames(tmp_path / "none", flat(0.0), 12, 4).replace_last(good)
    assert kept(tmp_path / "none") == ["000000"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_run_without_a_step_has_its_first_picture(tmp_path: Path, count: int) -> None:
    Frames(tmp_path, flat(0.4), 100, count).close()
    assert [path.stem for path in (tmp_path / "frames").iterdir()] == ["000000"]
    with PillowImage.open(tmp_path / "progress.gif") as animation:
        assert animation.n_frames == 1


def test_stages_of_several_sizes_make_one_animation(tmp_path: Path) -> None:
    frames = Frames(tmp_path, flat(0.0, 10, 15), 2, 3)
    frames.record(iterate(1, 2, flat(0.5, 10, 15)))
    frames.record(iterate(2, 2, flat(1.0, 20, 30)))
    frames.close()
    assert pixels(tmp_path / "frames" / "000001.jpg").shape == (10, 15, 3)
    with PillowImage.open(tmp_path / "progress.gif") as animation:
        for index, grey in enumerate([0, 127, 255]):
            animation.seek(index)
            frame = np.asarray(animation.convert("RGB"), dtype=float)
            assert frame.shape == (20, 30, 3)
            assert abs(frame - grey).max() <= 4


def test_animations_of_large_pictures_are_smaller(tmp_path: Path) -> None:
    frames = Frames(tmp_path, random_image(400, 800, dtype=torch.float32), 5, 2)
    frames.close()
    assert pixels(tmp_path / "frames" / "000000.jpg").shape == (400, 800, 3)
    with PillowImage.open(tmp_path / "progress.gif") as animation:
        assert animation.size == (ANIMATION_PX, ANIMATION_PX // 2)


# JSON ----------------------------------------------------------------------------------------------------------------


def test_json_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    save_json({"a": [1, 2.5, None], "path": Path("x")}, path)
    assert read_json(path) == {"a": [1, 2.5, None], "path": "x"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_json({"a": float("nan")}, path)
    assert read_json(path)["path"] == "x"
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]
