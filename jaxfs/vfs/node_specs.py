"""What a row of the node table says about a file or a directory.

A node of the tree is a row together with the object it shows (its *subject*: a program, a call, a
device, the mount itself).  Rows hold functions, so adding a file to the interface is adding a row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

import attrs
import trio

from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.open_files.base import OpenFile

Subject = Any  # Program | Staged | Call | View | Device | System: what a row's functions take


class DirEntry(NamedTuple):
    """A name in a directory: which row, showing what."""

    name: str
    row: str
    subject: Subject


@attrs.frozen
class FileSpec:
    """A row of a regular file.

    ``read`` gives the whole text, a snapshot at each open; ``write`` takes the whole text that was
    written, at close.  Files that are more than control text have ``open`` and ``size`` instead.
    ``changed`` makes a file that is read pollable: the event of its subject's next change of state.
    ``prepare`` is awaited at open(2), where what is shown may have to be made first.
    ``facts`` are its extended attributes, without their prefix.
    ``mode`` is the most the file can ever do; ownership narrows it.
    """

    pattern: str
    mode: int
    format: str
    help: str
    read: Callable[[Mount, Subject, Credentials], bytes] | None = None
    write: Callable[[Mount, Subject, Credentials, str], Awaitable[None]] | None = None
    open: Callable[[Mount, Subject, Credentials, int], Awaitable[OpenFile]] | None = None
    size: Callable[[Mount, Subject], int] | None = None
    changed: Callable[[Subject], trio.Event] | None = None
    prepare: Callable[[Subject], Awaitable[None]] | None = None
    xattrs: Callable[[Mount, Subject], Mapping[str, str]] | None = None
    listed: bool = True

    @property
    def name(self) -> str:
        """The last part of the pattern."""
        return self.pattern.rpartition("/")[2]


@attrs.frozen
class DirectorySpec:
    """A row of a directory.

    ``entries`` are the names that come and go; rows below it without ``<`` are always there.
    ``find`` looks up names that ``entries`` does not list.  ``rename`` moves within the directory;
    ``take`` moves in from another one, ``link`` gives what is elsewhere a name here.
    """

    pattern: str
    mode: int
    help: str
    entries: Callable[[Mount, Subject], Iterable[DirEntry]] | None = None
    find: Callable[[Mount, Subject, str], DirEntry | None] | None = None
    create: Callable[[Mount, Subject, str, InodeAttr], DirEntry] | None = None
    symlink: Callable[[Mount, Subject, str, str, InodeAttr], DirEntry] | None = None
    link: Callable[[Mount, Subject, str], DirEntry] | None = None
    take: Callable[[Mount, DirEntry, str, bool], None] | None = None
    unlink: Callable[[Mount, DirEntry], None] | None = None
    rename: Callable[[Mount, str, str, bool], Awaitable[None]] | None = None

    @property
    def name(self) -> str:
        return self.pattern.rpartition("/")[2]


@attrs.frozen
class SymlinkSpec:
    """A row of a symbolic link."""

    pattern: str
    help: str
    target: Callable[[Mount, Subject], str]
    mode: int = 0o777
    format: str = "symbolic link"

    @property
    def name(self) -> str:
        return self.pattern.rpartition("/")[2]


NodeSpec = FileSpec | DirectorySpec | SymlinkSpec
