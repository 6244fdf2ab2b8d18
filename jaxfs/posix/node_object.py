"""Node objects: what the files and directories of the mount show.

A program, a call, an array or a device has several files.  The filesystem needs the same few
things of each of them: a number for its inodes, owner, permission bits and times, and the number
of its links.  `NodeObject` states these, so that each class decides about its own files and the
filesystem does not ask which class it has.

`FixedNodeObject` and `OwnedNodeObject` have the answers that most classes share.
"""

from __future__ import annotations

from typing import Protocol

from jaxfs.errors import NotPermitted
from jaxfs.posix.credentials import InodeAttr


class NodeMode(Protocol):
    """What a node object needs to know of a node spec to decide about permission bits."""

    @property
    def name(self) -> str:
        """The last part of the spec's pattern; unique among the files of one object."""
        ...

    @property
    def mode(self) -> int:
        """The most permission bits that the file can have."""
        ...

    @property
    def is_primary(self) -> bool:
        """Whether the file is the object itself: its permission bits are the object's."""
        ...


class NodeObject(Protocol):
    """An object that is shown as files and directories."""

    @property
    def serial(self) -> int:
        """A number of `SERIALS`: its inodes are numbered by it."""
        ...

    @property
    def owner_id(self) -> int:
        """The number shared by all objects that disappear together, such as a call and its views.

        It is the `serial` of one of them, and does not change during their life.
        """
        ...

    @property
    def attr(self) -> InodeAttr:
        """Owner, permission bits and times; changes of these are made to this value."""
        ...

    @property
    def nlink(self) -> int:
        """The link count of its files."""
        ...

    @property
    def is_replaced(self) -> bool:
        """Whether its name leads to another object by now."""
        ...

    def mode_of(self, spec: NodeMode) -> int:
        """Returns the permission bits of one of its files."""
        ...

    def set_mode(self, spec: NodeMode, mode: int) -> None:
        """Changes the permission bits of one of its files, as chmod(2).

        Bits that the file has no use for are dropped, so that a mode never promises what cannot be
        done.

        Raises:
            NotPermitted: The mode of the file is fixed.
        """
        ...

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """Changes the owner, as chown(2); the kernel has checked that the caller may.

        Raises:
            NotPermitted: The owner is fixed.
        """
        ...


class FixedNodeObject:
    """A node object that belongs to the mount: its files keep their modes and their owner."""

    __slots__ = ()

    serial: int

    @property
    def owner_id(self) -> int:
        """The object's own serial: it disappears by itself."""
        return self.serial

    @property
    def nlink(self) -> int:
        """One: its files have no other names."""
        return 1

    @property
    def is_replaced(self) -> bool:
        """Never: its name leads to it as long as it exists."""
        return False

    def mode_of(self, spec: NodeMode) -> int:
        """Returns the mode of the spec."""
        return spec.mode

    def set_mode(self, spec: NodeMode, mode: int) -> None:
        """Refuses to change the mode.

        Raises:
            NotPermitted: Always.
        """
        del spec, mode
        raise NotPermitted("the mount's own files keep their modes")

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """Refuses to change the owner.

        Raises:
            NotPermitted: Always.
        """
        del uid, gid
        raise NotPermitted("the mount's own files keep their owner")


class OwnedNodeObject(FixedNodeObject):
    """A node object that belongs to the user who made it, and can be given to another user."""

    __slots__ = ()

    @property
    def attr(self) -> InodeAttr:
        """Owner, permission bits and times."""
        raise NotImplementedError

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """Changes the owner that `attr` holds; None leaves it as it is."""
        self.attr.uid = self.attr.uid if uid is None else uid
        self.attr.gid = self.attr.gid if gid is None else gid
