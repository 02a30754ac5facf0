"""The settings of each task, with their only defaults: what the command line offers and what run.toml keeps.

Each class below is a task's options; their descriptions are the command line's help.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from impasto.errors import nearest
from impasto.tasks.values import MOST_WEIGHT, LayerName, LayerNames, Layers, Memory, StyleWeights

DEEPER_AND_DEEPER = LayerNames("conv1_1,conv2_1,conv3_1,conv4_1,conv5_1")
STATISTICS = Layers("relu1_1,relu2_1,relu3_1,relu4_1,relu5_1")
STROKES = Layers("relu1_1=1,relu2_1=3,relu3_1=4,relu4_1=0.5")
INITS = ("noise", "content", "style")  # any other is a picture file
Weight = Annotated[float, Field(ge=0, le=MOST_WEIGHT, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """What every task can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=1, le=65536)] = 224
    "Long side of the result in pixels."
    steps: Annotated[int, Field(ge=1)] = 300
    "Updates of the picture (at full size, where smaller sizes come first)."
    evaluations: Annotated[int, Field(ge=1)] | None = None
    "The most forward and backward passes, over all sizes; what comparisons count."
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    "Number that settles the noise; the same seed gives the same picture."
    init: str = "noise"
    "First picture: noise, content, style, or a picture file."
    optimiser: Literal["adam", "lbfgs", "lbfgs-plain"] = "lbfgs"
    "L-BFGS with a strong Wolfe line search, the same without, or Adam."
    learning_rate: Positive = 0.02
    "Adam's step, in units of the range of colours."
    learning_rate_final: Weight = 0.1
    "What Adam's step falls to, as a share of its start."
    history: Annotated[int, Field(ge=1)] = 10
    "How many steps L-BFGS remembers."
    parameterisation: Literal["pixels", "fourier"] = "pixels"
    "What is optimised: pixels kept in range, or Fourier coefficients."
    fourier_exponent: Weight = 0.5
    "How much more the Fourier parameterisation moves large shapes than fine grain; 0 for not at all."
    distance: Literal["normalised", "squared"] = "normalised"
    "How errors are taken: relative to the target's energy, or as plain mean squares."
    noise: Weight = 0.02
    "Deviation of the white noise about mid grey."
    network: str = "vgg16-normalised"
    "vgg16-normalised or vgg16."
    weights: Path | None = None
    "Weights (safetensors) in place of the bundled ones."
    means: Path | None = None
    "Mean activations to normalise the network by, from `impasto normalise`."
    pooling: Literal["max", "average"] = "max"
    "How the network pools."
    padding: Literal["zero", "replicate"] = "zero"
    "Padding of the first convolution: zero as trained, or replicate against dark borders."
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    "Precision of the convolutions; auto is bfloat16 where the hardware has it and layers beyond block 2 are read."
    device: str = "auto"
    "auto, cpu, cuda, cuda:1, mps …"
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    "Processor threads; by default as many as PyTorch takes."
    memory: Memory = Memory("auto")
    "Memory the run may take, 4GB or 500MB for instance; auto is nearly all that is free. Larger pictures go in tiles."
    tile: Annotated[int, Field(ge=1)] | None = None
    "Side in pixels of the tiles in which the picture is read; by default none, or what the memory asks for."
    frames: Annotated[int, Field(ge=0)] = 40
    "How many pictures on the way are kept for the animation, first and last included; 0 for none."

    @property
    def named_layers(self) -> list[str]:
        """All layers that the settings name."""
        return [layer for _, value in self if isinstance(value, Layers) for layer in value.names]

    def require_pictures(self, count: int) -> None:
        """Raise SpecError if the settings do not go with so many pictures."""


class _LayerSettings(Settings):
    """What aims at one layer can be told besides."""

    leap: Annotated[int, Field(ge=0, le=1000)] = 0
    "Pictures of noise (16, say) on which a linear first step to the goal is fitted; for blocks 3 and 4, from noise."
    dither: Annotated[int, Field(ge=0, le=1000)] = 0
    "Probes (8, say) by which rounding to 8 bits is hidden from the layer; only for blocks 1 and 2, taken as pixels."


