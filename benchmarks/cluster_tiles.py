"""Evaluations of one picture on the workers of a Ray cluster, against the same tiles in this process.

Without an address the nodes are processes of this machine, of one core each: the figures show the overhead of the
workers and the bytes sent. With --cluster ADDRESS they show the speed of a real cluster.
"""

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from common import EXAMPLES, keep

from impasto import bind_tiled, load_image, preset, resize, transfer
from impasto.cluster.connection import connected
from impasto.cluster.crew import Crew
from impasto.cluster.plan import CrewHelper, equipment
from impasto.cluster.tiler import Traffic, cluster_tiler
from impasto.tasks.parts import network_of
from impasto.tiles.budget import Limits, MemoryPlan
from impasto.tiles.tiler import do_nothing

PHOTO, PAINTING = EXAMPLES / "schwerin-palace.webp", EXAMPLES / "cafe-terrace-at-night.webp"
STORE_BYTES = 512 * 2**20


@contextmanager
def nodes(count: int) -> Iterator[str]:
    """A cluster on this machine: a head that does no work, and nodes of one core each."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        yield str(cluster.address)
    finally:
        cluster.shutdown()


def measure(address: str, size_px: int, workers: int, evaluations: int) -> dict[str, Any]:
    size = (size_px, size_px)
    photo = resize(load_image(PHOTO), size)
    settings = preset("transfer", "classic", size=size_px, threads=1)
    network, objective = network_of(settings, "auto"), transfer(photo, [load_image(PAINTING)], settings).objective

    def seconds(evaluate: Callable[[torch.Tensor], object]) -> float:
        begin = time.perf_counter()
        evaluate(photo)
        return time.perf_counter() - begin

    with connected(address) as ray:
        crew, traffic = Crew(ray, equipment(settings), 1, most=workers), Traffic()
        plan = MemoryPlan(network, objective, Limits(math.inf), settings.history)
        core = CrewHelper(crew).core(plan, size) or (256, 256)
        here = bind_tiled(objective, network, size, core)
        begin = time.perf_counter()
        there = bind_tiled(
            *(objective, network, size, core), make=partial(cluster_tiler, crew, traffic, network, core, do_nothing)
        )
        binding = time.perf_counter() - begin
        seconds(there.losses_and_gradient)  # what comes first is slow
        traffic.evaluations = traffic.sent_bytes = traffic.returned_bytes = 0
        pairs = [(seconds(here.losses_and_gradient), seconds(there.losses_and_gradient)) for _ in range(evaluations)]
        return {
            "size_px": size_px,
            "tile": f"{core[1]} × {core[0]}",
            "tiles": len(there.tiles),
            "workers": len(crew.workers),
            "seconds_to_bind": round(binding, 2),
            "seconds_an_evaluation": round(statistics.median(there for _, there in pairs), 2),
            "seconds_here_on_one_core": round(statistics.median(here for here, _ in pairs), 2),
            "ratio": round(statistics.median(there / here for here, there in pairs), 3),
            "MB_sent": round(traffic.sent_bytes / traffic.evaluations / 1e6, 2),
            "MB_returned": round(traffic.returned_bytes / traffic.evaluations / 1e6, 2),
        }


def main(asked: argparse.Namespace) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    rows: list[dict[str, Any]] = []
    for workers in asked.workers:
        for size_px in asked.sizes:
            if asked.cluster is None:
                with nodes(workers) as address:
                    rows.append(measure(address, size_px, workers, asked.evaluations))
            else:
                rows.append(measure(asked.cluster, size_px, workers, asked.evaluations))
            print(rows[-1], flush=True)
    where = "nodes are processes of this machine" if asked.cluster is None else "a cluster of machines"
    load = round(os.getloadavg()[0], 1)
    keep("cluster_tiles", "Evaluations on a cluster's workers", rows, nodes=where, load_average=load)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers, a row for each")
    parser.add_argument("--evaluations", type=int, default=3)
    parser.add_argument("--cluster", help="address of a cluster to use in place of nodes on this machine")
    torch.set_num_threads(1)
    main(parser.parse_args())
