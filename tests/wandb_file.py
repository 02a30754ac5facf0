"""Reading files that wandb wrote offline: a log of protobuf records in the format of LevelDB."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7


def records(path: Path) -> Iterator[Any]:
    """All records of a run-….wandb file."""
    from wandb.proto.wandb_internal_pb2 import Record

    content = path.read_bytes()
    assert content[:4] == b":W&B"
    place, pending = 7, b""
    while place + HEADER <= len(content):
        if BLOCK - place % BLOCK < HEADER:  # padding at a block's end
            place += BLOCK - place % BLOCK
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + HEADER])
        pending += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):  # whole, or the last of several fragments
            record = Record()
            record.ParseFromString(pending)
            yield record
            pending = b""


def items(entries: Any) -> dict[str, Any]:
    """Keys and values of a history, summary or config."""
    found: dict[str, Any] = {}
    for entry in entries:
        *above, last = entry.nested_key or [entry.key]
        place = found
        for key in above:
            place = place.setdefault(key, {})
        place[last] = json.loads(entry.value_json)
    return found


def read(path: Path) -> dict[str, Any]:
    """The run, its config, its lines of history, its summary and its exit code."""
    found: dict[str, Any] = {"history": [], "summary": {}, "config": {}}
    for record in records(path):
        match record.WhichOneof("record_type"):
            case "run":
                found["run"] = record.run
                found["config"] |= items(record.run.config.update)
            case "config":
                found["config"] |= items(record.config.update)
            case "history":
                found["history"].append(items(record.history.item))
            case "summary":
                found["summary"] |= items(record.summary.update)
            case "exit":
                found["exit_code"] = record.exit.exit_code
    return found
