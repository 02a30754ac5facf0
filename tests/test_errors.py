"""The hierarchy of errors, their exit codes, and the suggestion for a mistyped name."""

import re

import pytest

from impasto import errors
from impasto.errors import ImpastoError, nearest


def below(error: type[ImpastoError]) -> list[type[ImpastoError]]:
    return [error, *(found for child in error.__subclasses__() for found in below(child))]


def test_the_tree_is_the_one_drawn() -> None:
    drawn = {name: int(code) for name, code in re.findall(r"(\w+Error)\s+(\d+) ", errors.__doc__)}
    assert drawn == {
        error.__name__: error.exit_code for error in below(ImpastoError) if error.__module__ == "impasto.errors"
    }
    assert drawn == {
        "ImpastoError": 1,
        "ImageError": 1,
        "WeightsError": 1,
        "OutputError": 1,
        "FolderLostError": 1,
        "RunFolderError": 1,
        "ClusterError": 1,
        "SpecError": 2,
        "LayerError": 2,
        "NetworkError": 2,
        "OutOfMemoryError": 3,
        "DivergedError": 4,
        "InterruptedRunError": 130,
    }


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("adma", "did you mean 'adam'?"),
        ("LBFGS", "did you mean 'lbfgs'?"),
        ("newton", "choose from adam, lbfgs, plain"),
        ("", "choose from adam, lbfgs, plain"),
    ],
)
def test_nearest(name: str, answer: str) -> None:
    assert nearest(name, iter(["adam", "lbfgs", "plain"])) == answer
