"""A pass forward and back through a module by hand and by autograd: processor time and memory, one process each.

The module is SqueezeNet 1.1 as in torchvision, with random weights, read after each group of layers of one stride.
"""

import argparse
import subprocess
import sys
import time

import torch
from common import ROOT

from impasto import Network
from impasto.machine import peak_memory_mb
from impasto.networks.translate import Translated

sys.path.insert(0, str(ROOT / "tests"))
from toy_modules import SqueezeNet11

READ = ["features.4", "features.7", "features.12"]  # at strides 4, 8 and 16
WAYS = ("by hand", "autograd")
PASSES = 8


def measure(way: str, size_px: int) -> tuple[float, float]:
    """The least processor time of a pass in seconds, and the memory in MB above that of the opened network."""
    torch.manual_seed(0)
    computation = Network.from_module(SqueezeNet11()).computation
    assert isinstance(computation, Translated)
    passes = computation.by_hand if way == "by hand" else computation.hooked
    image = torch.rand(1, 3, size_px, size_px)
    before, seconds = peak_memory_mb(torch.device("cpu")), list[float]()
    for _ in range(PASSES):
        began = time.process_time()
        passes.trace(image, READ).back(lambda _, maps, later: maps.clone() if later is None else later.add_(maps))
        seconds.append(time.process_time() - began)
    return min(seconds), peak_memory_mb(torch.device("cpu")) - before


def main(sizes: list[int]) -> None:
    for size_px in sizes:
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, "--sizes", str(size_px)]
            print(size_px, way, subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 512])
    parser.add_argument("--way", choices=WAYS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.way:
        print("{:.3f} s, {:.0f} MB".format(*measure(asked.way, asked.sizes[0])))
    else:
        main(asked.sizes)
