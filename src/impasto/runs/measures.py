"""Losses and metrics of a part's picture as it is saved, computed in as few readings as possible."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from impasto.events import Listener, Notice
from impasto.folders.results import Summary
from impasto.images.image import Image, Picture, Size, psnr, resize, size_of
from impasto.networks.network import Network
from impasto.objectives.criterion import Losses
from impasto.objectives.distances import mean_squared_error, normalised_squared_error
from impasto.objectives.objective import Objective
from impasto.objectives.representations import MeanOverPositions, Pointwise, Representation, activations
from impasto.objectives.terms import Match
from impasto.tasks.parts import Part
from impasto.tiles.budget import MemoryPlan
from impasto.tiles.passes import Key, Statistics
from impasto.tiles.reading import Difference, read_once
from impasto.tiles.tiler import ignore_halving


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
    size, objective = size_of(saved), part.composition.objective
    saved, terms = saved.to(plan.network.device), _sorted(objective, content, size, plan.network)
    target = None if content is None else resize(content.image, size).to(plan.network.device)
    layers = [] if content is None else _error_layers(part, plan.network)
    found, differences = _read(plan, saved, target, layers, terms, halved)
    others = replace(plan, objective=terms.others.seeing(saved))
    losses = others.bind(size, halved=halved).losses(saved) if terms.others.terms else {}
    _add_compared(losses, terms.compared, differences, plan.network)
    for term, keys in terms.means.items():
        _add_means(losses, term, {layer: found[key] for layer, key in keys.items()}, plan, size, halved)
    metrics: dict[str, Any] = {}
    if target is not None:
        metrics["feature_error"] = _feature_errors(layers, differences, plan.network)
        metrics["psnr"] = _finite(psnr(saved, target))
    if part.unit is not None:
        key = part.unit.key(plan.network, size)
        reached, _ = read_once(plan.network, saved, [key], plan.core(size, history=0), halved=halved)
        metrics["response"] = _finite(float(reached[key]))
    weights = objective.weights()
    return {"losses": {name: _finite(losses[name]) for name in weights}, "weights": weights, "metrics": metrics}


def _feature_errors(
    layers: Sequence[str], differences: Mapping[Key, Difference], network: Network
) -> dict[str, float | None]:
    return {layer: _finite(differences[network.canonical(layer), activations].error) for layer in layers}


class _Terms(NamedTuple):
    """An objective's terms by how they are measured: by the difference from the content, by means, or bound."""

    compared: list[Match]
    means: dict[Match, dict[str, Key]]  # each with the key of each of its layers in the picture
    others: Objective


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


def _error_layers(part: Part, network: Network) -> list[str]:
    """The layers whose error is measured: the content's layers, and the rectified layer of each convolution."""
    rectified = map(network.rectified, part.content_layers)
    return [*part.content_layers, *(layer for layer in rectified if layer is not None)]


def _read(
    plan: MemoryPlan,
    saved: Image,
    target: Image | None,
    layers: Sequence[str],
    terms: _Terms,
    halved: Callable[[Size], None],
) -> tuple[Statistics, dict[Key, Difference]]:
    """Read the picture once: its means for the terms of means, and its difference from the target."""
    canonical = plan.network.canonical
    compared: set[Key] = {(canonical(layer), activations) for layer in layers}
    compared |= {(canonical(layer), term.represent) for term in terms.compared for layer in term.layers}
    keys = {key: None for keys in terms.means.values() for key in keys.values()}
    core = plan.core(size_of(saved), history=0)
    return read_once(plan.network, saved, keys, core, reference=target, compared=compared, halved=halved)


def _add_compared(
    losses: Losses, terms: Sequence[Match], differences: Mapping[Key, Difference], network: Network
) -> None:
    for term in terms:
        for layer, weight in term.layers.items():
            loss = _loss(term, differences[network.canonical(layer), term.represent])
            _add(losses, f"{term.name}/{layer}", weight * loss)


def _add_means(
    losses: Losses,
    term: Match,
    found: Mapping[str, Tensor],
    plan: MemoryPlan,
    size: Size,
    halved: Callable[[Size], None],
) -> None:
    """Read the term's reference, and add the distance of the picture's means in `found` from the reference's."""
    network, core = plan.network, plan.core(size, history=0)
    at = _keys(term.reference_represents(network, size), network)
    framed = term.framed(size).to(network.device)
    targets, _ = read_once(network, framed, dict.fromkeys(at.values()), core, halved=halved)
    for layer, weight in term.layers.items():
        _add(losses, f"{term.name}/{layer}", weight * float(term.distance(found[layer], targets[at[layer]])))


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
