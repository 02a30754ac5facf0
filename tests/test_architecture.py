"""The files in reading order: each imports only from those above it, and each is short."""

import ast
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

import impasto
from impasto.images import quantise

SOURCE = Path(impasto.__file__).parent
ORDER = (
    "errors",
    "waiting",
    "extras",
    "images",
    "networks",
    "passes",
    "weights",
    "normalisation",
    "catalogue",
    "representations",
    "distances",
    "priors",
    "objectives",
    "tiles",
    "tile_passes",
    "tilers",
    "tiling",
    "dithering",
    "leaping",
    "parameterisations",
    "inits",
    "schedules",
    "optimisers",
    "synthesis",
    "specs",
    "presets",
    "specfiles",
    "plans",
    "recipes",
    "parts",
    "metrics",
    "memory",
    "figures",
    "recorders",
    "checkpoints",
    "calibration",
    "profiles",
    "folders",
    "connecting",
    "tile_workers",
    "crews",
    "cluster_tiler",
    "spreading",
    "results",
    "measuring",
    "trackers",
    "tracking",
    "records",
    "pages",
    "sections",
    "report",
    "checks",
    "stopping",
    "resuming",
    "watching",
    "runs",
    "series",
    "sweeps",
    "commands",
    "study_page",
    "study",
    "study_command",
    "pairs",
    "leases",
    "thumbnails",
    "workers",
    "engines",
    "cluster",
    "batch_view",
    "batch_page",
    "batch",
    "batch_command",
    "cli",
)
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {path.stem: path for path in FILES if not path.stem.startswith("__")}


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("impasto.")} & set(MODULES)


@pytest.mark.parametrize("name", [name for name in ORDER if name in MODULES])
def test_imports_point_upwards(name: str) -> None:
    above = set(ORDER[: ORDER.index(name)])
    assert imported(MODULES[name]) <= above


def test_imports_go_round_nowhere() -> None:
    """Also among files that have no place in the order."""
    left = {name: imported(path) for name, path in MODULES.items()}
    while free := [name for name, needed in left.items() if not needed & set(left)]:
        for name in free:
            del left[name]
    assert not left


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_the_core_is_there() -> None:
    assert set(ORDER[:20]) <= set(MODULES)
    assert imported(MODULES["synthesis"]) >= {"images", "objectives", "optimisers"}  # imports are found at all


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5), (1, 4, 5, 6)])
def test_shapes_are_checked_here(shape: tuple[int, ...]) -> None:
    with pytest.raises(TypeCheckError):
        quantise(torch.zeros(shape))
