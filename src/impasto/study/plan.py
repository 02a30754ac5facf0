"""What a study consists of, as data: a list of ordinary runs, each with the section of the page that it is for."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from impasto.folders.names import hashed_name
from impasto.tasks.settings import DEEPER_AND_DEEPER
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import TASKS, make_settings
from impasto.tasks.values import LayerNames, PreprocessName

if TYPE_CHECKING:
    from impasto.networks.catalogue import Choice
    from impasto.networks.network import Network

# The matrix shows content against style alone, at weights between which both can be seen; docs/decisions/0055
PLAIN: Mapping[str, Any] = {"content_weight": 0.06, "layout": 0.0, "neighbours": 0.0}
Section = Literal["layers", "priors", "amalgamation", "style", "matrix", "final"]


class StudySettings(BaseModel):
    """The settings of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quick: bool = False
    "Previews of everything: smaller pictures, fewer steps, a smaller matrix."
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    "Seed of the noise; the same seed gives the same pictures."
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    "Precision of the convolutions; auto is bfloat16 if the hardware has it and deep layers are read."
    device: str = "auto"
    "auto, cpu, cuda, cuda:1, mps …"
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    "Processor threads; by default as many as PyTorch uses."
    network: str | None = None
    "Network of all parts, also file.py:factory or timm:NAME; by default vgg16-normalised, and vgg16 for transfers."
    weights: Path | None = None
    "File of weights in place of the network's own; for a module, a state_dict."
    random_weights: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    "Seed of random weights: the network as it is before training."
    preprocess: PreprocessName | None = None
    "How a module takes colours: ImageNet's mean and deviation by default, see docs/any-network.md."

    @property
    def chooses_network(self) -> bool:
        """Whether the study is of another network than the usual ones."""
        return any(value is not None for value in (self.network, self.weights, self.random_weights, self.preprocess))

    def choice(self) -> "Choice":
        """The network of the study, as data."""
        from impasto.networks.catalogue import NORMALISED, Choice  # importing PyTorch takes seconds

        given = {"weights": self.weights, "random_weights": self.random_weights, "preprocess": self.preprocess}
        return Choice(self.network or NORMALISED, device=self.device, **given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Extent:
    """The layers, sizes and steps of a study's runs, which determine its cost."""

    layers: tuple[str, ...]
    content_px: int
    content_steps: int
    prior_layers: tuple[str, ...]
    amalgamate_steps: int
    texture_px: int
    texture_steps: int
    matrix_layers: tuple[str, ...]
    matrix_weights: tuple[float, ...]
    matrix_px: int
    matrix_steps: int
    final_px: int
    final_steps: int
    smallest_px: int = 128
    frames: int = 16


LAYERS = tuple(DEEPER_AND_DEEPER.split(","))
QUICK = Extent(
    layers=LAYERS,
    content_px=224,
    content_steps=200,
    prior_layers=("conv3_1", "conv4_1", "conv5_1"),
    amalgamate_steps=60,
    texture_px=224,
    texture_steps=50,
    matrix_layers=("relu2_1", "relu3_1", "relu4_1"),
    matrix_weights=(0.1, 1.0, 10.0),
    matrix_px=256,
    matrix_steps=20,
    final_px=512,
    final_steps=30,
)
FULL = Extent(
    layers=LAYERS,
    content_px=224,
    content_steps=800,
    prior_layers=LAYERS,
    amalgamate_steps=100,
    texture_px=256,
    texture_steps=300,
    matrix_layers=("relu2_1", "relu3_1", "relu4_1", "relu5_1"),
    matrix_weights=(0.1, 1.0, 10.0, 100.0),
    matrix_px=384,
    matrix_steps=50,
    final_px=768,
    final_steps=80,
    frames=24,
)


@dataclass(frozen=True)
class Member:
    """One run of a study: its section of the page, its folder's name, and what it does in words."""

    section: Section
    name: str
    words: str
    spec: RunSpec

    @property
    def layer(self) -> str:
        """The layer that the run shows; for a style, the deepest of its layers."""
        settings = self.spec.settings.model_dump()
        return str(settings.get("layer") or settings.get("content_layers") or settings["layers"].split(",")[-1])


@dataclass(frozen=True)
class Study:
    """Two pictures, the settings, and the extent of the runs.

    `styles` are the layers whose statistics describe a style, as many as the extent has layers.
    """

    content: Path
    style: Path
    settings: StudySettings
    extent: Extent
    styles: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[Member, ...]:
        """All runs, in the order in which they are made and shown."""
        return (*_layers(self), *_priors(self), *_amalgamations(self), *_styles(self), *_matrix(self), _final(self))

    def command(self, folder: Path) -> str:
        """The shell command that makes this study in that folder, or continues it."""
        words = ["impasto", "study"]
        words += [f"./{path}" if str(path).startswith("-") else str(path) for path in (self.content, self.style)]
        for name, value in self.settings.model_dump(exclude_defaults=True).items():
            words += ["--quick"] if name == "quick" else [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(
            [*words, f"--out={folder}"] if str(folder).startswith("-") else [*words, "--out", str(folder)]
        )


def plan_study(content: Path, style: Path, settings: StudySettings) -> Study:
    """The study of two pictures.

    >>> len(plan_study(Path("photo.jpg"), Path("painting.jpg"), StudySettings(quick=True)).members)
    28
    """
    extent = QUICK if settings.quick else FULL
    if not settings.chooses_network:
        return Study(content, style, settings, extent)
    network = settings.choice().looked_at()
    return Study(content, style, settings, fitted(extent, network), statistics(extent.layers, network))


def fitted(extent: Extent, network: "Network") -> Extent:
    """The extent with layers of the network: those of the same names, or else those at the same relative depths."""
    return replace(
        extent,
        layers=_layers_of(network, extent.layers),
        prior_layers=_layers_of(network, extent.prior_layers),
        matrix_layers=_layers_of(network, extent.matrix_layers),
    )


def _layers_of(network: "Network", names: Sequence[str]) -> tuple[str, ...]:
    """Each layer once; a small network may have one layer at several of the depths."""
    given = [name if network.has(name) else str(LayerNames(name).by_depth()) for name in names]
    return tuple(dict.fromkeys(map(network.canonical, given)))


def statistics(layers: Sequence[str], network: "Network | None" = None) -> tuple[str, ...]:
    """The ReLU after each layer, whose statistics describe a style; the layer itself if none is known."""
    if network is None:
        from impasto.networks.catalogue import NORMALISED, outline  # importing PyTorch takes seconds

        network = outline(NORMALISED)
    own = _layers_of(network, layers)
    return tuple(dict.fromkeys(network.rectified(layer) or layer for layer in own))


def _layers(study: Study) -> list[Member]:
    size, steps = study.extent.content_px, study.extent.content_steps
    return [
        _member(study, "layers", "reconstruct", f"reconstruct-{layer}", layer, layers=layer, size=size, steps=steps)
        for layer in study.extent.layers
    ]


def _priors(study: Study) -> list[Member]:
    """The same noise and number of steps as without priors, so that the two can be compared."""
    size, steps = study.extent.content_px, study.extent.content_steps
    return [
        _member(study, "priors", "invert", f"invert-{layer}", layer, layer=layer, size=size, steps=steps, frames=0)
        for layer in study.extent.prior_layers
    ]


def _amalgamations(study: Study) -> list[Member]:
    size, steps = study.extent.content_px, study.extent.amalgamate_steps
    return [
        _member(study, "amalgamation", "amalgamate", f"amalgamate-{layer}", layer, layers=layer, size=size, steps=steps)
        for layer in study.extent.layers
    ]


def _styles(study: Study) -> list[Member]:
    extent, names = study.extent, study.styles or statistics(study.extent.layers)
    return [
        _member(
            *(study, "style", "texture", f"texture-to-{name}", f"up to {name}"),
            layers=",".join(names[:end]),
            size=extent.texture_px,
            steps=extent.texture_steps,
            smallest=min(extent.smallest_px, extent.texture_px),
            frames=0,
        )
        for end, name in enumerate(names, start=1)
    ]


def _matrix(study: Study) -> list[Member]:
    extent = study.extent
    return [
        _member(
            *(study, "matrix", "transfer", f"transfer-{layer}-weight-{weight:g}", f"{layer}, style weight {weight:g}"),
            **PLAIN,
            content_layers=layer,
            style_weight=weight,
            size=extent.matrix_px,
            steps=extent.matrix_steps,
            smallest=min(extent.smallest_px, extent.matrix_px),
            frames=0,
        )
        for layer in extent.matrix_layers
        for weight in extent.matrix_weights
    ]


def _final(study: Study) -> Member:
    extent = study.extent
    smallest = min(extent.smallest_px, extent.final_px)
    sizes = {"size": extent.final_px, "steps": extent.final_steps, "smallest": smallest}
    return _member(study, "final", "transfer", "transfer", "the final picture", **sizes)


def _member(study: Study, section: Section, task: str, name: str, words: str, **values: object) -> Member:
    pictures = {"content": study.content, "style": study.style}
    chosen = tuple(pictures[role.name] for role in TASKS[task].roles)
    given = study.settings.model_dump(exclude={"quick"}, exclude_none=True)
    name = name if re.fullmatch(r"[\w.-]+", name) else hashed_name(name)
    settings = make_settings(task, **{"frames": study.extent.frames, **given, **values})
    return Member(section, name, f"{task} {words}", RunSpec(task=task, pictures=chosen, settings=settings))
