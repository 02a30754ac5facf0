"""The studio as a program of its own, for tests."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw

from command import save_pictures

AS_IT_IS = ("-m", "impasto")
# The studio with smaller candidates of fewer layers, and with fewer steps, on the pages Explore and Understand, which
# have no fields for them.
BRISK = """\
import impasto.desk.desk
from impasto.cli.program import program
from impasto.studio.understanding import QUESTIONS

impasto.desk.desk.SMALL = {"size": 32, "steps": 1, "frames": 0, "style_layers": "relu1_1,relu2_1"}
for _, settings in QUESTIONS.values():
    settings |= {"steps": 2}
program()
"""


def save_pictures_and_mask(folder: Path) -> Path:
    """photo.png, painting.png and box.png, a mask of the photo's middle, in a folder; the folder."""
    save_pictures(folder)
    mask = Image.new("L", (64, 48))
    ImageDraw.Draw(mask).rectangle((16, 12, 47, 35), fill=255)
    mask.save(folder / "box.png")
    return folder


class Studio:
    """A running studio: its URL, its folder of runs, and its process."""

    def __init__(
        self,
        runs: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = AS_IT_IS,
    ) -> None:
        words = [sys.executable, *program, "studio", "--runs", str(runs), "--no-browser", *options]
        self.runs = runs
        self._said = runs.with_name(f"{runs.name}-said.txt")
        with self._said.open("w") as said:  # a pipe that nobody reads would stop the studio once full
            self.process = subprocess.Popen(
                words,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
            )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), self.said()

    def ask(self, name: str, *given: object) -> Any:
        """What the studio answers a program that calls one of its functions."""
        function = f"{self.url}gradio_api/call/{name}"
        event = httpx.post(function, json={"data": given}, timeout=300).json()["event_id"]
        answer = httpx.get(f"{function}/{event}", timeout=300).text
        return json.loads(answer.rpartition("data: ")[2])[0]

    def said(self) -> str:
        """What the studio has written as errors."""
        return self._said.read_text()

    def kill(self) -> None:
        """End the process as the system would."""
        self.process.kill()
        self._close()

    def end(self) -> str:
        """Ctrl-C; what the studio has said."""
        self.process.send_signal(signal.SIGINT)
        self._close()
        return self.said()

    def _close(self) -> None:
        self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def studio(runs: Path, *options: str, program: Sequence[str] = AS_IT_IS) -> Iterator[Studio]:
    running = Studio(runs, *options, program=program)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end()
