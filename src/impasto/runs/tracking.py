"""What joins a run and its trackers: they are told of it, each only where `--track` names it, and cannot spoil it."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from impasto.extras import TrackerName
from impasto.folders.results import Summary
from impasto.images.animations import animation_frame, frame_steps
from impasto.images.files import to_pillow
from impasto.images.image import Image, size_of
from impasto.runs.trackers import Tracked, Tracker, flat, start_tracker
from impasto.synthesis.loop import Iterate


class Tracking:
    """All trackers of one synthesis as one recorder, ended by `with`; one that fails is dropped with a warning.

    `count` pictures of `steps` are shown, as in the animation (see `frame_steps`), `first` among them.
    """

    def __init__(
        self, names: Sequence[TrackerName], about: Tracked, first: Image, steps: int, count: int, *, quiet: bool = False
    ) -> None:
        self._wanted = frame_steps(steps, count) if count else set()
        self._step, self._status = 0, "failed"
        self._trackers: dict[TrackerName, Tracker] = {}
        for name in dict.fromkeys(names):
            try:
                self._trackers[name] = start_tracker(name, about, quiet=quiet)
            except Exception as error:
                self._drop(name, error)
        if count > 1:
            self._show(0, first)

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell(lambda tracker: tracker.end(self._status))

    @property
    def names(self) -> tuple[TrackerName, ...]:
        """Trackers that have not failed: the only ones worth another try."""
        return tuple(self._trackers)

    def record(self, iterate: Iterate) -> None:
        """Losses of every step, pictures of some."""
        self._step = iterate.step
        values = {
            "loss/total": iterate.loss,
            **{f"loss/{name}": value for name, value in iterate.losses.items()},
            "progress/evaluations": float(iterate.evaluations),
            "progress/stage": float(iterate.stage),
            "progress/long_side_px": float(max(size_of(iterate.image))),
        }
        self._tell(lambda tracker: tracker.numbers(iterate.step, values))
        if iterate.step in self._wanted:
            self._show(iterate.step, iterate.image)

    def close(self) -> None:
        """Nothing: what is measured of the result is still to come."""

    def results(self, place: Path, summary: Summary) -> None:
        """Hand over what the synthesis has left in `place`."""
        self._status = str(summary["status"])
        measured = {key: float(value) for key, value in flat(summary).items() if isinstance(value, (int, float))}
        self._tell(lambda tracker: tracker.results(self._step, place, measured))

    def _show(self, step: int, image: Image) -> None:
        if self._trackers:
            picture = animation_frame(to_pillow(image))
            self._tell(lambda tracker: tracker.picture(step, picture))

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                what(tracker)
            except Exception as error:  # nobody lists what other packages may raise, and the run must go on
                self._drop(name, error)

    def _drop(self, name: TrackerName, error: Exception) -> None:
        self._trackers.pop(name, None)
        words = " ".join(str(error).split())[:200] or type(error).__name__
        print(f"impasto: tracking with {name} ends here, the run goes on: {words}", file=sys.stderr)
