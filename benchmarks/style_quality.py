"""Style quality: three judges that no recipe optimises, and the error of the content, on pairs of examples.

Style: sliced Wasserstein distance to the style picture at relu1_2, relu2_2, relu3_2, relu4_2 and relu4_3, which no
recipe reads for its style, each relative to the spread of the style's own features; mean of the layers. Content:
feature error at relu4_2, which all recipes read. Patches: 1 − the cosine of each patch of 3 × 3 features with the
most similar one of the other picture, centred, at relu2_2, relu3_2 and relu4_2, mean of the layers; `coherent` from
result to painting (what is painted exists in the painting), `complete` from painting to result (the painting is
used). Layout: difference of the self-similarity from the photo's at relu3_3 and relu4_3 (STROTSS). All of the 8-bit
picture, by the plain VGG-16 in float32, with the style picture at as many pixels as the result. Lower is better.

Recipes: impasto's preset `classic`; the plain Gram recipe (the reference's objective, its
optimiser, 500 evaluations); and style-transfer-pytorch's, rebuilt on VGG-16: means and covariances under the
Wasserstein-2 distance, layer weights
256 : 64 : 16 : 4 : 1, content 0.015, smoothness 2, Adam 0.02 with averaged iterates, scales 128 … by √2, 1000 steps
and then 500 each. Departures: feature maps are divided by 57.4, about the ratio of this network's features to the
original network's; Adam starts afresh at each scale; evaluations run on impasto's network in bfloat16, at its cost.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import reference
import torch
from common import EXAMPLES, THREADS, WEIGHTS, keep, kept
from torch import Tensor
from torch.nn import functional

from impasto import Composition, load_image, open_network, preset, resize, synthesise, transfer
from impasto.images.files import save_image
from impasto.images.image import Image, cover, quantise, size_of, size_with_area, size_with_long_side
from impasto.networks.network import Network
from impasto.objectives.objective import content, prior, style
from impasto.objectives.priors import total_variation
from impasto.synthesis.inits import from_image
from impasto.synthesis.optimisers import adam
from impasto.synthesis.schedules import single
from impasto.tiles.reading import feature_error

HELD_OUT = ("relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu4_3")
PATCHED = ("relu2_2", "relu3_2", "relu4_2")
LAYOUT = ("relu3_3", "relu4_3")
PATCHES = 4096  # of the picture searched; half as many ask
FACTORS = (1 / 9, 1 / 3, 1.0, 3.0, 9.0)  # of a recipe's own weight of the style
FEATURES = 57.4  # 255 times the usual deviation of a colour


def sliced_wasserstein(found: Tensor, target: Tensor, directions: int = 128) -> float:
    """Root mean square difference of sorted projections, relative to the target's spread."""
    across = torch.randn(found.shape[1], directions, generator=torch.Generator().manual_seed(0))
    across /= across.norm(dim=0)

    def quantiles(maps: Tensor) -> Tensor:
        ordered = (maps.flatten(2)[0].T @ across).sort(dim=0).values
        return ordered[((torch.arange(512) + 0.5) / 512 * len(ordered)).long()]

    first, second = quantiles(found), quantiles(target)
    return float((first - second).square().mean().sqrt() / second.std(0).square().mean().sqrt())


