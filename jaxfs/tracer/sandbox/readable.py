"""What a job may read: modules that are imported late, and the libraries they load."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
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


def paths() -> list[Path]:
    """Those of this interpreter that exist."""
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    found = map(Path, (*_SYSTEM, *sys.path, f"{sys.base_prefix}/lib", *libraries))
    return sorted({path for path in found if _is_for_modules(path, _homes())})


def _is_for_modules(path: Path, homes: Iterable[Path]) -> bool:
    """No home as a whole, and nothing that has one in it, whatever PYTHONPATH says."""
    return path.is_absolute() and path.exists() and not any(h.is_relative_to(path) for h in homes)


def _homes() -> list[Path]:
    return [Path.home(), Path("/home"), Path("/root")]
