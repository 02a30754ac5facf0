"""A part of a run within its memory, also after its settings were changed, and the checks before files are written."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from impasto.cluster.crew import Crew
from impasto.cluster.plan import CrewHelper
from impasto.errors import ImageError, ImpastoError, OutOfMemoryError
from impasto.events import Listener, Notice
from impasto.folders.named import files_of, hash_of
from impasto.images.image import Picture, Size
from impasto.networks.network import Network
from impasto.objectives.criterion import Criterion
from impasto.objectives.objective import Objective
from impasto.runs.stopping import Steering
from impasto.synthesis.composition import Composition
from impasto.synthesis.keeping import Keeping
from impasto.synthesis.schedules import Stage, remaining
from impasto.tasks.divisions import Division
from impasto.tasks.parts import Part
from impasto.tasks.settings import Settings
from impasto.tasks.spec import Change, RunSpec, compose, in_force, part_names
from impasto.tiles.budget import Limits, MemoryPlan

KEPT = 3  # vectors of the picture's size for a photo that is laid over: the photo, its opacity, the picture of both


def plan_memory(
    composition: Composition, network: Network, allowed: Limits, settings: Settings, crew: Crew | None = None
) -> MemoryPlan:
    """The plan by which a composition's objective is read within the memory limits, beside the settings' optimiser.

    If there is a crew, its workers compute the tiles of large pictures.
    """
    history = 0 if settings.optimiser == "adam" else settings.history
    helper = None if crew is None else CrewHelper(crew)
    return MemoryPlan(network, composition.objective, allowed, history, helper, _beside(composition))


def _beside(composition: Composition) -> int:
    return KEPT if isinstance(composition.parameterisation, Keeping) else 0


def within(part: Part, plan: MemoryPlan) -> Part:
    """The part with L-BFGS's history limited at each size to the steps that fit into memory."""
    schedule = tuple(replace(stage, history=plan.history(stage.size)) for stage in part.composition.schedule)
    return replace(part, composition=replace(part.composition, schedule=schedule))


def check(part: Part, plan: MemoryPlan, spec: RunSpec, pictures: list[Picture]) -> None:
    """Raise an error for unknown layers, pictures that are too small, or too little memory even for tiles."""
    objective, network = part.composition.objective, plan.network
    for layer in spec.settings.named_layers:  # also those of a weight of 0, at which results are measured
        network.canonical(layer)
    for path, picture in (*zip(spec.pictures, pictures, strict=True), *part.division.paintings.items()):
        try:
            network.require_size(picture.size, objective.layers())
        except ImageError as error:
            raise ImageError(f"{path}{_cropped(picture)}: {error}") from None
    plan.require(part.composition.schedule[-1].size)
    first = part.composition.schedule[0]
    try:
        objective.require(network, first.size)
    except ImageError as error:
        height, width = first.size
        larger = " or ".join(_enlarging(spec.settings, part.composition.schedule))
        raise ImageError(f"at {width} × {height} px {error}; choose a larger {larger}, or shallower layers") from None


def _enlarging(settings: Settings, schedule: Sequence[Stage]) -> list[str]:
    """The options that make the pictures of the first stage larger."""
    of_canvas = "--size" if schedule[0].size == schedule[-1].size else "--smallest"
    return [of_canvas, "--style-scale"] if getattr(settings, "style_scale", 1.0) < 1 else [of_canvas]


def _cropped(picture: Picture) -> str:
    """Of which size a picture was before, in words; nothing if it is whole."""
    if picture.before is None or picture.before == picture.size:
        return ""
    height, width = picture.before
    return f", cropped from {width} × {height} pixels"


@contextmanager
def sentence_for_memory(size_px: int) -> Iterator[None]:
    """Turn all errors of PyTorch about memory into one OutOfMemoryError, for a result of that long side."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(
            f"there is not enough memory for {size_px} px; try --size {max(16, size_px * 2 // 3)}, "
            "or a smaller --memory, which makes smaller tiles"
        ) from None


def planned(
    plan: Callable[[], MemoryPlan], between_tiles: Callable[[], None], halved: Callable[[Size], None]
) -> Callable[[Objective, Network, Size], Criterion]:
    """The function with which `synthesise` binds objectives within the present plan's limits, whole or in tiles."""

    def bind(objective: Objective, network: Network, size: Size) -> Criterion:
        return replace(plan(), objective=objective).bind(size, between_tiles, halved)

    return bind


