"""The kernel's means to keep what users wrote in a sandbox.

All layers are wanted; jaxfs uses those that are there and says so in ``health``.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from mountctl.doctor.finding import Examination, Finding, ok, warn

LANDLOCK_CREATE_RULESET, VERSION = 444, 1  # asm-generic/unistd.h, linux/landlock.h
ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")
TRY_S = 5


def landlock() -> Iterator[Finding]:
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, VERSION)
    if version > 0:
        yield ok("Landlock", f"ABI {version}")
    else:
        yield warn("Landlock", "not in this kernel", "boot with lsm=landlock,... (Linux 5.13)")


def seccomp() -> Iterator[Finding]:
    try:
        actions = ACTIONS.read_text().split()
    except OSError:
        actions = []
    if "kill_process" in actions:
        yield ok("seccomp", "filters")
    else:
        yield warn("seccomp", "no filters", "use a kernel with CONFIG_SECCOMP_FILTER")


def namespaces() -> Iterator[Finding]:
    unshare = shutil.which("unshare")
    command = [unshare or "", "--user", "--map-root-user", "true"]
    if unshare and subprocess.run(command, capture_output=True, timeout=TRY_S).returncode == 0:
        yield ok("user namespaces", "can be made")
    else:
        remedy = (
            "sysctl user.max_user_namespaces=15000, kernel.apparmor_restrict_unprivileged_userns=0"
        )
        yield warn("user namespaces", "cannot be made", remedy)


EXAMINATIONS: tuple[Examination, ...] = (landlock, seccomp, namespaces)
