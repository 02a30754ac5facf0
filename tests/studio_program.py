"""The studio as a program of its own, for tests."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SEED = Path(__file__).parents[1] / "examples"


class Studio:
    """A running studio: its URL, its folder of runs, and its process."""

    def __init__(self, runs: Path, *options: str, environment: Mapping[str, str] | None = None) -> None:
        words = [sys.executable, "-m", "impasto", "studio", "--runs", str(runs), "--no-browser", *options]
        self.runs = runs
        self.process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), self.process.communicate()

    def kill(self) -> None:
        """End the process as the system would."""
        self.process.kill()
        self.process.communicate()

    def end(self) -> str:
        """Ctrl-C; what the studio has said."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=60)[1]


@contextmanager
def studio(runs: Path, *options: str) -> Iterator[Studio]:
    running = Studio(runs, *options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end()
