"""A pyfuse3 filesystem that gives back what was written to it.

``python -m benchmarks.peers.echo_pyfuse3.server DIR``.  One file, ``call``; each open file is a
conversation, as with a program's ``call.raw``.  A call costs what pyfuse3 and trio cost.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from collections import deque
from itertools import count

import pyfuse3
import trio
from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT, RequestContext

ROOT = pyfuse3.ROOT_INODE
CALL = InodeT(2)
MODES = {ROOT: stat.S_IFDIR | 0o755, CALL: stat.S_IFREG | 0o666}


class Echo(pyfuse3.Operations):
    """Keeps the written parts of each open file and hands them out in order."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = count(1)
        self._parts: dict[int, deque[bytes]] = {}

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        """Returns the attributes of the root or of ``call``."""
        entry = pyfuse3.EntryAttributes()
        entry.st_ino, entry.st_mode, entry.st_nlink = inode, MODES[inode], 1
        return entry

    async def lookup(
        self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Returns the attributes of ``call``.  Raises FUSEError for every other name."""
        if name != b"call":
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(CALL, ctx)

    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> pyfuse3.FileInfo:
        """Starts a conversation: an empty list of parts under a new handle."""
        fh = FileHandleT(next(self._numbers))
        self._parts[fh] = deque()
        return pyfuse3.FileInfo(fh=fh, direct_io=True)

    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        """Keeps a part; the offset does not matter."""
        self._parts[fh].append(buf)
        return len(buf)

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        """Returns the oldest part, or up to ``size`` bytes of it; nothing if there is none."""
        parts = self._parts[fh]
        part = parts.popleft() if parts else b""
        if len(part) > size:
            parts.appendleft(part[size:])
            return part[:size]
        return part

    async def flush(self, fh: FileHandleT) -> None:
        """Nothing is kept."""

    async def release(self, fh: FileHandleT) -> None:
        """Drops the parts of a file that was closed."""
        del self._parts[fh]


async def _stop_on_signal() -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            pyfuse3.terminate()
            return


async def _serve(mountpoint: str) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal)
        nursery.start_soon(_announce, mountpoint)
        await pyfuse3.main(min_tasks=4, max_tasks=1 << 30)  # as jaxfs has it
        nursery.cancel_scope.cancel()


async def _announce(mountpoint: str) -> None:
    await trio.to_thread.run_sync(os.stat, f"{mountpoint}/call")
    print("ready", flush=True)


def main(mountpoint: str) -> None:
    """Serve until a signal or an unmount."""
    pyfuse3.init(Echo(), mountpoint, {"fsname=echo", "default_permissions"})
    try:
        trio.run(_serve, mountpoint)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main(sys.argv[1])
