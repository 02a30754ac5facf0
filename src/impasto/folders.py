"""The folder of a run: where it may be, and the files that say how its pictures came about."""

import platform
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import tomli_w
import torch

from impasto.errors import OutputError
from impasto.networks import Network
from impasto.specs import RunSpec
from impasto.weights import VGG16_SHA256, sha256

SETTINGS_FILE = "run.toml"


def default_folder(task: str, pictures: Sequence[Path]) -> Path:
    """runs/TASK-PICTURE…, with a number where that exists: never a folder in use."""
    name = "-".join([task, *(picture.stem for picture in pictures[:3])])
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


def check_folder(folder: Path, *, force: bool) -> None:
    """Refuse a place that is taken; with `force` only what is no run folder. Raises OutputError."""
    if folder.is_dir():
        if not force:
            raise OutputError(f"{folder} exists already; name another folder with --out, or replace it with --force")
        if any(folder.iterdir()) and not (folder / SETTINGS_FILE).is_file():
            raise OutputError(f"{folder} is not the folder of a run and is not replaced; name another with --out")
    elif folder.exists():
        raise OutputError(f"{folder} is a file; name a folder with --out")


def make_folder(folder: Path, *, force: bool) -> None:
    """Make it afresh. Raises OutputError where it is taken (see `check_folder`) or cannot be made."""
    check_folder(folder, force=force)
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None


def as_toml(spec: RunSpec, network: Network) -> str:
    """Everything needed to repeat a run: the spec, and where it came about."""
    settings = spec.settings
    provenance = {
        "impasto": version("impasto"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": str(network.device),
        "precision": str(network.precision).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "weights_sha256": sha256(settings.weights) if settings.weights else VGG16_SHA256,
        "pictures_sha256": [sha256(picture) for picture in spec.pictures],
    }
    if settings.means:
        provenance["means_sha256"] = sha256(settings.means)
    return tomli_w.dumps(
        {
            "task": spec.task,
            "pictures": [str(picture) for picture in spec.pictures],
            "settings": settings.model_dump(mode="json", exclude_none=True),
            "provenance": provenance,
        }
    )
