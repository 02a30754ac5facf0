"""Tiles against the whole picture: the cost per pixel if both fit, and the peak of memory over size.

Cost: evaluations of the objective of the preset `classic`, whole and in tiles in turns, in one process. Memory: a
style transfer by that preset at one size, a few evaluations, each in a process of its own.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from common import EXAMPLES, THREADS, keep, kept

from impasto import bind_tiled, load_image, open_network, preset, resize, single, synthesise, transfer
from impasto.amounts import parse_memory
from impasto.machine import peak_memory_mb
from impasto.runs.fitting import plan_memory, planned, within
from impasto.tasks.parts import Part
from impasto.tiles.budget import limits
from impasto.tiles.tiler import do_nothing

PHOTO, PAINTING = EXAMPLES / "schwerin-palace.webp", EXAMPLES / "cafe-terrace-at-night.webp"
EVALUATIONS = 3
BUDGETS = {"whole": "1TB", "auto": "auto", "2GB": "2GB", "16GB": "16GB"}


def cost(size_px: int, tiles_px: list[int], rounds: int) -> list[dict[str, Any]]:
    size = (size_px, size_px)
    photo = resize(load_image(PHOTO), size)
    network = open_network(padding="replicate")
    objective = transfer(photo, [load_image(PAINTING)], preset("transfer", "classic", size=size_px)).objective
    whole = objective.bind(network, size)
    tiled = {tile: bind_tiled(objective, network, size, (tile, tile)) for tile in tiles_px}

    def seconds(evaluate: Callable[[torch.Tensor], object]) -> float:
        begin = time.perf_counter()
        evaluate(photo)
        return time.perf_counter() - begin

    seconds(whole.losses_and_gradient)
    times: dict[int, list[tuple[float, float]]] = {tile: [] for tile in tiles_px}
    for _ in range(rounds):
        for tile, criterion in tiled.items():
            times[tile].append((seconds(whole.losses_and_gradient), seconds(criterion.losses_and_gradient)))
    return [
        {
            "size_px": size_px,
            "tile_px": tile,
            "tiles": len(tiled[tile].tiles),
            "whole_us_per_px": round(statistics.median(w for w, _ in pairs) / size_px**2 * 1e6, 3),
            "tiled_us_per_px": round(statistics.median(t for _, t in pairs) / size_px**2 * 1e6, 3),
            "median_ratio": round(statistics.median(t / w for w, t in pairs), 3),
            "pairs": rounds,
        }
        for tile, pairs in times.items()
    ]


def use(size_px: int, memory: str) -> None:
    """A few evaluations at one size, within a memory."""
    network = open_network(padding="replicate")
    settings = preset("transfer", "classic", size=size_px, smallest=size_px, memory=BUDGETS[memory])
    photo = resize(load_image(PHOTO), (size_px, size_px))
    composition = transfer(photo, [load_image(PAINTING)], settings)
    composition = replace(composition, schedule=single((size_px, size_px), EVALUATIONS), evaluations=EVALUATIONS)
    allowed = limits(parse_memory(settings.memory), settings.tile, network.device)
    allowed = replace(allowed, memory=1e15) if memory == "whole" else allowed
    plan = plan_memory(composition.objective, network, allowed, settings)
    for _ in synthesise(
        within(Part("", composition), plan, settings).composition, network, None, planned(plan, do_nothing)
    ):
        pass
    core = plan.core((size_px, size_px))
    print("x".join(map(str, core)) if core else "–", plan.history((size_px, size_px)), peak_memory_mb(network.device))


def peak(size_px: int, memory: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--use", memory, "--sizes", str(size_px)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return {
        "size_px": size_px, "memory": memory, "tile": found[0], "history": int(found[1]), "peak_mb": float(found[2])
    }  # fmt: skip


def main(asked: argparse.Namespace) -> None:
    if asked.tiles:
        rows = [row for size_px in asked.sizes for row in cost(size_px, asked.tiles, asked.rounds)]
        print(*rows, sep="\n")
        keep("tiles_cost", "Seconds for an evaluation in tiles against the whole picture", rows)
        return
    rows = [row for row in kept("tiles_memory")["rows"] if row["size_px"] not in asked.sizes]
    for size_px in asked.sizes:
        for memory in asked.memory:
            rows.append(peak(size_px, memory))
            print(rows[-1], flush=True)
            keep("tiles_memory", "Peak memory of the process, whole and in tiles", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--tiles", type=int, nargs="*", default=[], help="measure the cost with these, not the memory")
    parser.add_argument("--memory", nargs="+", choices=BUDGETS, default=["whole", "2GB"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--use", choices=BUDGETS)
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    if given.use:
        use(given.sizes[0], given.use)
    else:
        main(given)
