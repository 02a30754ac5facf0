"""The commands that make files of finished pictures: options and help; `impasto.sequels` does the work."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from impasto.cli.listeners import print_out, sentences
from impasto.cli.options import choose_listener
from impasto.tasks.values import PrintSize


@dataclass(frozen=True)
class FileOptions:
    """How the file is written."""

    depth: Literal[8, 16] = 8
    "Bits a colour; 16 for PNG and TIFF."
    profile: Literal["srgb", "display-p3", "adobe-rgb"] = "srgb"
    "Colour profile of the file."
    force: Annotated[bool, Parameter(negative="")] = False
    "Replace the file if it exists."
    quiet: Annotated[bool, Parameter(negative="", alias="-q")] = False
    "Print only errors and the file's name."


def export(
    source: Path,
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    print: Annotated[str | None, Parameter(show_default=False)] = None,
    proof: Annotated[str | None, Parameter(show_default=False)] = None,
    file: Annotated[FileOptions, Parameter(name="*")] = FileOptions(),
) -> None:
    """Write SOURCE as a file for print: exact size, 16 bits, colour profile.

    impasto export runs/transfer-photo-painting --print 60x40cm@300 --depth 16 -o poster.tif

    Parameters
    ----------
    source
        Folder of a run, or any picture.
    out
        File to write: .png, .tif, .jpg or .webp.
    print
        Exact size on paper with dots per inch, 60x40cm@300 for instance; what is beyond its proportions is cropped.
    proof
        Show how the print would look: cmyk for four common inks, or the ICC profile of your printer.
    file
        How the file is written.

    """
    size = None if print is None else PrintSize(print)
    from impasto.finishing import proof as proofs
    from impasto.images.forms import FileForm
    from impasto.sequels import exporting

    finish = None if proof is None else partial(proofs.proof, printer=None if proof == "cmyk" else Path(proof))
    form = FileForm(file.depth, file.profile, dither=True)
    listener = choose_listener(False, file.quiet, sentences)
    print_out(exporting.export(source, out, form=form, size=size, finish=finish, force=file.force, listener=listener))


def blend(
    run: Path,
    /,
    *,
    strength: float,
    other: Annotated[Path | None, Parameter(name="--with", show_default=False)] = None,
    out: Annotated[Path | None, Parameter(alias="-o", show_default=False)] = None,
    file: Annotated[FileOptions, Parameter(name="*")] = FileOptions(),
) -> None:
    """How strongly a photo is painted, chosen afterwards: a blend of the photo and RUN's picture, at once.

    impasto blend runs/transfer-photo-painting --strength 0.7

    Parameters
    ----------
    run
        Folder of a run.
    strength
        From 0, the photo, to 1, the picture of the run.
    other
        Another run, or a picture, in place of the photo.
    out
        File to write: .png, .tif, .jpg or .webp; by default blend-70.png in the folder of the run.
    file
        How the file is written.

    """
    from impasto.images.forms import FileForm
    from impasto.sequels import blending

    form = FileForm(file.depth, file.profile, dither=True)
    print_out(blending.blend(run, strength, out, other=other, form=form, force=file.force))
