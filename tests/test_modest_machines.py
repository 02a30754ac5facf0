"""A processor without AVX-512 and native bfloat16, as most laptops have; oneDNN and PyTorch are told to do without."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from command import pixels, read_json, save_pictures

MODEST = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
RUN = ("transfer", "photo.png", "painting.png", "--size", "48", "--steps", "3", "--frames", "0", "--threads", "1", "-q")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="for x86 alone"),
]


def run(desk: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "impasto", *words],
        cwd=desk,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_precision_is_float32_unless_another_is_asked_for(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    for name, words in {
        "auto": (),
        "float32": ("--precision", "float32"),
        "asked": ("--precision", "bfloat16"),
    }.items():
        ended = run(tmp_path, *RUN, *words, "-o", name, **MODEST)
        assert ended.returncode == 0, ended.stderr
        assert read_json(tmp_path / name / "summary.json")["status"] == "done"
    kept = {name: (tmp_path / name / "run.toml").read_text("utf-8") for name in ("auto", "asked")}
    assert 'precision = "float32"\n' in kept["auto"].partition("[provenance]")[2]
    assert 'precision = "bfloat16"\n' in kept["asked"].partition("[provenance]")[2]
    pictures = {name: pixels(tmp_path / name / "result.png") for name in ("auto", "float32", "asked")}
    assert (pictures["auto"] == pictures["float32"]).all()
    assert abs(pictures["asked"] - pictures["float32"]).mean() < 4  # of 255 levels