def patch_distance(asking: Tensor, bank: Tensor) -> float:
    """Mean of 1 − the largest centred cosine of the patches of 3 × 3 features of one map with those of the other."""

    def directions(maps: Tensor, most: int) -> Tensor:
        patches = functional.unfold(maps, 3)[0].T
        centred = patches - patches.mean(0)
        return functional.normalize(centred[:: max(1, -(-len(patches) // most))], dim=1)

    wanted = directions(bank, PATCHES).T
    best = [(chunk @ wanted).amax(1) for chunk in directions(asking, PATCHES // 2).split(512)]
    return float((1 - torch.cat(best)).mean())


def self_similarity(maps: Tensor) -> Tensor:
    """Cosine distances between the features at up to 1,024 positions, each column with mean 1.

    Source: Kolkin, Salavon & Shakhnarovich 2019 (STROTSS, arXiv:1904.12785), equation 8.
    """
    step = max(1, round((maps.shape[2] * maps.shape[3] / 1024) ** 0.5))
    rows = functional.normalize(maps[0, :, ::step, ::step].flatten(1).T, dim=1)
    distances = 1 - rows @ rows.T
    return distances / distances.mean(0)


def judge(network: Network, image: Image, photo: Image, painting: Image) -> dict[str, float]:
    """The figures of a saved picture."""
    image = quantise(image)
    size = size_of(image)
    target = resize(painting, size_with_area(size_of(painting), size[0] * size[1]))
    with torch.no_grad():
        layers = sorted({*HELD_OUT, *PATCHED, *LAYOUT})
        found, wanted, first = (network(each, layers) for each in (image, target, resize(photo, size)))
        distances = [sliced_wasserstein(found[layer], wanted[layer]) for layer in HELD_OUT]
        coherent = [patch_distance(found[layer], wanted[layer]) for layer in PATCHED]
        complete = [patch_distance(wanted[layer], found[layer]) for layer in PATCHED]
        layouts = [(self_similarity(found[a]) - self_similarity(first[a])).abs().mean() for a in LAYOUT]
    figures = {
        "style": sum(distances) / len(distances),
        "coherent": sum(coherent) / len(coherent),
        "complete": sum(complete) / len(complete),
        "layout": float(sum(layouts)) / len(layouts),
        "content": feature_error(network, image, resize(photo, size), ["relu4_2"])["relu4_2"],
    }
    return {name: round(value, 4) for name, value in figures.items()}


class Wasserstein:
    """Squared Wasserstein-2 distance of two normal distributions, means over channels; the target's root is kept.

    Written for this benchmark alone. Theirs takes the root by twelve coupled Newton-Schulz steps; here it is taken by
    eigenvalues, which is exact and several times faster on a processor: so their time is rather flattered.
    """

    def __init__(self) -> None:
        self.roots: dict[int, Tensor] = {}

    def __call__(self, found: Tensor, target: Tensor) -> Tensor:
        (mean, covariance), (wanted, other) = (_normal(moments.double()) for moments in (found, target))
        if id(target) not in self.roots:
            values, vectors = torch.linalg.eigh(other)
            self.roots[id(target)] = vectors * values.clamp_min(0).sqrt()
        root = self.roots[id(target)]
        cross = torch.linalg.eigvalsh(root.T @ covariance @ root).clamp_min(1e-12).sqrt().sum()
        distance = covariance.trace() + other.trace() - 2 * cross
        return ((mean - wanted).square().mean() + distance / len(mean)).float()


def _normal(moments: Tensor) -> tuple[Tensor, Tensor]:
    mean = moments[0] / FEATURES
    covariance = moments[1:] / FEATURES**2 - torch.outer(mean, mean)
    return mean, (covariance + covariance.T) / 2 + 1e-4 * torch.eye(len(mean), dtype=torch.float64)


def exact_moments(features: Tensor) -> Tensor:
    """(channels + 1, channels): the means above the Gram matrix, whose sums are in float32."""
    rows = features.float().flatten(2)[0]
    return torch.cat([rows.mean(1)[None], rows @ rows.T / rows.shape[1]])


def wasserstein_recipe(network: Network, photo: Image, painting: Image, size_px: int, factor: float) -> Image:
    """The averaged picture at the end of the last scale."""
    layers = {f"relu{block}_1": 2.0 ** (10 - 2 * block) for block in range(1, 6)}
    weights = {layer: factor * weight / sum(layers.values()) for layer, weight in layers.items()}
    objective = content(photo, {"relu4_2": 0.015}, distance=_scaled_error)
    objective += prior("smoothness", 2 / 3, total_variation)  # theirs is a mean over channels too
    sides = sorted(round(size_px / 2 ** (index / 2)) for index in range(20) if round(size_px / 2 ** (index / 2)) >= 128)
    image = photo
    for side in sides:
        size = size_with_long_side(size_of(photo), side)
        steps = 1000 if side == sides[0] else 500
        match = style(painting, weights, represent=exact_moments, distance=Wasserstein())
        composition = Composition(from_image(image), objective + match, single(size, steps), optimiser=adam(0.02))
        average, decay = torch.zeros(1, 3, *size), 0.99
        for iterate in synthesise(composition, network):
            average = decay * average + (1 - decay) * iterate.image
        image = average / (1 - decay**steps)
    return image


def _scaled_error(found: Tensor, target: Tensor) -> Tensor:
    return (found - target).square().mean() / FEATURES**2


def impasto_recipe(network: Network, photo: Image, painting: Image, size_px: int, factor: float) -> Image:
    settings = preset("transfer", "classic", size=size_px, frames=0, style_weight=factor)
    *_, last = synthesise(transfer(photo, [painting], settings), network)
    return last.image


def gram_recipe(photo: Image, painting: Image, size_px: int, factor: float) -> Image:
    first, style = (255 * resize(each, size_with_long_side(size_of(each), size_px)) for each in (photo, painting))
    objective = reference.Objective.of(reference.vgg16(WEIGHTS), first, style)
    weighed = replace(objective, style_weight=factor * objective.style_weight)
    *_, last = reference.optimise(weighed, first, 500)
    return last.picture / 255


def make(name: str, network: Network, photo: Path, painting: Path, size_px: int, factor: float) -> Image:
    """The picture of a recipe with its own weight of the style times `factor`."""
    pictures = load_image(photo), load_image(painting)
    if name == "plain Gram":
        return gram_recipe(*pictures, size_px, factor)
    if name == "classic":
        return impasto_recipe(network, *pictures, size_px, factor)
    return wasserstein_recipe(network, *pictures, size_px, factor)


RECIPES = ("classic", "Wasserstein-2", "plain Gram")


def main(photo: Path, painting: Path, size_px: int, factors: list[float], names: list[str], pictures: Path) -> None:
    network = open_network("vgg16", padding="replicate")
    plain = open_network("vgg16", precision="float32")
    same = {"photo": photo.name, "painting": painting.name, "size_px": size_px}
    rows = list(kept("style_quality")["rows"])

    def add(name: str, factor: float, image: Image, seconds: float) -> None:
        measured = judge(plain, image, load_image(photo), load_image(painting))
        row = {**same, "recipe": name, "factor": round(factor, 3), **measured, "seconds": round(seconds, 1)}
        key = ("photo", "painting", "size_px", "recipe", "factor")
        rows[:] = [each for each in rows if any(each[k] != row[k] for k in key)] + [row]
        print(row, flush=True)
        keep("style_quality", "Style and content of the saved picture", rows)
        pictures.mkdir(parents=True, exist_ok=True)
        save_image(image, pictures / f"{photo.stem}-{painting.stem}-{size_px}-{name}-{factor:.2f}.png")

    canvas = size_with_long_side(size_of(load_image(photo)), size_px)
    add("the photograph itself", 0.0, resize(load_image(photo), canvas), 0.0)
    add("the style picture, cut to fit", 0.0, cover(load_image(painting), canvas), 0.0)
    for name in names:
        for factor in factors:
            begin = time.perf_counter()
            image = make(name, network, photo, painting, size_px, factor)
            add(name, factor, image, time.perf_counter() - begin)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--content", type=Path, default=EXAMPLES / "schwerin-palace.webp")
    parser.add_argument("--style", type=Path, default=EXAMPLES / "cafe-terrace-at-night.webp")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS)
    parser.add_argument("--recipes", nargs="+", default=RECIPES, choices=RECIPES)
    parser.add_argument("--pictures", type=Path, default=Path("runs/style-quality"), help="where the pictures go")
    parser.add_argument("--threads", type=int, default=THREADS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    main(asked.content, asked.style, asked.size, asked.factors, asked.recipes, asked.pictures)
