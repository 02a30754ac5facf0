"""The order of the folders: each imports only from folders before it, and none has too many modules."""

import ast
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

import impasto
from impasto.images.image import quantise

SOURCE = Path(impasto.__file__).parent
GROUND = (
    "amounts",
    "cgroups",
    "errors",
    "events",
    "extras",
    "files",
    "gradients",
    "machine",
    "waiting",
)  # modules on which every folder may rest
ABOVE: dict[str, tuple[str, ...]] = {
    "formats": (),
    "images": ("formats",),
    "finishing": ("formats", "images"),
    "scaling": (),
    "modules": ("images",),
    "weights": ("images", "modules"),
    "networks": ("images", "weights", "scaling", "modules"),
    "matching": ("images", "networks"),
    "objectives": ("images", "networks", "matching"),
    "tiles": ("images", "networks", "matching", "objectives"),
    "synthesis": ("images", "networks", "objectives", "tiles"),
    "units": ("images", "networks", "objectives", "synthesis"),
    "tasks": ("finishing", "images", "modules", "networks", "objectives", "synthesis", "units"),
    "folders": ("images", "modules", "networks", "objectives", "synthesis", "tasks", "units"),
    "pages": ("images", "networks", "tasks", "folders"),
    "cluster": ("images", "networks", "objectives", "tiles", "synthesis", "tasks"),
    "runs": (
        *("images", "weights", "networks", "objectives", "tiles", "synthesis", "units", "tasks", "folders", "pages"),
        "cluster",
    ),
    "series": ("images", "networks", "objectives", "tiles", "tasks", "folders", "pages", "runs"),
    "study": ("images", "networks", "tasks", "folders", "pages", "runs", "series"),
    "batch": ("images", "tasks", "folders", "pages", "cluster", "runs", "series"),
    "sequels": ("finishing", "images", "tasks", "folders", "runs", "series"),
    "jobs": ("images", "synthesis", "tasks", "folders", "runs", "series"),
    "desk": ("images", "modules", "tasks", "folders", "pages", "sequels", "jobs"),
    "studio": ("tasks", "folders", "pages", "jobs", "desk"),
    "cli": (
        *("finishing", "images", "weights", "modules", "networks", "tasks", "folders", "pages", "cluster", "runs"),
        *("series", "study", "batch", "sequels", "studio"),
    ),
}
FILES = sorted(path for path in SOURCE.rglob("*.py") if not path.name.startswith("__"))
MODULES = {".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in FILES}


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports, anywhere in it: "errors", "images.image" …"""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("impasto.") for name in names if name.startswith("impasto.")} & set(MODULES)


def test_every_module_stands_in_a_folder_or_on_the_ground() -> None:
    assert {name.split(".")[0] for name in MODULES} == {*GROUND, *ABOVE}


@pytest.mark.parametrize("folder", ABOVE)
def test_a_folder_imports_only_from_those_before_it(folder: str) -> None:
    inside = [path for name, path in MODULES.items() if name.startswith(f"{folder}.")]
    assert 0 < len(inside) <= 12
    used = {name.split(".")[0] for path in inside for name in imported(path)}
    assert used - {folder, *GROUND} <= set(ABOVE[folder])


@pytest.mark.parametrize("name", GROUND)
def test_the_ground_rests_on_itself(name: str) -> None:
    assert imported(MODULES[name]) <= set(GROUND)


def test_imports_go_round_nowhere() -> None:
    """Neither between folders nor inside one."""
    left = {name: imported(path) for name, path in MODULES.items()}
    while free := [name for name, needed in left.items() if not needed & set(left)]:
        for name in free:
            del left[name]
    assert not left


@pytest.mark.parametrize("folder", ABOVE)
def test_a_folder_says_in_one_sentence_what_lives_there(folder: str) -> None:
    words = ast.get_docstring(ast.parse((SOURCE / folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert words.endswith(".")
    assert words.count("\n") == 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_imports_are_found_at_all() -> None:
    assert imported(MODULES["synthesis.loop"]) >= {"images.image", "objectives.objective", "synthesis.schedules"}


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5), (1, 4, 5, 6)])
def test_shapes_are_checked_here(shape: tuple[int, ...]) -> None:
    with pytest.raises(TypeCheckError):
        quantise(torch.zeros(shape))


def test_shapes_are_checked_in_all_folders_that_have_them(pytestconfig: pytest.Config) -> None:
    *checked, _ = pytestconfig.getoption("--jaxtyping-packages").split(",")
    shaped = {path.parent.name for path in FILES if "jaxtyping" in path.read_text(encoding="utf-8")}
    assert set(checked) == {f"impasto.{folder}" for folder in shaped}
