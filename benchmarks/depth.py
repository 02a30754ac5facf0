"""What each depth of five networks keeps of a picture, trained and untrained: python benchmarks/depth.py [SIDE].

One recipe for all: L-BFGS on Fourier coefficients from white noise, no priors. Each row is kept as soon as it is
measured. Needs the packages that `onnx_networks.py` names, and the extra networks.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import EXAMPLES, ROOT, keep
from onnx_networks import OPEN_NSFW, dino, thin_resnet
from torch import nn

from impasto.images.files import load_image, save_image
from impasto.images.image import psnr, quantise, resize
from impasto.modules.preprocess import PREPROCESSES, Preprocess
from impasto.modules.states import untrain
from impasto.networks.catalogue import Choice
from impasto.networks.network import Network
from impasto.objectives.objective import content, prior
from impasto.objectives.priors import out_of_range
from impasto.synthesis.composition import Composition
from impasto.synthesis.inits import noise
from impasto.synthesis.lbfgs import lbfgs
from impasto.synthesis.loop import synthesise
from impasto.synthesis.parameterisations import Fourier
from impasto.synthesis.schedules import single
from impasto.tasks.recipes import RANGE_WEIGHT

sys.path.insert(0, str(ROOT / "examples"))
from networks import trained_efficientnet_lite0, trained_squeezenet

PICTURE = EXAMPLES / "red-panda.webp"
EVALUATIONS, EXPONENT, HISTORY, SEED = 350, 0.75, 100, 0
PICTURES = Path(sys.argv[2]) if len(sys.argv) > 2 else None


@dataclass(frozen=True)
class Subject:
    """A network, and the layers that are inverted, from shallow to deep."""

    name: str
    layers: tuple[str, ...]
    trained: Callable[[], Network]
    untrained: Callable[[], Network]


def of_module(name: str, layers: tuple[str, ...], make: Callable[[], nn.Module], preprocess: Preprocess) -> Subject:
    def random() -> Network:
        module = make()
        untrain(module, preprocess, SEED)
        return Network.from_module(module, preprocess)

    return Subject(name, layers, lambda: Network.from_module(make(), preprocess), random)


SUBJECTS = (
    of_module(
        "SqueezeNet 1.1", ("relu1", "fire3", "fire5", "fire7", "fire9"), trained_squeezenet, PREPROCESSES["caffe"]
    ),
    of_module(
        "EfficientNet-Lite0",
        ("relu0", "_blocks.2", "_blocks.4", "_blocks.10", "_blocks.15"),
        trained_efficientnet_lite0,
        PREPROCESSES["imagenet"],
    ),
    of_module("ResNet-50-thin", ("relu1", "stage0", "stage1", "stage2", "stage3"), thin_resnet, OPEN_NSFW),
    Subject(
        "VGG-16",
        ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
        lambda: Choice("vgg16").open("float32"),
        lambda: Choice("vgg16", random_weights=SEED).open("float32"),
    ),
    of_module(
        "DINOv2 ViT-S/14", ("blocks.0", "blocks.2", "blocks.5", "blocks.8", "blocks.11"), dino, PREPROCESSES["imagenet"]
    ),
)


def inverted(network: Network, layer: str, side: int) -> dict[str, Any]:
    """Error at the layer and PSNR of the inversion, as saved in 8 bits; `blank` is the error of a grey picture."""
    photo = resize(load_image(PICTURE), (side, side))
    composition = Composition(
        init=noise(SEED),
        objective=content(photo, [layer]) + prior("range", RANGE_WEIGHT, out_of_range, reach_px=0),
        schedule=single((side, side), steps=EVALUATIONS),
        parameterisation=Fourier(EXPONENT),
        optimiser=lbfgs(history=HISTORY),
        evaluations=EVALUATIONS,
    )
    begun = time.process_time()
    *_, last = synthesise(composition, network)
    found = quantise(last.image)
    if PICTURES is not None:
        save_image(found, PICTURES / f"{network.name}-{layer}-{begun:.0f}.png")
    with torch.no_grad():
        wanted, own, blank = (network(each, [layer])[layer] for each in (photo, found, torch.full_like(photo, 0.5)))
    return {
        "e": round(float((own - wanted).norm() / wanted.norm()), 4),
        "blank": round(float((blank - wanted).norm() / wanted.norm()), 3),
        "psnr": round(float(psnr(found, photo)), 2),
        "numbers": wanted.numel(),
        "seconds": round(time.process_time() - begun, 1),
    }


def main(side: int) -> None:
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for subject in SUBJECTS:
        made: Mapping[str, Callable[[], Network]] = {"trained": subject.trained, "untrained": subject.untrained}
        for weights, opened in made.items():
            network = opened()
            for layer in subject.layers:
                row = {"network": subject.name, "weights": weights, "layer": layer, "stride": network.stride(layer)}
                rows.append({**row, **inverted(network, layer, side)})
                print(rows[-1], flush=True)
                keep("depth", "One picture, one seed.", rows, side=side, evaluations=EVALUATIONS, picture=PICTURE.name)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 224)
