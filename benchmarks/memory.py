"""Peak memory over size, impasto's preset `classic` against the reference, each in a process of its own."""

import argparse
import subprocess
import sys
from typing import Any

import reference
import torch
from common import EXAMPLES, THREADS, WEIGHTS, keep

from impasto.machine import peak_memory_mb

PHOTO, PAINTING = EXAMPLES / "schwerin-palace.webp", EXAMPLES / "cafe-terrace-at-night.webp"
EVALUATIONS = 4


def use_reference(size_px: int) -> None:
    photo, painting = reference.load(PHOTO, size_px), reference.load(PAINTING, size_px)
    objective = reference.Objective.of(reference.vgg16(WEIGHTS), photo, painting)
    list(reference.optimise(objective, photo, EVALUATIONS))


def use_impasto(size_px: int) -> None:
    from dataclasses import replace

    from impasto import load_image, open_network, preset, synthesise, transfer

    settings = preset("transfer", "classic", size=size_px, smallest=size_px)
    composition = transfer(load_image(PHOTO), [load_image(PAINTING)], settings)
    for _ in synthesise(replace(composition, evaluations=EVALUATIONS), open_network(padding="replicate")):
        pass


def use_nothing(size_px: int) -> None:
    """Memory of Python and PyTorch before a picture is loaded."""


USES = {"reference": use_reference, "impasto": use_impasto, "nothing": use_nothing}


def peak_mb(use: str, size_px: int) -> float:
    command = [sys.executable, __file__, "--use", use, "--sizes", str(size_px)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main(sizes: list[int]) -> None:
    rows: list[dict[str, Any]] = []
    for size_px in sizes:
        theirs, ours = peak_mb("reference", size_px), peak_mb("impasto", size_px)
        rows.append({"size_px": size_px, "reference_mb": theirs, "impasto_mb": ours, "ratio": round(ours / theirs, 3)})
        print(rows[-1], flush=True)
        keep("memory", "Peak memory of the process", rows, nothing_mb=peak_mb("nothing", 0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024, 2048])
    parser.add_argument("--use", choices=USES)
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    if asked.use:
        USES[asked.use](asked.sizes[0])
        print(peak_memory_mb(torch.device("cpu")))
    else:
        main(asked.sizes)
