"""A batch of small transfers: one after another, in two processes, and on a Ray cluster of two local nodes."""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import EXAMPLES, keep

CONTENTS = ("kingfisher", "neuschwanstein-castle", "red-panda", "schwerin-palace")
STYLES = ("church-at-auvers", "night-cafe")
STORE_BYTES = 80 * 2**20


def seconds(desk: Path, out: str, *words: str, contents: str = "contents") -> tuple[float, float]:
    """Wall seconds, and processor seconds of the command and its workers, without the nodes of a cluster."""
    command = [sys.executable, "-m", "impasto", "batch", contents, "--styles", "styles", "-q", "-o", out, *words]
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=desk, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - start, cpu


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(size_px: int, steps: int) -> None:
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        desk = Path(place)
        for folder, names in (("contents", CONTENTS), ("styles", STYLES), ("one", CONTENTS[:1])):
            (desk / folder).mkdir()
            for name in names:
                shutil.copy(EXAMPLES / f"{name}.webp", desk / folder)
        words = ("--size", str(size_px), "--steps", str(steps))
        runs = len(CONTENTS) * len(STYLES)
        trivial = ("--size", "32", "--smallest", "32", "--steps", "1", "--frames", "0")
        few, many = seconds(desk, "few", *trivial, contents="one")[1], seconds(desk, "many", *trivial)[1]
        overhead = (many - few) / (runs - len(STYLES))

        def measure(how: str, *more: str) -> None:
            taken, cpu = seconds(desk, how, *words, *more)
            folder = desk / how
            mb = size_of(folder) / runs / 1e6
            rows.append(
                {
                    "how": how.replace("_", " "),
                    "seconds": round(taken, 1),
                    "seconds_a_run": round(taken / runs, 2),
                    "processor_seconds_a_run": None if "--cluster" in more else round(cpu / runs, 2),
                    "MB_a_run": round(mb, 2),
                }
            )
            print(rows[-1], flush=True)

        measure("one_process,_one_thread", "--jobs", "1", "--threads", "1")
        measure("two_processes,_one_thread_each", "--jobs", "2")
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(2):
                cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
            measure("Ray,_two_nodes_of_one_core", "--cluster", cluster.address)
        finally:
            cluster.shutdown()
        measure("one_process,_two_threads", "--jobs", "1")
    about = f"{runs} transfers of {size_px} px, {steps} steps"
    load = round(os.getloadavg()[0], 1)
    keep("batch", about, rows, runs=about, processor_seconds_to_start=round(few - len(STYLES) * overhead, 1),
         processor_seconds_of_a_run_of_one_step=round(overhead, 2), load_average=load)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    asked = parser.parse_args()
    main(asked.size, asked.steps)
