"""A processor without AVX-512 and native bfloat16, as most laptops have; oneDNN and PyTorch are told to do without."""

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from command import pixels, read_json, save_pictures

MODEST = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
RUN = ("transfer", "photo.png", "painting.png", "--size", "48", "--steps", "3", "--frames", "0", "--threads", "1", "-q")
RUNS = {
    "auto": RUN,
    "float32": (*RUN, "--precision", "float32"),
    "slow": (
        *("invert", "photo.png", "--layer", "conv2_1", "--size", "16", "--steps", "1", "--frames", "0"),
        *("--precision", "bfloat16"),
    ),
}
PROGRAM = """
import json, sys
from impasto.cli.app import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as ended:
        assert not ended.code, ended.code
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="for x86 alone"),
]


@dataclass(frozen=True)
class Done:
    """The folder of the runs, and what was said."""

    desk: Path
    err: str

    def provenance(self, name: str) -> str:
        return (self.desk / name / "run.toml").read_text("utf-8").partition("[provenance]")[2]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """All runs, made by one program."""
    desk = tmp_path_factory.mktemp("modest")
    save_pictures(desk)
    words = json.dumps([[*words, "-o", name] for name, words in RUNS.items()])
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, words],
        cwd=desk,
        env={**os.environ, **MODEST},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return Done(desk, ended.stderr)


def test_precision_is_float32_unless_another_is_asked_for(done: Done) -> None:
    for name in ("auto", "float32"):
        assert read_json(done.desk / name / "summary.json")["status"] == "done"
    assert 'precision = "float32"\n' in done.provenance("auto")
    assert (pixels(done.desk / "auto" / "result.png") == pixels(done.desk / "float32" / "result.png")).all()


def test_bfloat16_without_support_works_and_is_said_to_be_slow(done: Done) -> None:
    assert "impasto: this processor has no bfloat16, which is many times slower than --precision" in done.err
    assert 'precision = "bfloat16"\n' in done.provenance("slow")
