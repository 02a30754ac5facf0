"""How long PyTorch's threads spin while they wait for each other: briefly, because spinning slows a busy machine down.

OpenMP's threads spin before they sleep, for milliseconds by default. If other programs keep the processors busy, each
spinning thread holds up the thread it waits for. A bound of microseconds costs almost nothing on a quiet machine (see
docs/benchmarks.md). OpenMP reads its variables when PyTorch is loaded, so they must be set before that. Only
impasto's own programs and workers set them: a host that imports the library decides for itself.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# GNU's runtime counts turns of the loop; LLVM's and Intel's count milliseconds, 200 by default.
SPINS = "1000"
MILLISECONDS = "1"
POLICY = "OMP_WAIT_POLICY"  # every runtime reads this one
NAMES = ("GOMP_SPINCOUNT", POLICY, "KMP_BLOCKTIME", "KMP_LIBRARY")


def missing(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that bound the waiting, without those that the environment has decided already."""
    if POLICY in environment:
        return {}
    bounds = {}
    if "GOMP_SPINCOUNT" not in environment:
        bounds["GOMP_SPINCOUNT"] = SPINS
    if not {"KMP_BLOCKTIME", "KMP_LIBRARY"} & set(environment):
        bounds["KMP_BLOCKTIME"] = MILLISECONDS
    return bounds


def wait_briefly() -> None:
    """Bound the waiting in this process and those it starts. Call this function before PyTorch is loaded."""
    os.environ.update(missing(os.environ))


@contextmanager
def for_children() -> Iterator[None]:
    """Bound the waiting in processes that are started inside the block; the environment is restored at its end."""
    added = missing(os.environ)
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def for_workers() -> dict[str, str]:
    """The variables for workers on other machines: this process's own values, and the bounds that are missing."""
    own = {name: os.environ[name] for name in NAMES if name in os.environ}
    return own | missing(os.environ)
