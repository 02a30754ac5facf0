"""A finished picture as a file for print: exact size, 16 bits, a colour profile, or a look at the print."""

import math
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from impasto.errors import ImpastoError, OutputError
from impasto.events import Listener, Notice, silent
from impasto.images.files import embedded_settings, load_picture, save_image
from impasto.images.forms import FileForm
from impasto.images.image import Image, Picture
from impasto.images.opening import dpi_of
from impasto.sequels.larger import larger_run
from impasto.sequels.sources import folder_of, result_of
from impasto.tasks.values import PrintSize

FORM = FileForm(dither=True)
BLURRED = 1.5  # an enlargement beyond which a print looks soft


def export(
    source: str | Path,
    out: str | Path,
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
    source, out = Path(source), Path(out)
    if out.exists() and not force:
        raise OutputError(f"{out} exists already; name another file with --out, or replace it with --force")
    file = result_of(source)
    picture = load_picture(file)
    if size is not None:
        picture, form = _scaled(picture, source, size, listener), replace(form, dpi=size.dpi)
    form = with_dpi(form, file)
    image = picture.image if finish is None else finish(picture.image)
    save_image(image, out, alpha=picture.alpha, settings=embedded_settings(file), form=form)
    return out


def with_dpi(form: FileForm, source: Path) -> FileForm:
    """The form with the dots per inch of a picture file that is written anew with as many pixels."""
    return form if form.dpi is not None else replace(form, dpi=dpi_of(source))


def _scaled(picture: Picture, source: Path, size: PrintSize, listener: Listener) -> Picture:
    """The picture in exactly the print's size."""
    part = picture.cropped(size.size)
    factor = size.size[0] / part.size[0]
    if factor > BLURRED:
        height, width = part.size
        advice = _advice(source, math.ceil(max(picture.size) * factor), size)
        listener(Notice(f"{width} × {height} px are enlarged {factor:.1f} times for {size}{advice}"))
    return part.resized(size.size)


def _advice(source: Path, enough: int, size: PrintSize) -> str:
    """How to paint what a print lacks, of a long side of `enough` pixels; empty if the source cannot be enlarged."""
    for words, larger in ((f"--size {enough}", enough), (f"--print {shlex.quote(size)}", size)):
        with suppress(ImpastoError):
            larger_run(folder_of(source), larger, {})
            return f"; impasto enlarge {shlex.quote(str(source))} {words} paints all of the print's pixels"
    return ""
