"""What a job may read: modules that are imported late, and the libraries they load."""

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
    "/dev/urandom",  # what std::random_device opens
    "/proc/cpuinfo",  # LLVM looks there for what the processor can, on some kinds
    "/sys/devices/system/cpu",
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def readable_paths() -> list[Path]:
    """Those of this interpreter that exist; nothing that FUSE serves lies below one."""
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    named = map(Path, (*_SYSTEM, *sys.path, f"{sys.base_prefix}/lib", *libraries))
    served = _fuse_mounts()
    return sorted({part for path in named if _is_narrow(path) for part in _around(path, served)})


def _is_narrow(path: Path) -> bool:
    """No home as a whole, and nothing that has one in it, whatever PYTHONPATH says."""
    homes = (Path.home(), Path("/home"), Path("/root"))
    return path.is_absolute() and not any(home.is_relative_to(path) for home in homes)


def _around(path: Path, served: set[Path]) -> Iterator[Path]:
    """The path, or what is in it but mounts of FUSE: this very mount could be below a project."""
    if path in served:
        return
    if any(mount.is_relative_to(path) for mount in served):
        for child in path.iterdir():
            yield from _around(child, served)
    elif path.exists():
        yield path


def _fuse_mounts() -> set[Path]:
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:  # /proc may be hidden in a container
        return set()
    fields = [line.split(" - ") for line in lines]
    return {_unescaped(left.split()[4]) for left, right in fields if right.startswith("fuse")}


def _unescaped(name: str) -> Path:
    return Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), name))
