"""The folder of a run: where it may be, and the files that say how its pictures came about."""

import math
import platform
import shutil
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w
import torch

from impasto.errors import OutputError
from impasto.networks import Network
from impasto.specfiles import SETTINGS_FILE, spec_toml
from impasto.specs import INITS, RunSpec
from impasto.weights import VGG16_SHA256, sha256


def default_folder(task: str, pictures: Sequence[Path]) -> Path:
    """runs/TASK-PICTURE…, with a number where that exists: never a folder in use."""
    name = folder_name(task, pictures)
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


def folder_name(task: str, pictures: Sequence[Path]) -> str:
    """TASK-PICTURE…, of the first three pictures."""
    name = "-".join([task, *(picture.stem for picture in pictures[:3])])
    return name.encode(errors="replace")[:200].decode(errors="ignore")  # file systems take 255 bytes


def check_folder(folder: Path, spec: RunSpec, *, force: bool) -> None:
    """Refuse a place that is taken; with `force` only what is no run folder or holds a file of the spec's.

    Raises OutputError.
    """
    try:
        taken, is_folder = folder.exists(), folder.is_dir()
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None
    if not taken:
        return
    if not is_folder:
        raise OutputError(f"{folder} is a file; name a folder with --out")
    if not force:
        raise OutputError(f"{folder} exists already; name another folder with --out, or replace it with --force")
    if any(folder.iterdir()) and not (folder / SETTINGS_FILE).is_file():
        raise OutputError(f"{folder} is not the folder of a run and is not replaced; name another with --out")
    for file in _files(spec):
        if file.resolve().is_relative_to(folder.resolve()):
            raise OutputError(f"{folder} holds {file}, which this run reads, and is not replaced; name another folder")


def _files(spec: RunSpec) -> list[Path]:
    """What a run reads."""
    settings = spec.settings
    named = [*spec.pictures, Path(settings.init), settings.weights, settings.means]
    return [path for path in named if path is not None and path.is_file()]


def make_folder(folder: Path, spec: RunSpec, *, force: bool) -> None:
    """Make it afresh. Raises OutputError where it is taken (see `check_folder`) or cannot be made."""
    check_folder(folder, spec, force=force)
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None


def provenance(spec: RunSpec, network: Network) -> dict[str, Any]:
    """Where a run comes about: versions, machine, and the hashes of what it reads."""
    settings = spec.settings
    known = {
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
        known["means_sha256"] = sha256(settings.means)
    if Path(settings.init).is_file() and settings.init not in INITS:
        known["init_sha256"] = sha256(Path(settings.init))
    return known


def as_toml(spec: RunSpec, network: Network, memory_bytes: float, share: float = 1.0) -> str:
    """Everything needed to repeat a run: the spec, where it came about, and the memory that it may take."""
    return spec_toml(spec, {"provenance": {**provenance(spec, network), **_memory(memory_bytes, share)}})


def with_memory(toml: str, memory_bytes: float, share: float) -> str:
    """The same for a run that goes on with less memory: a share of what it might take at first."""
    known = tomllib.loads(toml)
    return tomli_w.dumps({**known, "provenance": {**known["provenance"], **_memory(memory_bytes, share)}})


def _memory(memory_bytes: float, share: float) -> dict[str, Any]:
    bounded = {} if math.isinf(memory_bytes) else {"memory_bytes": int(memory_bytes)}
    return {**bounded, **({"memory_share": share} if share < 1 else {})}
