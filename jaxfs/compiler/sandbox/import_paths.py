"""The paths that a job may read: modules that are imported late, and the libraries they load."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
    "/dev/urandom",  # std::random_device opens it
    "/proc/cpuinfo",  # LLVM reads the features of some processors there
    "/sys/devices/system/cpu",
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def readable_paths() -> list[Path]:
    """Returns the paths of this interpreter that exist, without any FUSE mount below one."""
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    named = map(Path, (*_SYSTEM, *sys.path, f"{sys.base_prefix}/lib", *libraries))
    mounts = _fuse_mounts()
    return sorted({part for path in named if _is_narrow(path) for part in _around(path, mounts)})


def _is_narrow(path: Path) -> bool:
    """Returns whether a path is neither a home nor a parent of one, whatever PYTHONPATH has."""
    homes = (Path.home(), Path("/home"), Path("/root"))
    return path.is_absolute() and not any(home.is_relative_to(path) for home in homes)


def _around(path: Path, mounts: set[Path]) -> Iterator[Path]:
    """Yields the path, or its content without FUSE mounts: ours may be below a user's project."""
    if path in mounts:
        return
    if any(mount.is_relative_to(path) for mount in mounts):
        for child in path.iterdir():
            yield from _around(child, mounts)
    elif path.exists():
        yield path


def _fuse_mounts() -> set[Path]:
    """Returns the mount points of FUSE (proc_pid_mountinfo(5))."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:  # /proc may be hidden in a container
        return set()
    fields = [line.split(" - ") for line in lines]
    return {
        Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), left.split()[4]))
        for left, right in fields
        if right.startswith("fuse")
    }
