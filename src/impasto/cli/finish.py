"""`impasto explore`, `enlarge`, `blend` and `export`: options and help; `series` and `sequels` do the work."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import Field

from impasto.cli.listeners import Progression, sentences, series_view
from impasto.cli.options import CheckpointSeconds, MovedPictures, Out, Quiet, Switch, Whole, choose_listener, stoppable
from impasto.cli.streams import print_out
from impasto.errors import SpecError
from impasto.tasks.settings import TransferSettings
from impasto.tasks.values import SMALL_PX, PrintSize

Flat = Parameter(name="*")


class CandidateSettings(TransferSettings):
    """The settings of all candidates; how strokes run is an entry of the sheet's own `strokes`.

    `print` is parsed, so that the error can name the command that takes a print.
    """

    size: Annotated[int, Field(ge=1, le=65536)] = SMALL_PX
    "Long side of each candidate in pixels."
    frames: Annotated[int, Field(ge=0, le=100_000)] = 0
    "Number of intermediate pictures kept for each candidate's animation; 0 for none."
    print: Annotated[PrintSize | None, Parameter(show=False)] = None
    strokes: Annotated[Literal["as-painted", "along"], Parameter(parse=False)] = "as-painted"


@dataclass(frozen=True)
class SheetOptions:
    """What the candidates differ in, and where they go."""

    presets: str = "default"
    "Presets, with commas between them."
    strengths: str = "0.3,1,3"
    "Weights of the style, as multiples of the preset's."
    strokes: str = "0.6,1,1.6"
    "Sizes of the strokes, as multiples of the preset's; or along, for strokes along the photo's lines."
    out: Out = None
    "Folder for the sheet, by default runs/explore-PHOTO-STYLE; the same command continues there."
    force: Switch = False
    "Replace the sheet that the folder holds."
    quiet: Quiet = False
    "Print only errors and the folder's name."
    json: Switch = False
    "Print lines of JSON for each candidate, and one with the results at the end."


def explore(
    photo: Path,
    style: Path,
    /,
    *styles: Path,
    settings: Annotated[CandidateSettings, Flat] = CandidateSettings(),
    sheet: Annotated[SheetOptions, Flat] = SheetOptions(),
) -> None:
    """A numbered sheet of small candidates for PHOTO in the style of STYLE; `impasto enlarge` paints one of them large.

    impasto explore photo.jpg painting.jpg --strengths 0.3,1,3 --strokes 0.6,1,1.6

    The same command continues a sheet that was stopped.

    Parameters
    ----------
    photo
        Picture file that gives the content.
    style
        Picture file that gives the style.
    styles
        More styles, together with the first.
    settings
        Settings of all candidates.
    sheet
        What the candidates differ in, and where they go.

    """
    from impasto.folders.names import SHEET
    from impasto.series import explore as sheets

    listener = choose_listener(sheet.json, sheet.quiet, series_view())
    presets = tuple(name.strip() for name in sheet.presets.split(","))
    choices = sheets.Choices(presets, _numbers("strengths", sheet.strengths), _strokes(sheet.strokes))
    with stoppable(listener) as stop:
        folder = sheets.explore(
            [photo, style, *styles], choices, settings, sheet.out, force=sheet.force, stop=stop, listener=listener
        )
    if not sheet.json:
        print_out(folder / SHEET)


@dataclass(frozen=True)
class LargeOptions:
    """The large picture and its file, and where its run goes."""

    size: Whole | None = None
    "Long side in pixels."
    print: Annotated[str | None, Parameter(show_default=False)] = None
    "Exact size on paper with dots per inch, 60x40cm@300 for instance, in place of --size."
    steps: Whole | None = None
    "Updates at full size, 10 by default; each smaller size takes twice as many as the next larger one."
    likeness: Annotated[float | None, Parameter(show_default=False)] = None
    "Weight of the likeness to the small picture; by default 1/20 of the style's or content's and 3/4 of neighbours'."
    depth: Literal[8, 16] | None = None
    "Bits a colour of the result; by default as in the small run."
    profile: Literal["srgb", "display-p3", "adobe-rgb"] | None = None
    "Colour profile of the result's file; by default as in the small run."
    memory: str | None = None
    "Memory limit, 4GB for instance; by default as in the small run."
    pictures: MovedPictures = ()
    "Files of the small run that were moved, or folders that hold them; the files are found by their hashes."
    out: Out = None
    "Folder for the results, by default runs/enlarge-RUN-SIZE; the same command continues there."
    force: Switch = False
    "Replace the run that the folder holds."
    checkpoint: CheckpointSeconds = 30.0
    "Seconds between checkpoints; 0 writes one only when the run is interrupted."
    quiet: Quiet = False
    "Print only errors and the folder's name."
    json: Switch = False
    "Print a line of JSON for each step, and one with the results at the end."


def enlarge(run: str, /, *, large: Annotated[LargeOptions, Flat] = LargeOptions()) -> None:
    """Paint RUN large, so that it is the same picture, and print how alike both are at the small size (SSIM).

    impasto enlarge runs/explore-photo-painting#5 --size 4096

    The same command continues a run that was stopped.

    Parameters
    ----------
    run
        Folder of a run, or a candidate of a sheet: SHEET#5.
    large
        The large picture and its file, and where its run goes.

    """
    if (large.size is None) == (large.print is None):
        raise SpecError("give either --size, the long side in pixels, or --print, such as 60x40cm@300")
    size = PrintSize(large.print) if large.print is not None else large.size
    assert size is not None
    named = {name: getattr(large, name) for name in ("steps", "likeness", "depth", "profile", "memory")}
    changes = {name: value for name, value in named.items() if value is not None}
    from impasto.sequels import enlarging

    listener = choose_listener(large.json, large.quiet, Progression())
    with stoppable(listener) as stop:
        found = enlarging.enlarge(
            run,
            size,
            large.out,
            changes=changes,
            pictures=large.pictures,
            force=large.force,
            stop=stop,
            listener=listener,
            checkpoint_seconds=large.checkpoint,
        )
    if not large.json:
        print_out(found.folder)


def _strokes(text: str) -> tuple[float | str, ...]:
    """Sizes, or in place of one the word for strokes along the photo's lines."""
    words = [word.strip() for word in text.split(",")]
    try:
        return tuple(word if word == "along" else float(word) for word in words)
    except ValueError:
        raise SpecError(f"strokes is {text!r}; write sizes with commas between them, or along: 0.6,1,along") from None


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise SpecError(f"{option} is {text!r}; write numbers with commas between them, 0.3,1,3 for instance") from None


@dataclass(frozen=True)
class FileOptions:
    """How the file is written."""

    depth: Literal[8, 16] = 8
    "Bits a colour; 16 for PNG and TIFF."
    profile: Literal["srgb", "display-p3", "adobe-rgb"] = "srgb"
    "Colour profile of the file."
    force: Switch = False
    "Replace the file if it exists."
    quiet: Quiet = False
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

    finish = None
    if proof is not None:
        finish = partial(proofs.proof, printer=None if proof.lower() == "cmyk" else Path(proof))
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
    """Blend the photo and RUN's picture, to choose afterwards how strongly the photo is painted.

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
