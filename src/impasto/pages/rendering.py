"""Rendering of blocks to one HTML file that opens without a network."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from impasto.files import bundled, write_bytes


def render(template: str, **content: Any) -> str:
    """A whole page from a template of data/report; all content that is not marked as HTML is escaped."""
    return _templates().get_template(template).render(**content)


@cache
def _templates() -> Environment:
    folder = bundled("report")
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Only impasto's own files are not escaped.
    environment.globals["own"] = lambda name: Markup((folder / name).read_text("utf-8"))
    return environment


def save_page(page: str, path: Path) -> Path:
    """Write a page whole or not at all. Raises OutputError."""
    write_bytes(path, page.encode("utf-8", errors="replace"))
    return path
