"""The tasks, a row each: all that the rest of the program knows of a task stands here. PyTorch is not loaded for that.

A new task is one more row, its settings (`settings.py`) and its recipe (`parts.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from impasto.errors import SpecError, nearest
from impasto.tasks.formulas import Formula, amalgamated, inverted, reconstructed, textured, transferred
from impasto.tasks.settings import (
    AmalgamateSettings,
    InvertSettings,
    ReconstructSettings,
    Settings,
    TextureSettings,
    TransferSettings,
    explain,
)

if TYPE_CHECKING:
    from impasto.tasks.parts import Recipe

UP_TO = "to-"  # begins the name of a part of several layers, up to the one that it names


@dataclass(frozen=True)
class Role:
    """What a picture is to its task: "content" or "style", and the word for it on pages."""

    name: str
    shown: str


CONTENT, STYLE, ORIGINAL = Role("content", "content"), Role("style", "style"), Role("content", "original")


@dataclass(frozen=True)
class Task:
    """What a task is called, takes and makes. Its functions take its settings first.

    `roles` are those of the fewest pictures, in their order; if `most` pictures are more, further ones have the last
    role. `recipe` makes the parts from settings and pictures, `part_names` says how they are called: one of no name if
    the run makes one picture. `title` and `formula` take the pictures' names too.
    """

    name: str
    settings: type[Settings]
    roles: tuple[Role, ...]
    most: int
    recipe: "Callable[[], Recipe]"
    part_names: Callable[[Any], list[str]]
    title: Callable[[Any, Sequence[str]], str]
    formula: Callable[[Any, Sequence[str]], Formula]

    @property
    def least(self) -> int:
        """The fewest pictures."""
        return len(self.roles)

    @property
    def has_content(self) -> bool:
        """Whether the first picture is one that a result is measured against, and takes its transparency from."""
        return self.roles[0].name == "content"

    def roles_of(self, count: int) -> list[str]:
        """The words for so many pictures; those of the last role are numbered if there are several."""
        *first, last = [role.shown for role in self.roles]
        several = count - len(first)
        return [*first, *([last] if several == 1 else [f"{last} {number}" for number in range(1, several + 1)])]


def _recipe(name: str) -> "Callable[[], Recipe]":
    """A recipe of `parts.py` by its name: that module needs PyTorch, which takes seconds to load."""

    def find() -> "Recipe":
        from impasto.tasks import parts

        recipe: Recipe = getattr(parts, name)
        return recipe

    return find


def _alone(_: Settings) -> list[str]:
    return [""]


def _each_layer(settings: ReconstructSettings | AmalgamateSettings) -> list[str]:
    return settings.layers.names


def _first_layers(settings: TextureSettings) -> list[str]:
    if not settings.cumulative:
        return [""]
    first, *others = settings.layers.names
    return [first, *(f"{UP_TO}{name}" for name in others)]


ROWS = (
    Task(
        name="invert",
        settings=InvertSettings,
        roles=(ORIGINAL,),
        most=1,
        recipe=_recipe("inverted"),
        part_names=_alone,
        title=lambda settings, names: f"What {settings.layer} keeps of {names[0]}",
        formula=inverted,
    ),
    Task(
        name="reconstruct",
        settings=ReconstructSettings,
        roles=(ORIGINAL,),
        most=1,
        recipe=_recipe("reconstructed"),
        part_names=_each_layer,
        title=lambda _, names: f"What each layer keeps of {names[0]}",
        formula=reconstructed,
    ),
    Task(
        name="amalgamate",
        settings=AmalgamateSettings,
        roles=(CONTENT, STYLE),
        most=2,
        recipe=_recipe("amalgamated"),
        part_names=_each_layer,
        title=lambda _, names: f"{names[0]}, imprinted on {names[1]}",
        formula=amalgamated,
    ),
    Task(
        name="texture",
        settings=TextureSettings,
        roles=(STYLE,),
        most=1,
        recipe=_recipe("textured"),
        part_names=_first_layers,
        title=lambda _, names: f"The texture of {names[0]}",
        formula=textured,
    ),
    Task(
        name="transfer",
        settings=TransferSettings,
        roles=(CONTENT, STYLE),
        most=100,
        recipe=_recipe("transferred"),
        part_names=_alone,
        title=lambda _, names: f"{names[0]}, in the style of {' and '.join(names[1:])}",
        formula=transferred,
    ),
)
TASKS: dict[str, Task] = {row.name: row for row in ROWS}


def make_settings(task: str, **values: Any) -> Settings:
    """Checked settings of a task. Raises SpecError with one sentence."""
    if task not in TASKS:
        raise SpecError(f"there is no task {task!r}; {nearest(task, TASKS)}")
    kind = TASKS[task].settings
    try:
        return kind(**values)
    except ValidationError as error:
        raise SpecError(explain(error, kind)) from None


def part_title(name: str) -> str:
    """A part's name in words: of one that reads several layers, "up to" the last of them."""
    return f"up to {name.removeprefix(UP_TO)}" if name.startswith(UP_TO) else name
