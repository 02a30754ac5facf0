"""A finished picture as a file for print: exact size, 16 bits, a colour profile, or a look at the print."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from impasto.errors import OutputError
from impasto.events import Listener, Notice, silent
from impasto.images.files import embedded_settings, load_picture, save_image
from impasto.images.forms import FileForm
from impasto.images.image import Image, Picture
from impasto.images.opening import dpi_of
from impasto.sequels.sources import result_of
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
    """Write the picture of a run or of a candidate ("SHEET#5"), or any picture file, to `out`; return `out`.

    The ending of `out` decides the format. With `size` the picture is scaled to exactly that print, and what is beyond
    its proportions is cropped. `finish` changes the picture, as `proof` does. Without `size` the file names the
    resolution that the source names.
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
    return part.resized(size.size)
