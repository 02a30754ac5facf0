"""The program `impasto`, which answers Ctrl-C from its first line on.

All else is imported inside `program`, so that nothing slow comes before Ctrl-C has its handler.
"""

import _signal  # type: ignore[import-not-found]  # what the module signal is made of, without the time that enum takes
import os
import sys

NARROWEST = 20  # columns of a terminal that words fit into
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn


def program() -> None:
    """The program `impasto`. `main` is for a host; this function sets variables of the process (see waiting)."""
    try:
        if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:  # an ignored Ctrl-C stays ignored
            _signal.signal(_signal.SIGINT, _interrupt)
        from impasto.cli.streams import lost, print_err, steady_streams

        steady_streams()
        from impasto.cli.app import main
        from impasto.waiting import wait_briefly

        if not _is_somewhere():
            sys.stderr.write("impasto: the working directory no longer exists; go to another folder\n")
            sys.exit(1)
        wait_briefly()
        _forget_a_width_of_nothing()
        main()
    except KeyboardInterrupt:
        _end_at_once()
    except SystemExit as ended:
        reason = lost(sys.stdout)
        if reason and not ended.code:
            print_err(f"impasto: standard output cannot be written: {reason}")
            sys.exit(1)
        raise


def _is_somewhere() -> bool:
    """Whether the working directory exists; without one PyTorch's libraries end the program in their own words."""
    try:
        os.getcwd()  # noqa: PTH109  # pathlib would cost time before Ctrl-C is answered
    except OSError:
        return False
    return True


def _forget_a_width_of_nothing() -> None:
    """Help that is laid out for COLUMNS=0, as some terminals and containers have it, would never end."""
    width = os.environ.get("COLUMNS", "")
    if width.isdigit() and int(width) < NARROWEST:
        del os.environ["COLUMNS"]


def _interrupt(number: int, frame: "FrameType | None") -> None:
    """Answer Ctrl-C. During an import the program ends at once: an exception there may be lost or renamed."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            _end_at_once()
        frame = frame.f_back
    raise KeyboardInterrupt


def _end_at_once() -> "NoReturn":
    try:
        os.write(2, b"impasto: stopped\n")
    finally:  # also if standard error cannot be written
        os._exit(130)
