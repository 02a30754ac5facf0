"""Specs in files: written by hand, left by a run as run.toml, or embedded in a result's picture."""

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from impasto.errors import ImageError, ImpastoError, SpecError, WeightsError, nearest
from impasto.files import PNG, as_text, is_text
from impasto.folders.finding import file_of_hash
from impasto.folders.named import (
    CHANGED_FILES,
    files_of,
    hash_of,
    known_hashes,
    models_of,
    photos_of,
    with_files,
)
from impasto.folders.names import SETTINGS_FILE
from impasto.tasks.presets import preset
from impasto.tasks.regions import Region
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import TASKS
from impasto.tasks.values import explain

KEYS = ("task", "pictures", "preset", "settings", "changes", "provenance")
FILES = ("weights", "means", "init", "colours", "network", "region", "direction")  # settings that may name files


@dataclass(frozen=True)
class SpecFile:
    """A spec read from a file: its path, text and content, and the provenance if the file is from a run."""

    path: Path
    toml: str
    spec: RunSpec
    provenance: Mapping[str, Any]


def read_spec(path: Path) -> SpecFile:
    """Read the spec from a TOML file, the picture of a result (PNG), or the folder of a run.

    Raises SpecError in one sentence: no such file, no spec, an unknown key, a value out of range.
    """
    file = path / SETTINGS_FILE if path.is_dir() else path
    try:
        if file.is_dir() or not file.exists():  # a pipe, such as /dev/stdin, is as good as a file
            raise SpecError(f"{path} is not the folder of a run" if path.is_dir() else f"there is no file {path}")
        content = file.read_bytes()
        toml = _embedded(file, content) if content.startswith(PNG) else content.decode("utf-8")
    except UnicodeDecodeError:
        raise SpecError(f"{file} is neither a spec in TOML nor a result of impasto as PNG") from None
    except OSError as error:
        raise SpecError(f"{file} cannot be read: {error.strerror or error}") from None
    spec, provenance = parse_spec(toml, str(file))
    return SpecFile(file, toml, spec, provenance)


def _embedded(file: Path, content: bytes) -> str:
    from impasto.images.files import settings_in

    try:
        found = settings_in(content)
    except ImageError as error:
        raise SpecError(f"{file} cannot be read: {error}") from None
    if found is None:
        raise SpecError(f"{file} contains no settings of impasto")
    return found


def parse_spec(toml: str, where: str) -> tuple[RunSpec, Mapping[str, Any]]:
    """Parse a spec and its provenance from a text; `where` names the text in the sentence of a SpecError."""
    try:
        read = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where} is not valid TOML: {str(error)[0].lower()}{str(error)[1:]}") from None
    _require_form(read, where)
    name = read.get("preset", "default")
    try:
        settings = preset(read["task"], name, **read.get("settings", {}))
        spec = RunSpec(
            task=read["task"],
            pictures=tuple(read.get("pictures", ())),
            settings=settings,
            preset=name,
            changes=read.get("changes", ()),
        )
    except ValidationError as error:
        raise SpecError(f"{where}: {explain(error, RunSpec)}") from None
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    return spec, read.get("provenance", {})


def _require_form(read: Mapping[str, Any], where: str) -> None:
    """Raise SpecError unless all keys are a spec's, their values are of the right kinds, and the task exists."""
    for key in read:
        if key not in KEYS:
            known = any(key in task.settings.model_fields for task in TASKS.values())
            advice = "it belongs under [settings]" if known else nearest(key, KEYS)
            raise SpecError(f"{where}: there is no key {key!r} at the top level; {advice}")

    for key, kind in {"task": str, "pictures": list, "preset": str, "settings": dict, "provenance": dict}.items():
        if key in read and not isinstance(read[key], kind):
            words = {str: "a text", list: "a list of files", dict: "a table"}[kind]
            raise SpecError(f"{where}: {key} must be {words}")
    if not isinstance(read.get("changes", []), list):
        raise SpecError(f"{where}: changes must be tables, each under [[changes]]")
    if wrong := [each for each in read.get("pictures", ()) if not isinstance(each, str)]:
        raise SpecError(f"{where}: pictures has {wrong[0]!r}; each picture is the name of a file, in quotes")

    if "task" not in read:
        raise SpecError(f"{where} names no task; choose from {', '.join(TASKS)}")
    if read["task"] not in TASKS:
        raise SpecError(f"{where}: there is no task {read['task']!r}; {nearest(read['task'], TASKS)}")


