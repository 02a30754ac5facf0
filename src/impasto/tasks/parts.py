"""From settings to the network and the parts of a run: one synthesis, or one for each layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from impasto.images.image import Picture
from impasto.machine import Precision, find_precision
from impasto.networks.catalogue import Choice
from impasto.networks.network import Network
from impasto.networks.vgg import in_precision
from impasto.synthesis.composition import Composition
from impasto.tasks.divisions import Division, divide
from impasto.tasks.painting import transfer
from impasto.tasks.recipes import amalgamate, caricature, dream, invert, maximise, reconstruct, texture, unit_named
from impasto.tasks.seeing import CaricatureSettings, DreamSettings, MaximiseSettings
from impasto.tasks.settings import (
    AmalgamateSettings,
    InvertSettings,
    ReconstructSettings,
    Settings,
    TextureSettings,
    TransferSettings,
)
from impasto.units.patches import Album
from impasto.units.responses import Unit

UNDIVIDED = Division()


@dataclass(frozen=True, eq=False)
class Part:
    """One synthesis of a run. A run of several layers has a part for each, with a folder of its own.

    `division` is how its picture is divided into regions. `unit` is what the picture shows, if it shows a unit,
    and `album` has the photos to compare the unit's picture with.
    """

    name: str
    composition: Composition
    content_layers: tuple[str, ...] = ()
    division: Division = UNDIVIDED
    unit: Unit | None = None
    album: Album | None = None


Recipe = Callable[[Any, Sequence[Picture], list[str]], list[Part]]  # takes settings, pictures and the parts' names


def choice_of(settings: Settings) -> Choice:
    """The network that the settings choose, as data."""
    return Choice(**{each.name: getattr(settings, each.name) for each in fields(Choice)})


def network_of(settings: Settings, precision: Precision) -> Network:
    """The network that the settings choose, in the given precision. Raises as `open_network`."""
    return choice_of(settings).open(precision)


def networks_of(settings: Settings) -> tuple[Network, Network]:
    """The network that the settings choose, in their precision, and in float32: one network if both are the same.

    The files of a built-in network are read once. Raises as `open_network`.
    """
    choice = choice_of(settings)
    if choice.is_built_in:
        precise = choice.open("float32")
        return in_precision(precise, find_precision(settings.precision, precise.device)), precise
    network = choice.open(settings.precision)
    return network, network if network.precision == torch.float32 else choice.open("float32")


def inverted(settings: InvertSettings, pictures: Sequence[Picture], names: list[str]) -> list[Part]:
    """One layer, inverted."""
    return [Part(names[0], invert(pictures[0].image, settings), (settings.layer,))]


def reconstructed(settings: ReconstructSettings, pictures: Sequence[Picture], names: list[str]) -> list[Part]:
    """Each layer on its own."""
    return [Part(layer, reconstruct(pictures[0].image, layer, settings), (layer,)) for layer in names]


def amalgamated(settings: AmalgamateSettings, pictures: Sequence[Picture], names: list[str]) -> list[Part]:
    """Each layer on its own."""
    photo, painting = (picture.image for picture in pictures)
    return [Part(layer, amalgamate(photo, painting, layer, settings), (layer,)) for layer in names]


def textured(settings: TextureSettings, pictures: Sequence[Picture], names: list[str]) -> list[Part]:
    """All layers together; if `cumulative`, the first, the first two, and so on."""
    layers = list(settings.layers.weights.items())
    ends = range(1, len(names) + 1) if settings.cumulative else [len(layers)]
    return [
        Part(name, texture(pictures[0], dict(layers[:end]), settings)) for name, end in zip(names, ends, strict=True)
    ]


def transferred(settings: TransferSettings, pictures: Sequence[Picture], names: list[str]) -> list[Part]:
    """One picture in the style of the others."""
    photo, *paintings = pictures
    division = divide(settings.region, photo.image, settings.size, photo.before)
    kept = tuple(settings.content_layers.names)
    return [Part(names[0], transfer(photo, paintings, settings, division), kept, division)]


def maximised(settings: MaximiseSettings, pictures: Sequence[Picture], names: list[str]) -> list[Part]:
    """Each unit on its own."""
    units = [unit_named(name, settings) for name in settings.units]
    album = None if settings.photos is None else Album(settings.photos, settings.patches, settings.size)
    return [
        Part(name, maximise(unit, settings), unit=unit, album=album) for name, unit in zip(names, units, strict=True)
    ]


def caricatured(settings: CaricatureSettings, pictures: Sequence[Picture], names: list[str]) -> list[Part]:
    """One photo at one layer."""
    return [Part(names[0], caricature(pictures[0].image, settings), (settings.layer,))]


def dreamt(settings: DreamSettings, pictures: Sequence[Picture], names: list[str]) -> list[Part]:
    """One photo at one layer."""
    return [Part(names[0], dream(pictures[0].image, settings), (settings.layer,))]
