"""What a program says on the way, and to whom."""

import json
import os
import sys
from typing import Literal


def print_json(line: dict[str, object]) -> None:
    """One line on standard output, at once; a reader that has gone away does not end the run."""
    try:
        print(json.dumps(line), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


Show = Literal["progress", "json", "nothing"]
