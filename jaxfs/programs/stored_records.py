"""The records of the state directory: programs, links and staging files.

They are an interface to later versions of jaxfs: a record may get a field with a default, a field
may not change or go.
"""

from __future__ import annotations

import msgspec


class BindingRecord(msgspec.Struct, frozen=True):
    """A symbolic link in ``inputs/``.

    Attributes:
        steps: the transformed program it belongs to; empty: the source program itself.
        key: the key path of the input.
        target: the path as symlink(2) had it.
    """

    steps: list[str]
    key: str
    target: str


class ProgramRecord(msgspec.Struct, frozen=True):
    """One program.

    Attributes:
        name: without the extension.
        extension: of the source's file, without the dot.
        sha256: of the source.
        uid: owner.
        gid: group.
        mode: permission bits of the source's file.
        mtime_ns: when the source was written.
        device: the name of its device; empty: the first one.
        modes: permissions of files in its directory that chmod set, by file name.
        options: arguments of ``jax.jit`` for a pickled function.
        transformed: the steps of transformed programs that were used.
        specializations: the input types, as text, of specializations that were used.
        bindings: symbolic links in ``inputs/``.
        pending_sha256: of a source that a rename put in its place and that no build has ended for.
    """

    name: str
    extension: str
    sha256: str
    uid: int
    gid: int
    mode: int
    mtime_ns: int
    device: str
    modes: dict[str, int] = {}
    options: dict[str, str] = {}
    transformed: list[list[str]] = []
    specializations: list[list[str]] = []
    bindings: list[BindingRecord] = []
    pending_sha256: str = ""


class LinkRecord(msgspec.Struct, frozen=True):
    """One symbolic link in ``programs/``.

    Attributes:
        name: in ``programs/``.
        target: the path as symlink(2) had it.
        uid: owner.
        gid: group.
    """

    name: str
    target: str
    uid: int
    gid: int


class StagedRecord(msgspec.Struct, frozen=True):
    """One staging file.

    Attributes:
        name: in ``programs/``.
        sha256: of its content; empty if it is empty.
        nbytes: its size.
        uid: owner.
        gid: group.
        mode: permission bits.
        mtime_ns: when it was written.
    """

    name: str
    sha256: str
    nbytes: int
    uid: int
    gid: int
    mode: int
    mtime_ns: int
