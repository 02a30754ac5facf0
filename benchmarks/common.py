"""Shared by the benchmarks: the pictures' folder, a description of the machine, and how results are kept."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from impasto.machine import find_precision

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
EXAMPLES = ROOT / "examples"
WEIGHTS = ROOT / "src" / "impasto" / "data" / "vgg16.safetensors"
THREADS = min(2, os.cpu_count() or 1)


def machine() -> dict[str, Any]:
    """The machine and the versions on which figures depend."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bfloat16": find_precision("auto", torch.device("cpu")) == torch.bfloat16,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def keep(name: str, about: str, rows: list[dict[str, Any]], **more: Any) -> None:
    """Write benchmarks/results/NAME.json, from which docs/benchmarks.md is made."""
    RESULTS.mkdir(exist_ok=True)
    content = {"about": about, "machine": machine(), **more, "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def kept(name: str) -> dict[str, Any]:
    """What `keep` wrote last, or no rows if it never did."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {"rows": []}
