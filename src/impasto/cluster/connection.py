"""Connection to a Ray cluster. Ray is an optional extra, imported only when a cluster is asked for."""

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
    """Ray, connected to the cluster at an address ("auto": this machine's cluster); disconnected at the end.

    Raises SpecError if Ray is not installed or the address is not valid, OutputError if there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # else logs on standard output, kept for the result's path
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
        reason = " ".join(str(error).split())[:300]
        where = "" if address == "auto" else f" at {address}"
        raise OutputError(f"there is no Ray cluster{where} ({reason}); start one with: ray start --head") from None
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
    """Fail at once if nothing listens at the address: Ray would try for a quarter of an hour."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdecimal():
        raise SpecError(f"{address!r} is not a cluster's address; write auto, or one such as 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise OutputError(f"no Ray cluster answers at {address} ({error}); start one with: ray start --head") from None
