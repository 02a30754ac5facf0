"""Recorders: each receives every iterate of a run and turns some into lines, events or frames."""

import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from PIL import Image as PillowImage

from impasto.events import Listener, PartEnded, Step, silent
from impasto.files import write_bytes
from impasto.folders.names import frame_files
from impasto.folders.results import Summary
from impasto.images.animations import animation_frame, frame_steps, of_one_size, save_animation
from impasto.images.files import to_pillow
from impasto.images.image import Alpha, Image, on_white, size_of
from impasto.images.opening import open_picture
from impasto.synthesis.loop import Iterate


@dataclass(frozen=True, eq=False)
class Watched:
    """The part of a run that begins, or continues after `step` of `steps`, as recorders see it.

    `folder` is the run's folder and `place` the part's, for its files; they are the same in a run of one part, whose
    name is "". `settings` is the content of run.toml, `alpha` the transparency of the result.
    """

    folder: Path
    place: Path
    task: str
    part: str
    settings: Mapping[str, Any]
    frames: int
    steps: int
    step: int = 0
    listener: Listener = silent
    alpha: Alpha | None = field(default=None, repr=False, compare=False)

    def shown(self, image: Image) -> Image:
        """A picture as people see it: laid over white where the result is transparent."""
        return on_white(image, self.alpha)


@runtime_checkable
class Recording(Protocol):
    """Receives every iterate of one part; `close` is called once, however the part ends."""

    def record(self, iterate: Iterate) -> None:
        """Record an iterate."""

    def close(self) -> None:
        """Finish the files and free all resources."""


class Recorder:
    """Watches a run, part after part: a base class whose methods do nothing until they are overridden.

    All methods are called in the run's own thread, and the run waits for each. An exception in a method ends the run.
    """

    def begin(self, part: Watched, first: Image) -> None:
        """A part begins. Do not keep or change its first picture (1 3 h w)."""

    def record(self, iterate: Iterate) -> None:
        """A step is done. `iterate.image` (1 3 h w, about 0 … 1) is on the run's device; do not change it."""

    def close(self) -> None:
        """The part has no more steps: it is done, or has ended early."""

    def results(self, place: Path, summary: Summary | None) -> None:
        """The part's files are in `place`. `summary` is the content of summary.json; None if the part has failed."""


class MetricsFile:
    """metrics.jsonl: one line per step, flushed after each; `before` is the seconds that a resumed part has taken."""

    def __init__(self, path: Path, part: str, before: float = 0.0) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._part = part
        self._start = time.monotonic() - before

    def record(self, iterate: Iterate) -> None:
        """Append a line and flush it, so that a killed run keeps its lines."""
        self._file.write(json.dumps(step_of(iterate, self._part, time.monotonic() - self._start).line()) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Steps:
    """Hands a step's event to a listener; `before` is the seconds that a resumed part had taken already."""

    def __init__(self, listener: Listener, part: str, before: float = 0.0) -> None:
        self._listener, self._part = listener, part
        self._start = time.monotonic() - before

    def record(self, iterate: Iterate) -> None:
        """Send the event of a step."""
        self._listener(step_of(iterate, self._part, time.monotonic() - self._start))

    def close(self) -> None:
        """Send the event of the part's end."""
        self._listener(PartEnded(self._part))


def step_of(iterate: Iterate, part: str, seconds: float) -> Step:
    """The event of an iterate, without its picture."""
    return Step(
        part=part,
        step=iterate.step,
        steps=iterate.steps,
        stage=iterate.stage,
        size=size_of(iterate.image),
        seconds=seconds,
        evaluations=iterate.evaluations,
        losses=iterate.losses,
        share=iterate.share,
    )


class Frames:
    """Pictures kept during a part, most of them early, when most changes, and animations of them.

    `count` is the number of frames, first and last included; 1 keeps only the last. Animations are a GIF and a WebP,
    with `mp4` an MP4 too. `after` is the last step and picture of a resumed part: frames of later steps are removed.
    Pictures with the transparency `alpha` are laid over white.
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
        alpha: Alpha | None = None,
    ) -> None:
        self._folder, self._alpha = folder, alpha
        self._wanted = frame_steps(steps, count)
        self._endings = ("gif", "webp", "mp4") if mp4 else ("gif", "webp")
        self._first = first if count == 1 else None
        self._last = after
        self._given_up = False
        (folder / "frames").mkdir(parents=True, exist_ok=True)
        self._steps = {int(path.stem) for path in frame_files(folder / "frames")}
        for step in self._steps - {step for step in self._wanted if after is not None and step <= after[0]}:
            self._drop(step)
        if count > 1:
            self._keep(0, first)

    def record(self, iterate: Iterate) -> None:
        """Keep the picture if a frame is wanted of its step."""
        self._last = (iterate.step, iterate.image)
        if iterate.step in self._wanted:
            self._keep(iterate.step, iterate.image)

    def replace_last(self, good: Image) -> None:
        """Replace the last picture of a run that diverged by the last good picture."""
        if self._last is None:
            return
        step, last = self._last
        if size_of(good) != size_of(last) or torch.equal(good, last):
            return  # the last picture recorded is itself good
        if step in self._steps:
            self._drop(step)
        self._keep(step - 1, good)
        self._last = None

    def give_up(self) -> None:
        """Write nothing more: the folder belongs to another run."""
        self._given_up = True

    def close(self) -> None:
        """Keep the last picture if the run ended early, and write progress.gif and the other animations."""
        if self._given_up:
            return
        if self._last is not None and self._last[0] not in self._steps:
            self._keep(*self._last)
        if self._first is not None and not self._steps:
            self._keep(0, self._first)
        animated = of_one_size([self._read(step) for step in sorted(self._steps)])
        for ending in self._endings:
            save_animation(animated, self._folder / f"progress.{ending}")

    def _keep(self, step: int, image: Image) -> None:
        buffer = io.BytesIO()
        to_pillow(on_white(image, self._alpha)).save(buffer, "JPEG", quality=92, subsampling=0)
        write_bytes(self._file(step), buffer.getvalue())
        self._steps.add(step)

    def _drop(self, step: int) -> None:
        self._steps.discard(step)
        self._file(step).unlink()

    def _read(self, step: int) -> PillowImage.Image:
        """Read a frame from its file, so that the animation of a run is the same if the run was interrupted."""
        with open_picture(self._file(step)) as file:
            return animation_frame(file.convert("RGB"))

    def _file(self, step: int) -> Path:
        return self._folder / "frames" / f"{step:06}.jpg"
