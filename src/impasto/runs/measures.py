"""How good a part's picture is: losses and metrics of the picture as it is saved, read as few times as can be."""

import math
from dataclasses import replace
from typing import Any

from impasto.folders.results import Summary
from impasto.images.image import Image, Picture, Size, psnr, quantise, resize, size_of
from impasto.objectives.criterion import Losses
from impasto.objectives.distances import mean_squared_error, normalised_squared_error
from impasto.objectives.objective import Match, Objective
from impasto.objectives.representations import MeanOverPositions, Pointwise, activations
from impasto.tasks.parts import Part
from impasto.tiles.budget import MemoryPlan
from impasto.tiles.passes import Key
from impasto.tiles.reading import Difference, read_once


def measure(part: Part, image: Image, content: Picture | None, plan: MemoryPlan) -> Summary:
    """Losses and metrics of the picture as it is saved, by the plan's network, which is of float32.

    `feature_error` also has the rectified layer beside each convolution asked for: published figures are often of that.
    Large pictures take long to read, so this one, the content and each style are read once.
    """
    network, size, core = plan.network, size_of(image), plan.core(size_of(image), history=0)
    saved, objective = quantise(image).to(network.device), part.composition.objective
    matches = [term for term in objective.terms if isinstance(term, Match)]
    compared = [term for term in matches if content is not None and _compares(term, content, size)]
    kinds = [term for term in matches if isinstance(term.represent, MeanOverPositions)]
    others = Objective(tuple(term for term in objective.terms if term not in [*compared, *kinds]))
    target, shown = None, list[str]()
    if content is not None:
        target = resize(content.image, size).to(network.device)
        names = [network.canonical(layer) for layer in part.content_layers]
        shown = [*part.content_layers, *(f"relu{name[4:]}" for name in names if name.startswith("conv"))]
    places: set[Key] = {(network.canonical(layer), activations) for layer in shown}
    places |= {(network.canonical(layer), term.represent) for term in compared for layer in term.layers}
    keys = {(network.canonical(layer), term.represent) for term in kinds for layer in term.layers}
    found, differences = read_once(network, saved, keys, core, reference=target, compared=places)

    losses = replace(plan, objective=others).bind(size).losses(saved) if others.terms else {}
    for term in compared:
        for layer, weight in term.layers.items():
            _add(
                losses,
                f"{term.name}/{layer}",
                weight * _loss(term, differences[network.canonical(layer), term.represent]),
            )
    for term in kinds:
        at = {layer: (network.canonical(layer), term.represent) for layer in term.layers}
        targets, _ = read_once(network, term.framed(size).to(network.device), set(at.values()), core)
        for layer, weight in term.layers.items():
            _add(losses, f"{term.name}/{layer}", weight * float(term.distance(found[at[layer]], targets[at[layer]])))
    metrics: dict[str, Any] = {}
    if target is not None:
        errors = {layer: differences[network.canonical(layer), activations].error for layer in shown}
        metrics["feature_error"] = {layer: _finite(error) for layer, error in errors.items()}
        metrics["psnr"] = _finite(psnr(saved, target))
    weights = objective.weights()
    return {"losses": {name: _finite(losses[name]) for name in weights}, "weights": weights, "metrics": metrics}


def unmeasured(part: Part) -> Summary:
    """What stands there for a picture that is not measured, because that would take long."""
    weights = part.composition.objective.weights()
    return {"losses": dict.fromkeys(weights), "weights": weights, "metrics": {}}


def _compares(term: Match, content: Picture, size: Size) -> bool:
    """Whether a term compares maps with those of the content in place, in a way that follows from the difference."""
    known = term.distance in (normalised_squared_error, mean_squared_error)
    same = term.reference is content.image and term.framed_size(size) == size
    return known and same and isinstance(term.represent, Pointwise)


def _loss(term: Match, difference: Difference) -> float:
    scale = difference.energy if term.distance is normalised_squared_error else difference.numbers
    return difference.missed / (scale if scale > 0 else 1)


def _add(losses: Losses, name: str, value: float) -> None:
    losses[name] = losses.get(name, 0.0) + value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
