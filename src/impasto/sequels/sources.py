"""What a user may name to make something of: a run, a candidate of a sheet, a part of a run, or a picture."""

from pathlib import Path

from impasto.errors import RunFolderError
from impasto.folders.names import RESULT, SETTINGS_FILE, SHEET_FILE
from impasto.sequels.larger import require_done
from impasto.series.explore import candidate


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
    if (source / RESULT).is_file():
        return source / RESULT
    parts = sorted(path.parent.name for path in source.glob(f"*/{RESULT}"))
    if parts and (source / SETTINGS_FILE).is_file():
        raise RunFolderError(f"{source} has {len(parts)} pictures; name one of them, {source / parts[0]} for instance")
    if (source / SETTINGS_FILE).is_file():
        require_done(source)  # raises what has become of the run's picture
    raise RunFolderError(f"{source} has no {RESULT}; name the folder of a run, or a picture")
