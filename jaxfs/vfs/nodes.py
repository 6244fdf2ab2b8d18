"""What the tree is made of, as the kernel knows it: nodes, and what stat(2) tells of them."""

from __future__ import annotations

import stat

import attrs

from jaxfs.vfs.node_specs import DirectorySpec, NodeSpec, Subject

ROOT_INO = 1


@attrs.frozen(eq=False)
class Node:
    """A row showing a subject, at a place."""

    ino: int
    row: NodeSpec
    subject: Subject
    name: str
    parent: int

    @property
    def is_dir(self) -> bool:
        return isinstance(self.row, DirectorySpec)


@attrs.frozen
class Attributes:
    """What stat(2) tells."""

    ino: int
    mode: int  # with the file type
    nlink: int
    uid: int
    gid: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    is_fixed: bool = False  # none of this ever changes, nor what its name stands for

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.mode)


@attrs.frozen
class Changes:
    """What chmod, chown, utimes and truncate ask for."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None
