"""Jobs that have not ended, kept as files: a queue that ends, however it ends, is found again by the next one.

Each file has what the job makes, its folder's name, and its state. Paths are relative to the folder of runs, so that
the folder can be moved together with its uploads.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from impasto.errors import ImpastoError, OutputError
from impasto.files import save_json
from impasto.folders.named import with_files
from impasto.folders.names import SETTINGS_FILE
from impasto.folders.processes import Owner
from impasto.folders.records import read_run
from impasto.folders.specfiles import moved, parse_spec, relative_to, spec_toml
from impasto.jobs.orders import Order, order_of
from impasto.tasks.spec import values_with_files

QUEUE = ".impasto-queue"  # subfolder of the folder of runs


@dataclass(frozen=True)
class Kept:
    """A job as its file has it; see `impasto.jobs.queue.Job`."""

    number: int
    folder: Path
    order: Order
    state: Literal["waiting", "paused"]
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_begun(self) -> bool:
        """Whether the folder has a run to go on with."""
        return (self.folder / SETTINGS_FILE).is_file()

    @property
    def is_done(self) -> bool:
        """Whether the folder's run was finished by another program meanwhile."""
        with suppress(ImpastoError):
            return self.has_begun and read_run(self.folder).status == "done"
        return False


def keep(queue: Path, kept: Kept) -> None:
    """Write the file of a job. Raises OutputError."""
    content = {
        "folder": kept.folder.name,
        "state": kept.state,
        "asked": values_with_files(kept.asked, partial(moved, queue)),
        "kind": kept.order.kind,
        "spec": spec_toml(relative_to(queue, kept.order.spec)),
        "options": dict(kept.order.options),
    }
    save_json(content, _file(queue, kept.number))


def forget(queue: Path, number: int) -> None:
    """Remove the file of a job that has ended."""
    with suppress(OSError):
        _file(queue, number).unlink(missing_ok=True)


def all_kept(queue: Path) -> list[Kept]:
    """The jobs that a queue has left, in order. Damaged files are left out; a run that is done by now is forgotten."""
    found = [kept for path in sorted(queue.glob("[0-9]*.json")) if (kept := _read(queue, path)) is not None]
    for each in found:
        if each.is_done:
            forget(queue, each.number)
    return [each for each in found if not each.is_done]


def refuse_a_second(queue: Path, owner: Owner) -> None:
    """Raise OutputError: two queues would paint the same jobs twice."""
    raise OutputError(
        f"{queue.parent} has a queue already, of {owner.words()}; end that one, or choose another folder of runs"
    )


def _file(queue: Path, number: int) -> Path:
    return queue / f"{number:06}.json"


def _read(queue: Path, path: Path) -> Kept | None:
    def beside(file: Path) -> Path:
        return Path(os.path.normpath(queue / file))

    try:
        read = json.loads(path.read_text("utf-8"))
        spec, _ = parse_spec(read["spec"], str(path))
        here = with_files(spec, beside)
        order = order_of(read["kind"], here, read["options"])
        state: Literal["waiting", "paused"] = "waiting" if read["state"] == "waiting" else "paused"
        asked = values_with_files(read["asked"], beside)
        return Kept(int(path.stem), queue.parent / Path(read["folder"]).name, order, state, asked)
    except (OSError, ValueError, KeyError, TypeError, ImpastoError):
        return None
