"""Seconds to the same loss: impasto against the reference, on exactly the reference's objective and picture sizes.

Both are judged by the reference's own float32 function on the saved picture (clipped, 8 bits). They run in turns,
several pairs; the seconds are of the descent alone, with impasto's targets included. The target at N evaluations is the
lowest saved loss that the reference has reached by then, measured every 10 evaluations.
"""

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import reference
import torch
from common import EXAMPLES, THREADS, WEIGHTS, keep, kept

from impasto.images.image import Image, Size, size_of
from impasto.networks.catalogue import open_network
from impasto.objectives.distances import mean_squared_error
from impasto.objectives.objective import Objective, content
from impasto.objectives.representations import gram_matrix
from impasto.objectives.terms import Match
from impasto.synthesis.composition import Composition
from impasto.synthesis.inits import from_image
from impasto.synthesis.lbfgs import lbfgs
from impasto.synthesis.loop import synthesise
from impasto.synthesis.schedules import Stage

CHANNELS = {"relu1_1": 64, "relu2_1": 128, "relu3_1": 256, "relu4_1": 512, "relu5_1": 512}


def in_proportion(picture: Size, canvas: Size, full: Size) -> Size:
    """The style picture's size, scaled like the canvas."""
    fraction = canvas[0] / full[0]
    return (round(picture[0] * fraction), round(picture[1] * fraction))


def objective(photo: Image, painting: Image) -> Objective:
    """The reference's objective in impasto's words: its Gram matrices are divided by channels once more."""
    weights = {layer: 100 / channels**2 for layer, channels in CHANNELS.items()}
    framing = partial(in_proportion, full=size_of(photo))
    style = Match("style", painting, weights, gram_matrix, framing, mean_squared_error)
    return content(photo, {"relu4_2": 5.0}, distance=mean_squared_error) + Objective((style,))


def schedule(size: Size, steps: int) -> tuple[Stage, ...]:
    """Half size first: 60 steps at a quarter of the cost."""
    return (Stage((size[0] // 2, size[1] // 2), 60), Stage(size, steps))


def run_reference(judge: reference.Objective, photo: torch.Tensor, most: int) -> list[tuple[int, float, float]]:
    """(evaluations, seconds, loss of the saved picture)."""
    points = list(reference.optimise(judge, photo, most))
    chosen = [point for point in points if point.evaluations % 10 == 0]
    with torch.no_grad():
        return [(p.evaluations, p.seconds, float(judge(reference.saved(p.picture)))) for p in chosen]


def run_impasto(
    judge: reference.Objective, photo: Image, painting: Image, steps: int
) -> list[tuple[int, float, float]]:
    """(evaluations, seconds, loss of the saved picture) of impasto."""
    network = open_network("vgg16")
    composition = Composition(
        from_image(photo), objective(photo, painting), schedule(size_of(photo), steps), optimiser=lbfgs()
    )
    kept = []
    begin = time.perf_counter()
    for iterate in synthesise(composition, network):
        if iterate.stage == iterate.stages and iterate.step % 5 == 0:
            kept.append((iterate.evaluations, time.perf_counter() - begin, iterate.image))
    with torch.no_grad():
        return [(count, seconds, float(judge(reference.saved(image * 255)))) for count, seconds, image in kept]


def first_at(points: list[tuple[int, float, float]], goal: float) -> tuple[int | None, float | None]:
    reached = [(count, seconds) for count, seconds, loss in points if loss <= goal]
    return reached[0] if reached else (None, None)


def compare(size_px: int, most: int, pairs: int, photo_path: Path, painting_path: Path) -> list[dict[str, Any]]:
    photo, painting = reference.load(photo_path, size_px), reference.load(painting_path, size_px)
    judge = reference.Objective.of(reference.vgg16(WEIGHTS), photo, painting)
    found: dict[int, list[dict[str, float | int | None]]] = {}
    for pair in range(pairs):
        theirs = run_reference(judge, photo, most)
        ours = run_impasto(judge, photo / 255, painting / 255, steps=max(60, most // 4))
        for goal_at in (n for n in (100, 200, 500) if n <= most):
            before = [point for point in theirs if point[0] <= goal_at]
            goal = min(loss for _, _, loss in before)
            count, seconds = first_at(ours, goal)
            entry = {"goal": goal, "reference_seconds": before[-1][1], "seconds": seconds, "evaluations": count}
            found.setdefault(goal_at, []).append(entry)
            print(f"{size_px} px, pair {pair + 1}, to the loss of {goal_at} evaluations: {entry}", flush=True)
        print(f"  impasto's last: {ours[-1]}, reference's last: {theirs[-1]}", flush=True)
    rows = []
    for goal_at, entries in found.items():
        ratios = [e["seconds"] / e["reference_seconds"] for e in entries if e["seconds"] and e["reference_seconds"]]
        rows.append(
            {
                "size_px": size_px,
                "reference_evaluations": goal_at,
                "saved_loss": round(statistics.median(float(e["goal"] or 0) for e in entries)),
                "reference_seconds": round(statistics.median(float(e["reference_seconds"] or 0) for e in entries), 1),
                "impasto_seconds": round(statistics.median(float(e["seconds"] or 0) for e in entries), 1),
                "impasto_evaluations": entries[0]["evaluations"],
                "median_ratio": round(statistics.median(ratios), 3) if len(ratios) == len(entries) else None,
                "pairs": len(entries),
            }
        )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--content", type=Path, default=EXAMPLES / "schwerin-palace.webp")
    parser.add_argument("--style", type=Path, default=EXAMPLES / "cafe-terrace-at-night.webp")
    parser.add_argument("--sizes", type=int, nargs="+", default=[320, 512])
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    pictures = {"content": asked.content.name, "style": asked.style.name}
    before = kept("same_loss")
    rows = before["rows"] if before.get("pictures") == pictures else []
    for size_px in asked.sizes:
        found = compare(size_px, asked.evaluations, asked.pairs, asked.content, asked.style)
        again = {(row["size_px"], row["reference_evaluations"]) for row in found}
        rows = [row for row in rows if (row["size_px"], row["reference_evaluations"]) not in again] + found
        rows.sort(key=lambda row: (row["size_px"], row["reference_evaluations"]))
        keep("same_loss", "Seconds to the reference's loss of the saved picture", rows, pictures=pictures)
