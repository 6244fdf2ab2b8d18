"""The kernel's FUSE, libfuse, and which users may use them."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import stat
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import jaxfs
from jaxfs.options import Options
from mountctl import preflight
from mountctl.doctor.finding import Examination, Finding, fail, ok, warn
from mountctl.errors import NoFuse, NoFusermount

OLDEST = (5, 4)  # pidfd_open(2) is of 5.3; 5.4 is the oldest with long-term support
LIBFUSE = "libfuse3.so.3"
OLDEST_LIBFUSE = (3, 10)
REQUEST_TIMEOUT = Path("/proc/sys/fs/fuse/max_request_timeout")
INSTALL = "install fuse3 (apt install fuse3, dnf install fuse3)"


def numbers(version: str) -> tuple[int, ...]:
    """Returns the first two numbers of a version.

    >>> numbers("5.15.0-91-generic")
    (5, 15)
    """
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def kernel() -> Iterator[Finding]:
    """Checks the version of Linux."""
    release = platform.release()
    if numbers(release) < OLDEST:
        yield warn("kernel", release, "Linux 5.4 or newer is what jaxfs is made for")
    else:
        yield ok("kernel", release)


def device() -> Iterator[Finding]:
    """Checks that /dev/fuse opens and that a mount is permitted."""
    try:
        for run_check in (preflight.has_fuse, preflight.may_mount):
            run_check(preflight.PreflightRequest("/", Options()))
    except (NoFuse, NoFusermount) as error:
        found, _, remedy = error.message.partition(": ")
        yield fail("FUSE device", found, remedy)
    else:
        yield ok("FUSE device", f"{preflight.FUSE_DEVICE} opens")


def libfuse() -> Iterator[Finding]:
    """Checks the version of libfuse, which pyfuse3 loads."""
    try:
        library = ctypes.CDLL(LIBFUSE)
    except OSError:
        yield fail("libfuse", f"no {LIBFUSE}", INSTALL)
        return
    library.fuse_pkgversion.restype = ctypes.c_char_p
    version = library.fuse_pkgversion().decode()
    if numbers(version) < OLDEST_LIBFUSE:
        yield warn("libfuse", version, "3.10 or newer is what jaxfs is made for")
    else:
        yield ok("libfuse", version)


def fusermount() -> Iterator[Finding]:
    """Checks for fusermount3, without which only root can mount."""
    path = shutil.which("fusermount3")
    if path is None:
        level = warn if os.geteuid() == 0 else fail
        yield level("fusermount3", "missing: only root can mount", INSTALL)
    elif not Path(path).stat().st_mode & stat.S_ISUID and os.geteuid():
        found = f"{path} is not setuid: only root can mount"
        yield warn("fusermount3", found, f"as root: chmod u+s {path}")
    else:
        yield ok("fusermount3", path)


def others() -> Iterator[Finding]:
    """Checks whether a plain user may let others into a mount."""
    if os.geteuid() == 0 or preflight.allows_others():
        yield ok("allow_other", "may be used")
    else:
        remedy = f"as root: echo user_allow_other >> {preflight.FUSE_CONF}"
        yield warn("allow_other", "is root's", remedy)


def interrupts() -> Iterator[Finding]:
    """Checks that the C module for interrupted waits was compiled."""
    home = Path(jaxfs.__file__).parent / "fuse"
    paths = [home / f"_interrupts{suffix}" for suffix in EXTENSION_SUFFIXES]
    library = next((path for path in paths if path.exists()), None)
    if library is None:
        remedy = "install a C compiler, then jaxfs again: pip install --force-reinstall jaxfs"
        found = "not compiled: waits end by polling /proc, read and write waits do not"
        yield warn("interrupts module", found, remedy)
    else:
        yield ok("interrupts module", library.name)


def request_timeout() -> Iterator[Finding]:
    """Checks that the kernel does not abort requests that wait for a result."""
    try:
        seconds = int(REQUEST_TIMEOUT.read_text())
    except (OSError, ValueError):
        seconds = 0
    if seconds:
        found = f"waits end with EINTR after {seconds} s and have to be repeated"
        remedy = "sysctl fs.fuse.max_request_timeout=0"
        yield warn("request timeout", found, remedy)
    else:
        yield ok("request timeout", "none: a wait may last")


EXAMINATIONS: tuple[Examination, ...] = (
    kernel,
    device,
    libfuse,
    fusermount,
    others,
    interrupts,
    request_timeout,
)
