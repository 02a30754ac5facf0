"""The preparation of a run before anything is written: pictures, network, parts, and a memory plan for each part."""

from dataclasses import dataclass

from impasto.amounts import parse_memory
from impasto.cluster.crew import Crew
from impasto.errors import ImpastoError, SpecError
from impasto.extras import import_video
from impasto.images.files import load_picture
from impasto.images.image import Picture
from impasto.networks.network import Network
from impasto.runs.fitting import check, check_change, plan_memory, sentence_for_memory, within
from impasto.tasks.parts import Part, networks_of
from impasto.tasks.settings import Settings
from impasto.tasks.spec import RunSpec, compose, framed, part_names
from impasto.tiles.budget import MemoryPlan, limits, reduced


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run whose pictures, layers and sizes have been checked. `precise` is the network in float32."""

    spec: RunSpec
    pictures: list[Picture]
    network: Network
    precise: Network
    parts: list[Part]
    plans: list[MemoryPlan]


def prepare(spec: RunSpec, memory: int | None, share: float, crew: Crew | None) -> Prepared:
    """Prepare and check a run; nothing is written yet. `share` is the fraction of the allowed memory to use."""
    settings = spec.settings
    with sentence_for_memory(settings.size):
        network, precise = networks_of(settings)
        for layer in settings.named_layers:
            network.canonical(layer)  # raises LayerError before a picture is opened

        pictures = framed(spec, [load_picture(path) for path in spec.pictures])
        parts = compose(spec, pictures)

        allowed = limits(parse_memory(settings.memory), settings.tile, network.device, memory)
        readers = [_precise_enough(part, network, precise, settings) for part in parts]
        plans = [
            plan_memory(part.composition, reader, allowed, settings, crew)
            for part, reader in zip(parts, readers, strict=True)
        ]
        plans = reduced(plans, [part.composition.schedule[-1].size for part in parts], share)

        for part, plan in zip(parts, plans, strict=True):
            check(part, plan, spec, pictures)
        _try_changes(spec, pictures, parts, plans)
        parts = [within(part, plan) for part, plan in zip(parts, plans, strict=True)]
    return Prepared(spec, pictures, network, precise, parts, plans)


def _try_changes(spec: RunSpec, pictures: list[Picture], parts: list[Part], plans: list[MemoryPlan]) -> None:
    """Raise an ImpastoError if the run would fail at one of the spec's changes."""
    names = part_names(spec)
    for change in spec.changes:
        number = names.index(change.part)
        try:
            check_change(spec, change, pictures, parts[number], plans[number])
        except ImpastoError as error:
            raise type(error)(f"the change after step {change.step} cannot be made: {error}") from None


def require_video(settings: Settings, mp4: bool) -> None:
    """Raise SpecError if an MP4 is asked for and cannot be made."""
    if mp4:
        import_video()
        if not settings.frames:
            raise SpecError("--mp4 needs frames, but --frames is 0")


def _precise_enough(part: Part, network: Network, precise: Network, settings: Settings) -> Network:
    """The network to read a part with: float32 if precision is automatic and all layers are shallow.

    Shallow layers cost little, and rounding would show in them.
    """
    shallow = all(network.is_shallow(layer) for layer in part.composition.objective.layers())
    return precise if settings.precision == "auto" and shallow else network
