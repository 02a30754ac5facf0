"""Losses and metrics of a part's picture as it is saved, computed in as few readings as possible."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from impasto.events import Listener, Notice
from impasto.folders.results import Summary
from impasto.images.image import Image, Picture, Size, psnr, resize, size_of
from impasto.networks.network import Network
from impasto.objectives.criterion import Losses
from impasto.objectives.distances import mean_squared_error, normalised_squared_error
from impasto.objectives.objective import Objective
from impasto.objectives.objective import content as as_content
from impasto.objectives.representations import MeanOverPositions, Pointwise, Representation, activations
from impasto.objectives.terms import Match
from impasto.tasks.parts import Part
from impasto.tiles.budget import MemoryPlan
from impasto.tiles.passes import Key, Statistics
from impasto.tiles.reading import Difference, read_once
from impasto.tiles.tiler import ignore_halving

ERROR = "feature error"  # the name of the terms by which errors are measured


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads pictures of about one size by a plan's network, in the plan's tiles; `halved` is as for `read_once`."""

    plan: MemoryPlan
    size: Size
    halved: Callable[[Size], None]

    @property
    def whole(self) -> bool:
        """Whether pictures are read whole, in this process."""
        return self.plan.helper is None and self.plan.core(self.size, history=0) is None

    def means(self, image: Image, keys: Iterable[Key]) -> Statistics:
        """The picture's means at the keys."""
        return self.both(image, keys).means

    def both(
        self, image: Image, keys: Iterable[Key], target: Image | None = None, compared: Collection[Key] = ()
    ) -> "_Seen":
        """The picture's means at the keys, and its differences from the target at the keys compared."""
        core, wanted = self.plan.core(self.size, history=0), dict.fromkeys(keys)
        network, halved = self.plan.network, self.halved
        return _Seen(*read_once(network, image, wanted, core, reference=target, compared=compared, halved=halved))

    def losses(self, objective: Objective, saved: Image) -> Losses:
        """The objective's losses, each of its terms bound; empty if the objective has no terms."""
        if not objective.terms:
            return {}
        return replace(self.plan, objective=objective.seeing(saved)).bind(self.size, halved=self.halved).losses(saved)


class _Seen(NamedTuple):
    """One reading of the saved picture: its means, and its differences from the content."""

    means: Statistics
    differences: Mapping[Key, Difference]


def measure(
    part: Part,
    saved: Image,
    content: Picture | None,
    plan: MemoryPlan,
    halved: Callable[[Size], None] = ignore_halving,
) -> Summary:
    """Losses and metrics of the picture as it is saved (see `quantise`), by the plan's network, which is in float32.

    `feature_error` has each content layer and, for a convolution, also its rectified layer, as published figures often
    do. Large pictures take long to read, so the picture, the content and each style are read once.
    `halved` is called if tiles are halved because an accelerator's memory is short.
    """
    reader, saved = _Reader(plan, size_of(saved), halved), saved.to(plan.network.device)
    target = None if content is None else resize(content.image, reader.size).to(saved)
    if reader.whole:
        found = _read_whole(part, saved, content, reader)
    else:
        found = _read_in_tiles(part, saved, content, target, reader)
    losses, metrics = found.losses, dict[str, Any]()
    if target is not None:
        metrics["feature_error"] = {layer: _finite(error) for layer, error in found.errors.items()}
        metrics["psnr"] = _finite(psnr(saved, target))
    if part.unit is not None:
        key = part.unit.key(plan.network, reader.size)
        metrics["response"] = _finite(float(reader.means(saved, [key])[key]))

    weights = part.composition.objective.weights()
    return {"losses": {name: _finite(losses[name]) for name in weights}, "weights": weights, "metrics": metrics}


class _Found(NamedTuple):
    """The losses of a saved picture, and the errors of its features against the content's, by layer."""

    losses: Losses
    errors: Mapping[str, float]


def _read_whole(part: Part, saved: Image, content: Picture | None, reader: _Reader) -> _Found:
    """Errors are measured as terms beside the objective's own, so that all are found in the same readings."""
    layers, objective = _error_layers(part, content, reader.plan.network), part.composition.objective
    if content is not None and layers:
        objective += as_content(content.image, dict.fromkeys(layers, 1.0), name=ERROR)
    losses = reader.losses(objective, saved)
    return _Found(losses, {layer: math.sqrt(losses.pop(f"{ERROR}/{layer}")) for layer in layers})


