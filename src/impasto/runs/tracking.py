"""The recorder that reports a run to trackers: only to those named, and their failures do not end the run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from impasto.errors import SpecError, nearest
from impasto.events import Listener, TrackerDropped, silent
from impasto.extras import TrackerName, import_tracker
from impasto.folders.results import Summary
from impasto.images.animations import animation_frame, frame_steps
from impasto.images.files import to_pillow
from impasto.images.image import Image, size_of
from impasto.runs.recorders import Recorder, Watched
from impasto.runs.trackers import Tracked, Tracker, flat, start_tracker
from impasto.synthesis.loop import Iterate


class Tracking(Recorder):
    """A recorder for trackers. A tracker that fails is dropped for the rest of the run, and the listener is notified.

    `quiet` keeps trackers from writing to the terminal. Trackers get the same frames as the animation (see
    `frame_steps`). Raises SpecError if a tracker's package is missing, or the tracker unknown.
    """

    def __init__(self, names: Sequence[TrackerName], *, quiet: bool = True) -> None:
        asked: tuple[TrackerName, ...] = (names,) if isinstance(names, str) else tuple(names)  # type: ignore[assignment]
        for name in asked:
            if name not in get_args(TrackerName):
                raise SpecError(f"there is no tracker {name!r}; {nearest(name, get_args(TrackerName))}")
            import_tracker(name)
        self._names, self._quiet = tuple(dict.fromkeys(asked)), quiet
        self._trackers: dict[TrackerName, Tracker] = {}
        self._listener: Listener = silent
        self._shown: Callable[[Image], Image] = lambda image: image
        self._wanted: set[int] = set()
        self._step = 0

    def begin(self, part: Watched, first: Image) -> None:
        """Start all trackers that have not failed, and send them the first picture."""
        self._listener, self._shown, self._step = part.listener, part.shown, 0
        self._wanted = frame_steps(part.steps, part.frames) if part.frames else set()
        about = Tracked(part.folder, part.part, part.settings)
        for name in self._names:
            try:
                self._trackers[name] = start_tracker(name, about, quiet=self._quiet)
            except Exception as error:
                self._drop(name, error)
        if part.frames > 1:
            self._send_frame(0, first)

    def record(self, iterate: Iterate) -> None:
        """Send the losses of every step, and frames of some."""
        self._step = iterate.step
        values = {
            "loss/total": iterate.loss,
            **{f"loss/{name}": value for name, value in iterate.losses.items()},
            "progress/evaluations": float(iterate.evaluations),
            "progress/stage": float(iterate.stage),
            "progress/long_side_px": float(max(size_of(iterate.image))),
        }
        self._each(lambda tracker: tracker.numbers(iterate.step, values))
        if iterate.step in self._wanted:
            self._send_frame(iterate.step, iterate.image)

    def results(self, place: Path, summary: Summary | None) -> None:
        """Send the files in `place` and the measures, and end."""
        status = "failed"
        if summary is not None:
            status = str(summary["status"])
            measured = {key: float(value) for key, value in flat(summary).items() if isinstance(value, (int, float))}
            self._each(lambda tracker: tracker.results(self._step, place, measured))
        self._each(lambda tracker: tracker.end(status))
        self._trackers.clear()

    def _send_frame(self, step: int, image: Image) -> None:
        if self._trackers:
            picture = animation_frame(to_pillow(self._shown(image)))
            self._each(lambda tracker: tracker.picture(step, picture))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                call(tracker)
            except Exception as error:  # other packages may raise anything, and the run must continue
                self._drop(name, error)

    def _drop(self, name: TrackerName, error: Exception) -> None:
        self._trackers.pop(name, None)
        self._names = tuple(each for each in self._names if each != name)
        words = " ".join(str(error).split())[:200] or type(error).__name__
        self._listener(TrackerDropped(name, words))
