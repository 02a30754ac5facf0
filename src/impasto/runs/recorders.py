"""What watches a run: each recorder is told of every iterate and turns some into lines, files or frames."""

import io
import json
import sys
import time
from pathlib import Path
from typing import Protocol, TextIO, runtime_checkable

import torch
from PIL import Image as PillowImage
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from impasto.events import print_json
from impasto.files import write_bytes
from impasto.folders.names import frame_files
from impasto.images.animations import animation_frame, frame_steps, save_animation
from impasto.images.files import to_pillow
from impasto.images.image import Image, size_of
from impasto.images.opening import open_picture
from impasto.synthesis.loop import Iterate


@runtime_checkable
class Recorder(Protocol):
    """Told of every iterate of one synthesis; `close` is called once, however it ended."""

    def record(self, iterate: Iterate) -> None:
        """Take note of an iterate."""

    def close(self) -> None:
        """Finish what was begun."""


class MetricsFile:
    """metrics.jsonl: one line a step, whole at every moment; `before` is how long a run that goes on has taken."""

    def __init__(self, path: Path, part: str, before: float = 0.0) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._part = part
        self._start = time.monotonic() - before

    def record(self, iterate: Iterate) -> None:
        """Append and hand over to the system, so that a killed run keeps its lines."""
        self._file.write(json.dumps(as_line(iterate, self._part, time.monotonic() - self._start)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonLines:
    """The same lines on standard output, for programs that watch."""

    def __init__(self, part: str, before: float = 0.0) -> None:
        self._part = part
        self._start = time.monotonic() - before

    def record(self, iterate: Iterate) -> None:
        """Print at once."""
        line = {"event": "step", **as_line(iterate, self._part, time.monotonic() - self._start)}
        print_json(line)

    def close(self) -> None:
        """Nothing is left to do."""


def as_line(iterate: Iterate, part: str, seconds: float) -> dict[str, object]:
    """One step as plain data: where it stands, what it cost, the total and each weighted term by name."""
    height, width = size_of(iterate.image)
    return {
        **({"part": part} if part else {}),
        "step": iterate.step,
        "steps": iterate.steps,
        "stage": iterate.stage,
        "size": [height, width],
        "seconds": round(seconds, 3),
        "evaluations": iterate.evaluations,
        "total": iterate.loss,
        "losses": iterate.losses,
    }


class Frames:
    """Pictures on the way, dense at first when most changes, and animations of them; the last is always there.

    `count` is how many, first and last included; 1 for the last alone. Animations are a GIF and a WebP, with `mp4` an
    MP4 too. Of a run that goes on, `after` is the last step and its picture: what the folder has of later ones goes.
    """

    def __init__(
        self,
        folder: Path,
        first: Image,
        steps: int,
        count: int,
        *,
        mp4: bool = False,
        after: tuple[int, Image] | None = None,
    ) -> None:
        self._folder = folder
        self._wanted = frame_steps(steps, count)
        self._endings = ("gif", "webp", "mp4") if mp4 else ("gif", "webp")
        self._first = first if count == 1 else None
        self._last = after
        (folder / "frames").mkdir(parents=True, exist_ok=True)
        self._steps = {int(path.stem) for path in frame_files(folder / "frames")}
        for step in self._steps - {step for step in self._wanted if after is not None and step <= after[0]}:
            self._drop(step)
        if count > 1:
            self._keep(0, first)

    def record(self, iterate: Iterate) -> None:
        """Keep the picture if its step is one of the wanted."""
        self._last = (iterate.step, iterate.image)
        if iterate.step in self._wanted:
            self._keep(iterate.step, iterate.image)

    def replace_last(self, good: Image) -> None:
        """Where the run has diverged: the last good picture is the end, in place of the one that is not."""
        if self._last is None:
            return
        step, last = self._last
        if size_of(good) != size_of(last) or torch.equal(good, last):
            return  # the last picture recorded is itself good
        if step in self._steps:
            self._drop(step)
        self._keep(step - 1, good)
        self._last = None

    def close(self) -> None:
        """Keep the last picture where the run ended early, and write progress.gif and the others."""
        if self._last is not None and self._last[0] not in self._steps:
            self._keep(*self._last)
        if self._first is not None and not self._steps:
            self._keep(0, self._first)
        frames = [self._read(step) for step in sorted(self._steps)]
        size = frames[-1].size
        animated = [
            frame if frame.size == size else frame.resize(size, PillowImage.Resampling.BICUBIC) for frame in frames
        ]
        for ending in self._endings:
            save_animation(animated, self._folder / f"progress.{ending}")

    def _keep(self, step: int, image: Image) -> None:
        buffer = io.BytesIO()
        to_pillow(image).save(buffer, "JPEG", quality=92, subsampling=0)
        write_bytes(self._file(step), buffer.getvalue())
        self._steps.add(step)

    def _drop(self, step: int) -> None:
        self._steps.discard(step)
        self._file(step).unlink()

    def _read(self, step: int) -> PillowImage.Image:
        """From its file, so that an animation is the same whether or not the run was interrupted on the way."""
        with open_picture(self._file(step)) as file:
            return animation_frame(file.convert("RGB"))

    def _file(self, step: int) -> Path:
        return self._folder / "frames" / f"{step:06}.jpg"


class _Speed(ProgressColumn):
    """Steps a second, or seconds a step."""

    def render(self, task: Task) -> Text:
        """The speed of the last steps."""
        if not task.speed:
            return Text("")
        return Text(f"{task.speed:.1f} steps/s" if task.speed >= 1 else f"{1 / task.speed:.1f} s/step", style="dim")


class Bar:
    """A live progress bar on standard error: step, loss, speed and time left."""

    def __init__(self, title: str, steps: int, after: int = 0) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("loss {task.fields[loss]}"),
            _Speed(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._progress.start()
        self._task = self._progress.add_task(title, total=steps, completed=after, loss="–")

    def record(self, iterate: Iterate) -> None:
        """Move on."""
        self._progress.update(self._task, completed=iterate.step, loss=f"{iterate.loss:.4g}")

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._progress.stop()


class PlainLines:
    """About ten lines in all on standard error, where that is no terminal."""

    def __init__(self, title: str, steps: int, stream: TextIO | None = None, before: float = 0.0) -> None:
        self._title, self._every = title, max(1, steps // 10)
        self._start = time.monotonic() - before
        self._stream = stream or sys.stderr

    def record(self, iterate: Iterate) -> None:
        """Print every tenth of the way."""
        if iterate.step % self._every == 0 or iterate.step == iterate.steps:
            seconds = time.monotonic() - self._start
            left = seconds / iterate.step * (iterate.steps - iterate.step)
            print(
                f"{self._title}: step {iterate.step}/{iterate.steps}, loss {iterate.loss:.4g}, "
                f"{iterate.step / max(seconds, 1e-9):.1f} steps/s, {left:.0f} s left",
                file=self._stream,
                flush=True,
            )

    def close(self) -> None:
        """Nothing is left to do."""
