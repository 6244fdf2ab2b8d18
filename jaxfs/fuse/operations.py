"""Translates the kernel's requests into operations of the VFS.

The handlers are those of pyfuse3.Operations; their arguments are explained there and in
``struct fuse_lowlevel_ops`` of libfuse.
"""

from __future__ import annotations

import errno
import itertools
import select
from collections.abc import Sequence

import pyfuse3
import trio
from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT, ModeT

from jaxfs.errors import Invalid, NotPermitted
from jaxfs.fuse import INTERRUPTS
from jaxfs.fuse.conversions import BLOCK_BYTES, decode_name, entry_attributes
from jaxfs.fuse.dentry_invalidation import DentryInvalidator
from jaxfs.fuse.error_boundary import (
    answering,
    at_handle,
    at_inode,
    at_listing,
    at_name,
    at_root,
    credentials_of,
    unanswered,
    waiting,
)
from jaxfs.fuse.listing import Listing
from jaxfs.fuse.poll import Pollers
from jaxfs.fuse.written_files import leaves_whole
from jaxfs.vfs.nodes import Changes
from jaxfs.vfs.vfs import Vfs

OURS = b"user.jaxfs."  # extended attributes; the kernel asks for many others


class Filesystem(pyfuse3.Operations):
    """Decodes requests, calls the VFS, and encodes what it returns.

    Args:
        vfs: The files of the mount.
        nursery: Runs what outlives a request.

    Attributes:
        vfs: As given.
        listings: The open directories by handle.
    """

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(self, vfs: Vfs, nursery: trio.Nursery) -> None:
        super().__init__()
        self.vfs = vfs
        self.listings: dict[int, Listing] = {}
        self._pollers = Pollers(nursery)
        self._dentries = DentryInvalidator(nursery)
        self._numbers = itertools.count(1)

    @answering(at_name)
    async def lookup(
        self, parent_inode: InodeT, name: FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Returns the attributes of a name in a directory; the kernel then has a reference."""
        return entry_attributes(
            self.vfs.lookup(parent_inode, decode_name(name), credentials_of(ctx))
        )

    @unanswered
    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        """Drops the kernel's references to inodes.

        Args:
            inode_list: Inodes, and how many lookups of each the kernel has forgotten.
        """
        for inode, count in inode_list:
            self.vfs.forget(inode, count)

    @answering(at_inode)
    async def getattr(self, inode: InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Returns the attributes of an inode."""
        return entry_attributes(self.vfs.getattr(inode, credentials_of(ctx)))

    @answering(at_inode)
    @waiting
    async def setattr(
        self,
        inode: InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: FileHandleT | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Changes attributes: chmod, chown, truncate, utimes."""
        changes = Changes(
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size=attr.st_size if fields.update_size else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
        )
        if fh is not None and changes.size is not None:
            self.vfs.open_file(fh).writer = ctx.pid
        return entry_attributes(await self.vfs.setattr(inode, changes, fh, credentials_of(ctx)))

    @answering(at_inode)
    async def opendir(self, inode: InodeT, ctx: pyfuse3.RequestContext) -> FileHandleT:
        """Opens and lists a directory: a reader that comes in several calls sees one state."""
        number = next(self._numbers)
        self.listings[number] = await Listing.of(self.vfs, inode, credentials_of(ctx))
        return FileHandleT(number)

    @answering(at_listing)
    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Lists entries with their attributes from ``start_id`` on, while there is room."""
        listing = self.listings[fh]
        for position in range(start_id, len(listing.entries)):
            name, attributes = listing.entries[position]
            entry = entry_attributes(attributes)
            if not pyfuse3.readdir_reply(token, FileNameT(name.encode()), entry, position + 1):
                return
            # readdirplus gave the kernel a reference to the inode, whether it is gone by now or not
            self.vfs.count_listed(listing.inode, name, attributes.ino)

    @answering(at_listing)
    async def releasedir(self, fh: FileHandleT) -> None:
        """Closes a directory."""
        self.listings.pop(fh).held.refund()

    @answering(at_inode)
    @waiting
    async def open(
        self, inode: InodeT, flags: FlagT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        """Opens a file; ESTALE makes the kernel look up the name again."""
        await self.vfs.settle(inode, flags)
        if self.vfs.is_outdated(inode):  # the kernel looks the name up again
            raise pyfuse3.FUSEError(errno.ESTALE)
        number, handle = await self.vfs.open(inode, flags, credentials_of(ctx))
        return pyfuse3.FileInfo(
            fh=FileHandleT(number), direct_io=handle.direct_io, keep_cache=handle.keep_cache
        )

    @answering(at_name)
    @waiting
    async def create(
        self,
        parent_inode: InodeT,
        name: FileNameT,
        mode: ModeT,
        flags: FlagT,
        ctx: pyfuse3.RequestContext,
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """Creates a file and opens it."""
        number, handle, attributes = await self.vfs.create(
            parent_inode, decode_name(name), mode, flags, credentials_of(ctx)
        )
        info = pyfuse3.FileInfo(
            fh=FileHandleT(number), direct_io=handle.direct_io, keep_cache=handle.keep_cache
        )
        return info, entry_attributes(attributes)

    @answering(at_handle)
    async def read(  # type: ignore[override]  # pyfuse3 takes any buffer; its stub has bytes
        self, fh: FileHandleT, off: int, size: int
    ) -> bytes | memoryview:
        """Reads from an open file: at once if it can, else in a wait that a signal ends."""
        data = self.vfs.open_file(fh).read_now(off, size)
        return await self._read(fh, off, size) if data is None else data

    @waiting
    async def _read(self, fh: FileHandleT, off: int, size: int) -> bytes | memoryview:
        return await self.vfs.open_file(fh).read(off, size)

    @answering(at_handle)
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        """Writes to an open file: at once if it can, else in a wait that a signal ends."""
        if self.vfs.open_file(fh).write_now(off, buf):
            return len(buf)
        return await self._write(fh, off, buf)

    @waiting
    async def _write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        handle = self.vfs.open_file(fh)
        handle.writer = INTERRUPTS.current().pid
        return await handle.write(off, buf)

    @answering(at_handle)
    @waiting
    async def flush(self, fh: FileHandleT) -> None:
        """Commits what was written, at close(2) of one of perhaps many descriptors.

        Not if the writer continues, or was killed: half a program is no program.
        """
        handle = self.vfs.open_file(fh)
        if handle.is_plain or leaves_whole(INTERRUPTS.current(), handle):
            await self.vfs.flush(fh)

    @answering(at_handle)
    @waiting
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        """Commits what was written, like close(2): editors call it to learn of errors.

        Args:
            fh: The open file.
            datasync: Whether it is fdatasync(2), which is the same here.
        """
        await self.vfs.flush(fh)

    @answering(at_handle)
    async def release(self, fh: FileHandleT) -> None:
        """Closes a file, after its last descriptor was closed.

        close(2) does not wait for it and cannot see an error of it: that is the task of ``flush``.
        """
        self._pollers.forget(fh)
        self._dentries.add(self.vfs.release(fh))

    @answering(at_name)
    async def unlink(
        self, parent_inode: InodeT, name: FileNameT, ctx: pyfuse3.RequestContext
    ) -> None:
        """Removes a name."""
        self._dentries.add(self.vfs.unlink(parent_inode, decode_name(name)))

    @answering(at_name)
    @waiting
    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        """Renames a file; exchanging two is not supported."""
        if flags & ~pyfuse3.RENAME_NOREPLACE:
            raise Invalid(
                "two files cannot be exchanged, and none left as a whiteout; rename one "
                "after the other"
            )
        gone = await self.vfs.rename(
            parent_inode_old,
            decode_name(name_old),
            parent_inode_new,
            decode_name(name_new),
            replace=not flags & pyfuse3.RENAME_NOREPLACE,
        )
        self._dentries.add(gone)

    @answering(at_name)
    async def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Refuses: programs make their directories.

        Raises:
            NotPermitted: Always.
        """
        raise NotPermitted("directories come by themselves; write a program to programs/")

    @answering(at_name)
    async def rmdir(
        self, parent_inode: InodeT, name: FileNameT, ctx: pyfuse3.RequestContext
    ) -> None:
        """Refuses: directories are removed with their programs.

        Raises:
            NotPermitted: Always.
        """
        raise NotPermitted("remove the program's source file; its directory goes with it")

    @answering(at_name)
    async def mknod(
        self,
        parent_inode: InodeT,
        name: FileNameT,
        mode: ModeT,
        rdev: int,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Refuses: there are no devices, pipes and sockets."""
        raise NotPermitted("there are only regular files here")

    @answering(at_name)
    async def symlink(
        self,
        parent_inode: InodeT,
        name: FileNameT,
        target: FileNameT,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Makes a symbolic link."""
        return entry_attributes(
            self.vfs.symlink(
                parent_inode, decode_name(name), decode_name(target), credentials_of(ctx)
            )
        )

    @answering(at_inode)
    async def readlink(self, inode: InodeT, ctx: pyfuse3.RequestContext) -> FileNameT:
        """Returns the target of a symbolic link."""
        return FileNameT(self.vfs.readlink(inode).encode())

    @answering(at_inode)
    async def link(
        self,
        inode: InodeT,
        new_parent_inode: InodeT,
        new_name: FileNameT,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Makes a further name of a file."""
        return entry_attributes(
            self.vfs.link(inode, new_parent_inode, decode_name(new_name), credentials_of(ctx))
        )

    @answering(at_inode)
    async def getxattr(self, inode: InodeT, name: FileNameT, ctx: pyfuse3.RequestContext) -> bytes:
        """Returns an extended attribute, ``user.jaxfs.*``.

        Raises:
            FUSEError: ENOATTR, for an attribute that this inode does not have.
        """
        value = self.vfs.xattrs(inode).get(decode_name(name)) if name.startswith(OURS) else None
        if value is None:
            raise pyfuse3.FUSEError(pyfuse3.ENOATTR)
        return value

    @answering(at_inode)
    async def listxattr(self, inode: InodeT, ctx: pyfuse3.RequestContext) -> Sequence[FileNameT]:
        """Returns the names of the extended attributes."""
        return [FileNameT(name.encode()) for name in self.vfs.xattrs(inode)]

    @answering(at_inode)
    async def setxattr(
        self, inode: InodeT, name: FileNameT, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        """Refuses, without a line in error_log: ``cp -a`` tries.

        Raises:
            FUSEError: EOPNOTSUPP, always, which cp ignores.
        """
        raise pyfuse3.FUSEError(errno.EOPNOTSUPP)

    @answering(at_root)
    @waiting
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Returns the memory for results and how much is free, as df(1) shows it."""
        total, free = await self.vfs.mount.space()
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = BLOCK_BYTES
        data.f_blocks = total // BLOCK_BYTES
        data.f_bfree = data.f_bavail = free // BLOCK_BYTES
        data.f_files = data.f_ffree = 0  # no limit; df -i shows a dash, not 100 % in use
        data.f_namemax = 255
        return data

    @answering(at_inode)
    async def poll(
        self,
        inode: InodeT,
        fh: FileHandleT,
        poll_handle: pyfuse3.PollHandle | None,
        ctx: pyfuse3.RequestContext,
    ) -> int:
        """Returns what a file is ready for, and arranges a notification of changes."""
        handle = self.vfs.open_file(fh)
        readable = select.POLLIN if handle.is_readable() else 0
        changed = select.POLLPRI if handle.is_changed() else 0
        event = handle.next_change()
        if poll_handle is not None and event is not None and not event.is_set():
            self._pollers.notify_on(fh, event, poll_handle)
        return select.POLLOUT | readable | changed
