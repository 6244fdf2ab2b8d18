"""One FUSE session: mount, serve until unmounted or told to stop, clean up.

pyfuse3 keeps its session in module globals: one a process.

Whatever ends the daemon, the mount goes: in order when it is told to stop, by the ``watcher`` when
it is killed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pyfuse3
import trio

from jaxfs.errors import RunFailed
from jaxfs.fuse import INTERRUPTS, reading
from jaxfs.fuse.limits import wait_limit_s
from jaxfs.fuse.operations import Filesystem
from jaxfs.fuse.overheard import overheard
from jaxfs.fuse.watched import watched
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
        reading.install()
        with self._scope:
            await pyfuse3.main(min_tasks=4, max_tasks=MAX_TASKS)

    def stop(self) -> None:
        """End ``serve``: who waits is told so, the rest has a moment to be answered.

        pyfuse3's own terminate only stops taking requests, and main() then waits for its waiters.
        """
        INTERRUPTS.shut()
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
            logging.getLogger(pyfuse3.__name__).addFilter(is_no_late_name)
            try:
                pyfuse3.close(unmount=True)
            except Exception:
                log.exception("unmounting %s", mountpoint)


def is_no_late_name(record: logging.LogRecord) -> bool:
    """pyfuse3's thread may come to forget a name when the session is closed: nobody has it then."""
    return "invalidate_entry" not in record.getMessage()


def _mount(filesystem: Filesystem, mountpoint: str, options: set[str]) -> None:
    said: list[str] = []
    try:
        with overheard() as said:
            pyfuse3.init(filesystem, mountpoint, options)
    except RuntimeError as error:
        cause = "; ".join(said) or str(error)
        raise RunFailed(f"cannot mount on {mountpoint}: {cause}") from error


async def answers(mountpoint: str) -> bool:
    """Whether a stat through the mount comes back."""
    found = await trio.to_thread.run_sync(os.stat, mountpoint)
    return found.st_ino == pyfuse3.ROOT_INODE
