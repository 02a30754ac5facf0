"""`impasto explore` and `impasto enlarge`: options and help; `impasto.series` and `impasto.sequels` do the work."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from impasto.cli.listeners import Progression, print_err, print_out, series_view
from impasto.cli.options import CheckpointSeconds, choose_listener, stoppable
from impasto.errors import SpecError
from impasto.tasks.settings import TransferSettings
from impasto.tasks.values import PrintSize

Flat = Parameter(name="*")


@dataclass(frozen=True)
class SheetOptions:
    """What the candidates differ in, and where they go."""

    presets: str = "default"
    "Presets, with commas between them."
    strengths: str = "0.3,1,3"
    "Weights of the style, as multiples of the preset's."
    strokes: str = "0.6,1,1.6"
    "Sizes of the strokes, as multiples of the preset's."
    out: Annotated[Path | None, Parameter(alias="-o")] = None
    "Folder for the sheet, by default runs/explore-PHOTO-STYLE; the same command continues there."
    force: Annotated[bool, Parameter(negative="")] = False
    "Replace the sheet that the folder holds."
    quiet: Annotated[bool, Parameter(negative="", alias="-q")] = False
    "Print only errors and the folder's name."
    json: Annotated[bool, Parameter(negative="")] = False
    "Print lines of JSON for each candidate, and one with the results at the end."


def explore(
    photo: Path,
    style: Path,
    /,
    *styles: Path,
    settings: Annotated[TransferSettings, Flat] = TransferSettings(),
    sheet: Annotated[SheetOptions, Flat] = SheetOptions(),
) -> None:
    """A numbered sheet of small candidates for PHOTO in the style of STYLE; `impasto enlarge` paints one of them large.

    Parameters
    ----------
    photo
        Picture file that gives the content.
    style
        Picture file that gives the style.
    styles
        More styles, together with the first.
    settings
        Settings of all candidates; --size is 256 by default.
    sheet
        What the candidates differ in, and where they go.

    """
    from impasto.series import explore as sheets

    listener = choose_listener(sheet.json, sheet.quiet, series_view())
    presets = tuple(name.strip() for name in sheet.presets.split(","))
    choices = sheets.Choices(presets, _numbers("strengths", sheet.strengths), _numbers("strokes", sheet.strokes))
    with stoppable(listener) as stop:
        folder = sheets.explore(
            [photo, style, *styles], choices, settings, sheet.out, force=sheet.force, stop=stop, listener=listener
        )
    if not sheet.json:
        print_out(folder / sheets.SHEET)


@dataclass(frozen=True)
class LargeOptions:
    """The large picture and its file, and where its run goes."""

    size: int | None = None
    "Long side in pixels."
    print: Annotated[str | None, Parameter(show_default=False)] = None
    "Exact size on paper with dots per inch, 60x40cm@300 for instance, in place of --size."
    steps: int | None = None
    "Updates at full size, 10 by default; each smaller size takes twice as many as the next larger one."
    likeness: Annotated[float | None, Parameter(show_default=False)] = None
    "Weight of the likeness to the small picture; by default a twentieth of the style's."
    depth: Literal[8, 16] | None = None
    "Bits a colour of the result; by default as in the small run."
    profile: Literal["srgb", "display-p3", "adobe-rgb"] | None = None
    "Colour profile of the result's file; by default as in the small run."
    memory: str | None = None
    "Memory limit, 4GB for instance; by default as in the small run."
    out: Annotated[Path | None, Parameter(alias="-o")] = None
    "Folder for the results, by default runs/enlarge-RUN-SIZE; the same command continues there."
    force: Annotated[bool, Parameter(negative="")] = False
    "Replace the run that the folder holds."
    checkpoint: CheckpointSeconds = 30.0
    "Seconds between checkpoints; 0 writes one only when the run is interrupted."
    quiet: Annotated[bool, Parameter(negative="", alias="-q")] = False
    "Print only errors and the folder's name."
    json: Annotated[bool, Parameter(negative="")] = False
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
            force=large.force,
            stop=stop,
            listener=listener,
            checkpoint_seconds=large.checkpoint,
        )
    if not large.json and not large.quiet:
        verdict = "the same picture" if found.same else f"below {enlarging.ALIKE}: not quite the same picture"
        print_err(f"impasto: SSIM with the small picture {found.ssim:.3f}, {verdict}")
    if not large.json:
        print_out(found.folder)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise SpecError(f"{option} is {text!r}; write numbers with commas between them, 0.3,1,3 for instance") from None
