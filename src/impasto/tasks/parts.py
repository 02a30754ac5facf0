"""From a spec to what it asks for: its network, and its syntheses, one or one for each layer."""

from dataclasses import dataclass

from impasto.images.image import Image
from impasto.machine import Precision
from impasto.networks.catalogue import open_network
from impasto.networks.network import Network
from impasto.synthesis.composition import Composition
from impasto.tasks.recipes import amalgamate, invert, reconstruct, texture, transfer
from impasto.tasks.settings import (
    AmalgamateSettings,
    InvertSettings,
    ReconstructSettings,
    Settings,
    TextureSettings,
    TransferSettings,
    parse_layers,
    parse_names,
)
from impasto.tasks.spec import RunSpec


@dataclass(frozen=True, eq=False)
class Part:
    """One synthesis of a run; a run of several layers has one for each, a folder for each too."""

    name: str
    composition: Composition
    content_layers: tuple[str, ...] = ()


def network_of(settings: Settings, precision: Precision) -> Network:
    """The network that the settings name, in a precision. Raises as `open_network`."""
    return open_network(
        settings.network,
        weights=settings.weights,
        means=settings.means,
        pooling=settings.pooling,
        padding=settings.padding,
        precision=precision,
        device=settings.device,
    )


def compose(spec: RunSpec, images: list[Image]) -> list[Part]:
    """The syntheses of a run: one, or one for each layer."""
    settings = spec.settings
    match settings:
        case InvertSettings():
            return [Part("", invert(images[0], settings), (settings.layer,))]
        case ReconstructSettings():
            names = part_names(settings)
            return [Part(each, reconstruct(images[0], each, settings), (each,)) for each in names]
        case AmalgamateSettings():
            photo, painting = images
            names = part_names(settings)
            return [Part(each, amalgamate(photo, painting, each, settings), (each,)) for each in names]
        case TextureSettings():
            layers = parse_layers(settings.layers)
            if not settings.cumulative:
                return [Part("", texture(images[0], layers, settings))]
            names = list(layers)
            return [
                Part(part, texture(images[0], {n: layers[n] for n in names[:end]}, settings))
                for end, part in enumerate(part_names(settings), start=1)
            ]
        case TransferSettings():
            kept = tuple(parse_layers(settings.content_layers))
            return [Part("", transfer(images[0], images[1:], settings), kept)]
    raise TypeError(f"{type(settings).__name__} belongs to no task")


def part_names(settings: Settings) -> list[str]:
    """The names of a run's parts in their order; a run of one picture has one part without a name."""
    match settings:
        case ReconstructSettings() | AmalgamateSettings():
            return parse_names(settings.layers)
        case TextureSettings(cumulative=True):
            return ["to-" * bool(number) + name for number, name in enumerate(parse_layers(settings.layers))]
    return [""]
