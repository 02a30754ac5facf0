"""A frozen network of named layers, computed only as far as the layers asked for.

Nothing here is trained, hooked or cached: a network is data, and calling a network is one pass over its layers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from impasto.errors import LayerError, SpecError, most_similar, nearest
from impasto.images.image import Image, Size, size_of
from impasto.machine import Precision
from impasto.modules.hooked import Hooked
from impasto.modules.opening import open_module
from impasto.modules.preprocess import Preprocess, preprocess_named
from impasto.modules.table import Facts
from impasto.networks.layers import IMAGE, PICTURE, UNKNOWN_PX, Layer, opaque
from impasto.networks.passes import ByHand, Computation
from impasto.networks.steps import FeatureMap, Rectifier
from impasto.networks.translate import computed, described, translate

Features = dict[str, FeatureMap]
Weights = Mapping[str, Tensor]
Pooling = Literal["max", "average"]
Padding = Literal["zero", "replicate"]

CLASSES = "@classes"  # the layer of the classes' scores, in any network that has them
SHALLOW_STRIDE = 2  # layers computed at this stride or less see the rounding of pixels to 8 bits
MIDDLE_STRIDE = 8  # layers computed above SHALLOW_STRIDE and up to this stride are linear enough for a leap


@dataclass(frozen=True, eq=False)
class Network:
    """Layers by name, each after the layers that it reads; their weights are on `device` in `precision`.

    `aliases` maps other names to layers. `variant` says how the network differs from others of its name, and is kept
    in files of its mean activations. `others` are names of layers that cannot be read, with the reasons.
    `ladder` are the layers that relative depths such as "@0.5" count, by default all.
    `computed_by` computes the maps; by default the pass by hand along `layers` does.
    """

    name: str
    layers: Mapping[str, Layer]
    preprocess: Preprocess
    device: torch.device
    precision: torch.dtype
    aliases: Mapping[str, str] = field(default_factory=dict)
    variant: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    ladder: tuple[str, ...] = ()
    computed_by: Computation | None = None

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        preprocess: Preprocess | str = "imagenet",
        layers: Sequence[str] | None = None,
        tokens: int | Literal["auto"] = "auto",
        name: str | None = None,
    ) -> "Network":
        """Any PyTorch module as a network; the module itself is not changed, and must not be trained meanwhile.

        A layer's name is its path in the module, as in `named_modules`; "path:2" is its second call, "path.0" the first
        tensor of a tuple. `layers` limits the network to these layers. `preprocess` is a `Preprocess` or its name.

        The tokens of a transformer become maps: `tokens` is the number of tokens before those of the patches, which is
        found out if "auto"; the first of them is "path#cls", the others "path#registers".

        Layers whose operations are known are computed by the pass by hand, if possible also in tiles; all others by the
        module, read by hooks, with autograd's gradients.
        Raises NetworkError if the module cannot be read, LayerError for unknown `layers`, SpecError.
        """
        given = preprocess_named(preprocess) if isinstance(preprocess, str) else preprocess
        if tokens != "auto" and (not isinstance(tokens, int) or tokens < 0):
            raise SpecError(f"tokens is {tokens!r}; it must be a number from 0 upwards, or auto")
        opened = open_module(module, given, layers, None if tokens == "auto" else tokens, name)
        table = opened.table
        hooked = Hooked(table, opened.precision, opened.name)
        translation = translate(table, opened.precision)
        unknown = {row.name: opaque(row.name, row.channels, row.stride) for row in table.rows.values()}
        return cls(
            opened.name,
            described(table, translation, unknown),
            table.preprocess,
            opened.device,
            opened.precision,
            aliases={
                **{alias: translation.same.get(own, own) for alias, own in table.aliases.items()},
                **translation.same,
            },
            variant={"preprocess": table.preprocess.words()},
            others=table.others,
            ladder=tuple(dict.fromkeys(translation.same.get(name, name) for name in table.ladder())),
            computed_by=computed(table, translation, hooked, opened.device),
        )

    @property
    def computation(self) -> Computation:
        """How the maps are computed."""
        return self.computed_by or ByHand(self.layers, self.preprocess, self.device, self.precision)

    def __call__(self, image: Image, layers: Iterable[str]) -> Features:
        """Feature maps of `layers` in the network's precision; the key "image" gives the picture itself.

        Raises LayerError for an unknown layer, ImageError if the picture is too small for the deepest one.
        """
        names = {layer: self.canonical(layer) for layer in layers}
        wanted = set(names.values())
        self.require_size(size_of(image), names)
        features: Features = {IMAGE: image, **dict(self.computation.maps(image, wanted - {IMAGE}))}
        return {layer: features[name] for layer, name in names.items()}

    def prepare(self, image: Image) -> Tensor:
        """The picture as the first layer takes it, in the network's precision."""
        return self.preprocess(image, self.precision)

    def canonical(self, layer: str) -> str:
        """A layer's own name, from that name or an alias, in lower case too. Raises LayerError, which helps on."""
        given, name = layer.strip(), self._own_name(layer)
        if name == IMAGE or name in self.layers:
            return name
        if given.startswith("@"):
            return self._at_depth(given)
        if given in self.others:
            raise LayerError(f"{given} of {self.name} cannot be read: it {self.others[given]}")
        similar = most_similar(given, [*self.layers, *self.aliases])
        meant = given if similar is None else self.aliases.get(similar, similar)
        raise LayerError(f"{self.name} has no layer {layer!r}; {nearest(meant, self.layers)}")

    def _at_depth(self, given: str) -> str:
        """The layer at a relative depth: "@0" is the first one of `ladder`, "@0.5" the middle one, "@1" the last.

        "@classes" is the layer of the classes' scores.
        """
        if given == CLASSES:
            return self._scores()
        rungs = self.ladder or tuple(self.layers)
        try:
            depth = float(given[1:])
        except ValueError:
            depth = -1.0
        if not 0 <= depth <= 1:
            raise LayerError(f"{given!r} is no relative depth; give a number from @0 to @1, or a layer's name")
        return rungs[round(depth * (len(rungs) - 1))]

    def _scores(self) -> str:
        """The last layer that gives one vector for a picture, before a softmax: the scores of classes."""
        facts = {name: self.facts(name) for name in self.layers}
        found = [name for name, each in facts.items() if each.vector and "softmax" not in each.kind.lower()]
        if not found:
            last = [*self.layers][-1]
            raise LayerError(f"{self.name} has no classes: its last layer gives a map; use --layer {last} --channel N")
        return found[-1]

    def has(self, layer: str) -> bool:
        """Whether the network has a layer of that name or alias; the picture itself is no layer."""
        return self._own_name(layer) in self.layers

    def layer(self, name: str) -> Layer:
        """The layer of that name or alias, or the picture for "image". Raises LayerError."""
        return self.layers.get(self.canonical(name), PICTURE)

    def facts(self, layer: str) -> Facts:
        """What a list of layers says of one: its kind, channels, stride and reach, and the smallest picture."""
        return self.computation.facts(self.canonical(layer))

    def stride(self, layer: str) -> int:
        """Pixels of the picture from one position of the layer to the next."""
        return self.layer(layer).stride

    def channels(self, layer: str) -> int:
        """The layer's number of channels; 3 for the picture."""
        return self.layer(layer).channels

    def reach_px(self, layer: str) -> int:
        """How far in pixels a position of the layer sees beyond its own square of stride × stride pixels.

        Each convolution adds half its kernel times its input's stride: 58 in all for relu5_1 of VGG-16. Poolings,
        whose squares do not overlap, add nothing. UNKNOWN_PX if only the module itself knows.
        """
        return self.layer(layer).reach_px

    def tileable(self, layers: Iterable[str]) -> bool:
        """Whether tiles give the maps of the whole picture: if it is known how far each of the layers sees."""
        return all(self.reach_px(layer) < UNKNOWN_PX for layer in layers)

    def untileable(self) -> str:
        """Why not all layers can be computed in tiles, in words: pictures are resized, or the first such operation."""
        if self.preprocess.size is not None or self.preprocess.multiple > 1:
            return f"{self.name} takes pictures resized, and cannot be computed in tiles"
        first = next(name for name in self.layers if not self.tileable([name]))
        return f"{self.name} cannot be computed in tiles from {first} ({self.facts(first).kind}) on"

    def rectified(self, layer: str) -> str | None:
        """The rectified linear unit right after a layer; None if there is none."""
        name = self.canonical(layer)
        after = (each.name for each in self.layers.values() if isinstance(each.step, Rectifier) and name in each.reads)
        return next(after, None)

    def is_shallow(self, layer: str) -> bool:
        """Whether the layer is so near the picture that rounding pixels to 8 bits shows in its map.

        In VGG networks these are the layers of the first two blocks, and the picture itself.
        """
        return self._computed_at(layer) <= SHALLOW_STRIDE

    def is_middle(self, layer: str) -> bool:
        """Whether the layer is not shallow, but linear enough for a leap: in VGG networks, blocks 3 and 4."""
        return SHALLOW_STRIDE < self._computed_at(layer) <= MIDDLE_STRIDE

    def _own_name(self, layer: str) -> str:
        """The name that a name or an alias leads to, as it is written or in lower case."""
        given = layer.strip()
        exact = self.aliases.get(given, given)
        return exact if exact in self.layers else self.aliases.get(given.lower(), given.lower())

    def _computed_at(self, layer: str) -> int:
        """The stride of the finest map that the layer's step reads."""
        return min((self.stride(name) for name in self.layer(layer).reads), default=self.stride(layer))

    def smallest_side(self, layers: Iterable[str]) -> int:
        """The least height and width in pixels at which each of `layers` has one position."""
        return max((layer.stride - layer.extra_px for layer in map(self.layer, layers)), default=1)

    def require_size(self, size: Size, layers: Iterable[str]) -> None:
        """Raise ImageError if the deepest of `layers` has no position in a picture of `size`."""
        names = {layer: self.canonical(layer) for layer in layers}
        self.computation.require_size(size, {given: own for given, own in names.items() if own != IMAGE})

    def bytes_per_pixel(self, layers: Iterable[str], compared: Iterable[str] = ()) -> float:
        """About how many bytes per pixel a pass forward and back to the deepest of `layers` holds at its peak.

        The maps of the layers in `compared` are compared in place, instead of their statistics.
        """
        wide = {self.canonical(name) for name in compared} - {IMAGE}
        read = {self.canonical(layer) for layer in layers} | wide
        return self.computation.bytes_per_pixel(read - {IMAGE}, wide)


def precision_of(network: Network) -> Precision:
    """The name of the network's precision."""
    names: tuple[Precision, ...] = ("float32", "bfloat16", "float64")
    return next(name for name in names if str(network.precision) == f"torch.{name}")