def spec_toml(spec: RunSpec, more: Mapping[str, Any] | None = None) -> str:
    """A spec as TOML with all of its settings, then the tables in `more`. Raises SpecError if a name is not text."""
    for path in files_of(spec):
        if not is_text(str(path)):
            raise SpecError(f"the name of {as_text(path)} contains bytes that are not text; rename the file")
    plain: dict[str, Any] = {
        "task": spec.task,
        "pictures": [str(picture) for picture in spec.pictures],
        "preset": spec.preset,
        "settings": spec.settings.model_dump(mode="json", exclude_none=True),
    }
    if spec.changes:
        plain["changes"] = [change.model_dump(mode="json") for change in spec.changes]
    return tomli_w.dumps({**plain, **(more or {})})


def with_changes(toml: str, spec: RunSpec) -> str:
    """The text of a run's spec with the changes of `spec` in place of its own, and the hashes of their files."""
    content, changes = tomllib.loads(toml), [change.model_dump(mode="json") for change in spec.changes]
    hashes = [hash_of(file) for change in spec.changes for file in change.files]
    known = {**content.get("provenance", {}), **({CHANGED_FILES: hashes} if hashes else {})}
    return tomli_w.dumps({**content, "changes": changes, "provenance": known})


def fingerprint(toml: str) -> str:
    """SHA-256 of a spec's content without its provenance and changes; the layout of the text does not matter.

    Changes are left out because a run writes them while it goes on, each before the step that it concerns.

    Files with a known hash are represented by it, so their paths can be corrected after the files have been moved.
    """
    content = tomllib.loads(toml)
    known = content.pop("provenance", {})
    content.pop("changes", None)
    if len(known.get("pictures_sha256", ())) == len(content.get("pictures", ())):
        content["pictures"] = known.get("pictures_sha256", [])
    settings = content.get("settings", {})
    settings |= {key: known[f"{key}_sha256"] for key in FILES if key in settings and f"{key}_sha256" in known}
    settings |= _hashed_regions(settings.get("region", ()), known.get("region_files_sha256", ()))
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _hashed_regions(texts: Sequence[str], hashes: Sequence[str]) -> dict[str, list[str]]:
    """The regions with hashes in place of their files, if there is a hash for each."""
    regions, left = [Region(text) for text in texts], iter(hashes)
    if not texts or sum(len(region.files) for region in regions) != len(hashes):
        return {}
    return {"region": [str(region.with_files(lambda _: Path(next(left)))) for region in regions]}


def relative_to(folder: Path, spec: RunSpec) -> RunSpec:
    """The spec with relative paths made relative to a folder, so that a spec saved there finds its files."""
    return with_files(spec, partial(moved, folder))


def moved(folder: Path, path: Path) -> Path:
    """A relative path made relative to a folder."""
    return path if path.is_absolute() else Path(os.path.relpath(path, folder))


def located(found: SpecFile, among: Sequence[Path] = ()) -> tuple[RunSpec, list[str]]:
    """The spec with its files at their present paths, and a sentence for each file that has changed since the run.

    A relative path is tried beside the spec, then in the working directory. If the file's hash is known, a file with
    this hash is preferred, and also found if it was moved, in the files and folders of `among` too: see `file_of_hash`.
    Raises ImageError or WeightsError if a file is missing.
    """
    changed: list[str] = []
    hashes = known_hashes(found.spec, found.provenance)

    def find(given: Path) -> Path:
        there = [path for path in dict.fromkeys([found.path.parent / given, given]) if path.is_file()]
        sha = hashes.get(given)
        if sha and (same := file_of_hash(given, found.path.parent, sha, among)):
            return same
        if not there and given == Path(found.spec.settings.init):
            return given  # perhaps a first picture of another task: the recipe raises the fitting error
        if not there:
            kind: type[ImpastoError] = WeightsError if given in models_of(found.spec) else ImageError
            elsewhere = f", and no file in {', '.join(map(str, among))} has its SHA-256" if sha and among else ""
            raise kind(f"there is no file {given}, neither beside {found.path} nor in the working directory{elsewhere}")
        if sha:
            changed.append(f"{there[0]} has changed since that run")
        return there[0]

    spec = with_files(found.spec, find)
    photos = photos_of(spec)
    if photos is not None and photos.is_dir() and hashes.get(photos) not in (None, hash_of(photos)):
        changed.append(f"the photos in {photos} have changed since that run")
    return spec, changed


def with_paths(toml: str, spec: RunSpec) -> str:
    """The text of a spec with the paths of another spec, the same files elsewhere; the same text if none has moved."""
    content, settings = tomllib.loads(toml), spec.settings.model_dump(mode="json", exclude_none=True)
    moved = {key: settings[key] for key in FILES if key in content.get("settings", {}) and key in settings}
    pictures = [str(picture) for picture in spec.pictures]
    new = {**content, "pictures": pictures, "settings": {**content.get("settings", {}), **moved}}
    if "changes" in content:
        new["changes"] = [change.model_dump(mode="json") for change in spec.changes]
    return toml if new == content else tomli_w.dumps(new)
