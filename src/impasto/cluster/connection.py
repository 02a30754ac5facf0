"""A way into a Ray cluster. Ray is an extra: nothing of it is imported before it is asked for."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from impasto.errors import OutputError, SpecError
from impasto.extras import import_extra
from impasto.waiting import for_workers

CONNECT_SECONDS = 10.0


@contextmanager
def connected(address: str) -> Iterator[ModuleType]:
    """Ray, connected to the cluster at an address, "auto" for the one of this machine; disconnected at the end.

    Raises SpecError without the package or for what is no address, OutputError if there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # its own words, on standard output: that is the page's
    ray = import_extra("ray", "--cluster", "ray")
    _require_answer(address)
    try:
        with _signals_kept():
            ray.init(
                address=address,
                runtime_env={"env_vars": for_workers()},  # before a worker loads PyTorch, which reads them
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
    except Exception as error:  # ConnectionError, RuntimeError, ValueError, of many kinds
        said = " ".join(str(error).split())[:300]
        where = "" if address == "auto" else f" at {address}"
        raise OutputError(f"there is no Ray cluster{where} ({said}); start one with: ray start --head") from None
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Hand SIGINT and SIGTERM back to whoever handled them: Ray's own handlers end the program at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # else a handler in C, which Python cannot set
                signal.signal(number, handler)


def _require_answer(address: str) -> None:
    """Fail at once if nothing listens: Ray would try for a quarter of an hour."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdecimal():
        raise SpecError(f"{address!r} is no address of a cluster; write auto, or one such as 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise OutputError(f"no Ray cluster answers at {address} ({error}); start one with: ray start --head") from None
