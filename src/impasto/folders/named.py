"""The files that a spec names, and their SHA-256, by which run.toml tells whether a file is still the same."""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from impasto.errors import ImageError, WeightsError
from impasto.files import sha256
from impasto.folders.finding import hash_of_pictures
from impasto.modules.names import file_of, is_name_of_module, with_file
from impasto.tasks.seeing import MaximiseSettings
from impasto.tasks.settings import INITS, Settings, TransferSettings
from impasto.tasks.spec import RunSpec
from impasto.tasks.values import Colours

PICTURES = "pictures_sha256"
CHANGED_FILES = "changed_files_sha256"
Hashes = Mapping[Path, str]  # SHA-256 of each file


def files_of(spec: RunSpec) -> tuple[Path, ...]:
    """Each file that a spec names, and a folder of photos, once: its pictures first. They may be missing."""
    return tuple(dict.fromkeys([*chain(*_listed(spec).values()), *_single(spec).values()]))


def inside(spec: RunSpec, folder: Path) -> list[Path]:
    """What a spec names and is there inside a folder: files, links, and a folder of photos."""
    return [
        path
        for path in files_of(spec)
        if path.exists()
        and any(each.is_relative_to(folder.resolve()) for each in (path.resolve(), path.parent.resolve() / path.name))
    ]


def models_of(spec: RunSpec) -> list[Path]:
    """The files that the network is read from, if the spec names some."""
    settings = spec.settings
    return [path for path in (settings.weights, settings.means, file_of(settings.network)) if path is not None]


def hash_files(specs: Iterable[RunSpec], known: Hashes | None = None) -> dict[Path, str]:
    """The hash of each file that the specs name, each file read once, beside those that are known.

    What is missing is left out: the run that needs the file says so. Raises ImageError, or WeightsError, if a file
    cannot be read.
    """
    hashes = dict(known or {})
    for spec in specs:
        models, photos = models_of(spec), photos_of(spec)
        for path in files_of(spec):
            if path not in hashes and path.exists() and path.is_dir() == (path == photos):
                hashes[path] = hash_of(path, WeightsError if path in models else ImageError)
    return hashes


def hash_of(path: Path, kind: type[ImageError | WeightsError] = ImageError) -> str:
    """SHA-256 of a file, or of the pictures in a folder. Raises an error of that kind if the file cannot be read."""
    try:
        return hash_of_pictures(path) if path.is_dir() else sha256(path)
    except OSError as error:
        raise kind(f"{path} cannot be read: {error.strerror or error}") from None


def as_provenance(spec: RunSpec, hashes: Hashes) -> dict[str, Any]:
    """The hashes of a spec's files as run.toml keeps them: a list for each list of files, a text for a single file."""
    listed = {
        key: [hashes[path] for path in paths]
        for key, paths in _listed(spec).items()
        if paths and all(path in hashes for path in paths)
    }
    single = {f"{key}_sha256": hashes[path] for key, path in _single(spec).items() if path in hashes}
    return {PICTURES: [], **listed, **single}


def known_hashes(spec: RunSpec, provenance: Mapping[str, Any]) -> dict[Path, str]:
    """The hashes of a spec's files that its provenance knows."""
    hashes: dict[Path, str] = {}
    for key, paths in _listed(spec).items():
        known = provenance.get(key, [])
        if isinstance(known, list) and (len(known) == len(paths) or key == PICTURES):
            hashes |= dict(zip(paths, known, strict=False))
    single = {path: provenance.get(f"{key}_sha256") for key, path in _single(spec).items()}
    return hashes | {path: known for path, known in single.items() if known is not None}


def is_unchanged(spec: RunSpec, hashes: Hashes, provenance: Mapping[str, Any]) -> bool:
    """Whether the files of a spec are those that a run of the same settings read, wherever its pictures were then.

    Of files other than pictures those count that are still there.
    """
    then = known_hashes(spec, {**provenance, PICTURES: []})
    pictures = [hashes.get(path) for path in spec.pictures]
    others = all(hashes.get(path, known) == known for path, known in then.items())
    return provenance.get(PICTURES) == pictures and others


def _listed(spec: RunSpec) -> dict[str, tuple[Path, ...]]:
    """Lists of files, by the name that their hashes have in run.toml."""
    later = tuple(file for change in spec.changes for file in change.files)
    return {PICTURES: spec.pictures, "region_files_sha256": spec.settings.files, CHANGED_FILES: later}


def _single(spec: RunSpec) -> dict[str, Path]:
    """Single files by the name of their setting; the hash of a module's weights is that of its tensors."""
    settings = spec.settings
    named = {
        "weights_file" if is_name_of_module(settings.network) else "weights": settings.weights,
        "means": settings.means,
        "init": None if settings.init in INITS else Path(settings.init),
        "colours": palette_of(spec),
        "direction": direction_of(spec),
        "network": file_of(settings.network),
        "photos": photos_of(spec),
    }
    return {name: path for name, path in named.items() if path is not None}


def palette_of(spec: RunSpec) -> Path | None:
    """The picture from which a run takes its colours, if there is one."""
    return spec.settings.colours.palette if isinstance(spec.settings, TransferSettings) else None


def direction_of(spec: RunSpec) -> Path | None:
    """The file of the direction that a run maximises, if there is one."""
    return spec.settings.direction if isinstance(spec.settings, MaximiseSettings) else None


def photos_of(spec: RunSpec) -> Path | None:
    """The folder of photos that a run compares its units' pictures with, if there is one."""
    return spec.settings.photos if isinstance(spec.settings, MaximiseSettings) else None


def with_files(spec: RunSpec, change: Callable[[Path], Path]) -> RunSpec:
    """The spec with a function applied to the path of each of its files."""
    pictures = tuple(change(picture) for picture in spec.pictures)
    later = tuple(each.with_files(change) for each in spec.changes)
    new = {"pictures": pictures, "settings": settings_with_files(spec.settings, change), "changes": later}
    return spec.model_copy(update=new)


def row_with_files(values: Mapping[str, Any], change: Callable[[Path], Path]) -> dict[str, Any]:
    """Values of settings as a user writes them, with a function applied to each path but those of regions."""
    found = dict(values)
    for name in ("weights", "means", "init", "direction", "photos"):
        if name in found and found[name] not in INITS:
            found[name] = str(change(Path(str(found[name]))))
    kind, equals, palette = str(found.get("colours", "")).partition("=")
    if equals:
        found["colours"] = f"{kind}={change(Path(palette))}"
    if file := file_of(str(found.get("network", ""))):
        found["network"] = with_file(str(found["network"]), change(file))
    return found


def settings_with_files(given: Settings, change: Callable[[Path], Path]) -> Settings:
    """The settings with a function applied to the path of each file that they name."""
    settings = given.with_files(change)
    changes: dict[str, Any] = {name: change(path) for name in ("weights", "means") if (path := getattr(settings, name))}
    if (file := file_of(settings.network)) is not None:
        changes["network"] = with_file(settings.network, change(file))
    if settings.init not in INITS:
        changes["init"] = str(change(Path(settings.init)))
    if isinstance(settings, TransferSettings) and (palette := settings.colours.palette) is not None:
        changes["colours"] = Colours(f"palette={change(palette)}")
    if isinstance(settings, MaximiseSettings) and (direction := settings.direction) is not None:
        changes["direction"] = change(direction)
    return settings.model_copy(update=changes)
