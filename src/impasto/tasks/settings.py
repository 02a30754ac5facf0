"""The settings of each task and their defaults, used by the command line and kept in run.toml.

The strings below the fields are the command line's help.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from impasto.errors import SpecError
from impasto.modules.names import is_name_of_module
from impasto.tasks.regions import Region
from impasto.tasks.values import (
    Colours,
    Depth,
    LayerName,
    LayerNames,
    Layers,
    Memory,
    ParameterisationName,
    Positive,
    PreprocessName,
    PrintSize,
    Scale,
    Sides,
    Strokes,
    StyleWeights,
    Weight,
)

DEEPER_AND_DEEPER = LayerNames("conv1_1,conv2_1,conv3_1,conv4_1,conv5_1")
FOR_MODULES: Mapping[str, Any] = {"parameterisation": "fourier", "fourier_exponent": 0.75, "history": 100}
INITS = ("noise", "content", "style")  # any other is a picture file


class Settings(BaseModel):
    """The settings that all tasks have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=1, le=65536)] = 224
    "Long side of the result in pixels."
    steps: Annotated[int, Field(ge=1)] = 300
    "Updates of the picture (at full size, if smaller sizes come first)."
    evaluations: Annotated[int, Field(ge=1)] | None = None
    "Limit on forward and backward passes over all sizes, the cost by which methods are compared."
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    "Seed of the noise; the same seed gives the same picture."
    init: str = "noise"
    "First picture: noise, a picture file, or the content or the style, if the task has one."
    optimiser: Literal["adam", "lbfgs", "lbfgs-plain"] = "lbfgs"
    "L-BFGS with a strong Wolfe line search, L-BFGS without one, or Adam."
    learning_rate: Positive = 0.02
    "Adam's learning rate, in units of the range of colours."
    learning_rate_final: Weight = 0.1
    "Adam's last learning rate, as a fraction of the first."
    history: Annotated[int, Field(ge=1)] = 10
    "How many steps L-BFGS remembers."
    parameterisation: ParameterisationName = "pixels"
    "Numbers to optimise: pixels kept in range, Fourier coefficients, the same scaled as in photographs, or phases."
    fourier_exponent: Weight = 0.5
    "How much more the Fourier parameterisation changes large shapes than fine grain; 0 treats both alike."
    distance: Literal["normalised", "squared"] = "normalised"
    "Measure of errors: relative to the target's energy, or plain mean squares."
    noise: Weight = 0.02
    "Standard deviation of the white noise around mid grey."
    network: str = "vgg16-normalised"
    "vgg16-normalised, vgg16, vgg19, or any module: file.py:factory, package:factory, torchvision:NAME, timm:NAME."
    weights: Path | None = None
    "File of weights in place of the network's: safetensors, PyTorch, Keras, ONNX or Caffe; for a module, a state_dict."
    random_weights: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    "Seed of random weights: the network as it is before training."
    preprocess: PreprocessName | None = None
    "How a module takes colours: ImageNet's mean and deviation by default, see docs/any-network.md."
    means: Path | None = None
    "Mean activations to normalise the network with, from `impasto normalise`."
    pooling: Literal["max", "average"] = "max"
    "Pooling of the network."
    padding: Literal["zero", "replicate"] = "zero"
    "Padding of the first convolution: zero as trained, or replicate against dark borders."
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    "Precision of the convolutions; auto is bfloat16 if the hardware has it and layers beyond block 2 are used."
    device: str = "auto"
    "auto, cpu, cuda, cuda:1, mps …"
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    "Processor threads; by default as many as PyTorch uses."
    memory: Memory = Memory("auto")
    "Memory limit, 4GB or 500MB for instance; auto is nearly all that is free. Pictures that need more are tiled."
    tile: Annotated[int, Field(ge=1)] | None = None
    "Side in pixels of the tiles in which pictures are read; by default as memory requires, none if pictures fit whole."
    frames: Annotated[int, Field(ge=0, le=100_000)] = 40
    "Number of intermediate pictures kept for the animation, first and last included; 0 for none."
    depth: Depth = 8
    "Bits a colour of the result."
    profile: Literal["srgb", "display-p3", "adobe-rgb"] = "srgb"
    "Colour profile of the result's file."
    print: PrintSize | None = None
    "Exact size on paper with dots per inch, 60x40cm@300 for instance, in place of --size; a photo is cropped to fit."

    @model_validator(mode="before")
    @classmethod
    def _as_large_as_its_print(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("print"), str):
            return {**given, "size": PrintSize(given["print"]).long_side(given.get("size"))}
        return given

    @model_validator(mode="after")
    def _layers_by_depth(self) -> "Settings":
        """A module has no layers of VGG-16's names: defaults become relative depths."""
        if is_name_of_module(self.network):
            for name in type(self).model_fields.keys() - self.model_fields_set:
                if isinstance(layers := getattr(self, name), Layers):
                    self.__dict__[name] = layers.by_depth()
        return self

    @property
    def named_layers(self) -> list[str]:
        """All layers that the settings name."""
        return [layer for _, value in self if isinstance(value, Layers) for layer in value.names]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that regions name; weights, means and init are settings of their own."""
        return ()

    def with_files(self, change: Callable[[Path], Path]) -> "Settings":
        """The settings with a function applied to the path of each of `files`."""
        return self

    def require_pictures(self, count: int) -> None:
        """Raise SpecError if the settings do not fit this number of pictures."""


class _LayerSettings(Settings):
    """Further settings of tasks whose target is one layer."""

    leap: Annotated[int, Field(ge=0, le=1000)] = 0
    "Noise pictures (16, say) to which a first linear step is fitted; 0 for none. Only in blocks 3 and 4, from noise."
    dither: Annotated[int, Field(ge=0, le=1000)] = 0
    "Probes (8, say) used to hide rounding to 8 bits from the layer; 0 for none. Only in blocks 1 and 2, with pixels."

    @model_validator(mode="after")
    def _as_modules_need(self) -> "_LayerSettings":
        """Layers of modules are inverted with Fourier coefficients and a long memory, see docs/decisions/0053."""
        if is_name_of_module(self.network):
            for name in FOR_MODULES.keys() - self.model_fields_set:
                self.__dict__[name] = FOR_MODULES[name]
        return self


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
    "Layers of the content; each gives a picture of its own."
    steps: Annotated[int, Field(ge=1)] = 60
    "Updates of the picture; more steps imprint more."
    smoothness: Weight = 0.5
    "Weight of the total variation, the prior for smooth pictures."


class _StatisticsSettings(Settings):
    """Further settings of tasks whose target is a picture's statistics."""

    statistics: Literal["wasserstein", "pattern", "sliced", "gram", "moments"] = "wasserstein"
    "Means and covariances; these and the periods of a pattern, such as bricks; sliced distributions; Gram; or moments."


