"""A filesystem whose files wait, each in the operation of its name, until they are released.

They are ``open``, ``read``, ``write``, ``flush`` and ``rename``; ``quick`` never waits.  The open
of ``busy`` is deaf to signals until it is released, and waits like ``open`` from then on.

Run as ``python waiting_fs.py MOUNTPOINT [late]``.  It prints ``mounted [REASON]``, and
``waiting KIND PID`` whenever a request starts to wait; a line on its standard input releases all
that wait then.  ``late`` imports pyfuse3 too early, which leaves only the fallback.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

if "late" in sys.argv:
    import pyfuse3

from jaxfs import errors
from jaxfs.fuse import interrupts

INTERRUPTS = interrupts.load()

import pyfuse3  # noqa: E402
from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT  # noqa: E402

DATA = b"the right data\n"
NAMES = ("open", "read", "write", "flush", "rename", "quick", "busy")
INODES = {name.encode(): number for number, name in enumerate(NAMES, pyfuse3.ROOT_INODE + 1)}
KINDS = {number: name.decode() for name, number in INODES.items()}


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class WaitingFs(pyfuse3.Operations):
    def __init__(self) -> None:
        super().__init__()
        self.released = trio.Event()
        self.waiting = 0

    @asynccontextmanager
    async def waits(
        self, kind: str, inode: int, ctx: pyfuse3.RequestContext | None = None
    ) -> AsyncIterator[None]:
        request = INTERRUPTS.current(ctx)
        if KINDS.get(inode) == kind:
            say("waiting", kind, request.pid)
            if kind == "busy":
                await self.released.wait()
            try:
                with INTERRUPTS.interruptible(request):
                    await self.released.wait()
            except errors.Interrupted as error:
                raise pyfuse3.FUSEError(error.errno) from error
        yield

    async def getattr(self, inode: InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.attr_timeout = entry.entry_timeout = 0
        entry.st_mode = stat.S_IFREG | 0o666
        entry.st_size = len(DATA)
        if inode == pyfuse3.ROOT_INODE:
            entry.st_mode = stat.S_IFDIR | 0o777
        return entry

    async def lookup(
        self, parent_inode: InodeT, name: FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        if name not in INODES:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(INODES[name], ctx)

    async def setattr(
        self,
        inode: InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: FileHandleT | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        return await self.getattr(inode, ctx)

    async def open(
        self, inode: InodeT, flags: FlagT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        async with self.waits("open", inode, ctx), self.waits("busy", inode, ctx):
            return pyfuse3.FileInfo(fh=FileHandleT(inode), direct_io=True)

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        async with self.waits("read", fh):
            return DATA[off : off + size]

    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        async with self.waits("write", fh):
            return len(buf)

    async def flush(self, fh: FileHandleT) -> None:
        async with self.waits("flush", fh):
            return

    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        async with self.waits("rename", INODES[name_old], ctx):
            return

    async def release_on_command(self) -> None:
        """Each line on standard input; its end ends the filesystem."""
        command = b"\n"
        while command:
            await trio.lowlevel.wait_readable(0)
            command = os.read(0, 4096)
            self.released.set()
            self.released = trio.Event()
        pyfuse3.terminate()


async def serve(filesystem: WaitingFs) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(filesystem.release_on_command)
        await pyfuse3.main(max_tasks=1 << 30)
        nursery.cancel_scope.cancel()


def main() -> None:
    filesystem = WaitingFs()
    pyfuse3.init(filesystem, sys.argv[1], {"fsname=waiting", "default_permissions"})
    try:
        say("mounted", INTERRUPTS.reason)
        trio.run(serve, filesystem)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
