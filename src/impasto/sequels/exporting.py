"""A finished picture as a file for print: exact size, 16 bits, a colour profile, or a look at the print."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from impasto.errors import OutputError, RunFolderError
from impasto.events import Listener, Notice, silent
from impasto.folders.names import RESULT, SETTINGS_FILE
from impasto.images.files import embedded_settings, load_picture, save_image
from impasto.images.forms import FileForm
from impasto.images.image import Image, Picture, cover
from impasto.images.opening import dpi_of
from impasto.sequels.larger import require_done
from impasto.tasks.values import PrintSize

FORM = FileForm(dither=True)
BLURRED = 1.5  # an enlargement beyond which a print looks soft


def export(
    source: Path,
    out: Path,
    *,
    form: FileForm = FORM,
    size: PrintSize | None = None,
    finish: Callable[[Image], Image] | None = None,
    force: bool = False,
    listener: Listener = silent,
) -> Path:
    """Write the picture of a run, or any picture file, to `out`, whose ending decides the format; return `out`.

    With `size` the picture is scaled to exactly that print, and what is beyond its proportions is cropped. `finish`
    changes the picture, as `proof` does. Without `size` the file names the resolution that the source names.
    Transparency is kept, and in a PNG the settings inside. The listener hears if
    the print needs many more pixels than the picture has.
    Raises OutputError if `out` exists (unless `force`), RunFolderError for a folder without a result, else as
    `load_picture` and `save_image`.
    """
    if out.exists() and not force:
        raise OutputError(f"{out} exists already; name another file with --out, or replace it with --force")
    file = result_of(source)
    picture = load_picture(file)
    if size is not None:
        picture, form = _scaled(picture, size, listener), replace(form, dpi=size.dpi)
    form = with_dpi(form, file)
    image = picture.image if finish is None else finish(picture.image)
    save_image(image, out, alpha=picture.alpha, settings=embedded_settings(file), form=form)
    return out


def result_of(source: Path) -> Path:
    """The picture of a run's folder, or of a part's; a file stands for itself. Raises RunFolderError."""
    if not source.is_dir():
        return source
    parts = sorted(path.parent.name for path in source.glob(f"*/{RESULT}"))
    if parts and (source / SETTINGS_FILE).is_file():
        raise RunFolderError(f"{source} has {len(parts)} pictures; name one of them, {source / parts[0]} for instance")
    if not (source / RESULT).is_file():
        if (source / SETTINGS_FILE).is_file():
            require_done(source)  # raises what has become of the run's picture
        raise RunFolderError(f"{source} has no {RESULT}; name the folder of a run, or a picture")
    return source / RESULT


def with_dpi(form: FileForm, source: Path) -> FileForm:
    """The form with the dots per inch of a picture file that is written anew with as many pixels."""
    return form if form.dpi is not None else replace(form, dpi=dpi_of(source))


def _scaled(picture: Picture, size: PrintSize, listener: Listener) -> Picture:
    """The picture in exactly the print's size."""
    part = picture.cropped(size.size)
    factor = size.size[0] / part.size[0]
    if factor > BLURRED:
        height, width = part.size
        enough = max(size.size)
        listener(
            Notice(
                f"{width} × {height} px are enlarged {factor:.1f} times for {size}; "
                f"impasto enlarge RUN --size {enough} paints all of the print's pixels"
            )
        )
    return Picture(cover(part.image, size.size), None if part.alpha is None else cover(part.alpha, size.size))
