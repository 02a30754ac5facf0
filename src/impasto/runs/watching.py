"""How a run is watched and stopped: its recorders, listener and checkpoints, also when the run is resumed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from impasto.events import Listener, silent
from impasto.folders.checkpoints import Checkpoint, Checkpoints
from impasto.folders.names import METRICS
from impasto.folders.results import Summary
from impasto.folders.specfiles import fingerprint
from impasto.images.image import Image
from impasto.runs.recorders import Frames, MetricsFile, Recorder, Recording, Steps, Watched
from impasto.tasks.parts import Part


@dataclass(frozen=True, eq=False)
class Watching:
    """How a run is watched and stopped; none of it changes the result."""

    listener: Listener = silent
    recorders: tuple[Recorder, ...] = ()
    stops: Callable[[], bool] = bool  # whether a stop has been asked for: never
    mp4: bool = False
    checkpoint_seconds: float = 30.0


@contextmanager
def begun(recorders: Sequence[Recorder], part: Watched, first: Image) -> Iterator[list[Summary]]:
    """Call each recorder's `begin`, and at the end its `results` with the summary put into the list, or None."""
    found: list[Summary] = []

    def tell(recorder: Recorder) -> None:
        recorder.results(part.place, found[0] if found else None)

    with ExitStack() as ending:
        for recorder in recorders:
            recorder.begin(part, first)
            ending.callback(partial(tell, recorder))
        yield found


def recordings(part: Part, about: Watched, first: Image, mp4: bool, checkpoint: Checkpoint | None) -> list[Recording]:
    """The recorders of every run: the file of lines, frames if they are wanted, and the events of steps."""
    before = 0.0 if checkpoint is None else checkpoint.seconds
    chosen: list[Recording] = [MetricsFile(about.folder / METRICS, about.part, before)]
    if about.frames:
        composition = part.composition
        after = None
        if checkpoint is not None:
            after = checkpoint.step, composition.finished(checkpoint.state.image(composition))
        chosen.append(Frames(about.place, first, about.steps, about.frames, mp4=mp4, after=after, alpha=about.alpha))
    return [*chosen, Steps(about.listener, about.part, before)]


def checkpoints(folder: Path, toml: str, number: int, every: float, checkpoint: Checkpoint | None) -> Checkpoints:
    """The recorder of checkpoints of part `number`, which are never ahead of the file of lines."""
    before = 0.0 if checkpoint is None else checkpoint.seconds
    return Checkpoints(folder, fingerprint(toml), number, every, before=before, files=[folder / METRICS])
