"""Nodes as the kernel knows them, and what stat(2) shows of them."""

from __future__ import annotations

import os
import stat

import attrs

from jaxfs.errors import JaxfsError
from jaxfs.posix.credentials import Credentials
from jaxfs.posix.node_object import NodeObject
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, NodeSpec, SymlinkSpec

ROOT_INO = 1


@attrs.frozen(eq=False)
class Node:
    """A spec that shows an object, at a place.

    Attributes:
        ino: The inode number.
        spec: What kind of file or directory it is.
        node_object: What it shows.
        name: The name that it was last found by.
        parent: The inode number of its directory.
    """

    ino: int
    spec: NodeSpec
    node_object: NodeObject
    name: str
    parent: int

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return isinstance(self.spec, DirectorySpec)

    def size(self, mount: Mount, open_size: int | None, caller: Credentials) -> int:
        """Returns the size in bytes, 0 for a directory and where there is nothing to show.

        Args:
            mount: The mount.
            open_size: The size that open files decide; None if they do not.
            caller: Some files show each user something else.
        """
        spec = self.spec
        if isinstance(spec, DirectorySpec):
            return 0
        if isinstance(spec, SymlinkSpec):
            return len(os.fsencode(spec.target(mount, self.node_object)))
        if open_size is not None:
            return open_size
        try:
            if spec.size is not None:
                return spec.size(mount, self.node_object)
            return len(spec.read(mount, self.node_object, caller)) if spec.read else 0
        except JaxfsError:  # opening it fails with the reason
            return 0

    def change(self, changes: Changes) -> Changes:
        """Changes the attributes of its object, but for the size; returns what undoes that.

        Raises:
            NotPermitted: The object does not let them be changed.
        """
        node_object = self.node_object
        attr, mode = node_object.attr, node_object.mode_of(self.spec)
        undo = Changes(
            mode=None if changes.mode is None else mode,
            uid=None if changes.uid is None else attr.uid,
            gid=None if changes.gid is None else attr.gid,
            atime_ns=attr.atime_ns,
            mtime_ns=attr.mtime_ns,
        )
        if changes.mode is not None:
            node_object.set_mode(self.spec, stat.S_IMODE(changes.mode))
        if changes.uid is not None or changes.gid is not None:
            node_object.set_owner(changes.uid, changes.gid)
        if changes.atime_ns is not None:
            attr.atime_ns = changes.atime_ns
        if changes.mtime_ns is not None:
            attr.mtime_ns = changes.mtime_ns
        return undo


@attrs.frozen
class Attributes:
    """What stat(2) shows; times are nanoseconds since the epoch.

    Attributes:
        ino: The inode number.
        mode: File type and permission bits.
        nlink: The link count.
        uid: The owner.
        gid: The group.
        size: Bytes.
        atime_ns: Last access.
        mtime_ns: Last change of the content.
        ctime_ns: Last change of the content or of these attributes.
        is_fixed: Whether none of this ever changes, nor the node that its name leads to.
    """

    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    is_fixed: bool = False

    @property
    def is_dir(self) -> bool:
        """Whether they are those of a directory."""
        return stat.S_ISDIR(self.mode)


@attrs.frozen
class Changes:
    """What chmod, chown, utimes and truncate change; None leaves a value as it is.

    Attributes:
        mode: The permission bits; a file type beside them is ignored.
        uid: The owner.
        gid: The group.
        size: Bytes.
        atime_ns: Last access, nanoseconds since the epoch.
        mtime_ns: Last change of the content, nanoseconds since the epoch.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None
