"""The loss of each task, in sentences and as a formula, for pages: plain strings of HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

from impasto.tasks.seeing import CaricatureSettings, DreamSettings, MaximiseSettings
from impasto.tasks.settings import InvertSettings, Settings, TextureSettings, TransferSettings

MATCHED = {
    "wasserstein": "means and covariances of features (how strongly each filter answers, and which of them together",
    "pattern": "means and covariances of features (how strongly each filter answers, and which of them together",
    "sliced": "distributions of features (how often each strength occurs, along many directions",
    "gram": "Gram matrices (which filters fire together",
    "moments": "moments of features (how strongly each filter answers on average, and how unevenly",
}
SYMBOLS = {
    "wasserstein": ("W", "N"),
    "pattern": ("W", "N"),
    "sliced": ("W", "H"),
    "gram": ("D", "G"),
    "moments": ("D", "M"),
}  # distance, statistics compared
NORMAL = (
    "N: the normal distribution with the features' mean and covariance over all positions. W: the squared "
    "Wasserstein-2 distance, how far features must be moved to turn one distribution into the other, relative to the "
    "energy of the second."
)
STATISTICS = {
    "wasserstein": NORMAL,
    "pattern": f"{NORMAL} A: how alike the picture is to itself, shifted, for shifts of up to half its side.",
    "sliced": "H: histograms of the features over all positions, along directions. W: the mean over directions of the "
    "squared Wasserstein-2 distance, relative to the second's variance.",
    "gram": "G = mean of Φ<sub>i</sub> · Φ<sub>j</sub> over all positions: the Gram matrix.",
    "moments": "M: the means of Φ<sub>i</sub> and of Φ<sub>i</sub>² over all positions.",
}
DISTANCES = {
    "normalised": "D(a, b) = ‖a − b‖² / ‖b‖²: an error relative to the target.",
    "squared": "D: the mean squared error.",
}
CONTENT = "Σ<sub>l</sub> w<sub>l</sub> · D(Φ<sub>l</sub>(x), Φ<sub>l</sub>(photo))"
ALIKE = "Σ<sub>l</sub> D(S<sub>l</sub>(x), S<sub>l</sub>(photo))"
LIKENESS = "S: how unlike the features of each two places are, 1 − their cosine, relative to the mean of a place."
NEAREST = "Σ<sub>l</sub> mean of 1 − cos(Φ<sub>l</sub>(x), T<sub>l</sub>)"
PLACED = " Each place takes after the painting's part that is most like it."
CHOSEN = "T: at each place the painting's feature that is most like the photo's there; none is chosen too often."
TURNED = " The painting may be turned by 90° there, and lines that run as the photo's do are preferred."
ACTIVATIONS = "Φ: a layer's activations."
VARIATION = "TV: the total variation, which is large if neighbouring pixels differ."
CONTRAST = "A: the α-norm, which is large if colours are extreme."


@dataclass(frozen=True)
class Formula:
    """The loss of a run: in a few sentences, as a formula, and the meanings of its symbols, all in HTML."""

    lead: str
    loss: str
    symbols: tuple[str, ...]


def inverted(settings: InvertSettings, _: Sequence[str]) -> Formula:
    """The formula of `invert`."""
    return Formula(
        "From white noise, a picture to which one layer responds as it does to the photo. Small penalties on roughness "
        "and extreme colours choose a natural one among the many that do.",
        "D(Φ(x), Φ(photo)) + smoothness · TV(x) + contrast · A(x)",
        (ACTIVATIONS, VARIATION, CONTRAST, DISTANCES[settings.distance]),
    )


def reconstructed(settings: Settings, _: Sequence[str]) -> Formula:
    """The formula of `reconstruct`."""
    return Formula(
        "From white noise, for each layer on its own, a picture to which the layer responds as it does to the photo. "
        "The loss has no other term: wherever the pictures differ from the photo, the layer has forgotten.",
        "D(Φ(x), Φ(photo))",
        (ACTIVATIONS, DISTANCES[settings.distance]),
    )


def amalgamated(settings: Settings, _: Sequence[str]) -> Formula:
    """The formula of `amalgamate`."""
    return Formula(
        "The descent starts at the painting and asks only for the photo's activations at one layer. No term keeps the "
        "painting: only what the layer does not see of it survives.",
        "D(Φ(x), Φ(photo)) + smoothness · TV(x), from x = painting",
        (ACTIVATIONS, VARIATION, DISTANCES[settings.distance]),
    )


def textured(settings: TextureSettings, _: Sequence[str]) -> Formula:
    """The formula of `texture`."""
    repeated = " and the same periods" if settings.statistics == "pattern" else ""
    return Formula(
        f"From white noise, a picture with the same {MATCHED[settings.statistics]}){repeated} as the original. "
        "Positions are not kept.",
        _style(settings.statistics, "original") + (" + D(A(x), A(original))" if repeated else ""),
        (
            "l: the layers, v their weights.",
            ACTIVATIONS,
            STATISTICS[settings.statistics],
            DISTANCES[settings.distance],
        ),
    )


def transferred(settings: TransferSettings, pictures: Sequence[str]) -> Formula:
    """The formula of `transfer`."""
    style, strokes = _style(settings.statistics, "painting"), "Φ<sub>relu3_1</sub>"
    style = f"Σ over paintings of {style}" if len(pictures) > 2 else style
    everywhere = "Σ over regions of area · strength · " if settings.region else ""
    terms = {
        CONTENT: settings.content_weight,
        f"layout · {ALIKE}": settings.layout,
        f"{everywhere}{style}": settings.style_weight,
        f"{everywhere}neighbours · {NEAREST}": settings.style_weight * settings.neighbours,
        f"likeness · D({strokes}(x), {strokes}(first picture))": settings.likeness,
        "smoothness · TV(x)": settings.smoothness,
    }
    carried = ["activations"] * bool(settings.content_weight) + ["self-similarity"] * bool(settings.layout)
    return Formula(
        f"The arrangement comes from the photo's {' and '.join(carried) or 'part as the first picture'}, the manner "
        f"from the painting's {MATCHED[settings.statistics]}, whatever the position)."
        f"{PLACED if settings.neighbours else ''} The result is the picture that comes closest to all at once.",
        " + ".join(term for term, weight in terms.items() if weight),
        (
            "l: the layers, w and v their weights.",
            ACTIVATIONS,
            STATISTICS[settings.statistics],
            *([LIKENESS] if settings.layout else []),
            *([CHOSEN + TURNED * (settings.strokes == "along")] if settings.neighbours else []),
            *([VARIATION] if settings.smoothness else []),
            DISTANCES[settings.distance],
        ),
    )


RESPONSE = "Each is in units of how much the layer's map varies over noise: 0 is silence, 1 is usual."
SEEN = "x is seen through changing views: shifted, turned and enlarged a little."


def maximised(settings: MaximiseSettings, _: Sequence[str]) -> Formula:
    """The formula of `maximise`."""
    of = "v · Φ · cos(v, Φ)" if settings.direction is not None else "Φ<sub>c</sub>"
    at = f"{of}(x) at the middle" if settings.neuron is not None else f"mean of {of}(x)"
    direction = ("v: the direction.",) if settings.direction is not None else ("c: the channel.",)
    return Formula(
        "From faint noise, a picture to which a unit answers as strongly as can be. What appears in it is what the "
        "unit has learned to find.",
        f"−{at}",
        (ACTIVATIONS, *direction, RESPONSE, *([SEEN] if settings.has_views else [])),
    )


def caricatured(settings: CaricatureSettings, _: Sequence[str]) -> Formula:
    """The formula of `caricature`."""
    return Formula(
        "A picture in which one layer finds the features that it finds in the photo, in the same places, but stronger.",
        f"−mean of Φ(x) · Φ(photo) · cos(Φ(x), Φ(photo))<sup>{settings.power:g}</sup> / mean of ‖Φ(photo)‖²",
        (ACTIVATIONS, *([SEEN + " So is the photo, in the same way."] if settings.has_views else [])),
    )


def dreamt(settings: DreamSettings, _: Sequence[str]) -> Formula:
    """The formula of `dream`."""
    return Formula(
        "The photo is changed such that one layer answers to everything more strongly. Whatever the layer believes to "
        "see, it paints.",
        "−mean of Φ(x)² / mean of Φ(noise)², from x = photo",
        (ACTIVATIONS, *([SEEN] if settings.has_views else [])),
    )


def _style(statistics: str, original: str) -> str:
    distance, compared = SYMBOLS[statistics]
    at = f"{compared}<sub>l</sub>"  # an element, because few fonts have subscript letters l and j
    return f"Σ<sub>l</sub> v<sub>l</sub> · {distance}({at}(x), {at}({original}))"
