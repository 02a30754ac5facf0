"""How strongly a photo is painted, chosen afterwards: a blend of photo and result, or of two runs."""

from pathlib import Path

from impasto.errors import OutputError, RunFolderError, SpecError
from impasto.finishing.blending import blended
from impasto.folders.names import SETTINGS_FILE
from impasto.folders.records import PictureRecord, read_run
from impasto.images.files import embedded_settings, load_picture, save_image
from impasto.images.forms import FileForm
from impasto.images.image import Picture
from impasto.sequels.exporting import FORM, with_dpi
from impasto.sequels.sources import folder_of, result_of
from impasto.tasks.spec import framed
from impasto.tasks.table import TASKS


def blend(
    run: Path,
    strength: float,
    out: Path | None = None,
    *,
    other: Path | None = None,
    form: FileForm = FORM,
    force: bool = False,
) -> Path:
    """Blend the photo of a run (strength 0) with the run's picture (1), and return the file, by default in its folder.

    `other` is a run, or a picture file, that takes the photo's place. The blend is as large as the run's picture, and
    has its dots per inch; transparency is mixed as colours are.
    Raises SpecError for a strength outside 0 … 1, RunFolderError if there is no photo or the photo has changed,
    ImageError if the proportions of two pictures differ, OutputError if the file exists already.
    """
    if not 0 <= strength <= 1:
        raise SpecError(f"strength is {strength:g}; choose from 0 (the photo, or the other run) to 1 (the run)")
    file = result_of(run)
    name = f"blend-{100 * strength:g}.png" if other is None else f"blend-{100 * strength:g}-{_name(other)}.png"
    out = out or file.parent / name
    if out.exists() and not force:
        raise OutputError(f"{out} exists already; name another file with --out, or replace it with --force")
    first = photo_of(run) if other is None else load_picture(result_of(other))
    picture = blended(first, load_picture(file), strength)
    save_image(picture.image, out, alpha=picture.alpha, settings=embedded_settings(file), form=with_dpi(form, file))
    return out


def photo_of(run: Path) -> Picture:
    """The photo that a run has painted, as the run read it. Raises RunFolderError if there is none any more."""
    run = folder_of(run)
    is_part = run.is_dir() and not (run / SETTINGS_FILE).is_file() and (run.parent / SETTINGS_FILE).is_file()
    folder = run.parent if is_part else run
    record = read_run(folder)
    if not TASKS[record.spec.task].has_content:
        raise RunFolderError(f"{run} has no photo to blend with; name another run with --with")
    return framed(record.spec, [load_picture(_unchanged(record.pictures[0], run))])[0]


def _unchanged(picture: PictureRecord, run: Path) -> Path:
    if picture.path is None:
        words = f"{picture.given} {picture.missing}; name the photo with --with FILE"
        raise RunFolderError(f"{run} cannot be blended with its photo: {words}")
    return picture.path


def _name(other: Path) -> str:
    there = other.resolve()
    return there.stem if there.is_file() else there.name
