"""The section of a study's page that tells of the network: what its filters answer, as charts and as a table."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from impasto.networks.catalogue import NORMALISED, entry, outline
from impasto.pages.blocks import Table, text_table
from impasto.pages.curves import Curves, profile_curves
from impasto.pages.words import number
from impasto.study.plan import Study
from impasto.study.profile import Profile


def network_section(study: Study, profile: Profile) -> dict[str, Any]:
    """What the page's template needs: the usual network before and after normalisation, or another as it is."""
    return _other_network(study, profile) if study.settings.chooses_network else _network(profile)


def _network(profile: Profile) -> dict[str, Any]:
    """What the network looks at, profiles of the layers that are shown first and of all others, and a table of both."""
    curves = {layer: _profile(layer, profile) for layer in profile.layers}
    shown = [layer for layer in curves if layer in entry(NORMALISED).showcase]
    return {
        "name": NORMALISED,
        "normalised": True,
        "count": len(curves),
        "first": _sight(shown[0]),
        "last": _sight(shown[-1]),
        "shown": [*(curves[layer] for layer in shown), _overview(profile)],
        "others": [curve for layer, curve in curves.items() if layer not in shown],
        "difference": number(profile.difference),
        "table": _activations(profile),
    }


def _other_network(study: Study, profile: Profile) -> dict[str, Any]:
    """The same of a network that is read as it is: profiles of the layers of the study, on the two pictures."""
    network = study.settings.choice().looked_at()
    layers = [layer for layer in study.extent.layers if layer in profile.layers]
    means = {layer: sorted(profile.layers[layer].before, reverse=True) for layer in layers}
    rows = [
        (layer, str(len(values)), str(network.stride(layer)), " … ".join(map(number, _weak_middle_strong(values))))
        for layer, values in means.items()
    ]
    return {
        "name": network.name,
        "normalised": False,
        "count": len(network.layers),
        "shown": [profile_curves(layer, {"your pictures": means[layer]}, x="filter") for layer in layers],
        "others": [],
        "words": profile.words,
        "preprocess": network.preprocess.words(),
        "table": text_table(("layer", "filters", "stride in pixels", "your pictures"), rows),
    }


def _weak_middle_strong(values: Sequence[float]) -> tuple[float, float, float]:
    ordered = sorted(values)
    return ordered[0], ordered[len(ordered) // 2], ordered[-1]


def _sight(layer: str) -> dict[str, str | int]:
    """A layer and the side of the square, in pixels, that one of its filters sees at once."""
    network = outline(NORMALISED)
    return {"layer": layer, "field": network.stride(layer) + 2 * network.reach_px(layer)}


def _profile(layer: str, profile: Profile) -> Curves:
    """The layer's filters from the strongest to the weakest over photographs."""
    each = profile.layers[layer]
    order = sorted(range(len(each.photographs)), key=lambda index: -each.photographs[index])
    series = {"photographs": each.photographs, "before": each.before, "after": each.after}
    ordered = {name: [values[index] for index in order] for name, values in series.items()}
    return profile_curves(layer, ordered, x="filter")


def _overview(profile: Profile) -> Curves:
    """Each layer's mean over its filters."""
    layers = list(profile.layers.values())
    series = {
        "photographs": [mean(each.photographs) for each in layers],
        "before": [mean(each.before) for each in layers],
        "after": [mean(each.after) for each in layers],
    }
    return profile_curves(f"All {len(layers)} convolutions", series, x="convolution")


def _activations(profile: Profile) -> Table:
    """For each layer the weakest, middle and strongest filter, over photographs and on the two pictures."""
    rows = []
    for layer, each in profile.layers.items():
        cells = [layer, str(len(each.photographs))]
        for values in (each.photographs, each.before, each.after):
            cells.append(" … ".join(map(number, _weak_middle_strong(values))))
        rows.append(cells)
    return text_table(
        ("layer", "filters", "photographs, before", "your pictures, before", "your pictures, after"), rows
    )
