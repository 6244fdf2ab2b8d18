"""The filesystem's operations on the node table, without FUSE.

Nodes are known to the kernel by inode number.  A number is made of the subject's serial and the
row, so it is the same as long as the object lives, and a name used again is a new inode.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections import defaultdict

from jaxfs.arrays.named import NamedArray
from jaxfs.arrays.views import View
from jaxfs.errors import Invalid, JaxfsError, NotFound, NotPermitted
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec, Subject, SymlinkSpec
from jaxfs.vfs.node_table import BY_PATTERN, CHILDREN, NUMBER
from jaxfs.vfs.nodes import ROOT_INO, Attributes, Changes, Node
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.control import ControlFile, SnapshotFile, StatusFile
from jaxfs.vfs.permissions import meta_of, mode_of, owner_of, set_mode, set_owner

_KINDS = {FileSpec: stat.S_IFREG, DirectorySpec: stat.S_IFDIR, SymlinkSpec: stat.S_IFLNK}
_ROWS_PER_SERIAL = 1024


def _family(subject: Subject) -> int:
    """The number of all that lives and dies with a subject's owner."""
    owner = owner_of(subject)
    return owner.owner_id if isinstance(owner, NamedArray) else int(owner.serial)


class Vfs:
    """Everything the kernel asks for; raises ``jaxfs.errors`` only."""

    def __init__(self, system: Mount) -> None:
        self.system = system
        root = Node(ROOT_INO, BY_PATTERN[""], system, "", ROOT_INO)
        self._nodes: dict[int, Node] = {ROOT_INO: root}
        self._lookups: dict[int, int] = defaultdict(int)
        self._shown: dict[int, set[int]] = defaultdict(set)  # inodes by family
        self._handles: dict[int, OpenFile] = {}
        self._writers: dict[int, list[OpenFile]] = defaultdict(list)
        self._readers: dict[int, list[OpenFile]] = defaultdict(list)  # of what does not change
        self._numbers = itertools.count(1)

    # names

    def lookup(self, parent: int, name: str, caller: Credentials) -> Attributes:
        """Find a name and count the kernel's reference.  Raises NotFound."""
        node = self._child(self.node(parent), name)
        return self._remember(node, caller)

    def forget(self, ino: int, count: int) -> None:
        """The kernel drops references."""
        self._lookups[ino] -= count
        if self._lookups[ino] <= 0 and ino != ROOT_INO:
            del self._lookups[ino]
            self._drop(self._nodes.pop(ino, None))

    def node(self, ino: int) -> Node:
        """The node of a number the kernel knows.  Raises NotFound."""
        try:
            return self._nodes[ino]
        except KeyError:
            raise NotFound(f"inode {ino} is gone") from None

    def path(self, ino: int) -> str:
        """Where a node is, for people."""
        parts: list[str] = []
        while ino != ROOT_INO and (node := self._nodes.get(ino)) is not None:
            parts.append(node.name)
            ino = node.parent
        return "/".join(reversed(parts))

    def listing(self, ino: int, caller: Credentials) -> list[tuple[str, Attributes]]:
        """A directory's names with what stat would tell; counts no references."""
        parent = self.node(ino)
        found = [DirEntry(name, row.pattern, parent.subject) for name, row in self._static(parent)]
        if isinstance(parent.row, DirectorySpec) and parent.row.entries is not None:
            found += parent.row.entries(self.system, parent.subject)
        nodes = [self._node(entry, parent) for entry in found]
        return [(node.name, self._attributes(node, caller)) for node in nodes]

    def count_listed(self, parent: int, name: str, ino: int) -> None:
        """The kernel took a name from a listing, and with it a reference.

        What was removed since then is not found any more; its number stays unknown to us, and the
        kernel gets ENOENT for it.
        """
        self._lookups[ino] += 1
        try:
            node = self._child(self.node(parent), name)
        except NotFound:
            return
        if node.ino == ino:
            self._keep_node(node)

    def _static(self, parent: Node) -> list[tuple[str, NodeSpec]]:
        rows = CHILDREN.get(parent.row.pattern, {}).items()
        return [(name, row) for name, row in rows if not isinstance(row, FileSpec) or row.listed]

    def _child(self, parent: Node, name: str) -> Node:
        row = CHILDREN.get(parent.row.pattern, {}).get(name)
        if row is not None:
            return self._node(DirEntry(name, row.pattern, parent.subject), parent)
        entry = self._find(parent, name)
        if entry is None:
            raise NotFound(f"there is no {name!r} in {self.path(parent.ino) or 'the mount'}")
        return self._node(entry, parent)

    def _find(self, parent: Node, name: str) -> DirEntry | None:
        row = parent.row
        if not isinstance(row, DirectorySpec):
            return None
        if row.find is not None:
            return row.find(self.system, parent.subject, name)
        entries = row.entries(self.system, parent.subject) if row.entries else ()
        return next((entry for entry in entries if entry.name == name), None)

    def _number(self, row: str, subject: Subject) -> int:
        return int(subject.serial) * _ROWS_PER_SERIAL + NUMBER[row] + 2

    def _node(self, entry: DirEntry, parent: Node) -> Node:
        ino = self._number(entry.row, entry.subject)
        known = self._nodes.get(ino)
        if known is not None and known.name == entry.name:
            return known
        return Node(ino, BY_PATTERN[entry.row], entry.subject, entry.name, parent.ino)

    def _remember(self, node: Node, caller: Credentials) -> Attributes:
        attributes = self._attributes(node, caller)
        self._keep_node(node)
        self._lookups[node.ino] += 1
        return attributes

    def _keep_node(self, node: Node) -> None:
        self._nodes[node.ino] = node
        self._shown[_family(node.subject)].add(node.ino)
        self.system.inodes = len(self._nodes)

    def _drop(self, node: Node | None) -> None:
        if node is not None:
            serial = _family(node.subject)
            self._shown[serial].discard(node.ino)
            if not self._shown[serial]:
                del self._shown[serial]
            self.system.inodes = len(self._nodes)

    def stale_names(self, subject: Subject) -> list[tuple[int, str]]:
        """Names (parent inode, name) of a subject that the kernel knows and that are gone.

        It would remember them, and we with it, for nobody looks them up again.
        """
        known = [self._nodes[ino] for ino in self._shown.get(_family(subject), ())]
        return [(node.parent, node.name) for node in known if not self._is_there(node)]

    def _is_there(self, node: Node) -> bool:
        try:
            return self._child(self.node(node.parent), node.name).ino == node.ino
        except JaxfsError:
            return False

    # attributes

    def getattr(self, ino: int, caller: Credentials) -> Attributes:
        """As stat(2)."""
        return self._attributes(self.node(ino), caller)

    async def setattr(
        self, ino: int, changes: Changes, number: int | None, caller: Credentials
    ) -> Attributes:
        """chmod, chown, utimes and truncate; the kernel has checked that the caller may."""
        node = self.node(ino)
        if changes.size is not None:
            await self._truncate(node, changes.size, number, caller)
        if changes.mode is not None:
            set_mode(node.row, node.subject, stat.S_IMODE(changes.mode))
        if changes.uid is not None or changes.gid is not None:
            set_owner(node.subject, changes.uid, changes.gid)
        meta = meta_of(node.subject)
        meta.atime_ns = meta.atime_ns if changes.atime_ns is None else changes.atime_ns
        if changes.mtime_ns is not None:
            self._set_mtime(node, changes.mtime_ns)
        self.system.remember(node.subject)
        return self._attributes(node, caller)

    def _set_mtime(self, node: Node, mtime_ns: int) -> None:
        """``cp -p`` sets the time before it closes the file: the commit then must not change it."""
        meta_of(node.subject).mtime_ns = mtime_ns
        for writer in self._writers.get(node.ino, ()):
            writer.mtime_ns = mtime_ns

    async def _truncate(
        self, node: Node, size: int, number: int | None, caller: Credentials
    ) -> None:
        if number is not None:
            await self.handle(number).truncate(size)
            return
        handle = await self._open(node, os.O_WRONLY, caller)  # truncate(2) by path
        try:
            await handle.truncate(size)
            await handle.flush()
        finally:
            handle.release()

    def _attributes(self, node: Node, caller: Credentials) -> Attributes:
        meta = meta_of(node.subject)
        kind = _KINDS[type(node.row)]
        return Attributes(
            ino=node.ino,
            mode=kind | mode_of(node.row, node.subject),
            nlink=2 if node.is_dir else self._links(node),
            uid=meta.uid,
            gid=meta.gid,
            size=self._size(node, caller),
            atime_ns=meta.atime_ns,
            mtime_ns=meta.mtime_ns,
            ctime_ns=meta.ctime_ns,
            is_fixed=node.is_dir and node.subject is self.system and node.ino != ROOT_INO,
        )

    def _links(self, node: Node) -> int:
        """How many names the arrays of a file have."""
        subject = node.subject
        if isinstance(subject, NamedArray):
            return subject.ref.producer.link_count if subject.ref is not None else 1
        return subject.producer.link_count if isinstance(subject, View) else 1

    def _size(self, node: Node, caller: Credentials) -> int:
        if isinstance(node.row, DirectorySpec):
            return 0
        if isinstance(node.row, SymlinkSpec):
            return len(os.fsencode(node.row.target(self.system, node.subject)))
        for reader in self._readers.get(
            node.ino, ()
        ):  # it reads to the end that it was opened with
            return reader.fixed_size()
        for writer in reversed(self._writers.get(node.ino, ())):
            pending = writer.pending_size()
            if pending is not None:
                return pending
        try:
            if node.row.size is not None:
                return node.row.size(self.system, node.subject)
            return len(node.row.read(self.system, node.subject, caller)) if node.row.read else 0
        except JaxfsError:  # nothing to show yet; opening it says why
            return 0

    # open files

    def handle(self, number: int) -> OpenFile:
        """The open file of a number that ``open`` gave."""
        return self._handles[number]

    def is_outdated(self, ino: int) -> bool:
        """Whether an inode shows what an array was before: since the kernel looked its name up,
        the array was replaced or removed."""
        node = self.node(ino)
        if isinstance(node.subject, NamedArray):
            return self._number(node.row.pattern, node.subject) != ino
        view = node.subject
        if not isinstance(view, View) or not isinstance(view.owner, NamedArray):
            return False
        return view.owner.views.get(view.suffix) is not view

    async def open(self, ino: int, flags: int, caller: Credentials) -> tuple[int, OpenFile]:
        """As open(2).  May wait, for a result.  The kernel has checked the mode."""
        node = self.node(ino)
        return self._keep(node, await self._open(node, flags, caller), flags, caller)

    async def _open(self, node: Node, flags: int, caller: Credentials) -> OpenFile:
        row = node.row
        if not isinstance(row, FileSpec):
            raise NotPermitted("a directory cannot be opened like a file")
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        if writes and not row.mode & 0o222:
            raise NotPermitted(f"{self.path(node.ino)} cannot be written by anyone")
        if row.prepare is not None:
            await row.prepare(node.subject)
        if row.open is not None:
            return await row.open(self.system, node.subject, caller, flags)
        return self._open_text(row, node.subject, caller, writes)

    def _open_text(
        self, row: FileSpec, subject: Subject, caller: Credentials, writes: bool
    ) -> OpenFile:
        if writes and row.write is not None:
            write = row.write

            async def commit(text: str) -> None:
                await write(self.system, subject, caller, text)

            return ControlFile(commit)
        if row.read is None:
            return SnapshotFile(b"")
        if row.changed is not None:
            read, changed = row.read, row.changed
            return StatusFile(lambda: read(self.system, subject, caller), lambda: changed(subject))
        return SnapshotFile(row.read(self.system, subject, caller))

    def _keep(
        self, node: Node, handle: OpenFile, flags: int, caller: Credentials
    ) -> tuple[int, OpenFile]:
        number = next(self._numbers)
        handle.path, handle.caller, handle.ino = self.path(node.ino), caller, node.ino
        self._handles[number] = handle
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self._writers[node.ino].append(handle)
        elif not handle.direct_io:
            self._readers[node.ino].append(handle)
        return number, handle

    async def flush(self, number: int) -> None:
        """As close(2) of a descriptor, or fsync(2): what was written is committed."""
        handle = self.handle(number)
        commits = handle.is_dirty()
        await handle.flush()
        if commits and handle.mtime_ns is not None:
            subject = self.node(handle.ino).subject
            meta_of(subject).mtime_ns, handle.mtime_ns = handle.mtime_ns, None
            self.system.remember(subject)

    def release(self, number: int) -> None:
        """The last descriptor of an open file is closed."""
        handle = self._handles.pop(number)
        for opened in (self._writers, self._readers):
            others = opened.get(handle.ino, [])
            if handle in others:
                others.remove(handle)
                if not others:
                    del opened[handle.ino]
        handle.release()

    # changes to directories

    async def create(
        self, parent: int, name: str, mode: int, flags: int, caller: Credentials
    ) -> tuple[int, OpenFile, Attributes]:
        """As open(2) with O_CREAT, for a name that is not there."""
        directory = self._changeable(parent)
        if directory.create is None:
            raise NotPermitted(f"nothing can be created in {self.path(parent)}")
        meta = InodeAttr.of(caller, mode)
        place = self.node(parent)
        entry = directory.create(self.system, place.subject, name, meta)
        node = self._node(entry, place)
        handle = await self._open(node, flags, caller)
        attributes = self._remember(node, caller)
        number, handle = self._keep(node, handle, flags, caller)
        return number, handle, attributes

    def symlink(self, parent: int, name: str, target: str, caller: Credentials) -> Attributes:
        """As symlink(2)."""
        directory = self._changeable(parent)
        if directory.symlink is None:
            raise NotPermitted(f"nothing can be linked in {self.path(parent)}")
        place = self.node(parent)
        meta = InodeAttr(caller.uid, caller.gid, 0o777)
        entry = directory.symlink(self.system, place.subject, name, target, meta)
        return self._remember(self._node(entry, place), caller)

    def readlink(self, ino: int) -> str:
        """As readlink(2)."""
        node = self.node(ino)
        if not isinstance(node.row, SymlinkSpec):
            raise Invalid(f"{self.path(ino)} is no symbolic link")
        return node.row.target(self.system, node.subject)

    def unlink(self, parent: int, name: str) -> list[tuple[int, str]]:
        """As unlink(2).  Returns the names that went with it; see ``stale_names``."""
        directory = self._changeable(parent)
        entry = self._find(self.node(parent), name)
        if entry is None and name not in CHILDREN.get(directory.pattern, {}):
            raise NotFound(f"there is no {name!r} in {self.path(parent)}")
        if entry is None or directory.unlink is None:
            raise NotPermitted(f"{name} cannot be removed from {self.path(parent)}")
        directory.unlink(self.system, entry)
        return [gone for gone in self.stale_names(entry.subject) if gone != (parent, name)]

    async def rename(
        self, parent: int, old: str, new_parent: int, new: str, *, replace: bool
    ) -> list[tuple[int, str]]:
        """As rename(2).  Returns the names that went with it; see ``stale_names``."""
        directory = self._changeable(parent)
        if parent == new_parent and directory.rename is not None:
            await directory.rename(self.system, old, new, replace)
            return []
        target = self._changeable(new_parent)
        entry = self._find(self.node(parent), old)
        if entry is None:
            raise NotFound(f"there is no {old!r} in {self.path(parent)}")
        if parent == new_parent or target.take is None:
            raise NotPermitted(f"{self.path(parent)}/{old} cannot be moved there")
        target.take(self.system, entry, new, replace)
        return [gone for gone in self.stale_names(entry.subject) if gone != (parent, old)]

    def link(self, ino: int, new_parent: int, new: str, caller: Credentials) -> Attributes:
        """As link(2)."""
        directory, place = self._changeable(new_parent), self.node(new_parent)
        if directory.link is None:
            raise NotPermitted(f"{self.path(ino)} cannot be linked there")
        entry = directory.link(self.system, self.node(ino).subject, new)
        return self._remember(self._node(entry, place), caller)

    # extended attributes

    def facts(self, ino: int) -> dict[str, bytes]:
        """The extended attributes of a node, by name."""
        node = self.node(ino)
        if not isinstance(node.row, FileSpec) or node.row.xattrs is None:
            return {}
        found = node.row.xattrs(self.system, node.subject)
        return {f"user.jaxfs.{name}": value.encode() for name, value in found.items()}

    def _changeable(self, ino: int) -> DirectorySpec:
        row = self.node(ino).row
        if not isinstance(row, DirectorySpec):
            raise NotFound(f"{self.path(ino)} is no directory")
        return row
