"""What a batch consists of: all pairs of two folders' pictures, or the rows of a list, each with a name of its own."""

import csv
import io
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from impasto.errors import ImageError, SpecError, nearest
from impasto.folders.names import plain_name
from impasto.images.gathering import pictures_below
from impasto.tasks.settings import INITS
from impasto.tasks.table import TASKS

OWN = ("batch.toml", "index.html", "thumbnails", "workers.log")  # what a batch's folder has besides its runs
LISTS = (".csv", ".toml")
MOST_BYTES = 120  # of a picture's part in a name


@dataclass(frozen=True)
class Pair:
    """One run of a batch: its name, its pictures (content before styles), and the settings that are its own.

    `where` begins a sentence about it: the line of a list, or nothing.
    """

    name: str
    pictures: tuple[Path, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""

    def absolute(self) -> "Pair":
        """The same, found from any working directory."""
        return replace(self, pictures=tuple(path.absolute() for path in self.pictures))


def find_pairs(contents: Path, styles: Path | None, task: str) -> list[Pair]:
    """The runs of a list (CSV or TOML), or each picture of `contents` with each of `styles`: folders or one picture.

    Raises SpecError where the two do not go with the task or a list is none, ImageError where there is no picture.
    """
    if task not in TASKS:
        raise SpecError(f"there is no recipe {task!r}; {nearest(task, TASKS)}")
    if contents.suffix.lower() in LISTS and not contents.is_dir():
        if styles is not None:
            raise SpecError(f"{contents} names the styles itself; leave --styles out")
        return read_list(contents, task)
    if (styles is None) != (TASKS[task].most == 1):
        words = "takes one picture, so leave --styles out" if styles is not None else "needs --styles"
        raise SpecError(f"{task} {words}")
    first = _labelled(contents)
    if styles is None:
        return _unique([Pair(name, (path,)) for path, name in first.items()])
    second = _labelled(styles)
    pairs = product(first.items(), second.items())
    return _unique([Pair(plain_name(f"{one}--{other}"), (content, style)) for (content, one), (style, other) in pairs])


def read_list(file: Path, task: str) -> list[Pair]:
    """The rows of a CSV file with a header, or the [[run]] tables of a TOML file: content, style, name, any setting.

    Files are relative to the list's folder. Several styles of one picture are separated by semicolons, or a TOML list.
    Raises SpecError in one sentence that names the line or the run.
    """
    try:
        text = file.read_text("utf-8-sig")  # spreadsheets begin with a byte order mark
    except UnicodeDecodeError:
        raise SpecError(f"{file} is no text in UTF-8") from None
    except OSError as error:
        missing = f"there is no file {file}"
        raise SpecError(f"{file} cannot be read: {error.strerror}" if file.exists() else missing) from None
    rows = _toml_rows(text, file) if file.suffix.lower() == ".toml" else _csv_rows(text, file)
    if not rows:
        raise SpecError(f"{file} names no runs")
    return _unique([_row(where, row, file.parent, task) for where, row in rows])


def _csv_rows(text: str, file: Path) -> list[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    rows: list[tuple[str, dict[str, Any]]] = []
    try:
        head = [(name or "").strip() for name in reader.fieldnames or ()]
        if len(set(head)) < len(head):
            raise SpecError(f"{file}: a column is there twice")
        reader.fieldnames = head
        for row in reader:
            where = f"{file} line {reader.line_num}"
            if None in row:
                raise SpecError(f"{where} has more values than there are columns; quote a value that has commas")
            given = {key: value.strip() for key, value in row.items() if value and value.strip()}
            if given:
                rows.append((where, given))
    except csv.Error as error:
        raise SpecError(f"{file} line {reader.line_num} is no CSV: {error}") from None
    return rows


def _toml_rows(text: str, file: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{file} is no TOML: {str(error)[0].lower()}{str(error)[1:]}") from None
    runs = read.pop("run", [])
    if read:
        raise SpecError(f"{file}: there is no key {next(iter(read))!r} at the top; each run is a table [[run]]")
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise SpecError(f"{file}: run must be tables, each under [[run]]")
    return [(f"{file} run {number}", run) for number, run in enumerate(runs, start=1)]


def _row(where: str, row: Mapping[str, Any], folder: Path, task: str) -> Pair:
    values = {key.replace("-", "_"): value for key, value in row.items()}
    wanted, most = [role.name for role in TASKS[task].roles], TASKS[task].most
    known = [*wanted, "name", *TASKS[task].settings.model_fields]
    for key in values:
        if key not in known:
            raise SpecError(f"{where}: there is no column {key!r}; {nearest(key, known)}")
    pictures: list[Path] = []
    for key in wanted:
        given = values.pop(key, None)
        words = given.split(";") if isinstance(given, str) and key == "style" else given
        paths = [words] if isinstance(words, str) else words
        if not isinstance(paths, list) or not all(isinstance(path, str) and path.strip() for path in paths):
            raise SpecError(f"{where} names no {key}")
        pictures += [folder / path.strip() for path in paths]
    if len(pictures) > most:
        raise SpecError(f"{where}: {task} takes {most} pictures at most, not {len(pictures)}")
    for key in ("weights", "means", "init"):
        if key in values and values[key] not in INITS:
            values[key] = str((folder / str(values[key])).absolute())
    name = values.pop("name", None)
    if name is not None and (not isinstance(name, str) or _plain(name) != name):
        raise SpecError(f"{where}: {name!r} cannot name a folder; use letters, digits, and . , = + - _ inside")
    return Pair(
        name or plain_name("--".join(_plain(picture.stem) for picture in pictures[:4])), tuple(pictures), values, where
    )


def _labelled(given: Path) -> dict[Path, str]:
    """Pictures and how they are called: the file's name without its ending; with it where another is called so."""
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
    """The name as a folder can have it."""
    return plain_name(name, MOST_BYTES) or "picture"


def _unique(pairs: Iterable[Pair]) -> list[Pair]:
    """The same, numbered from 2 where a name comes again; names that differ in case alone count as the same."""
    taken = set(OWN)
    found = []
    for pair in pairs:
        name, number = pair.name, 1
        while name.casefold() in taken:
            number += 1
            name = f"{pair.name}-{number}"
        taken.add(name.casefold())
        found.append(replace(pair, name=name))
    return found
