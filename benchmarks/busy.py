"""A transfer on a quiet and on a busy machine, with the limit on waiting (impasto.waiting) and without it, in turns.

Busy means that as many other programs as cores compute all the time.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from common import EXAMPLES, THREADS, keep

from impasto.waiting import NAMES

# The runtimes' own values, so that the program finds that somebody has decided: GNU's without a policy, from its source
# (libgomp/env.c), and LLVM's and Intel's 200 ms.
UNBOUND = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}
QUIET_AT_MOST = 1.03  # bounded / unbounded
BUSY_AT_MOST = 2.3  # bounded, busy / quiet


def seconds(desk: Path, size_px: int, steps: int, *, bounded: bool) -> float:
    """Wall seconds of the whole command."""
    pictures = [str(EXAMPLES / f"{name}.webp") for name in ("schwerin-palace", "church-at-auvers")]
    command = [sys.executable, "-m", "impasto", "transfer", *pictures, "--size", str(size_px), "--steps", str(steps),
               "--threads", str(THREADS), "--quiet", "--force", "--out", str(desk / "run")]  # fmt: skip
    undecided = {name: value for name, value in os.environ.items() if name not in NAMES}
    start = time.monotonic()
    subprocess.run(command, env=undecided | ({} if bounded else UNBOUND), check=True, capture_output=True)
    return time.monotonic() - start


@contextmanager
def others(programs: int) -> Iterator[None]:
    """The given number of programs that only compute."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(programs)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def main(size_px: int, steps: int, turns: int) -> None:
    cases = list(product((0, os.cpu_count() or 1), (True, False)))
    found: dict[tuple[int, bool], list[float]] = {case: [] for case in cases}
    loads = []
    with tempfile.TemporaryDirectory() as place:
        seconds(Path(place), size_px, 1, bounded=True)  # files are read once before
        for turn in range(turns):
            loads.append(round(os.getloadavg()[0], 1))
            for programs, bounded in cases if turn % 2 == 0 else reversed(cases):
                with others(programs):
                    took = seconds(Path(place), size_px, steps, bounded=bounded)
                found[programs, bounded].append(took)
                print(f"{programs} busy programs, {'bounded' if bounded else 'unbounded'}: {took:.1f} s", flush=True)
    middle = {case: statistics.median(times) for case, times in found.items()}
    quiet = statistics.median(a / b for a, b in zip(found[0, True], found[0, False], strict=True))
    busy = middle[cases[2][0], True] / middle[0, True]
    rows: list[dict[str, Any]] = [
        {
            "busy_programs": programs,
            "waiting": "bounded" if bounded else "unbounded",
            "seconds": round(middle[programs, bounded], 1),
            "from": round(min(times), 1),
            "to": round(max(times), 1),
            "of_quiet": round(middle[programs, bounded] / middle[0, bounded], 2),
        }
        for (programs, bounded), times in found.items()
    ]
    keep("busy", f"transfer of {size_px} px, {steps} steps", rows, turns=turns, load_before_each_turn=loads,
         quiet_bounded_of_unbounded=round(quiet, 3), busy_of_quiet_bounded=round(busy, 2))  # fmt: skip
    print(f"quiet, bounded / unbounded: {quiet:.3f} (at most {QUIET_AT_MOST})")
    print(f"bounded, busy / quiet: {busy:.2f} (at most {BUSY_AT_MOST})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    main(asked.size, asked.steps, asked.turns)
