"""How much of the machine a daemon may use."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from mountctl.display import size
from mountctl.doctor.finding import Examination, Finding, ok, warn

FILES = 65536  # each result and each waiter takes one
TASKS = 512
MEMORY_BYTES = 2 << 30
STATE_BYTES = 1 << 30
CGROUP = Path("/sys/fs/cgroup")


def files() -> Iterator[Finding]:
    """Checks the limit of open files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < FILES:
        found = f"{hard}: at most that many results and waiters"
        yield warn("open files", found, f"ulimit -Hn {FILES}, LimitNOFILE={FILES} in the unit")
    else:
        yield ok("open files", str(hard))


def _cgroup_limit(name: str) -> int | None:
    """Returns the lowest limit of our cgroup (v2) and those above it; None if there is none."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        home = CGROUP / next(line for line in lines if line.startswith("0::"))[3:].lstrip("/")
    except (OSError, StopIteration):
        return None
    limits = []
    for place in (home, *home.parents):
        if place.is_relative_to(CGROUP) and (place / name).is_file():
            text = (place / name).read_text().strip()
            limits += [int(text)] if text.isdigit() else []
    return min(limits, default=None)


def memory() -> Iterator[Finding]:
    """Checks the memory of the machine and of the cgroup."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _cgroup_limit("memory.max")
    usable = min(total, limit or total)
    found = size(usable) + (" (limit of the cgroup)" if limit and limit < total else "")
    if usable < MEMORY_BYTES:
        yield warn("memory", found, "give it 2 GiB; lower max_result_bytes in any case")
    elif limit and limit < total // 2:
        remedy = f"mount with max_result_bytes={usable // 2 >> 20}M: the default is half of the RAM"
        yield warn("memory", found, remedy)
    else:
        yield ok("memory", found)


def tasks() -> Iterator[Finding]:
    """Checks how many processes and threads the cgroup allows."""
    limit = _cgroup_limit("pids.max")
    if limit is not None and limit < TASKS:
        yield warn("processes", f"at most {limit} in the cgroup", "TasksMax=, --pids-limit: 512")
    else:
        yield ok("processes", "no limit" if limit is None else f"at most {limit}")


def state() -> Iterator[Finding]:
    """Checks the place of state directories that are not named."""
    home = platformdirs.user_state_path("jaxfs")
    existing = next(place for place in (home, *home.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        yield warn("state", f"{existing} is not writable", "name another place: --state-dir")
    elif free < STATE_BYTES:
        yield warn("state", f"{size(free)} free on {existing}", "make room, or name another place")
    else:
        yield ok("state", f"{home}, {size(free)} free")


EXAMINATIONS: tuple[Examination, ...] = (files, memory, tasks, state)
