"""Write docs/cli.md from the live help of every command; `make docs` runs it, a test fails if the page is stale."""

import contextlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App

PAGE = Path(__file__).with_name("cli.md")
INTRODUCTION = """# The command line

Made by `make docs` from the commands themselves.

Paths go to standard output, messages to standard error. Exit codes: 0 done, 1 failed (a picture, a file, a folder), 2
wrong command (an option, a layer, a value), 3 out of memory, 4 diverged, 130 interrupted. After 3, 4 and 130 the last
good picture is saved. Sizes are long sides in pixels.
"""


def page() -> str:
    """The whole page."""
    from rich.console import Console

    from impasto.cli.app import app

    sections = [INTRODUCTION]
    commands = [[], *([name] for name in _names(app))]
    commands += [[name, inner] for name in _names(app) for inner in _names(app[name])]
    for words in sorted(commands):
        buffer = io.StringIO()
        console = Console(file=buffer, width=100, force_terminal=False, color_system=None, legacy_windows=False)
        with contextlib.redirect_stdout(buffer):
            app.help_print(words, console=console)
        text = "\n".join(line.rstrip() for line in buffer.getvalue().strip().splitlines())
        sections.append(f"## {' '.join(['impasto', *words])}\n\n```text\n{text}\n```\n")
    return "\n".join(sections)


def _names(app: "App") -> list[str]:
    """The commands of an app or of a group of commands."""
    return sorted(name for name in app if not name.startswith("-"))


if __name__ == "__main__":
    os.environ.pop("COLUMNS", None)
    PAGE.write_text(page(), encoding="utf-8")
