"""`impasto study`: options and help of the command; `impasto.study` does the work."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from impasto.cli.listeners import series_view
from impasto.cli.options import choose_listener, stoppable
from impasto.cli.streams import print_out
from impasto.study.plan import StudySettings, plan_study


def study(
    content: Path,
    style: Path,
    /,
    *,
    settings: Annotated[StudySettings, Parameter(name="*")] = StudySettings(),
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="", alias="-q")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """The whole story of two pictures in one page: what layers keep of CONTENT, what style is, and both together.

    The same command continues a study that was stopped or killed; finished parts are not repeated.

    Parameters
    ----------
    content
        Picture file that gives the content.
    style
        Picture file that gives the style.
    settings
        Settings of the study.
    out
        Folder for the study, by default runs/study-CONTENT-STYLE (with --quick study-quick-CONTENT-STYLE).
    force
        Make all parts again, and replace the study that the folder holds.
    quiet
        Print only errors and the page's name.
    json
        Print a line of JSON for each part and step, and one with the page at the end.

    """
    from impasto.study.page import STUDY_PAGE
    from impasto.study.run import run_study

    listener = choose_listener(json, quiet, series_view())
    with stoppable(listener) as stop:
        folder = run_study(plan_study(content, style, settings), out, force=force, stop=stop, listener=listener)
    if not json:
        print_out(folder / STUDY_PAGE)
