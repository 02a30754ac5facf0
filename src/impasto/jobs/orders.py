"""What a job makes, as data: one run, or a sheet of small candidates. PyTorch is loaded when something is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from impasto.errors import SpecError
from impasto.events import Listener
from impasto.folders.places import folder_name
from impasto.tasks.settings import Settings
from impasto.tasks.spec import RunSpec, changed

if TYPE_CHECKING:
    from impasto.runs.recorders import Recorder
    from impasto.runs.stopping import Steering


@dataclass(frozen=True)
class Ways:
    """What goes in and out of a job while it is made: events and pictures out, a stop and other settings in."""

    listener: Listener
    recorders: "Sequence[Recorder]"
    stop: Callable[[], bool]
    steering: "Steering"


@dataclass(frozen=True)
class OneRun:
    """One run; its folder is called TASK-PICTURE… unless a `label` takes the task's place."""

    spec: RunSpec
    label: str = ""

    kind: ClassVar = "run"

    @property
    def name(self) -> str:
        """The name of the folder, if no other folder has that name."""
        return folder_name(self.label or self.spec.task, self.spec.pictures)

    @property
    def options(self) -> Mapping[str, Any]:
        """All but the spec, as JSON holds it."""
        return {"label": self.label}

    def changed(self, settings: Settings, values: Mapping[str, Any]) -> Settings:
        """The settings in force after a change. Raises SpecError if the change is not possible."""
        after = changed(self.spec.task, settings, values)
        after.require_pictures(len(self.spec.pictures))
        return after

    def make(self, folder: Path, ways: Ways, *, resumes: bool) -> None:
        """Make the run, or go on from its last checkpoint. Raises an ImpastoError."""
        from impasto.runs.start import resume, run

        more: dict[str, Any] = {"recorders": ways.recorders, "steering": ways.steering, "listener": ways.listener}
        if resumes:
            resume(folder, stop=ways.stop, **more)
        else:
            run(self.spec, folder, stop=ways.stop, **more)


@dataclass(frozen=True)
class Sheet:
    """Small candidates for one painted photo: see `impasto.series.explore`.

    All candidates share the settings that are `given` by name, with their values in the spec; presets say the others.
    """

    spec: RunSpec
    given: tuple[str, ...] = ()
    presets: tuple[str, ...] = ("default",)
    strengths: tuple[float, ...] = (0.3, 1.0, 3.0)
    strokes: tuple[float | str, ...] = (0.6, 1.0, 1.6)

    kind: ClassVar = "sheet"

    @property
    def name(self) -> str:
        """The name of the folder, if no other folder has that name."""
        return folder_name("explore", self.spec.pictures)

    @property
    def options(self) -> Mapping[str, Any]:
        """All but the spec, as JSON holds it."""
        return {"given": self.given, "presets": self.presets, "strengths": self.strengths, "strokes": self.strokes}

    @property
    def count(self) -> int:
        """How many candidates the sheet has."""
        return len(self.presets) * len(self.strengths) * len(self.strokes)

    def changed(self, settings: Settings, values: Mapping[str, Any]) -> Settings:
        """Raise SpecError: candidates are compared, so all are made as the sheet says."""
        raise SpecError("the settings of a sheet cannot be changed while it is painted; paint a candidate large first")

    def make(self, folder: Path, ways: Ways, *, resumes: bool) -> None:
        """Paint the candidates that are missing. Raises an ImpastoError."""
        from impasto.series.explore import Choices, explore
        from impasto.tasks.settings import TransferSettings

        settings = TransferSettings(**{name: getattr(self.spec.settings, name) for name in self.given})
        choices = Choices(self.presets, self.strengths, self.strokes)
        heard: dict[str, Any] = {"stop": ways.stop, "listener": ways.listener, "recorders": ways.recorders}
        explore(self.spec.pictures, choices, settings, folder, **heard)


Order = OneRun | Sheet
KINDS: Mapping[str, Callable[..., Order]] = {"run": OneRun, "sheet": Sheet}


def order_of(kind: str, spec: RunSpec, options: Mapping[str, Any]) -> Order:
    """An order from its kind, its spec and its options. Raises KeyError, TypeError for anything else."""
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return KINDS[kind](spec, **given)
