"""A filesystem whose event loop stands still on demand, and then answers what has come meanwhile.

Run as ``python busy_fs.py MOUNTPOINT``.  It prints ``mounted``.  A lookup of ``block`` prints
``blocked`` and keeps the event loop until a line comes on standard input.  A lookup of any other
name makes that file.  At the end of standard input it prints a line for each answer, in order:
``lookup UID NAME``, and ``write NAME`` or ``wrong NAME``, depending on whether what was written is
the name, repeated.
"""

from __future__ import annotations

import os
import stat
import sys

from jaxfs.fuse import INTERRUPTS, request_loop  # before pyfuse3

# isort: split
import pyfuse3
import trio
from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT


class BusyFs(pyfuse3.Operations):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[bytes] = []
        self.lines: list[str] = []

    async def getattr(self, inode: InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.attr_timeout = entry.entry_timeout = 60
        entry.st_mode = stat.S_IFREG | 0o666
        if inode == pyfuse3.ROOT_INODE:
            entry.st_mode = stat.S_IFDIR | 0o777
        return entry

    async def lookup(
        self, parent_inode: InodeT, name: FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        if name == b"block":
            print("blocked", flush=True)
            os.read(0, 1)
        self.lines.append(f"lookup {ctx.uid} {name.decode()}")
        self.names.append(name)
        return await self.getattr(InodeT(pyfuse3.ROOT_INODE + len(self.names)), ctx)

    async def open(
        self, inode: InodeT, flags: FlagT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=FileHandleT(inode), direct_io=True)

    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        name = self.names[fh - pyfuse3.ROOT_INODE - 1]
        start = off % len(name)
        is_right = buf == (name * (len(buf) // len(name) + 2))[start : start + len(buf)]
        self.lines.append(f"{'write' if is_right else 'wrong'} {name.decode()}")
        return len(buf)


async def serve() -> None:
    request_loop.install(INTERRUPTS.library)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        print("mounted", flush=True)
        await trio.lowlevel.wait_readable(0)
        nursery.cancel_scope.cancel()


def main() -> None:
    filesystem = BusyFs()
    pyfuse3.init(filesystem, sys.argv[1], {"fsname=busy", "default_permissions", "allow_other"})
    try:
        trio.run(serve)
    finally:
        pyfuse3.close()
    print(*filesystem.lines, sep="\n", flush=True)


if __name__ == "__main__":
    main()