def check_change(
    spec: RunSpec, change: Change, pictures: list[Picture], part: Part, plan: MemoryPlan
) -> tuple[Settings, Part]:
    """The settings from a change of the spec on, and the part as it is then.

    Raises an ImpastoError if what is left of the part cannot be made with them.
    """
    settings = in_force(spec.task, spec.settings, spec.changes, change.part, change.step)
    settings.require_pictures(len(spec.pictures))
    after = spec.model_copy(update={"settings": settings})
    new, plan = _refitted(after, pictures, part, plan)
    left = replace(new.composition, schedule=remaining(new.composition.schedule, change.step))
    check(replace(new, composition=left), plan, after, pictures)
    return settings, new


def _refitted(spec: RunSpec, pictures: list[Picture], part: Part, plan: MemoryPlan) -> tuple[Part, MemoryPlan]:
    """The part made anew from a spec with other settings, at its sizes, and its plan within the same limits."""
    new = compose(spec, pictures)[part_names(spec).index(part.name)]
    composition = replace(new.composition, schedule=part.composition.schedule)
    return replace(new, composition=composition), replace(
        plan, objective=composition.objective, beside=_beside(composition)
    )


@dataclass(eq=False)
class Course:
    """The parts of a run as they are after the changes so far: the spec's own, and those asked for while it goes on.

    `hashes` are those of the files that a change reads again, which must stay as they are. `save` keeps a spec with one
    more change before that change takes effect. `show` shows the regions that hold after some steps, if they have
    changed.
    """

    spec: RunSpec
    pictures: list[Picture]
    parts: list[Part]
    plans: list[MemoryPlan]
    steering: Steering
    hashes: dict[Path, str]
    save: Callable[[RunSpec], None]
    show: Callable[[Division, int], None]
    listener: Listener

    def enter(self, number: int, step: int) -> None:
        """Go to part `number`, of which `step` steps are done, as it was at the last of these: `turn` comes after."""
        if self.spec.changes:
            self._take(number, self._fitted(number, self._changed(number, step - 1)))

    def turn(self, number: int, step: int) -> Composition | None:
        """The composition that holds from this step of a part on, if it changes there; asked before each step."""
        if asked := self.steering.take():
            self._add(number, Change(part=self.parts[number].name, step=step, settings=asked))
            self.steering.settle(in_force(self.spec.task, self.spec.settings, self.spec.changes))
        here = (self.parts[number].name, step)
        changes = [change for change in self.spec.changes if (change.part, change.step) == here]
        if not changes:
            return None
        self._take(number, self._fitted(number, self._changed(number, step)))
        if any("region" in change.settings for change in changes):
            self.show(self.parts[number].division, step)
        return self.parts[number].composition

    def _add(self, number: int, change: Change) -> None:
        """Keep a change, unless the part cannot be made with it: the listener is told why."""
        spec = self.spec.model_copy(update={"changes": (*self.spec.changes, change)})
        try:
            self._require_same_files(spec)
            settings, part = check_change(spec, change, self.pictures, self.parts[number], self.plans[number])
        except ImpastoError as error:
            if len(change.settings) > 1:  # one of several that were asked for at once need not spoil the others
                for name, value in change.settings.items():
                    self._add(number, change.model_copy(update={"settings": {name: value}}))
                return
            self.listener(Notice(f"the change is not made: {error}"))
            return
        self.save(spec)
        self.spec = spec
        self.hashes |= {path: hash_of(path) for path in change.files}
        for note in part.division.notes:
            self.listener(Notice(note))
        new = {name: _in_words(settings, name, value) for name, value in change.settings.items()}
        words = ", ".join(f"{name} is {value} now" for name, value in new.items())
        self.listener(Notice(f"from step {change.step + 1} on, {words}"))

    def _require_same_files(self, spec: RunSpec) -> None:
        """Raise ImageError if a file that the settings after all changes name is not the one that was read before."""
        settings = in_force(spec.task, spec.settings, spec.changes)
        for path in files_of(spec.model_copy(update={"settings": settings, "changes": ()})):
            if path in self.hashes and hash_of(path) != self.hashes[path]:
                raise ImageError(f"{path} has changed since the run began; give the new file another name")

    def _changed(self, number: int, step: int) -> Settings:
        return in_force(self.spec.task, self.spec.settings, self.spec.changes, self.parts[number].name, step)

    def _fitted(self, number: int, settings: Settings) -> tuple[Part, MemoryPlan]:
        """The part made with other settings, and its plan within the same limits."""
        spec = self.spec.model_copy(update={"settings": settings})
        return _refitted(spec, self.pictures, self.parts[number], self.plans[number])

    def _take(self, number: int, fitted: tuple[Part, MemoryPlan]) -> None:
        self.parts[number], self.plans[number] = fitted


def _in_words(settings: Settings, name: str, value: object) -> object:
    """A setting's new value; regions without the folders of their files."""
    if name != "region":
        return value
    return "; ".join(f"{region.mask.name}: {region.words}" for region in getattr(settings, name)) or "nowhere"
