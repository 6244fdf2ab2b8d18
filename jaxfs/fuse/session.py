"""One FUSE session: mounts, serves until it is unmounted or stopped, cleans up.

pyfuse3 keeps its session in module globals: one for each process.

However the daemon ends, the mount is removed: in order when it is stopped, by the ``watchdog`` when
it is killed.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pyfuse3
import trio

from jaxfs.errors import RunFailed
from jaxfs.fuse import INTERRUPTS, request_loop
from jaxfs.fuse.operations import Filesystem
from jaxfs.fuse.watchdog import watched
from jaxfs.options import Options

log = logging.getLogger(__name__)
MAX_TASKS = 1 << 30  # pyfuse3's own limit of 99 waiting requests would freeze the mount
SELINUX = Path("/sys/fs/selinux")  # exists if the kernel takes labels
ANSWER_S = 0.2  # for what is being answered when the daemon is stopped
SYSCTL = Path("/proc/sys/fs/fuse")
KERNEL_LEAST_S = 15  # FUSE_TIMEOUT_TIMER_FREQ, fs/fuse/dev.c: shorter limits are this one
MARGIN_S = 1.0


def mount_options(options: Options) -> set[str]:
    """Returns the options that libfuse and the kernel get.

    Without ``default_permissions`` the kernel would not enforce modes, and allow_other would let
    all users do everything.

    >>> sorted(mount_options(Options(fsname="gpu0", allow_root=True)))
    ['allow_root', 'default_permissions', 'fsname=gpu0', 'subtype=jaxfs']
    """
    words = {f"fsname={options.fsname}", "subtype=jaxfs", "default_permissions"}
    words |= {n for n in ("allow_other", "allow_root", "noexec") if getattr(options, n)}
    if options.context and SELINUX.is_dir():
        words.add('context="{}"'.format(options.context.replace(",", "\\,")))
    return words


@attrs.define
class Session:
    """A mounted filesystem."""

    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def serve(self) -> None:
        """Answers requests until the filesystem is unmounted or ``stop`` is called."""
        request_loop.install(INTERRUPTS.library)
        with self._scope:
            await pyfuse3.main(min_tasks=4, max_tasks=MAX_TASKS)

    def stop(self) -> None:
        """Ends ``serve``: requests that wait fail with Unmounted, others have time to be answered.

        pyfuse3's own terminate only stops taking requests, and main() then waits for those that
        wait.
        """
        INTERRUPTS.end_all()
        self._scope.deadline = trio.current_time() + ANSWER_S
        pyfuse3.terminate()


@contextmanager
def mounted(
    filesystem: Filesystem, mountpoint: str, options: set[str], session_fd: int = -1
) -> Iterator[Session]:
    """Keeps a filesystem mounted inside the context.

    libfuse closes the connection first, which ends every request that is left, and unmounts
    lazily: files that are still open do not keep the mount.

    Args:
        filesystem: Handles the requests.
        mountpoint: An absolute path.
        options: See ``mount_options``.
        session_fd: /dev/fuse if it is mounted already (libfuse's /dev/fd/N), or -1; the watchdog
            unmounts it then.

    Raises:
        RunFailed: It cannot be mounted.
    """
    INTERRUPTS.limit_s = wait_limit_s()
    with watched(mountpoint):
        _mount(filesystem, mountpoint if session_fd < 0 else f"/dev/fd/{session_fd}", options)
        try:
            yield Session()
        finally:
            logging.getLogger(pyfuse3.__name__).addFilter(is_not_late_invalidation)
            try:
                pyfuse3.close(unmount=True)
            except Exception:
                log.exception("unmounting %s", mountpoint)


def is_not_late_invalidation(record: logging.LogRecord) -> bool:
    """Filters pyfuse3's complaint that the session is closed when its thread invalidates a name.

    There is no name then that the kernel could remember.

    Returns:
        False for that record, which ``logging`` then drops.
    """
    return "invalidate_entry" not in record.getMessage()


def _mount(filesystem: Filesystem, mountpoint: str, options: set[str]) -> None:
    lines: list[str] = []
    try:
        with captured_stderr() as lines:
            pyfuse3.init(filesystem, mountpoint, options)
    except RuntimeError as error:
        cause = "; ".join(lines) or str(error)
        raise RunFailed(f"cannot mount on {mountpoint}: {cause}") from error


async def is_answering(mountpoint: str) -> bool:
    """Waits for a stat through the mount, and returns whether it is the mount's root."""
    found = await trio.to_thread.run_sync(os.stat, mountpoint)
    return found.st_ino == pyfuse3.ROOT_INODE


def wait_limit_s(sysctl: Path = SYSCTL) -> float:
    """Returns the seconds after which a waiting request has to be answered; infinity for never.

    The limits are /proc/sys/fs/fuse/{default,max}_request_timeout, since Linux 6.15.
    """
    wanted = [_seconds(sysctl / f"{kind}_request_timeout") for kind in ("default", "max")]
    limits = [seconds for seconds in wanted if seconds]
    return max(KERNEL_LEAST_S, min(limits)) - MARGIN_S if limits else math.inf


def _seconds(path: Path) -> int:
    """Returns a request timeout of the kernel, in seconds.

    Returns:
        0 if there is none: the kernel has 0 for it, and no file before Linux 6.15.
    """
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


@contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Copies what is written to descriptor 2 inside the context.

    libfuse writes the reason of a failed mount there and nowhere else.

    Returns:
        A list that has the lines at the end of the context; they still reach stderr.
    """
    lines: list[str] = []
    sys.stderr.flush()
    stderr, copy = os.dup(2), os.memfd_create("stderr", os.MFD_CLOEXEC)
    os.dup2(copy, 2)
    try:
        yield lines
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        written = os.pread(copy, 1 << 16, 0)
        os.close(copy)
        lines += written.decode(errors="replace").splitlines()
        sys.stderr.write("".join(f"{line}\n" for line in lines))
