"""Optional packages: imported when needed; if one is absent, the error says which extra to install."""

import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Literal

from impasto.errors import SpecError

DISTRIBUTION = "impasto-torch"  # pip's name for the package; impasto on PyPI is another project
TrackerName = Literal["wandb", "tensorboard", "mlflow"]


@cache
def public_names() -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """What the stub beside `impasto/__init__.py` names: how to get one, how to list them, and the list.

    Read late: the program `impasto` answers Ctrl-C before it loads anything.
    """
    import lazy_loader  # type: ignore[import-untyped]

    found: tuple[Callable[[str], object], Callable[[], list[str]], list[str]]
    found = lazy_loader.attach_stub(__package__, str(Path(__file__).with_name("__init__.py")))
    return found


def own_version() -> str:
    """The version of the installed package."""
    return version(DISTRIBUTION)


def import_tracker(name: TrackerName) -> ModuleType:
    """The package behind `--track NAME`, with its telemetry turned off. Raises SpecError (see `import_extra`)."""
    match name:
        case "wandb":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        case "mlflow":
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # there is only a folder
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # the default, 7, delays a run for minutes
    return import_extra("torch.utils.tensorboard" if name == "tensorboard" else name, f"--track {name}", name)


def import_video() -> ModuleType:
    """PyAV, for `--mp4`. Raises SpecError if PyAV is not installed or cannot encode H.264."""
    av = import_extra("av", "--mp4", "video")
    if "libx264" not in av.codecs_available:
        raise SpecError("--mp4 needs PyAV with libx264, but this PyAV has none; pip install --force-reinstall av")
    return av


def import_extra(module: str, option: str, extra: str) -> ModuleType:
    """Import a module that `option` needs. Raises SpecError with the line that installs it."""
    try:
        found = import_module(module)
    except ImportError as error:
        raise SpecError(_missing(option, error, extra)) from None
    if found.__file__ is None:  # only a folder of that name in the working directory, as trackers make
        raise SpecError(_missing(option, module, extra))
    return found


def _missing(option: str, what: object, extra: str) -> str:
    return f"{option} needs a package that is missing ({what}); pip install '{DISTRIBUTION}[{extra}]'"
