"""Limits of control groups, read from trees of files laid out as by the kernel and by container engines."""

import math
from pathlib import Path

import psutil
import pytest
import torch

from impasto.cgroups import memory_left
from impasto.machine import free_memory

V2_MOUNT = "30 23 0:26 {seen} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNT = "36 25 0:31 {seen} /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory"
OTHER_MOUNT = "37 25 0:32 / /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct"


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def second(root: Path, own: str, seen: str = "/", **groups: dict[str, str]) -> Path:
    """A tree of version 2, with files for groups by their path ("" is the root group)."""
    files = {"proc/self/cgroup": f"0::{own}", "proc/self/mountinfo": V2_MOUNT.format(seen=seen)}
    for group, values in groups.items():
        files |= {f"sys/fs/cgroup/{group}/{name}": text for name, text in values.items()}
    return tree(root, files)


def test_a_container_of_version_two(tmp_path: Path) -> None:
    """It sees its own group as the root of all: 4 GB allowed, 1 GB used, of which 0.25 GB are old pages of files."""
    root = second(
        tmp_path,
        "/",
        **{
            ".": {
                "memory.max": "4000000000",
                "memory.high": "max",
                "memory.current": "1000000000",
                "memory.stat": "anon 700000000\nfile 300000000\ninactive_file 250000000",
            }
        },
    )
    assert memory_left(root) == 3.25e9


def test_a_job_whose_limit_is_that_of_a_group_around_it(tmp_path: Path) -> None:
    job = {"memory.max": "3000000000", "memory.current": "1000000000"}
    step = {"memory.max": "max", "memory.high": "max", "memory.current": "200000000"}
    root = second(tmp_path, "/slurm/job_7/step_0", **{"slurm/job_7": job, "slurm/job_7/step_0": step})
    assert memory_left(root) == 2e9


def test_a_soft_limit_counts(tmp_path: Path) -> None:
    root = second(
        tmp_path, "/a", a={"memory.max": "9000000000", "memory.high": "2000000000", "memory.current": "500000000"}
    )
    assert memory_left(root) == 1.5e9


@pytest.mark.parametrize("seen", ["/", "/docker/b2"])
def test_version_one(tmp_path: Path, seen: str) -> None:
    """With the whole tree mounted, or only the container's part of the tree."""
    inside = "docker/b2/" if seen == "/" else ""
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/b2\n4:memory:/docker/b2\n0::/",
            "proc/self/mountinfo": "\n".join([OTHER_MOUNT, V1_MOUNT.format(seen=seen)]),
            f"sys/fs/cgroup/memory/{inside}memory.limit_in_bytes": "2000000000",
            f"sys/fs/cgroup/memory/{inside}memory.usage_in_bytes": "1200000000",
            f"sys/fs/cgroup/memory/{inside}memory.stat": "inactive_file 1\ntotal_inactive_file 100000000",
        },
    )
    assert memory_left(root) == pytest.approx(0.9e9)


def test_no_limit_of_version_one(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/",
            "proc/self/mountinfo": V1_MOUNT.format(seen="/"),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "1200000000",
        },
    )
    assert math.isinf(memory_left(root))


def test_more_used_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    assert memory_left(second(tmp_path, "/a", a={"memory.max": "100", "memory.current": "200"})) == 0


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/a"},
        {"proc/self/cgroup": "nonsense", "proc/self/mountinfo": "short - cgroup2\n\n" + V2_MOUNT.format(seen="/")},
        {"proc/self/cgroup": "0::/a", "proc/self/mountinfo": V2_MOUNT.format(seen="/")},  # the group has no files
    ],
)
def test_a_system_without_limits_has_none(tmp_path: Path, files: dict[str, str]) -> None:
    assert math.isinf(memory_left(tree(tmp_path, files)))


def test_free_memory_is_the_lesser_of_machine_and_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.machine.memory_left", lambda: 5e6)
    assert free_memory(torch.device("cpu")) == 5e6
    monkeypatch.setattr("impasto.machine.memory_left", lambda: math.inf)
    assert 5e6 < free_memory(torch.device("cpu")) <= psutil.virtual_memory().total
