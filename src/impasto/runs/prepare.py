"""What a run needs before anything is written: its pictures, network and parts, and how each part fits into memory."""

from dataclasses import dataclass

import torch

from impasto.amounts import parse_memory
from impasto.cluster.crew import Crew
from impasto.errors import SpecError
from impasto.extras import import_video
from impasto.images.files import load_picture
from impasto.images.image import Picture
from impasto.networks.network import Network
from impasto.runs.checks import check, sentence_for_memory
from impasto.runs.fitting import plan_memory, within
from impasto.tasks.parts import Part, network_of
from impasto.tasks.settings import Settings
from impasto.tasks.spec import RunSpec, compose
from impasto.tiles.budget import MemoryPlan, limits, reduced


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run whose pictures, layers and sizes are known to serve."""

    spec: RunSpec
    pictures: list[Picture]
    network: Network
    precise: Network
    parts: list[Part]
    plans: list[MemoryPlan]


def prepare(spec: RunSpec, memory: int | None, share: float, crew: Crew | None) -> Prepared:
    """Pictures, network and parts of a run, checked: nothing is written yet. `share` is of the memory allowed."""
    settings = spec.settings
    with sentence_for_memory(settings.size):
        network = network_of(settings, settings.precision)
        precise = network if network.precision == torch.float32 else network_of(settings, "float32")
        for layer in settings.named_layers:
            network.canonical(layer)  # an unknown layer is said before a picture is opened
        pictures = [load_picture(path) for path in spec.pictures]
        parts = compose(spec, [picture.image for picture in pictures])
        allowed = limits(parse_memory(settings.memory), settings.tile, network.device, memory)
        readers = [_precise_enough(part, network, precise, settings) for part in parts]
        plans = [
            plan_memory(part.composition.objective, reader, allowed, settings, crew)
            for part, reader in zip(parts, readers, strict=True)
        ]
        plans = reduced(plans, [part.composition.schedule[-1].size for part in parts], share)
        for part, plan in zip(parts, plans, strict=True):
            check(part, plan, spec, pictures)
        parts = [within(part, plan) for part, plan in zip(parts, plans, strict=True)]
    return Prepared(spec, pictures, network, precise, parts, plans)


def require_video(settings: Settings, mp4: bool) -> None:
    """Raise if an MP4 is asked for and cannot be made."""
    if mp4:
        import_video()
        if not settings.frames:
            raise SpecError("--mp4 needs pictures on the way, and --frames is 0")


def _precise_enough(part: Part, network: Network, precise: Network, settings: Settings) -> Network:
    """With automatic precision shallow layers are read in float32: they cost little, and rounding shows there."""
    shallow = all(network.is_shallow(layer) for layer in part.composition.objective.layers())
    return precise if settings.precision == "auto" and shallow else network