class InvertSettings(_LayerSettings):
    """Settings of `invert`."""

    layer: LayerName = LayerName("conv4_1")
    "Layer whose activations are inverted."
    smoothness: Weight = 0.5
    "Weight of the total variation, the prior for smooth pictures."
    smoothness_exponent: Positive = 2.0
    "Exponent β of the total variation: 2 blurs, 1 keeps edges."
    contrast: Weight = 0.01
    "Weight of the α-norm, the prior against extreme colours."


class ReconstructSettings(_LayerSettings):
    """Settings of `reconstruct`."""

    layers: LayerNames = DEEPER_AND_DEEPER
    "Layers, each reconstructed on its own."


class AmalgamateSettings(Settings):
    """Settings of `amalgamate`."""

    init: str = "style"
    "First picture: style, noise, content, or a picture file."
    layers: LayerNames = DEEPER_AND_DEEPER
    "Layers of the content, each imprinted on its own."
    steps: Annotated[int, Field(ge=1)] = 60
    "Updates of the picture; more steps imprint more."
    smoothness: Weight = 0.5
    "Weight of the total variation, the prior for smooth pictures."


class _StatisticsSettings(Settings):
    """What aims at a picture's statistics can be told besides."""

    statistics: Literal["wasserstein", "gram", "moments"] = "wasserstein"
    "What of the style is matched: means and covariances by Wasserstein-2 distance, Gram matrices, or channel moments."


class TextureSettings(_StatisticsSettings):
    """Settings of `texture`."""

    size: Annotated[int, Field(ge=1, le=65536)] = 256
    "Height and width of the result in pixels."
    layers: Layers = STATISTICS
    "Layers whose statistics are matched, each with =weight if you like."
    smoothness: Weight = 0.1
    "Weight of the total variation, the prior for smooth pictures."
    cumulative: bool = False
    "One picture for the first layer, one for the first two, and so on."
    style_scale: Positive = 1.0
    "Size of the strokes, relative to the picture's own."
    padding: Literal["zero", "replicate"] = "replicate"
    "Padding of the first convolution: zero as trained, or replicate against dark borders."
    steps: Annotated[int, Field(ge=1)] = 200
    "Updates of the picture at full size."
    smallest: Annotated[int, Field(ge=1)] = 256
    "Long side in pixels at which the picture starts; each stage doubles it."


class TransferSettings(_StatisticsSettings):
    """Settings of `transfer`."""

    size: Annotated[int, Field(ge=1, le=65536)] = 512
    "Long side of the result in pixels."
    steps: Annotated[int, Field(ge=1)] = 50
    "Updates at full size; each smaller size takes twice as many as the next."
    init: str = "content"
    "First picture: content, style, noise, or a picture file."
    network: str = "vgg16"
    "vgg16 or vgg16-normalised."
    padding: Literal["zero", "replicate"] = "replicate"
    "Padding of the first convolution: zero as trained, or replicate against dark borders."
    content_layers: Layers = Layers("relu4_2")
    "Layers whose activations are kept, each with =weight if you like."
    style_layers: Layers = STROKES
    "Layers whose statistics are matched, each with =weight if you like."
    content_weight: Weight = 0.06
    "Weight of the content."
    style_weight: Weight = 1.0
    "Weight of the styles together."
    style_weights: StyleWeights = StyleWeights("")
    "With several styles, the weight of each: 2,1 for instance; equal by default."
    style_scale: Positive = 1.0
    "Size of the strokes, relative to the style picture's own."
    smoothness: Weight = 0.1
    "Weight of the total variation, the prior for smooth pictures."
    smallest: Annotated[int, Field(ge=1)] = 128
    "Long side in pixels at which the picture starts; each stage doubles it."

    @model_validator(mode="after")
    def _some_weight(self) -> "TransferSettings":
        if self.content_weight == 0 and self.style_weight == 0:
            raise ValueError("content_weight and style_weight are both 0: there is nothing to aim at")
        return self

    def require_pictures(self, count: int) -> None:
        """Raise SpecError if there are weights of styles, and not one for each picture after the first."""
        self.style_weights.of(count - 1)


def explain(error: ValidationError, settings: type[BaseModel]) -> str:
    """The first thing wrong, as a sentence: what was given and what is allowed."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    given = first["input"]
    if first["type"] == "extra_forbidden":
        return f"there is no setting {key!r}; {nearest(key, settings.model_fields)}"
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    return f"{key} is {given!r}; {first['msg'][0].lower()}{first['msg'][1:]}"
