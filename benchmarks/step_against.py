"""Seconds for losses and gradient of the preset `classic` in this checkout against another checkout, in turns.

    python benchmarks/step_against.py ../older

Each checkout has its own process, which waits while the other one computes. Wall time is what a user sees. If the
machine is busy, use --threads 1 and processor time: threads that wait for each other use processor time too. Results
are not kept: they are for whoever changes the passes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from common import EXAMPLES, ROOT, THREADS

from impasto import load_image, open_network, preset, resize, transfer

WARM_UP = 2


def answer(size_px: int, threads: int) -> None:
    """For each line read, one evaluation: writes its wall and processor seconds."""
    torch.set_num_threads(threads)
    size = (size_px, size_px)
    photo = resize(load_image(EXAMPLES / "schwerin-palace.webp"), size)
    painting = load_image(EXAMPLES / "church-at-auvers.webp")
    objective = transfer(photo, [painting], preset("transfer", "classic", size=size_px)).objective
    criterion = objective.bind(open_network(padding="replicate"), size)
    for _ in range(WARM_UP):
        criterion.losses_and_gradient(photo)
    print("ready", flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter(), time.process_time()
        criterion.losses_and_gradient(photo)
        print(time.perf_counter() - begin[0], time.process_time() - begin[1], flush=True)


def start(checkout: Path, size_px: int, threads: int) -> subprocess.Popen[str]:
    """A process that measures the code of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    command = [sys.executable, __file__, str(checkout), "--answer", str(size_px), "--threads", str(threads)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ask(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Wall and processor seconds of one evaluation."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    wall, processor = map(float, process.stdout.readline().split())
    return wall, processor


def compare(checkout: Path, size_px: int, rounds: int, threads: int) -> None:
    """Print medians of both, and the median of the ratios taken pair by pair."""
    processes = start(checkout, size_px, threads), start(ROOT, size_px, threads)
    pairs = []
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        found = {each: ask(processes[each]) for each in order}
        pairs.append((found[0], found[1]))
    for process in processes:
        process.communicate()
    for place, clock in enumerate(("wall", "processor")):
        there, here = ([pair[side][place] for pair in pairs] for side in (0, 1))
        ratio = statistics.median(b / a for a, b in zip(there, here, strict=True))
        before, after = statistics.median(there), statistics.median(here)
        print(f"{size_px} px, {clock}: {before:.4f} s there, {after:.4f} s here, median ratio {ratio:.3f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--answer", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.answer:
        answer(asked.answer, asked.threads)
    else:
        for side in asked.sizes:
            compare(asked.checkout.resolve(), side, asked.rounds, asked.threads)
