"""The package from outside: the names that `import impasto` brings, and the modules that it does not load."""

import ast
import importlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import impasto

SLOW = ("torch", "matplotlib", "numpy", "PIL", "safetensors")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900, check=False)


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded after the code has run."""
    ended = python(f"import sys\n{code}\nprint('loaded', *{{name.split('.')[0] for name in sys.modules}})")
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.splitlines()[-1].split()[1:])


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import impasto",
        "import impasto\nimpasto.ImpastoError, impasto.TransferSettings",
        "import impasto.cli",
        *(
            f"from impasto.cli.app import main\n"
            f"try:\n    main({words})\nexcept SystemExit as end:\n    assert not end.code"
            for words in (["--help"], ["transfer", "--help"], ["--version"])
        ),
    ],
)
def test_nothing_slow_is_loaded(code: str) -> None:
    loaded = loaded_by(code)
    assert "impasto" in loaded
    assert not loaded & set(SLOW)


PAINT = """
import torch
from impasto import Composition, Fourier, content, noise, open_network, single, style, synthesise
photo = torch.rand(1, 3, 16, 16)
objective = content(photo, ["relu1_1"]) + style(photo, ["relu1_1"])
start, schedule = noise(seed=1), single((16, 16), steps=2)
composition = Composition(init=start, objective=objective, schedule=schedule, parameterisation=Fourier())
assert list(synthesise(composition, open_network("vgg16", device="cpu")))[-1].step == 2
"""


@pytest.mark.slow
def test_what_is_slow_is_loaded_when_it_is_used() -> None:
    """And SymPy never, with which PyTorch compares the shapes of gradients that are handed to it."""
    loaded = loaded_by(PAINT)
    assert "torch" in loaded
    assert "sympy" not in loaded


def test_all_is_sorted_and_complete() -> None:
    assert impasto.__all__ == sorted(set(impasto.__all__))
    assert dir(impasto) == impasto.__all__
    stub = ast.parse(Path(impasto.__file__).with_suffix(".pyi").read_text("utf-8"))
    written = {
        (f"impasto.{statement.module}", alias.name)
        for statement in stub.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert {name for _, name in written} == set(impasto.__all__)
    for module, name in written:
        assert getattr(impasto, name) is getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", impasto.__all__)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(impasto, name)
    if name != "Image":  # an annotation
        assert getattr(found, "__name__", name) == name  # distances that can be taken in parts are objects
        assert found.__doc__.strip()


@pytest.mark.slow
def test_a_star_brings_all_names() -> None:
    ended = python("from impasto import *\nimport impasto\nassert set(impasto.__all__) <= set(dir())")
    assert ended.returncode == 0, ended.stderr


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError, match="No impasto attribute paint"):
        impasto.paint  # noqa: B018


def test_version() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "impasto", "--version"], capture_output=True, text=True, timeout=900, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{version('impasto-torch')}\n", "")
    assert impasto.__version__ == version("impasto-torch")
