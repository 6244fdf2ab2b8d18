"""One FUSE session: mount, serve until unmounted or told to stop, clean up.

pyfuse3 keeps its session in module globals: one a process.

Whatever ends the daemon, the mount goes: in order when it is told to stop, by the ``watcher`` when
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
SELINUX = Path("/sys/fs/selinux")  # there where the kernel takes labels
ANSWER_S = 0.2  # for what is being answered when the daemon is told to stop


def mount_options(options: Options) -> set[str]:
    """libfuse's words.  Without ``default_permissions`` allow_other would enforce no modes."""
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
        """Answer requests until the filesystem is unmounted or ``stop`` is called."""
        request_loop.install()
        with self._scope:
            await pyfuse3.main(min_tasks=4, max_tasks=MAX_TASKS)

    def stop(self) -> None:
        """End ``serve``: who waits is told so, the rest has a moment to be answered.

        pyfuse3's own terminate only stops taking requests, and main() then waits for its waiters.
        """
        INTERRUPTS.end_all()
        self._scope.deadline = trio.current_time() + ANSWER_S
        pyfuse3.terminate()


@contextmanager
def mounted(
    filesystem: Filesystem, mountpoint: str, options: set[str], session_fd: int = -1
) -> Iterator[Session]:
    """Mounted inside the context, unmounted after it.  Raises RunFailed where it cannot be.

    With ``session_fd`` it is mounted already (libfuse's /dev/fd/N); the watcher unmounts it then.

    libfuse closes the connection first, which ends every request that is left, and unmounts
    lazily: files that are still open do not keep the mount.
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
    """pyfuse3's thread may come to forget a name when the session is closed: nobody has it then."""
    return "invalidate_entry" not in record.getMessage()


def _mount(filesystem: Filesystem, mountpoint: str, options: set[str]) -> None:
    said: list[str] = []
    try:
        with captured_stderr() as said:
            pyfuse3.init(filesystem, mountpoint, options)
    except RuntimeError as error:
        cause = "; ".join(said) or str(error)
        raise RunFailed(f"cannot mount on {mountpoint}: {cause}") from error


async def is_answering(mountpoint: str) -> bool:
    """Whether a stat through the mount comes back."""
    found = await trio.to_thread.run_sync(os.stat, mountpoint)
    return found.st_ino == pyfuse3.ROOT_INODE


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


@contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """The lines said inside the context, filled in at its end; they still reach stderr."""
    lines: list[str] = []
    sys.stderr.flush()
    kept, heard = os.dup(2), os.memfd_create("stderr", os.MFD_CLOEXEC)
    os.dup2(heard, 2)
    try:
        yield lines
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        said = os.pread(heard, 1 << 16, 0)
        os.close(heard)
        lines += said.decode(errors="replace").splitlines()
        sys.stderr.write("".join(f"{line}\n" for line in lines))
