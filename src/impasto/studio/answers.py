"""How all pages answer: quietly, errors as sentences, two pictures with a slider between them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from impasto.desk.desk import sentence
from impasto.desk.drawing import as_data, slider
from impasto.desk.places import as_jpeg, enlarged, thumbnail
from impasto.errors import ImpastoError

# No component is told that an answer is under way: Gradio 6 asks a component, and all in it, for its value at each such
# message, and would send the painted masks to the server dozens of times a click.
QUIET: Mapping[str, Any] = {"show_progress": "hidden", "show_progress_on": (), "api_visibility": "private"}
SIDE_PX = 1024  # of the pictures that are compared


class sentences:  # noqa: N801  a context manager, read as a word
    """Shows an ImpastoError as its sentence on the page."""

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ImpastoError):
            raise gr.Error(sentence(error), print_exception=False) from None


def side_by_side(before: Path, after: Path, label: str) -> str:
    """A slider between two pictures, shown in the second's shape. Raises ImageError."""
    result = enlarged(thumbnail(after, SIDE_PX), SIDE_PX)
    under = thumbnail(before, SIDE_PX).resize(result.size)
    return slider(as_data(as_jpeg(under)), as_data(as_jpeg(result)), label, result.size)
