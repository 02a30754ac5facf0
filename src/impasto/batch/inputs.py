"""The entries of a batch, one for each run: all pairs of two folders' pictures, or the rows of a list."""

import csv
import io
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from impasto.errors import ImageError, SpecError, nearest
from impasto.folders.named import row_with_files
from impasto.folders.names import plain_name
from impasto.tasks.regions import Region
from impasto.tasks.table import TASKS

OWN = ("batch.toml", "index.html", "thumbnails", "workers.log")  # names in a batch's folder that no run may have
LISTS = (".csv", ".tsv", ".toml")
MOST_BYTES = 120  # of a picture's part in a name


@dataclass(frozen=True)
class Entry:
    """One run of a batch: its name, its pictures (content before styles), and its own settings.

    `where` is the line of the list, with which an error begins, or empty.
    """

    name: str
    pictures: tuple[Path, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""

    def absolute(self) -> "Entry":
        """The entry with absolute paths, valid in any working directory."""
        return replace(self, pictures=tuple(path.absolute() for path in self.pictures))


def find_entries(contents: Path, styles: Path | None, task: str) -> list[Entry]:
    """The runs of a list (CSV or TOML), or each picture of `contents` with each of `styles`: folders or one picture.

    Raises SpecError if the task does not take these two or the list is not valid, ImageError if there is no picture.
    """
    if task not in TASKS:
        raise SpecError(f"there is no recipe {task!r}; {nearest(task, TASKS)}")
    if contents.suffix.lower() in LISTS and not contents.is_dir():
        if styles is not None:
            raise SpecError(f"{contents} names its own styles; leave --styles out")
        return read_list(contents, task)
    if not TASKS[task].roles:
        raise SpecError(f"{task} takes no picture, so there is nothing to batch; use impasto {task}")
    if (styles is None) != (TASKS[task].most == 1):
        words = "takes one picture, so leave --styles out" if styles is not None else "needs --styles"
        raise SpecError(f"{task} {words}")
    first = _labelled(contents)
    if styles is None:
        return _unique([Entry(name, (path,)) for path, name in first.items()])
    second = _labelled(styles)
    pairs = product(first.items(), second.items())
    return _unique([Entry(plain_name(f"{one}--{other}"), (content, style)) for (content, one), (style, other) in pairs])


def read_list(file: Path, task: str) -> list[Entry]:
    """The rows of a CSV or TSV file with a header, or the [[run]] tables of a TOML file: content, style, any setting.

    Paths are relative to the list's folder. Several styles are separated by semicolons, or given as a TOML array.
    Raises SpecError, which names the line or the run.
    """
    try:
        text = file.read_text("utf-8-sig")  # spreadsheets begin with a byte order mark
    except UnicodeDecodeError:
        raise SpecError(f"{file} is not text in UTF-8; save it as UTF-8") from None
    except OSError as error:
        missing = f"there is no file {file}"
        raise SpecError(f"{file} cannot be read: {error.strerror}" if file.exists() else missing) from None
    rows = (
        _toml_rows(text, file)
        if file.suffix.lower() == ".toml"
        else _csv_rows(text, file, "\t" if file.suffix.lower() == ".tsv" else ",")
    )
    if not rows:
        raise SpecError(f"{file} has no runs; give one row for each run")
    return _unique([_row(where, row, file.parent, task) for where, row in rows])


def _csv_rows(text: str, file: Path, separator: str) -> list[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    rows: list[tuple[str, dict[str, Any]]] = []
    try:
        head = [(name or "").strip() for name in reader.fieldnames or ()]
        if len(set(head)) < len(head):
            raise SpecError(f"{file} has a column twice; give each column once")
        reader.fieldnames = head
        for row in reader:
            where = f"{file} line {reader.line_num}"
            if None in row:
                raise SpecError(f"{where} has more values than columns; quote values that contain commas")
            given = {key: value.strip() for key, value in row.items() if value and value.strip()}
            if given:
                rows.append((where, given))
    except csv.Error as error:
        raise SpecError(f"{file} line {reader.line_num} is not valid CSV: {error}") from None
    return rows


def _toml_rows(text: str, file: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{file} is not valid TOML: {str(error)[0].lower()}{str(error)[1:]}") from None
    runs = read.pop("run", [])
    if read:
        raise SpecError(f"{file}: there is no key {next(iter(read))!r} at the top; each run is a table [[run]]")
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise SpecError(f"{file}: run must be an array of tables, each under [[run]]")
    return [(f"{file} run {number}", run) for number, run in enumerate(runs, start=1)]


def _row(where: str, row: Mapping[str, Any], folder: Path, task: str) -> Entry:
    values = {key.replace("-", "_"): value for key, value in row.items()}
    roles, most = [role.name for role in TASKS[task].roles], TASKS[task].most
    known = [*roles, "name", *TASKS[task].settings.model_fields]
    for key in values:
        if key not in known:
            raise SpecError(f"{where}: there is no column {key!r}; {nearest(key, known)}")
    pictures = [folder / path for role in roles for path in _paths(where, role, values.pop(role, None))]
    if len(pictures) > most:
        raise SpecError(f"{where}: {task} takes {most} pictures at most, not {len(pictures)}")
    values = row_with_files(values, lambda path: (folder / path).absolute())
    if "region" in values:
        values["region"] = _regions(where, values["region"], folder)
    name = values.pop("name", None)
    if name is not None and (not isinstance(name, str) or _plain(name) != name):
        raise SpecError(f"{where}: {name!r} cannot name a folder; use letters, digits and , = + _ (. and - inside)")
    label = name or plain_name("--".join(_plain(picture.stem) for picture in pictures[:4]))
    return Entry(label, tuple(pictures), values, where)


def _regions(where: str, given: Any, folder: Path) -> list[str]:
    """The regions of a row, with their files in a folder. Raises SpecError."""
    texts = given.split(";") if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise SpecError(f"{where}: region is {given!r}; write MASK=PAINTING, several separated by semicolons")
    try:
        regions = [Region(text.strip()) for text in texts if text.strip()]
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    return [region.with_files(lambda file: (folder / file).absolute()) for region in regions]


def _paths(where: str, role: str, given: Any) -> list[str]:
    """The paths in the column of a role. Raises SpecError if there are none."""
    separated = given.split(";") if isinstance(given, str) and role == "style" else given
    paths = [separated] if isinstance(separated, str) else separated
    if not isinstance(paths, list) or not all(isinstance(path, str) and path.strip() for path in paths):
        raise SpecError(f"{where} has no {role}; name a picture file")
    return [path.strip() for path in paths]


def _labelled(given: Path) -> dict[Path, str]:
    """A name for each picture: the file's name without its extension, or with the extension if the name is taken."""
    from impasto.images.gathering import pictures_below  # the command's help needs no Pillow

    if given.is_file():
        return {given: _plain(given.stem)}
    if not given.is_dir():
        raise ImageError(f"there is no folder {given}")
    found, _ = pictures_below(given)
    if not found:
        raise ImageError(f"there is no picture in {given}")
    labels: dict[Path, str] = {}
    taken: set[str] = set()
    for path in found:
        below = path.relative_to(given)
        names = [_plain("-".join(below.with_suffix("").parts)), _plain("-".join(below.parts))]
        labels[path] = next((name for name in names if name.casefold() not in taken), names[-1])
        taken.add(labels[path].casefold())
    return labels


def _plain(name: str) -> str:
    """The name in characters that a folder's name can have; a name that is too long is cut and ends in a hash."""
    return plain_name(name, MOST_BYTES) or "picture"


def _unique(entries: Iterable[Entry]) -> list[Entry]:
    """The entries with repeated names numbered from 2; names that differ only in case count as repeated."""
    taken = set(OWN)
    found = []
    for entry in entries:
        name, number = entry.name, 1
        while name.casefold() in taken:
            number += 1
            name = f"{entry.name}-{number}"
        taken.add(name.casefold())
        found.append(replace(entry, name=name))
    return found
