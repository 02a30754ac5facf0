"""Write docs/architecture.md from the code's own imports; `make docs` runs it, a test fails if the page is stale."""

import ast
from pathlib import Path

PAGE = Path(__file__).with_name("architecture.md")
SOURCE = Path(__file__).parents[1] / "src" / "impasto"
INTRODUCTION = """# Architecture

Made by `make docs` from the code in `src/impasto`: its folders, docstrings and imports.

A folder imports only from folders before it on this page, and every folder may import the ground modules.
`tests/test_architecture.py` checks this order. The [tour](tour.md) shows how the pieces are used.
"""


def page() -> str:
    """The whole page."""
    arrows = {folder: used(folder) for folder in folders()}
    order = in_order(arrows)
    sections = [INTRODUCTION, diagram(order, arrows), ground()]
    return "\n".join([*sections, *(section(folder, arrows[folder]) for folder in order)])


def folders() -> list[str]:
    """The names of the folders with modules in them."""
    return sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))


def modules(folder: Path) -> list[Path]:
    """The modules of a folder, without `__init__` and `__main__`."""
    return sorted(path for path in folder.glob("*.py") if not path.name.startswith("__"))


def used(folder: str) -> set[str]:
    """The other folders from which a folder imports."""
    names: set[str] = set()
    for path in modules(SOURCE / folder):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("impasto."):
                names.add((node.module or "").split(".")[1])
    return names & set(folders()) - {folder}


def in_order(arrows: dict[str, set[str]]) -> list[str]:
    """The folders, each after all those from which it imports."""
    order: list[str] = []
    while len(order) < len(arrows):
        free = [folder for folder in arrows if folder not in order and arrows[folder] <= set(order)]
        order.append(min(free, key=lambda folder: (len(arrows[folder]), folder)))
    return order


def needed(folder: str, arrows: dict[str, set[str]]) -> set[str]:
    """The folders that a folder imports and does not reach through another one: the arrows to draw."""
    through = {far for near in arrows[folder] for far in reached(near, arrows)}
    return arrows[folder] - through


def reached(folder: str, arrows: dict[str, set[str]]) -> set[str]:
    """All folders that a folder imports, directly or through others."""
    return {far for near in arrows[folder] for far in {near} | reached(near, arrows)}


def diagram(order: list[str], arrows: dict[str, set[str]]) -> str:
    """The order as a Mermaid diagram, without the arrows that follow from others."""
    lines = [f"    {near} --> {folder}" for folder in order for near in sorted(needed(folder, arrows))]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```", ""])


def ground() -> str:
    """The section of the modules that every folder may import."""
    return "\n".join(["## The ground", "", *table(modules(SOURCE))])


def section(folder: str, arrows: set[str]) -> str:
    """The section of a folder: its sentence, the folders it imports from, and a line for each module."""
    rests = ", ".join(f"`{name}`" for name in sorted(arrows)) or "the ground alone"
    sentence = first_line(SOURCE / folder / "__init__.py")
    return "\n".join([f"## {folder}", "", sentence, "", f"Imports from {rests}.", "", *table(modules(SOURCE / folder))])


def table(files: list[Path]) -> list[str]:
    """A line for each module."""
    rows = [f"| `{path.stem}` | {first_line(path)} |" for path in files]
    return ["| module | what it is |", "|---|---|", *rows, ""]


def first_line(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
