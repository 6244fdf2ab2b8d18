"""The operations of the filesystem on the node table, without FUSE.

The kernel knows nodes by inode number and open files by file handle.  The nodes that it has
references to are in `inodes`, the open files in `open_files.open_file_table`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator

from jaxfs.errors import Invalid, JaxfsError, NotFound, NotPermitted
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.posix.node_object import NodeObject
from jaxfs.quotas import Charge
from jaxfs.vfs.file_commits import FileCommits, target_of
from jaxfs.vfs.inodes import Inodes, inode_number
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import (
    AnyDirectory,
    DirectorySpec,
    DirEntry,
    FileSpec,
    SymlinkSpec,
)
from jaxfs.vfs.node_table import STATIC_CHILDREN
from jaxfs.vfs.nodes import ROOT_INO, Attributes, Changes, Node
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.open_file_table import OpenFileTable
from jaxfs.vfs.text_files import open_text

XATTR_PREFIX = "user.jaxfs."


class Vfs:
    """The filesystem as the kernel uses it.  Raises `jaxfs.errors` only.

    Inode numbers are those that `lookup`, `listing` and `create` have returned; the root has
    `ROOT_INO`.

    Attributes:
        mount: The mount that it shows.
    """

    def __init__(self, mount: Mount) -> None:
        self.mount = mount
        self._inodes = Inodes(mount)
        self._commits = FileCommits(mount, self._inodes)
        self._open_files = OpenFileTable(mount.quotas)
        self._by_handle = self._open_files.by_handle  # read and write need it at once

    def lookup(self, parent: int, name: str, caller: Credentials) -> Attributes:
        """Finds a name and counts a reference of the kernel, which ``forget`` drops.

        Raises:
            NotFound: The directory has no such name.
        """
        return self._keep(self._child(self.node(parent), name), caller)

    def forget(self, ino: int, count: int) -> None:
        """Drops references of the kernel.

        Args:
            ino: The inode number.
            count: How many, since the kernel drops several at once; see FUSE_FORGET.
        """
        self._inodes.forget(ino, count)

    def node(self, ino: int) -> Node:
        """Returns the node of a number that the kernel knows.

        Raises:
            NotFound: The kernel has no reference to it.
        """
        return self._inodes.node(ino)

    def path(self, ino: int) -> str:
        """Returns the path of a node in the mount, for people."""
        return self._inodes.path(ino)

    def listing(self, ino: int, caller: Credentials) -> Iterator[tuple[str, Attributes]]:
        """Yields the names of a directory with their attributes; counts no references.

        What is removed while others have their turn is left out.
        """
        parent = self.node(ino)
        found: Iterable[DirEntry[NodeObject]] = [
            DirEntry(name, spec, parent.node_object)
            for name, spec in STATIC_CHILDREN.get(parent.spec.pattern, {}).items()
            if not isinstance(spec, FileSpec) or spec.listed
        ]
        if isinstance(parent.spec, DirectorySpec) and parent.spec.entries is not None:
            found = itertools.chain(found, parent.spec.entries(self.mount, parent.node_object))
        for entry in found:
            node = self._inodes.node_of(entry, parent)
            yield node.name, self._attributes(node, caller)

    def charge_listing(self, caller: Credentials, entries: int) -> Charge:
        """Charges an open directory; see `OpenFileTable.charge_listing`."""
        return self._open_files.charge_listing(caller, entries)

    def count_listed(self, parent: int, name: str, ino: int) -> None:
        """Counts the reference that the kernel took with a name of a listing.

        If the name was removed since then, its number has no node, and the kernel gets ENOENT.
        """
        self._inodes.count(ino)
        try:
            node = self._child(self.node(parent), name)
        except NotFound:
            return
        if node.ino == ino:
            self._inodes.keep(node)

    def _child(self, parent: Node, name: str) -> Node:
        """Returns the node of a name, which need not be kept.

        Raises:
            NotFound: There is no such name in the directory.
        """
        spec = STATIC_CHILDREN.get(parent.spec.pattern, {}).get(name)
        if spec is not None:
            return self._inodes.node_of(DirEntry(name, spec, parent.node_object), parent)
        entry = self._find(parent, name)
        if entry is None:
            raise NotFound(f"there is no {name!r} in {self.path(parent.ino) or 'the mount'}")
        return self._inodes.node_of(entry, parent)

    def _find(self, parent: Node, name: str) -> DirEntry[NodeObject] | None:
        """Returns the entry of a name that comes and goes, or None."""
        spec = parent.spec
        if not isinstance(spec, DirectorySpec):
            return None
        if spec.find is not None:
            return spec.find(self.mount, parent.node_object, name)
        entries = spec.entries(self.mount, parent.node_object) if spec.entries else ()
        return next((entry for entry in entries if entry.name == name), None)

    def _keep(self, node: Node, caller: Credentials) -> Attributes:
        """Keeps a node, counts a reference of the kernel to it, and returns its attributes."""
        attributes = self._attributes(node, caller)
        self._inodes.keep(node)
        self._inodes.count(node.ino)
        return attributes

    def stale_names(self, node_object: NodeObject) -> list[tuple[int, str]]:
        """Returns the names of an object that the kernel knows and that are gone.

        A name is the inode number of its directory, and the name in it.  The kernel has to be
        notified of them: it would keep a name that is not looked up again, and we its node.
        """
        known = self._inodes.known_of(node_object.owner_id)
        return [(node.parent, node.name) for node in known if not self._is_there(node)]

    def _is_there(self, node: Node) -> bool:
        """Whether the name of a node still leads to it."""
        try:
            return self._child(self.node(node.parent), node.name).ino == node.ino
        except JaxfsError:
            return False

    def getattr(self, ino: int, caller: Credentials) -> Attributes:
        """Returns the attributes of a node, as stat(2)."""
        return self._attributes(self.node(ino), caller)

    async def setattr(
        self, ino: int, changes: Changes, fh: int | None, caller: Credentials
    ) -> Attributes:
        """Does chmod, chown, utimes and truncate; the kernel has checked that the caller may.

        Args:
            ino: The node.
            changes: What to change.
            fh: The file handle of ftruncate(2), None for truncate(2).
            caller: The process that asks.

        Returns:
            The attributes after that.
        """
        node = self.node(ino)
        node_object = node.node_object
        if changes.size is not None:
            await self._truncate(node, changes.size, fh, caller)
        undo = node.change(changes)
        try:
            self.mount.remember(node_object)
        except JaxfsError:  # the disk is full, perhaps: the next mount would not know of it
            node.change(undo)
            raise
        if changes.mtime_ns is not None:
            self._open_files.keep_mtime(ino, changes.mtime_ns)
        return self._attributes(node, caller)

    async def _truncate(self, node: Node, size: int, fh: int | None, caller: Credentials) -> None:
        if fh is not None:
            await self.open_file(fh).truncate(size)
            return
        file = await self._open(node, os.O_WRONLY, caller)  # truncate(2) by path
        file.path, file.caller, file.ino = self.path(node.ino), caller, node.ino
        try:
            await file.truncate(size)
            await self._commits.flush(file)
        finally:
            file.release()

    def _attributes(self, node: Node, caller: Credentials) -> Attributes:
        node_object, attr = node.node_object, node.node_object.attr
        return Attributes(
            ino=node.ino,
            mode=node.spec.file_type | node_object.mode_of(node.spec),
            nlink=2 if node.is_dir else node_object.nlink,
            uid=attr.uid,
            gid=attr.gid,
            size=node.size(self.mount, self._open_files.size_of(node.ino), caller),
            atime_ns=attr.atime_ns,
            mtime_ns=attr.mtime_ns,
            ctime_ns=attr.ctime_ns,
            is_fixed=node.is_dir and node_object is self.mount and node.ino != ROOT_INO,
        )

    def open_file(self, fh: int) -> OpenFile:
        """Returns the open file of a file handle."""
        return self._by_handle[fh]

    def is_outdated(self, ino: int) -> bool:
        """Whether the array that an inode shows was replaced or removed since its lookup.

        A new content gives an array a new serial, and with it other inode numbers.
        """
        node = self.node(ino)
        if ino != ROOT_INO and inode_number(node.spec.pattern, node.node_object) != ino:
            return True
        return node.node_object.is_replaced

    async def settle(self, ino: int, flags: int) -> None:
        """Waits until a file can be read as its writers left it, some perhaps without close(2)."""
        await self._commits.settle(self.node(ino), flags)

    async def open(self, ino: int, flags: int, caller: Credentials) -> tuple[int, OpenFile]:
        """Opens a file; may wait for a result.  The kernel has checked the mode.

        Returns:
            The file handle, and the open file.
        """
        node = self.node(ino)
        self._open_files.reserve(caller)
        try:
            file = await self._open(node, flags, caller)
        except BaseException:
            self._open_files.cancel(caller)
            raise
        return self._open_files.add(file, ino, self.path(ino), flags, caller), file

    async def _open(self, node: Node, flags: int, caller: Credentials) -> OpenFile:
        spec = node.spec
        if not isinstance(spec, FileSpec):
            raise NotPermitted("a directory cannot be opened like a file")
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        if writes and not spec.mode & 0o222:
            raise NotPermitted(f"{self.path(node.ino)} cannot be written by anyone")
        if writes and self.mount.options.allow_other:  # what is written may name arrays
            caller = caller.with_groups()
        if spec.prepare is not None:
            await spec.prepare(node.node_object)
        if spec.open is not None:
            file = await spec.open(self.mount, node.node_object, caller, flags)
        else:
            file = open_text(spec, self.mount, node.node_object, caller, flags)
        file.target = target_of(node)
        return file

    async def flush(self, fh: int) -> None:
        """Commits what was written, as close(2) of a descriptor, or fsync(2)."""
        await self._commits.flush(self.open_file(fh))

    def release(self, fh: int) -> list[tuple[int, str]]:
        """Frees a file handle: the last descriptor of its open file is closed.

        A name goes with it to which a killed process was to write first.  Returns all such names
        that the kernel knows: see `stale_names`.
        """
        file = self.open_file(fh)
        if self._open_files.writers(file.ino) == [file]:
            self._commits.commit_empty(file)
        self._open_files.release(fh)
        if not file.is_half_written or self._open_files.writers(file.ino):
            return []
        node = self.node(file.ino)
        self._commits.discard(file, node)
        return self.stale_names(node.node_object)

    async def create(
        self, parent: int, name: str, mode: int, flags: int, caller: Credentials
    ) -> tuple[int, OpenFile, Attributes]:
        """Makes and opens a file of a new name, as open(2) with O_CREAT.

        Returns:
            The file handle, the open file, and its attributes; a reference of the kernel is
            counted.
        """
        spec = self._directory(parent)
        if spec.create is None:
            raise NotPermitted(f"nothing can be created in {self.path(parent)}")
        directory = self.node(parent)
        attr = InodeAttr.of(caller, mode)
        self._open_files.reserve(caller)
        try:
            entry = spec.create(self.mount, directory.node_object, name, attr)
            node = self._inodes.node_of(entry, directory)
            file = await self._open(node, flags, caller)
        except BaseException:
            self._open_files.cancel(caller)
            raise
        attributes = self._keep(node, caller)
        fh = self._open_files.add(file, node.ino, self.path(node.ino), flags, caller)
        return fh, file, attributes

    def symlink(self, parent: int, name: str, target: str, caller: Credentials) -> Attributes:
        """Makes a symbolic link and counts a reference of the kernel."""
        spec = self._directory(parent)
        if spec.symlink is None:
            raise NotPermitted(f"nothing can be linked in {self.path(parent)}")
        directory = self.node(parent)
        attr = InodeAttr(caller.uid, caller.gid, 0o777)
        entry = spec.symlink(self.mount, directory.node_object, name, target, attr)
        return self._keep(self._inodes.node_of(entry, directory), caller)

    def readlink(self, ino: int) -> str:
        """Returns the target of a symbolic link.

        Raises:
            Invalid: The node is no symbolic link.
        """
        node = self.node(ino)
        if not isinstance(node.spec, SymlinkSpec):
            raise Invalid(f"{self.path(ino)} is no symbolic link")
        return node.spec.target(self.mount, node.node_object)

    def unlink(self, parent: int, name: str) -> list[tuple[int, str]]:
        """Removes a name.  Returns the other names that are gone with it: see `stale_names`."""
        spec = self._directory(parent)
        entry = self._find(self.node(parent), name)
        if entry is None and name not in STATIC_CHILDREN.get(spec.pattern, {}):
            raise NotFound(f"there is no {name!r} in {self.path(parent)}")
        if entry is None or spec.unlink is None:
            raise NotPermitted(f"{name} cannot be removed from {self.path(parent)}")
        spec.unlink(self.mount, entry)
        return [gone for gone in self.stale_names(entry.node_object) if gone != (parent, name)]

    async def rename(
        self, parent: int, old: str, new_parent: int, new: str, *, replace: bool
    ) -> list[tuple[int, str]]:
        """Renames or moves.  Returns the other names that are gone with it: see `stale_names`."""
        spec = self._directory(parent)
        for file in self._open_files.writers(self._child(self.node(parent), old).ino):
            if file.is_plain:  # a staging file, which may be closed later
                await self._commits.flush(file)
        if parent == new_parent and spec.rename is not None:
            await spec.rename(self.mount, self.node(parent).node_object, old, new, replace)
            return []
        target = self._directory(new_parent)
        entry = self._find(self.node(parent), old)
        if entry is None:
            raise NotFound(f"there is no {old!r} in {self.path(parent)}")
        if parent == new_parent or target.take is None:
            raise NotPermitted(f"{self.path(parent)}/{old} cannot be moved there")
        target.take(self.mount, entry, new, replace)
        return [gone for gone in self.stale_names(entry.node_object) if gone != (parent, old)]

    def link(self, ino: int, new_parent: int, new: str, caller: Credentials) -> Attributes:
        """Gives a node another name and counts a reference of the kernel."""
        spec, directory = self._directory(new_parent), self.node(new_parent)
        if spec.link is None:
            raise NotPermitted(f"{self.path(ino)} cannot be linked there")
        entry = spec.link(self.mount, self.node(ino).node_object, new)
        return self._keep(self._inodes.node_of(entry, directory), caller)

    def _directory(self, ino: int) -> AnyDirectory:
        """Returns the spec of a directory.

        Raises:
            NotFound: The node is no directory.
        """
        spec = self.node(ino).spec
        if not isinstance(spec, DirectorySpec):
            raise NotFound(f"{self.path(ino)} is no directory")
        return spec

    def xattrs(self, ino: int) -> dict[str, bytes]:
        """Returns the extended attributes of a node, by name."""
        node = self.node(ino)
        if not isinstance(node.spec, FileSpec) or node.spec.xattrs is None:
            return {}
        found = node.spec.xattrs(self.mount, node.node_object)
        return {f"{XATTR_PREFIX}{name}": value.encode() for name, value in found.items()}
