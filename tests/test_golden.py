"""Every task gives the losses of the golden traces, and the same bits on a machine like the one that made them."""

import json
from pathlib import Path
from typing import Any

import pytest

from golden import CASES, FILE, machine, trace

QUICK = ("invert", "transfer")
KEPT = json.loads(FILE.read_text("utf-8"))


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_the_trace_is_the_golden_one(name: str, tmp_path: Path) -> None:
    found, kept = trace(CASES[name], tmp_path / "run"), dict(KEPT["traces"][name])
    if machine() == kept.pop("machine", KEPT["machine"]):  # traces added later may be another machine's
        assert found == kept
    assert numbers(found["losses"][0]) == pytest.approx(numbers(kept["losses"][0]), rel=1e-3)  # before the first step
    assert sum(numbers(found["losses"][-1])) == pytest.approx(sum(numbers(kept["losses"][-1])), rel=0.05)


def test_every_case_is_kept() -> None:
    assert set(KEPT["traces"]) == set(CASES)


def numbers(losses: dict[str, Any]) -> list[float]:
    return [losses[name] for name in sorted(losses)]
