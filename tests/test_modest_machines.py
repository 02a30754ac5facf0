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
    for name, words in {"auto": (), "float32": ("--precision", "float32")}.items():
        ended = run(tmp_path, *RUN, *words, "-o", name, **MODEST)
        assert ended.returncode == 0, ended.stderr
        assert read_json(tmp_path / name / "summary.json")["status"] == "done"
    kept = (tmp_path / "auto" / "run.toml").read_text("utf-8")
    assert 'precision = "float32"\n' in kept.partition("[provenance]")[2]
    assert (pixels(tmp_path / "auto" / "result.png") == pixels(tmp_path / "float32" / "result.png")).all()


def test_bfloat16_without_support_works_and_is_said_to_be_slow(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    small = ("invert", "photo.png", "--layer", "conv2_1", "--size", "16", "--steps", "1", "--frames", "0")
    ended = run(tmp_path, *small, "--precision", "bfloat16", "-o", "slow", **MODEST)
    assert ended.returncode == 0, ended.stderr
    assert "impasto: this processor has no bfloat16, which is many times slower than --precision" in ended.stderr
    assert 'precision = "bfloat16"\n' in (tmp_path / "slow" / "run.toml").read_text("utf-8").partition("[prov")[2]