def _read_in_tiles(part: Part, saved: Image, content: Picture | None, target: Image | None, reader: _Reader) -> _Found:
    """Pictures are compared tile by tile, so that no map of a whole picture is kept; `target` is the content's."""
    network, objective = reader.plan.network, part.composition.objective
    terms = _sorted(objective, content, reader.size, network)
    errors = {layer: (network.canonical(layer), activations) for layer in _error_layers(part, content, network)}
    seen = reader.both(saved, terms.keys, target, {*errors.values(), *terms.compared_keys(network)})
    losses = _losses(terms, saved, seen, reader)
    return _Found(losses, {layer: seen.differences[key].error for layer, key in errors.items()})


def _error_layers(part: Part, content: Picture | None, network: Network) -> list[str]:
    """The layers whose error is measured: the content's layers, and the rectified layer of each convolution."""
    if content is None:
        return []
    rectified = map(network.rectified, part.content_layers)
    return list(dict.fromkeys([*part.content_layers, *(layer for layer in rectified if layer is not None)]))


class _Terms(NamedTuple):
    """An objective's terms by how they are measured: by the difference from the content, by means, or bound."""

    compared: list[Match]
    means: dict[Match, dict[str, Key]]  # each with the key of each of its layers in the picture
    others: Objective

    @property
    def keys(self) -> list[Key]:
        """The picture's means that the terms of means need."""
        return [key for keys in self.means.values() for key in keys.values()]

    def compared_keys(self, network: Network) -> list[Key]:
        """The differences from the content that the compared terms need."""
        return [(network.canonical(layer), term.represent) for term in self.compared for layer in term.layers]


def _sorted(objective: Objective, content: Picture | None, size: Size, network: Network) -> _Terms:
    matches = [term for term in objective.terms if isinstance(term, Match)]
    compared = [term for term in matches if content is not None and _compares(term, content, size)]
    plain = [term for term in matches if type(term.represent) is MeanOverPositions]  # `Sliced` is fitted when bound
    if objective.around_px:  # read with its surroundings
        compared, plain = [], []

    means = {term: _keys(term.represents(network, size), network) for term in plain}
    others = tuple(term for term in objective.terms if term not in [*compared, *plain])
    return _Terms(compared, means, replace(objective, terms=others))


def _keys(represents: Mapping[str, Representation], network: Network) -> dict[str, Key]:
    return {layer: (network.canonical(layer), represent) for layer, represent in represents.items()}


def _losses(terms: _Terms, saved: Image, seen: _Seen, reader: _Reader) -> Losses:
    """The losses of all terms, each measured in its own way; losses of one name are added up."""
    losses, network = reader.losses(terms.others, saved), reader.plan.network
    for term in terms.compared:
        for layer, weight in term.layers.items():
            loss = _loss(term, seen.differences[network.canonical(layer), term.represent])
            _add(losses, f"{term.name}/{layer}", weight * loss)
    for term, keys in terms.means.items():
        _add_means(losses, term, {layer: seen.means[key] for layer, key in keys.items()}, reader)
    return losses


def _add_means(losses: Losses, term: Match, found: Mapping[str, Tensor], reader: _Reader) -> None:
    """Read the term's reference, and add the distance of the picture's means in `found` from the reference's."""
    network = reader.plan.network
    keys = _keys(term.reference_represents(network, reader.size), network)
    targets = reader.means(term.framed(reader.size).to(network.device), keys.values())
    for layer, weight in term.layers.items():
        _add(losses, f"{term.name}/{layer}", weight * float(term.distance(found[layer], targets[keys[layer]])))


def unmeasured(part: Part) -> Summary:
    """The summary of a picture that is not measured because measuring would take too long."""
    weights = part.composition.objective.weights()
    return {"losses": dict.fromkeys(weights), "weights": weights, "metrics": {}}


def say_if_silent(part: Part, summary: Summary, network: Network, listener: Listener) -> None:
    """Report a unit that answers to nothing of the picture that was made for the unit, if the run did not end early."""
    reached = summary["metrics"].get("response") if summary["status"] == "done" else None
    words = None if part.unit is None or reached is None else part.unit.silence(network, reached)
    if words is not None:
        listener(Notice(": ".join(name for name in (part.name, words) if name)))


def _compares(term: Match, content: Picture, size: Size) -> bool:
    """Whether a term's loss follows from the difference between the maps of the picture and of the content."""
    known = term.distance in (normalised_squared_error, mean_squared_error) and term.where is None
    same = term.reference is content.image and term.framed_size(size) == size
    return known and same and isinstance(term.represent, Pointwise)


def _loss(term: Match, difference: Difference) -> float:
    scale = difference.energy if term.distance is normalised_squared_error else difference.numbers
    return difference.missed / (scale if scale > 0 else 1)


def _add(losses: Losses, name: str, value: float) -> None:
    losses[name] = losses.get(name, 0.0) + value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
