"""Asking something of a run while it goes on: to stop, by an object, Ctrl-C or a signal; to change its settings."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol, TypeAlias, runtime_checkable

from impasto.errors import InterruptedRunError
from impasto.events import Listener, StopAsked
from impasto.tasks.settings import Settings
from impasto.tasks.spec import RunSpec, changed, in_force

HANG_UP = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # Windows has none
SIGNALS = (signal.SIGINT, signal.SIGTERM, *HANG_UP)
_Handler = Callable[[int, FrameType | None], Any] | int | None


@runtime_checkable
class Settable(Protocol):
    """An object that knows whether a stop has been asked for, such as `threading.Event`."""

    def is_set(self) -> bool:
        """Whether a stop has been asked for."""


Stop: TypeAlias = Settable | Callable[[], bool] | None
"""Checked between steps and tiles; None never stops."""


def question(stop: Stop) -> Callable[[], bool]:
    """The function that says whether a stop has been asked for. Raises TypeError if `stop` is of another type."""
    if stop is None:
        return _never
    if isinstance(stop, Settable):
        return stop.is_set
    if not callable(stop):
        raise TypeError(f"stop is {stop!r}; pass an object with is_set(), such as threading.Event, or a function")
    return stop


def _never() -> bool:
    return False


def go_on_unless(stop: Stop) -> None:
    """Raise InterruptedRunError if a stop has been asked for already."""
    if question(stop)():
        raise InterruptedRunError("stopped before the first step")


class Steering:
    """Settings to change while a run goes on, asked for from any thread; made from the run's spec.

    Each change holds from the next step on, and is kept in run.toml with the number of that step.
    """

    def __init__(self, spec: RunSpec) -> None:
        self._task = spec.task
        self._settings = in_force(spec.task, spec.settings, spec.changes)
        self._asked: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def settings(self) -> Settings:
        """The settings with all that was asked for."""
        return self._settings

    def change(self, **values: Any) -> None:
        """Ask for other settings. Raises SpecError if a value is not allowed, or cannot be changed during a run."""
        with self._lock:
            self._settings = changed(self._task, self._settings, values)
            self._asked |= values

    def settle(self, settings: Settings) -> None:
        """Take note of the settings that the run has now, without what could not be done."""
        with self._lock:
            self._settings = changed(self._task, settings, self._asked)

    def take(self) -> dict[str, Any]:
        """The settings asked for since the last call; the run calls this between steps."""
        with self._lock:
            asked, self._asked = self._asked, {}
        return asked


@contextmanager
def stop_signal(listener: Listener) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C, SIGTERM or SIGHUP sets; another Ctrl-C or SIGTERM ends the program at once.

    Another SIGHUP does nothing: as a terminal is closed, the shell and the system send one each.
    Only for programs, in the main thread, because handlers of signals belong to the process. Elsewhere the event is
    never set. An ignored signal stays ignored, and a handler in C, which Python cannot put back, stays in place.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {
        number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)
    }  # nohup, &

    def ask(number: int, frame: FrameType | None) -> None:
        if not stop.is_set():
            stop.set()
            listener(StopAsked())
        _restore({each: handler for each, handler in before.items() if each not in HANG_UP})

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        _restore(before)


def _restore(handlers: Mapping[signal.Signals, _Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
