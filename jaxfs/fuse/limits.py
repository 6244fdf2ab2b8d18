"""How long the kernel lets a request wait, where an administrator has limited it.

See Linux Documentation/admin-guide/sysctl/fs.rst, ``fs.fuse.max_request_timeout`` (6.15): a request
that is not answered in time aborts the whole connection.  A mount keeps the limit it was made with.
"""

from __future__ import annotations

import math
from pathlib import Path

SYSCTL = Path("/proc/sys/fs/fuse")
KERNEL_LEAST_S = 15  # FUSE_TIMEOUT_TIMER_FREQ, fs/fuse/dev.c: shorter limits are this one
MARGIN_S = 1.0


def wait_limit_s(sysctl: Path = SYSCTL) -> float:
    """Seconds after which a waiting request has to be answered; infinite without a limit."""
    wanted = [_seconds(sysctl / f"{kind}_request_timeout") for kind in ("default", "max")]
    limits = [seconds for seconds in wanted if seconds]
    return max(KERNEL_LEAST_S, min(limits)) - MARGIN_S if limits else math.inf


def _seconds(path: Path) -> int:
    """0 is no limit, as in the kernel; so is a kernel without the file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
