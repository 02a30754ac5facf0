"""What a user may name to make something of: a run, a candidate of a sheet, a part of a run, or a picture."""

from pathlib import Path

from impasto.errors import RunFolderError
from impasto.folders.names import RESULT, SETTINGS_FILE, SHEET_FILE
from impasto.folders.specfiles import read_spec
from impasto.sequels.larger import require_done
from impasto.series.explore import candidate
from impasto.tasks.spec import part_names


def folder_of(source: str | Path) -> Path:
    """The folder of a run, or of a sheet's candidate: "SHEET#5"; any other path as it is. Raises RunFolderError."""
    folder = Path(source)
    sheet, mark, number = str(source).rpartition("#")
    if mark and Path(sheet).is_dir() and not folder.exists():
        return candidate(Path(sheet), number)
    if (folder / SHEET_FILE).is_file():
        raise RunFolderError(f"{source} is a sheet of several candidates; name one of them, {source}#1 for instance")
    return folder


def result_of(source: Path) -> Path:
    """The picture of a run's folder, of a part's or of a candidate; a file stands for itself. Raises RunFolderError."""
    source = folder_of(source)
    if not source.is_dir():
        return source
    parts = part_names(read_spec(source).spec) if (source / SETTINGS_FILE).is_file() else []
    if there := [name for name in parts if len(parts) > 1 and (source / name / RESULT).is_file()]:
        raise RunFolderError(f"{source} has several pictures; name one of them, {source / there[0]} for instance")
    if not (source / RESULT).is_file():
        if parts:
            require_done(source)  # raises what has become of the run's picture
        raise RunFolderError(f"{source} has no {RESULT}; name the folder of a run, or a picture")
    return source / RESULT
