"""A run that is being painted: its parts, its folder, and how it is watched and steered."""

import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from impasto.events import TilesHalved
from impasto.files import write_bytes
from impasto.folders.checkpoints import Checkpoint
from impasto.folders.named import known_hashes, models_of, photos_of
from impasto.folders.names import SETTINGS_FILE, place_of
from impasto.folders.owners import Ownership
from impasto.folders.results import save_regions
from impasto.folders.specfiles import with_changes
from impasto.images.image import Picture, Size
from impasto.runs.fitting import Course
from impasto.runs.prepare import Prepared
from impasto.runs.recorders import Watched
from impasto.runs.stopping import Steering
from impasto.runs.watching import Watching
from impasto.tasks.divisions import Division
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import TASKS


@dataclass(eq=False)
class Painting:
    """A run whose folder exists: its parts, the ownership of its folder, settings, how it is watched and steered.

    `toml` is the text of run.toml, which is written anew if settings change while the run goes on.
    """

    prepared: Prepared
    ownership: Ownership
    toml: str
    watching: Watching
    steering: Steering

    @cached_property
    def course(self) -> Course:
        """The parts as they are after the changes so far."""
        prepared, listener = self.prepared, self.watching.listener
        parts, plans = list(prepared.parts), list(prepared.plans)
        keep = (self._save_changes, self._show_regions)
        return Course(prepared.spec, prepared.pictures, parts, plans, self.steering, self._hashes, *keep, listener)

    @property
    def _hashes(self) -> dict[Path, str]:
        """The hashes of the files that a change reads again: masks and palettes, for instance."""
        spec = self.prepared.spec
        known, once = known_hashes(spec, tomllib.loads(self.toml)["provenance"]), {*spec.pictures, *models_of(spec)}
        return {path: sha for path, sha in known.items() if path not in {*once, photos_of(spec)}}

    def _save_changes(self, spec: RunSpec) -> None:
        self.ownership.require()
        self.toml = with_changes(self.toml, spec)
        write_bytes(self.folder / SETTINGS_FILE, self.toml.encode())

    def _show_regions(self, division: Division, step: int) -> None:
        self.ownership.require()
        save_regions(self.folder, division, self.prepared.pictures[0].image, step)

    def halved(self, core: Size) -> None:
        """Report that tiles are made smaller because memory is short."""
        self.watching.listener(TilesHalved(core))

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.ownership.folder

    @property
    def names(self) -> list[str]:
        """The parts' names."""
        return [part.name for part in self.prepared.parts]

    def place(self, number: int) -> Path:
        """The folder of a part."""
        return place_of(self.folder, self.names, self.names[number])

    def about(self, number: int, checkpoint: Checkpoint | None) -> Watched:
        """The description of a part that recorders receive."""
        part, spec = self.course.parts[number], self.prepared.spec
        return Watched(
            folder=self.folder,
            place=self.place(number),
            task=spec.task,
            part=part.name,
            settings=tomllib.loads(self.toml),
            frames=spec.settings.frames,
            steps=part.composition.steps,
            step=0 if checkpoint is None else checkpoint.step,
            listener=self.watching.listener,
            alpha=None if self.content is None else self.content.alpha,
        )

    @property
    def content(self) -> Picture | None:
        """The picture that results are compared with, if the task has a content."""
        return self.prepared.pictures[0] if TASKS[self.prepared.spec.task].has_content else None
