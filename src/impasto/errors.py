"""All errors as one tree; the text of each is one sentence for the user, and its class has the command's exit code.

ImpastoError                1  the run failed
├── ImageError              1  a picture cannot be read, is too small or too large
├── WeightsError            1  a file of weights or means is missing, damaged or of another network
├── OutputError             1  the result cannot be written there
│   └── FolderLostError     1  another process has taken the folder
├── RunFolderError          1  the folder of a run is missing or damaged
├── ClusterError            1  the workers of a cluster cannot be used, or are lost
├── SpecError               2  a setting is out of its range or unknown
│   ├── LayerError          2  no such layer
│   └── NetworkError        2  no such network
├── OutOfMemoryError        3  the machine has not enough memory for this size
├── DivergedError           4  a loss is no longer finite
└── InterruptedRunError   130  stopped by the user or by the system; the result so far is saved
"""

import difflib
from collections.abc import Iterable
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class ImpastoError(Exception):
    """Base of everything that impasto raises on purpose; its text is one sentence for the user."""

    exit_code = 1


class ImageError(ImpastoError):
    """A picture cannot be read or written, or is too small or too large."""


class WeightsError(ImpastoError):
    """A file of weights or mean activations is missing, damaged or belongs to another network."""


class OutputError(ImpastoError):
    """The path for the results exists already or cannot be written."""


class FolderLostError(OutputError):
    """Another process has taken the folder while this one was suspended or cut off."""


class RunFolderError(ImpastoError):
    """The folder is missing, does not hold a run, or one of its files is damaged."""


class ClusterError(ImpastoError):
    """The workers of a cluster cannot be started, differ from this machine, or were lost too often."""


class SpecError(ImpastoError):
    """A setting is unknown or out of its range."""

    exit_code = 2


class LayerError(SpecError):
    """The network has no layer of that name."""


class NetworkError(SpecError):
    """There is no network of that name."""


class OutOfMemoryError(ImpastoError):
    """The machine has not enough memory for the size asked for."""

    exit_code = 3


class DivergedError(ImpastoError):
    """A loss is no longer finite; `image` is the last picture whose losses were all finite."""

    exit_code = 4

    def __init__(self, message: str, image: "Tensor | None" = None) -> None:
        super().__init__(message)
        self.image = image


class InterruptedRunError(ImpastoError):
    """The run was stopped from outside; its result so far is saved."""

    exit_code = 130


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint for an unknown name: the most similar of `names` as a question, or all of them if none is similar."""
    known = list(names)
    found = most_similar(name, known)
    return f"choose from {', '.join(known)}" if found is None else f"did you mean {found!r}?"


def most_similar(name: str, names: Iterable[str]) -> str | None:
    """The most similar of `names`, None if none is similar."""
    known, name = list(names), name.lower()
    close = difflib.get_close_matches(name, known, n=max(1, len(known)), cutoff=0.5)

    def likeness(other: str) -> tuple[float, int]:  # of equally similar names, prefer one that begins alike
        common = takewhile(lambda letters: letters[0] == letters[1], zip(other, name, strict=False))
        return difflib.SequenceMatcher(None, other, name).ratio(), len(list(common))

    return max(close, key=likeness, default=None)
