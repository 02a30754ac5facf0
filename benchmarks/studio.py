"""The studio's figures: the first picture, updates a second, the cost of watching, nine ways, memory after many runs.

Costs are seconds of the processor, which do not depend on what else the machine does; waits are seconds of the clock.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from common import EXAMPLES, keep

from impasto import Recorder, RunSpec, run
from impasto.desk.desk import SMALL, WAYS
from impasto.jobs.orders import Sheet
from impasto.jobs.previews import Previews
from impasto.jobs.queue import Job, Jobs
from impasto.studio.easel import LOOK_SECONDS
from impasto.synthesis.loop import Iterate
from impasto.tasks.table import make_settings

PICTURES = (EXAMPLES / "kingfisher.webp", EXAMPLES / "night-cafe.webp")


def spec(**values: Any) -> RunSpec:
    return RunSpec(task="transfer", pictures=PICTURES, settings=make_settings("transfer", **{"frames": 0, **values}))


def watched(jobs: Jobs, job: Job, until: Callable[[Job], bool]) -> tuple[float, int]:
    """Seconds until something is true of a job, and how many pictures a page has seen of the job meanwhile."""
    begun, seen = time.monotonic(), set()
    while not until(now := jobs.job(job.number)):
        seen.add(now.preview and now.preview.step)
        time.sleep(LOOK_SECONDS)  # as the page does
    return time.monotonic() - begun, len(seen - {None})


def worker(jobs: Jobs) -> float:
    """Seconds of the processor that the worker has taken."""
    (process,) = [each for each in psutil.Process().children() if "spawn_main" in str(each.cmdline())]
    times = process.cpu_times()
    return float(times.user + times.system)


def waits(folder: Path) -> dict[str, Any]:
    """The first picture, updates a second and nine ways, once the worker is ready."""
    jobs = Jobs(folder)
    try:
        watched(jobs, jobs.add(spec(size=32, steps=1)), lambda job: job.ended)
        before = worker(jobs)
        job = jobs.add(spec(size=256, steps=100_000))
        first, _ = watched(jobs, job, lambda job: job.preview is not None)
        cost = worker(jobs) - before
        begun = time.monotonic()
        _, seen = watched(jobs, job, lambda job: time.monotonic() - begun > 20)
        jobs.stop(job.number)
        watched(jobs, job, lambda job: job.ended)
        before = worker(jobs)
        sheet = jobs.add(Sheet(spec(**SMALL), tuple(SMALL), **WAYS["strength and strokes"]))
        nine, _ = watched(jobs, sheet, lambda job: job.ended)
        return {
            "first_picture_s": round(first, 2),
            "first_picture_cpu_s": round(cost, 2),
            "updates_a_second": round(seen / 20, 2),
            "nine_ways_s": round(nine, 1),
            "nine_ways_cpu_s": round(worker(jobs) - before, 1),
        }
    finally:
        jobs.close()


class Clock(Recorder):
    """Seconds of the processor from the second step to the last, and the evaluations between."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, int]] = []

    def record(self, iterate: Iterate) -> None:
        self.marks.append((time.process_time(), iterate.evaluations))

    @property
    def cost(self) -> float:
        (begun, before), (ended, after) = self.marks[1], self.marks[-1]
        return (ended - begun) / (after - before)


def watching(folder: Path, pairs: int, size_px: int, steps: int) -> dict[str, Any]:
    """What an evaluation costs watched and unwatched, in turns; pictures are sent nowhere."""
    costs: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * pairs):
        is_watched, clock = number % 2 == 1, Clock()
        recorders = [Previews(lambda preview: None), clock] if is_watched else [clock]
        run(spec(size=size_px, smallest=size_px, steps=steps), folder / f"{number}", recorders=recorders)
        costs[is_watched].append(clock.cost)
    plain, seen = (statistics.median(costs[each]) for each in (False, True))
    return {
        "evaluation_cpu_s": round(plain, 4),
        "watched_cpu_s": round(seen, 4),
        "watching_percent": round(100 * (seen / plain - 1), 2),
    }


def memory(folder: Path, counts: list[int]) -> list[dict[str, Any]]:
    """Memory of the studio and of its worker at rest and after some runs."""
    from gradio_client import Client, handle_file

    words = [sys.executable, "-m", "impasto", "studio", "--runs", str(folder), "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program:
        assert program.stdout is not None
        try:
            client = Client(program.stdout.readline().strip(), verbose=False)
            time.sleep(5)
            rows: list[dict[str, Any]] = [{"runs": 0, **_memory(program.pid)}]
            for number in range(1, max(counts) + 1):
                pictures = [handle_file(str(picture)) for picture in PICTURES]
                job = client.predict("transfer", pictures, "default", {"size": 64, "steps": 3}, api_name="/paint")
                while client.predict(job["job"], api_name="/look")["state"] not in ("done", "failed"):
                    time.sleep(0.2)
                if number in counts:
                    rows.append({"runs": number, **_memory(program.pid)})
        finally:  # else an error would wait for a studio that does not end
            program.terminate()
    return rows


def _memory(pid: int) -> dict[str, float]:
    studio = psutil.Process(pid)
    (process,) = [each for each in studio.children() if "spawn_main" in str(each.cmdline())]
    return {f"{name}_mb": each.memory_info().rss // 2**20 for name, each in (("studio", studio), ("worker", process))}


def main(pairs: int, size_px: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        figures = watching(Path(folder), pairs, size_px, 15)
        print(figures, flush=True)
        rows = memory(Path(folder) / "memory", [1, 5, 10, 15, 20])
        print(*rows, sep="\n", flush=True)
        figures |= waits(Path(folder) / "waits")
        print(figures, flush=True)
    keep("studio", "The studio", rows, **figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="watched and unwatched runs to compare")
    parser.add_argument("--size", type=int, default=256, help="long side in pixels of these runs")
    asked = parser.parse_args()
    main(asked.pairs, asked.size)
