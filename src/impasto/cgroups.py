"""Memory left by Linux control groups, which set the limits of containers, Slurm jobs and systemd services.

The machine's free memory does not show such a limit, and the kernel kills a process that exceeds the limit.
Source: the kernel's documentation, admin-guide/cgroup-v2.rst ("Memory Interface Files") and cgroup-v1/memory.rst.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

UNLIMITED = 1 << 62  # version 1 writes "no limit" as the largest multiple of a page


class Files(NamedTuple):
    """Names of the files, in one version of control groups, that hold a group's limits and its use of memory."""

    limits: tuple[str, ...]
    used: str
    reclaimable: str  # a line of memory.stat: pages of files that nobody has read for a while


VERSION_1 = Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
VERSION_2 = Files(("memory.max", "memory.high"), "memory.current", "inactive_file")


def memory_left(root: Path = Path("/")) -> float:
    """Bytes this process may still take within the limits of its control group and of all enclosing groups.

    `root` is the root of the file system. Infinite if there is no limit, or the system has no control groups.
    """
    return min((_left(group, files) for group, files in _groups(root)), default=math.inf)


def _groups(root: Path) -> Iterator[tuple[Path, Files]]:
    """Folders of this process's control groups, each with the enclosing groups that this process can see."""
    own = _own_paths(root)
    for line in _lines(root / "proc/self/mountinfo"):
        mounted, _, kind = line.partition(" - ")
        fields, described = mounted.split(), kind.split()
        if len(fields) < 5 or len(described) < 3 or described[0] not in ("cgroup", "cgroup2"):
            continue
        files = VERSION_2 if described[0] == "cgroup2" else VERSION_1
        if files is VERSION_1 and "memory" not in described[2].split(","):
            continue
        top = root / fields[4].lstrip("/")
        group = top / _below(own.get(files, "/"), fields[3])
        yield from ((folder, files) for folder in (group, *group.parents) if folder.is_relative_to(top))


def _own_paths(root: Path) -> dict[Files, str]:
    """The path of this process's group in each version's tree."""
    paths: dict[Files, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            paths[VERSION_2] = path
        elif "memory" in controllers.split(","):
            paths[VERSION_1] = path
    return paths


def _below(path: str, mounted: str) -> str:
    """A group's path from the mounted folder: a container sees only a subtree, mounted as if it were the whole."""
    if mounted == "/":
        return path.lstrip("/")
    return path.removeprefix(mounted).lstrip("/") if path.startswith(mounted) else ""


def _left(group: Path, files: Files) -> float:
    limit = min((_number(group / name) for name in files.limits), default=math.inf)
    used = _number(group / files.used)
    if math.isinf(limit) or math.isinf(used):
        return math.inf
    stat = dict(line.split(maxsplit=1) for line in _lines(group / "memory.stat") if " " in line)
    reclaimable = min(used, float(stat.get(files.reclaimable, 0)))
    return max(0.0, limit - used + reclaimable)


def _number(path: Path) -> float:
    """The number in a file; infinite if the file holds no number, or is missing."""
    text = "".join(_lines(path)).strip()
    return float(text) if text.isdigit() and int(text) < UNLIMITED else math.inf


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
