"""`impasto study`: the command's words; `impasto.study` does the rest."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from impasto.cli.listeners import print_out, series_view
from impasto.cli.options import choose_listener, stoppable
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

    The same command given again goes on where it stopped, however that was; finished parts are not made again.

    Parameters
    ----------
    content
        Picture file whose content is meant.
    style
        Picture file whose style is meant.
    settings
        What the study is told.
    out
        Folder for the study, by default runs/study-CONTENT-STYLE (with --quick study-quick-CONTENT-STYLE).
    force
        Make all of it anew, in place of whatever study the folder holds.
    quiet
        Say nothing but errors and the page's name.
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
