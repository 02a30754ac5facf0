"""Seconds for an evaluation, everything included, against the bare network.

The bare network is the same convolutions, ReLUs and poolings as a plain nn.Sequential, to the deepest layer that the
transfer reads, in the same precision and memory format, forward and backward to the input, without losses or optimiser.
impasto's figure is that of whole steps of the preset `classic`, optimiser included, divided by their evaluations.
The two take turns.
"""

import argparse
import statistics
import time
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from common import EXAMPLES, THREADS, keep
from torch import nn

from impasto import load_image, open_network, preset, resize, single, synthesise, transfer
from impasto.networks.network import Network
from impasto.networks.steps import Convolution, Rectifier


def bare(network: Network, deepest: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in islice(network.layers.values(), list(network.layers).index(deepest) + 1):
        if isinstance(layer.step, Convolution):
            weight, bias = layer.step.weight, layer.step.bias
            assert bias is not None
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            convolution.weight, convolution.bias = nn.Parameter(weight), nn.Parameter(bias)
            layers.append(convolution)
        else:
            layers.append(nn.ReLU(inplace=True) if isinstance(layer.step, Rectifier) else nn.MaxPool2d(2))
    return nn.Sequential(*layers).requires_grad_(False)


def measure(size_px: int, rounds: int) -> dict[str, Any]:
    size = (size_px, size_px)
    photo = resize(load_image(EXAMPLES / "schwerin-palace.webp"), size)
    painting = load_image(EXAMPLES / "church-at-auvers.webp")
    network = open_network("vgg16", padding="replicate")
    settings = preset("transfer", "classic", size=size_px)
    composition = replace(transfer(photo, [painting], settings), schedule=single(size, 10**6))
    plain = bare(network, max(composition.objective.layers(), key=list(network.layers).index))
    steps = synthesise(composition, network)
    counted = next(steps).evaluations

    def plain_seconds() -> float:
        begin = time.perf_counter()
        variable = photo.to(network.precision, memory_format=torch.channels_last).requires_grad_()
        found = plain(variable)
        found.backward(torch.ones_like(found))
        return time.perf_counter() - begin

    def step_seconds() -> float:
        nonlocal counted
        begin = time.perf_counter()
        iterate = next(steps)
        seconds = time.perf_counter() - begin
        each, counted = seconds / (iterate.evaluations - counted), iterate.evaluations
        return each

    for _ in range(25):  # until L-BFGS remembers all it will
        step_seconds()
    plain_seconds()
    pairs = [(plain_seconds(), step_seconds()) for _ in range(rounds)]
    return {
        "size_px": size_px,
        "precision": str(network.precision).removeprefix("torch."),
        "bare_seconds": round(statistics.median(p for p, _ in pairs), 4),
        "evaluation_seconds": round(statistics.median(s for _, s in pairs), 4),
        "median_ratio": round(statistics.median(s / p for p, s in pairs), 3),
        "pairs": rounds,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--rounds", type=int, default=25)
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    rows = []
    for size_px in asked.sizes:
        rows.append(measure(size_px, asked.rounds))
        print(rows[-1], flush=True)
    keep("step_cost", "Seconds for an evaluation against the bare network", rows)
