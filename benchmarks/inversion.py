"""Inversion panel: eight photographs, five layers, 350 evaluations, impasto against published recipes.

Each photograph is squashed to 224 × 224. e = ‖Φ(x) − Φ₀‖ / ‖Φ₀‖ of the saved 8-bit picture in float32, on the
normalised network, before and after the layer's ReLU; PSNR of the same picture. Every recipe sees the same network,
in float32 for conv1_1 and conv2_1, else in bfloat16 if the hardware has it. impasto's rows are `--preset accurate`,
which asks for float32 at all layers, and the default of `reconstruct`.

Recipes that are already in the results are kept, so that the panel can be measured in several sittings. With
`--seconds` only the seconds are measured again, on the first photograph, with nothing else running.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from common import EXAMPLES, THREADS, keep, kept
from inversion_recipes import RECIPES
from torch import Tensor

from impasto import content, feature_error, load_image, open_network, psnr, reconstruct, resize, synthesise
from impasto.images.image import Image, quantise
from impasto.networks.network import Network
from impasto.objectives.criterion import Criterion
from impasto.tasks.presets import preset
from impasto.tasks.settings import ReconstructSettings, Settings

LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
SIZE = (224, 224)


class _Loss(torch.autograd.Function):
    """impasto's evaluation as a step of autograd, so that an evaluation costs every recipe the same."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, criterion: Criterion) -> Tensor:
        losses, gradient = criterion.losses_and_gradient(image)
        ctx.save_for_backward(gradient)
        return torch.tensor(sum(losses.values()))

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return slopes[0] * ctx.saved_tensors[0], None


def by_recipe(name: str, network: Network, photo: Image, layer: str, evaluations: int) -> Image:
    criterion = content(photo, [layer]).bind(network, SIZE)
    return RECIPES[name](lambda image: _Loss.apply(image, criterion), SIZE, evaluations, network.stride(layer))


def by_impasto(network: Network, photo: Image, layer: str, settings: Settings) -> Image:
    assert isinstance(settings, ReconstructSettings)
    composition = reconstruct(photo, layer, settings)
    image = composition.init(SIZE)  # what stays if no step were taken: never the photograph itself
    for iterate in synthesise(composition, network):
        image = iterate.image
    return image


def main(pictures: list[Path], evaluations: int, names: list[str], layers: list[str], *, seconds_only: bool) -> None:
    fast, precise = open_network(), open_network(precision="float32")
    same = {"evaluations": evaluations, "pictures": [path.name for path in pictures]}
    before = kept("inversion")
    rows: list[dict[str, Any]] = before["rows"] if all(before.get(key) == same[key] for key in same) else []
    for name in names:
        for layer in layers:
            network = precise if layer < "conv3" else fast
            found: list[dict[str, float]] = []
            for path in pictures[: 1 if seconds_only else None]:
                photo = resize(load_image(path), SIZE)
                begin = time.perf_counter()
                if name in RECIPES:
                    image = by_recipe(name, network, photo, layer, evaluations)
                else:
                    settings = preset(
                        "reconstruct", name.removeprefix("impasto "), size=SIZE[0], evaluations=evaluations
                    )
                    image = by_impasto(precise if settings.precision == "float32" else network, photo, layer, settings)
                seconds = time.perf_counter() - begin
                saved = quantise(image)
                after = f"relu{layer[4:]}"
                errors = feature_error(precise, saved, photo, [layer, after])
                decibels = psnr(saved, photo)
                found.append({"e": errors[layer], "e_relu": errors[after], "psnr": decibels, "seconds": seconds})
            mean = {key: round(statistics.mean(each[key] for each in found), 4) for key in found[0]}
            row = next((each for each in rows if (each["recipe"], each["layer"]) == (name, layer)), None)
            if row is None:
                row = {"recipe": name, "layer": layer}
                rows.append(row)
            row |= {"seconds": mean["seconds"]} if seconds_only else mean | {"pictures": len(found)}
            print(row, flush=True)
            keep("inversion", __doc__ or "", rows, **same)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=EXAMPLES, help="folder of photographs, of which eight are taken, evenly by name"
    )
    parser.add_argument("--evaluations", type=int, default=350)
    parser.add_argument("--recipes", nargs="+", default=["impasto accurate", "impasto default", *RECIPES])
    parser.add_argument("--layers", nargs="+", default=LAYERS, choices=LAYERS)
    parser.add_argument("--seconds", action="store_true", help="measure only the seconds again, on one photograph")
    parser.add_argument("--threads", type=int, default=THREADS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    files = sorted(path for path in asked.folder.iterdir() if path.suffix in (".jpg", ".png", ".webp"))
    main(
        files[:: max(1, len(files) // 8)][:8],
        asked.evaluations,
        asked.recipes,
        asked.layers,
        seconds_only=asked.seconds,
    )