class TextureSettings(_StatisticsSettings):
    """Settings of `texture`."""

    size: Sides = Sides(256)
    "Width and height of the result in pixels, 800x200 for instance; one number for both."
    seamless: bool = False
    "A texture that continues from each side to the opposite one, for tiling."
    layers: Layers = Layers("relu1_1,relu2_1,relu3_1,relu4_1,relu5_1")
    "Layers whose statistics are matched, each with an optional =weight."
    smoothness: Weight = 0.1
    "Weight of the total variation, the prior for smooth pictures."
    cumulative: bool = False
    "One picture for the first layer, one for the first two, and so on."
    style_scale: Scale = 1.0
    "Size of the strokes, relative to the picture's own."
    padding: Literal["zero", "replicate"] = "replicate"
    "Padding of the first convolution: zero as trained, or replicate against dark borders."
    steps: Annotated[int, Field(ge=1)] = 200
    "Updates of the picture at full size."
    smallest: Annotated[int, Field(ge=1)] = 256
    "Long side in pixels of the first stage, at least; each stage doubles the size."


class TransferSettings(_StatisticsSettings):
    """Settings of `transfer`."""

    size: Annotated[int, Field(ge=1, le=65536)] = 512
    "Long side of the result in pixels."
    steps: Annotated[int, Field(ge=1)] = 10
    "Updates at full size; smaller sizes take more, see --step-ratio."
    statistics: Literal["wasserstein", "sliced", "gram", "moments"] = "wasserstein"
    "Statistics of the style: means and covariances by Wasserstein-2 distance, sliced distributions, Gram, or moments."
    init: str = "content"
    "First picture: content, style, noise, or a picture file."
    network: str = "vgg16"
    "vgg16, vgg16-normalised, vgg19, or any module: file.py:factory, package:factory, torchvision:NAME, timm:NAME."
    padding: Literal["zero", "replicate"] = "replicate"
    "Padding of the first convolution: zero as trained, or replicate against dark borders."
    content_layers: Layers = Layers("relu4_2")
    "Layers whose activations are kept, each with an optional =weight."
    style_layers: Layers = Layers("relu1_1=1,relu2_1=3,relu3_1=4,relu4_1=0.5")
    "Layers whose statistics are matched, each with an optional =weight."
    content_weight: Weight = 0.01
    "Weight of the content."
    layout: Weight = 0.04
    "Weight of the photo's layout: places that are alike in the photo stay alike, whatever they look like."
    layout_layers: Layers = Layers("relu3_1,relu4_1")
    "Layers at which places are compared with each other for the layout, each with an optional =weight."
    style_weight: Weight = 1.0
    "Weight of all styles together."
    neighbours: Weight = 0.2
    "Weight, relative to the style's, of painting each part of the photo with the most similar part of the style."
    neighbour_layers: Layers = Layers("relu3_1,relu4_1")
    "Layers at which parts of photo and style are compared, each with an optional =weight."
    rematches: Annotated[int, Field(ge=0, le=20)] = 0
    "How many times similar parts are found anew at full size, in addition to once at each size."
    style_weights: StyleWeights = StyleWeights("")
    "Weights of several styles, 2,1 for instance; equal by default."
    style_scale: Scale = 1.0
    "Size of the strokes, relative to the style picture's own."
    strokes: Strokes = "as-painted"
    "How strokes run: as they are painted, or along the photo's lines. Their size is --style-scale."
    region: tuple[Region, ...] = ()
    "A part of the picture: MASK=PAINTING, or MASK=photo to leave that part; may be repeated. See docs/regions.md."
    likeness: Weight = 0.0
    "Weight of the likeness to the first picture, for an enlargement of that picture; see `impasto enlarge`."
    colours: Colours = Colours("style")
    "Whose colours: style; photo, before painting; photo-late, after it; luminance, after grey paint; palette=FILE."
    smoothness: Weight = 0.1
    "Weight of the total variation, the prior for smooth pictures."
    smallest: Annotated[int, Field(ge=1)] = 128
    "Long side in pixels of the first stage, at least."
    growth: Annotated[float, Field(ge=1.1, le=4)] = 1.4
    "Each stage is so many times as large as the one before: 1.1 to 4."
    step_ratio: Annotated[float, Field(ge=0.1, le=4)] = 0.8
    "Each stage takes so many times as many updates as the one before: 0.1 to 4."

    @field_validator("region", mode="before")
    @classmethod
    def _one_text(cls, given: object) -> object:
        """Several regions in one text, as lists of runs have them, are separated by semicolons."""
        return tuple(filter(None, map(str.strip, given.split(";")))) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _some_weight(self) -> "TransferSettings":
        if self.content_weight == 0 and self.style_weight == 0 and self.layout == 0:
            raise ValueError("content_weight, layout and style_weight are all 0; at least one must be above 0")
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that regions name, in order."""
        return tuple(file for region in self.region for file in region.files)

    def with_files(self, change: Callable[[Path], Path]) -> "TransferSettings":
        """The settings with a function applied to the path of each of `files`."""
        moved = tuple(region.with_files(change) for region in self.region)
        return self.model_copy(update={"region": moved}) if moved else self

    def require_pictures(self, count: int) -> None:
        """Raise SpecError if there is not one style weight for each style, or a region does not say its painting."""
        self.style_weights.of(count - 1)
        for region in self.region:
            if region.source is not None and region.painting is None and count > 2:
                raise SpecError(
                    f"the region {region.mask} takes its style from {region.source}, but there are {count - 1} styles; "
                    f"name one: {region.mask}=PAINTING"
                )
