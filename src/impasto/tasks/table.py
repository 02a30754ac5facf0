"""The table of tasks: everything that the rest of the program knows about each task. PyTorch is not loaded for it.

To add a task, add a row here, its settings (`settings.py`) and its recipe (`parts.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from impasto.errors import SpecError, nearest
from impasto.modules.names import is_name_of_module
from impasto.tasks.formulas import (
    Formula,
    amalgamated,
    caricatured,
    dreamt,
    inverted,
    maximised,
    reconstructed,
    textured,
    transferred,
)
from impasto.tasks.seeing import CaricatureSettings, DreamSettings, MaximiseSettings
from impasto.tasks.settings import (
    AmalgamateSettings,
    InvertSettings,
    ReconstructSettings,
    Settings,
    TextureSettings,
    TransferSettings,
)
from impasto.tasks.values import validated

if TYPE_CHECKING:
    from impasto.tasks.parts import Recipe

UP_TO = "to-"  # prefix of a part's name: the part uses all layers up to the named one


@dataclass(frozen=True)
class Role:
    """The role of a picture in a task: "content" or "style", and its label on pages."""

    name: str
    label: str


CONTENT, STYLE, ORIGINAL = Role("content", "content"), Role("style", "style"), Role("content", "original")


@dataclass(frozen=True)
class Task:
    """A task: its name, its inputs and its functions, whose first argument is the settings.

    `roles` has a role for each required picture, in order; pictures beyond these, `most` in all, have the last role.
    `recipe` makes the parts from settings and pictures. `part_names` gives the parts' names: one name, "", if the run
    makes one picture; `each` says what each part shows. `title` and `formula` also take the pictures' names.
    """

    name: str
    settings: type[Settings]
    roles: tuple[Role, ...]
    most: int
    recipe: "Callable[[], Recipe]"
    part_names: Callable[[Any], list[str]]
    title: Callable[[Any, Sequence[str]], str]
    formula: Callable[[Any, Sequence[str]], Formula]
    each: str = "layer"

    @property
    def least(self) -> int:
        """The smallest number of pictures."""
        return len(self.roles)

    def usual_settings(self, network: str) -> dict[str, Any]:
        """The defaults; if the network is a module, those of modules, without a network."""
        given: dict[str, Any] = {"network": network} if is_name_of_module(network) else {}
        usual = self.settings(**given).model_dump(mode="json", exclude_none=True)
        return {name: value for name, value in usual.items() if name not in given}

    @property
    def has_content(self) -> bool:
        """Whether the first picture is the content: results are measured against it and take its transparency."""
        return bool(self.roles) and self.roles[0].name == "content"

    def is_painting(self, number: int) -> bool:
        """Whether the picture of this number, from 0, gives the style."""
        return bool(self.roles) and self.roles[min(number, len(self.roles) - 1)].name == "style"

    def roles_of(self, count: int) -> list[str]:
        """A label for each of `count` pictures; pictures of the last role are numbered if there are several."""
        if not self.roles:
            return []
        *first, last = [role.label for role in self.roles]
        several = count - len(first)
        return [*first, *([last] if several == 1 else [f"{last} {number}" for number in range(1, several + 1)])]


def _recipe(name: str) -> "Callable[[], Recipe]":
    """A recipe of `parts.py` by its name, imported when called: loading PyTorch takes seconds."""

    def find() -> "Recipe":
        from impasto.tasks import parts

        recipe: Recipe = getattr(parts, name)
        return recipe

    return find


def _alone(_: Settings) -> list[str]:
    return [""]


def _each_layer(settings: ReconstructSettings | AmalgamateSettings) -> list[str]:
    return settings.layers.names


def _each_unit(settings: MaximiseSettings) -> list[str]:
    return settings.units if len(settings.units) > 1 else [""]


def _titled(settings: MaximiseSettings) -> str:
    if settings.direction is not None:
        return f"What {settings.layer} answers to along {settings.direction.stem}"
    words = [name.replace("-", " ") for name in settings.units]
    shown = words[0] if len(words) == 1 else f"{len(words)} units"
    return f"What {shown} {'answers' if len(words) == 1 else 'answer'} to" + (
        "" if settings.classes is not None else f" at {settings.layer}"
    )


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
    Task(
        name="maximise",
        settings=MaximiseSettings,
        roles=(),
        most=0,
        recipe=_recipe("maximised"),
        part_names=_each_unit,
        title=lambda settings, _: _titled(settings),
        formula=maximised,
        each="unit",
    ),
    Task(
        name="caricature",
        settings=CaricatureSettings,
        roles=(ORIGINAL,),
        most=1,
        recipe=_recipe("caricatured"),
        part_names=_alone,
        title=lambda settings, names: f"{names[0]}, as {settings.layer} exaggerates it",
        formula=caricatured,
    ),
    Task(
        name="dream",
        settings=DreamSettings,
        roles=(ORIGINAL,),
        most=1,
        recipe=_recipe("dreamt"),
        part_names=_alone,
        title=lambda settings, names: f"{names[0]}, as {settings.layer} dreams on it",
        formula=dreamt,
    ),
)
TASKS: dict[str, Task] = {row.name: row for row in ROWS}


def overridden(usual: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Usual values of settings, where others are not asked for. A print that is asked for replaces a usual size."""
    return {name: value for name, value in usual.items() if name != "size" or "print" not in asked} | dict(asked)


def make_settings(task: str, **values: Any) -> Settings:
    """Validated settings of a task. Raises SpecError with one sentence."""
    if task not in TASKS:
        raise SpecError(f"there is no task {task!r}; {nearest(task, TASKS)}")
    return validated(TASKS[task].settings, **values)


def explicit(settings: Settings) -> dict[str, Any]:
    """The settings that were given, by name; all others have their defaults."""
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def part_title(name: str) -> str:
    """A part's name in words: "up to" the last layer if the part uses several."""
    return f"up to {name.removeprefix(UP_TO)}" if name.startswith(UP_TO) else name
