"""The settings of the tasks that show what units answer to: maximise, caricature and dream."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from impasto.errors import SpecError
from impasto.tasks.settings import Settings
from impasto.tasks.values import Checked, LayerName, ParameterisationName, Weight

MOST_UNITS = 1000
Few = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Factor = Annotated[float, Field(ge=1, le=20, allow_inf_nan=False)]


class Units(Checked):
    """Numbers of units, from 0: "12", "12,40", or "0-8" for all from 0 to 8. Raises SpecError.

    `numbers` has each number once, in the order given.
    """

    def __init__(self, text: str) -> None:
        """Parse the text."""
        found: dict[int, None] = {}
        for entry in text.split(","):
            first, dash, last = (word.strip() for word in entry.partition("-"))
            ends = [first, last] if dash else [first, first]
            if not all(end.isascii() and end.isdecimal() and len(end) < 8 for end in ends) or int(ends[1]) < int(
                ends[0]
            ):
                raise SpecError(f"{text!r} names no units; write numbers from 0 upwards: 12, 12,40 or 0-8")
            if int(ends[1]) - int(ends[0]) + len(found) >= MOST_UNITS:
                raise SpecError(f"{text!r} names more than {MOST_UNITS} units; name fewer")
            found |= dict.fromkeys(range(int(ends[0]), int(ends[1]) + 1))
        self.numbers = list(found)


class _ViewedSettings(Settings):
    """Further settings of tasks whose picture is seen through changing views."""

    layer: LayerName = LayerName("conv4_1")
    "Layer that is looked at."
    steps: Annotated[int, Field(ge=1)] = 200
    "Updates of the picture."
    optimiser: Literal["adam", "lbfgs", "lbfgs-plain"] = "adam"
    "Adam; L-BFGS only without views (--shift 0 --turn 0 --zoom 1)."
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05
    "Adam's learning rate."
    parameterisation: ParameterisationName = "natural"
    "natural: coefficients scaled as in photographs; phases: photographs' amplitudes, fixed; pixels or fourier."
    noise: Weight = 0.1
    "Contrast of a first picture of noise, relative to a photograph's."
    shift: Few = 12.0
    "Each step sees the picture shifted at random by up to so many pixels."
    turn: Few = 8.0
    "Each step sees the picture turned at random by up to so many degrees."
    zoom: Factor = 1.1
    "Each step sees the picture enlarged or reduced at random by up to this factor."

    @property
    def has_views(self) -> bool:
        """Whether each step sees the picture in another way."""
        return self.shift > 0 or self.turn > 0 or self.zoom > 1

    @model_validator(mode="after")
    def _adam_with_views(self) -> "_ViewedSettings":
        if self.has_views and self.optimiser != "adam":
            raise ValueError(
                f"{self.optimiser} needs the same picture in each step; use --optimiser adam, or switch the views off "
                "with --shift 0 --turn 0 --zoom 1"
            )
        return self


class MaximiseSettings(_ViewedSettings):
    """Settings of `maximise`."""

    channel: Units | None = None
    "Channels, each with a picture of its own: 12, or 12,40, or 0-8; by default channel 0."
    neuron: Units | None = None
    "Channels of which only the middle position counts."
    classes: Units | None = None
    "Classes, in a network that has them: the scores before the softmax, in place of a layer."
    direction: Path | None = None
    "A direction between channels: a picture, or a safetensors file with one number for each channel."
    photos: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    "Folder of photos: those that each unit answers to most strongly are shown beside its picture."
    patches: Annotated[int, Field(ge=1, le=100)] = 9
    "How many of the photos are shown."
    closest: Factor = 1.0
    "Each step sees a part at random, enlarged by up to this factor (4, say): detail at all scales, in more steps."

    @model_validator(mode="after")
    def _one_kind(self) -> "MaximiseSettings":
        given = [name for name in ("channel", "neuron", "classes", "direction") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"--{given[0]} and --{given[1]} are both given; name units of one kind in a run")
        return self

    @property
    def units(self) -> list[str]:
        """The units' names: "channel-12", "class-387", or "direction"."""
        if self.direction is not None:
            return ["direction"]
        for kind, given in (("neuron", self.neuron), ("class", self.classes)):
            if given is not None:
                return [f"{kind}-{number}" for number in given.numbers]
        return [f"channel-{number}" for number in (Units("0") if self.channel is None else self.channel).numbers]

    @property
    def where(self) -> str:
        """The layer of the units; that of the classes has a name of its own in each network."""
        return "@classes" if self.classes is not None else str(self.layer)

    @property
    def named_layers(self) -> list[str]:
        """The layer of the units."""
        return [self.where]


class CaricatureSettings(_ViewedSettings):
    """Settings of `caricature`."""

    power: Annotated[float, Field(ge=0, le=20, allow_inf_nan=False)] = 2.0
    "Power of the cosine between the features of picture and photo: a larger power makes their direction count more."


class DreamSettings(_ViewedSettings):
    """Settings of `dream`."""

    size: Annotated[int, Field(ge=1, le=65536)] = 512
    "Long side of the result in pixels."
    layer: LayerName = LayerName("conv4_3")
    "Layer that is to see more of everything it sees in the photo."
    init: str = "content"
    "First picture: content, noise, or a picture file."
    steps: Annotated[int, Field(ge=1)] = 20
    "Updates at each size; more steps dream further."
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    "Adam's learning rate."
    smallest: Annotated[int, Field(ge=1)] = 200
    "Long side in pixels of the first stage, at least; each stage is 1.5 times as large as the one before."
    shift: Few = 32.0
    "Each step sees the picture shifted at random by up to so many pixels, as if it were repeated beyond its edges."
    turn: Few = 0.0
    "Each step sees the picture turned at random by up to so many degrees."
    zoom: Factor = 1.0
    "Each step sees the picture enlarged or reduced at random by up to this factor."
