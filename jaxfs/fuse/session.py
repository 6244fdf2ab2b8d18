"""One FUSE session: mount, serve until unmounted or told to stop, clean up.

pyfuse3 keeps its session in module globals: one a process.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pyfuse3
import trio

from jaxfs.errors import RunFailed
from jaxfs.fuse.operations import Filesystem
from jaxfs.options import Options

log = logging.getLogger(__name__)
MAX_TASKS = 1 << 30  # pyfuse3's own limit of 99 waiting requests would freeze the mount


def mount_options(options: Options) -> set[str]:
    """libfuse's words.  Without ``default_permissions`` allow_other would enforce no modes."""
    words = {f"fsname={options.fsname}", "subtype=jaxfs", "default_permissions"}
    flags = {"allow_other": options.allow_other, "allow_root": options.allow_root}
    return words | {name for name, wanted in flags.items() if wanted}


@contextmanager
def mounted(filesystem: Filesystem, mountpoint: str, options: set[str]) -> Iterator[None]:
    """Mounted inside the context, unmounted after it.  Raises RunFailed where it cannot be."""
    try:
        pyfuse3.init(filesystem, mountpoint, options)
    except RuntimeError as error:
        raise RunFailed(f"cannot mount on {mountpoint}: {error}") from error
    try:
        yield
    finally:
        try:
            pyfuse3.close(unmount=True)
        except Exception:
            log.exception("unmounting %s", mountpoint)


async def serve() -> None:
    """Answer requests until the filesystem is unmounted or ``stop`` is called."""
    await pyfuse3.main(min_tasks=4, max_tasks=MAX_TASKS)


def stop() -> None:
    """End ``serve``."""
    pyfuse3.terminate()


async def answers(mountpoint: str) -> bool:
    """Whether a stat through the mount comes back."""
    found = await trio.to_thread.run_sync(os.stat, mountpoint)
    return found.st_ino == pyfuse3.ROOT_INODE
