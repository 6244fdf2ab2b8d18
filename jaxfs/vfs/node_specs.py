"""Node specs: the rows of the node table, one for each kind of file and directory.

A node is a spec together with the object that it shows: a program, a call, a device, the mount
itself.  Specs hold functions, so adding a file to the interface is adding a row.

The functions of a spec get the mount and an object of the spec's type ``T``.  An entry is made by
a spec of its object, so that both fit: after that, the filesystem handles nodes of all types alike,
and the types of spec and object are not known any more (`NodeSpec`).
"""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import attrs
import trio

from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.posix.node_object import NodeObject
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.open_files.base import OpenFile

T = TypeVar("T", bound=NodeObject)
ChildT = TypeVar("ChildT", bound=NodeObject)
ObjectT_co = TypeVar("ObjectT_co", bound=NodeObject, covariant=True)


class DirEntry(NamedTuple, Generic[ObjectT_co]):
    """A name in a directory.

    Attributes:
        name: The name.
        spec: The spec of the node that it leads to.
        node_object: What that node shows.
    """

    name: str
    spec: NodeSpec
    node_object: ObjectT_co


@attrs.frozen
class BaseSpec(Generic[T]):
    """What all specs have.

    Attributes:
        pattern: The path, with <placeholders> for names that come and go.
    """

    file_type: ClassVar[int]

    pattern: str

    @property
    def name(self) -> str:
        """The last part of the pattern."""
        return self.pattern.rpartition("/")[2]

    @property
    def is_primary(self) -> bool:
        """Whether the node is the object itself, so that its mode is the object's."""
        return False

    def entry(self, name: str, node_object: T) -> DirEntry[T]:
        """Returns the entry of a node that shows an object by this spec."""
        return DirEntry(name, self, node_object)  # type: ignore[arg-type]  # each spec is of the union


@attrs.frozen
class FileSpec(BaseSpec[T]):
    """A row of a regular file.

    Control text has `read` and `write`; other files have `open` and `size`.

    Attributes:
        mode: The most permission bits that the file can have; its object decides about the rest.
        format: The format of the content, for the manual.
        help: What it is, for the manual.
        read: Returns the whole text; a snapshot is taken at each open.
        write: Carries out the whole text that was written, at close.
        open: Returns an open file.
        size: Returns the size that stat(2) shows.
        changed: Returns the event of the object's next change of state: the file can be polled.
        prepare: Is awaited at open(2), where the content may have to be made first.
        target: Returns what a commit of the file changes, where other files show it too; else the
            file itself.
        settles: Whether a reader waits for the commits of the target that are under way.
        discard: Removes the object if nothing was ever written to it: the process that made it was
            killed.
        xattrs: Returns the extended attributes, by their names without the prefix.
        listed: Whether the directory lists it, or only lookup finds it.
        is_primary: Whether the file is the object itself, so that its mode is the object's.
    """

    file_type = stat.S_IFREG

    mode: int
    format: str
    help: str
    read: Callable[[Mount, T, Credentials], bytes] | None = None
    write: Callable[[Mount, T, Credentials, str], Awaitable[None]] | None = None
    open: Callable[[Mount, T, Credentials, int], Awaitable[OpenFile]] | None = None
    size: Callable[[Mount, T], int] | None = None
    changed: Callable[[T], trio.Event] | None = None
    prepare: Callable[[T], Awaitable[None]] | None = None
    target: Callable[[T], object] | None = None
    settles: bool = False
    discard: Callable[[Mount, T], None] | None = None
    xattrs: Callable[[Mount, T], Mapping[str, str]] | None = None
    listed: bool = True
    is_primary: bool = False


@attrs.frozen
class DirectorySpec(BaseSpec[T], Generic[T, ChildT]):
    """A row of a directory whose changing entries show objects of type ``ChildT``.

    Rows below it without a placeholder are always there, and show the object of the directory.

    Attributes:
        mode: The permission bits.
        help: What it is, for the manual.
        entries: Returns the names that come and go.
        find: Returns the entry of a name, also of one that `entries` does not list.
        create: Makes a file, as open(2) with O_CREAT.
        symlink: Makes a symbolic link, as symlink(2): name, target and attributes.
        link: Gives an object from elsewhere a name here, as link(2).
        take: Moves an entry of another directory here, as rename(2): entry, new name, and whether
            it replaces.
        unlink: Removes an entry, as unlink(2).
        rename: Renames within the directory: its object, old name, new name, and whether it
            replaces.
    """

    file_type = stat.S_IFDIR

    mode: int
    help: str
    entries: Callable[[Mount, T], Iterable[DirEntry[ChildT]]] | None = None
    find: Callable[[Mount, T, str], DirEntry[ChildT] | None] | None = None
    create: Callable[[Mount, T, str, InodeAttr], DirEntry[ChildT]] | None = None
    symlink: Callable[[Mount, T, str, str, InodeAttr], DirEntry[ChildT]] | None = None
    link: Callable[[Mount, NodeObject, str], DirEntry[ChildT]] | None = None
    take: Callable[[Mount, DirEntry[NodeObject], str, bool], None] | None = None
    unlink: Callable[[Mount, DirEntry[ChildT]], None] | None = None
    rename: Callable[[Mount, T, str, str, bool], Awaitable[None]] | None = None


@attrs.frozen
class SymlinkSpec(BaseSpec[T]):
    """A row of a symbolic link.

    Attributes:
        help: What it is, for the manual.
        target: Returns what it leads to.
        mode: The permission bits; Linux ignores those of symbolic links.
        format: For the manual.
    """

    file_type = stat.S_IFLNK

    help: str
    target: Callable[[Mount, T], str]
    mode: int = 0o777
    format: str = "symbolic link"


# Each spec was checked against the type of its objects where it was made.
AnyFile = FileSpec[Any]
AnyDirectory = DirectorySpec[Any, Any]
AnySymlink = SymlinkSpec[Any]
NodeSpec = AnyFile | AnyDirectory | AnySymlink
