"""Who may do what: owner and permission bits of every node.

A file of a program belongs to the program's owner and serves those who may read its source; a
result belongs to its caller and has the mode of its call file less the write bits.  What chmod
changes on one file is kept with the object.
"""

from __future__ import annotations

from typing import Any

from jaxfs.arrays.bindings import Binding
from jaxfs.arrays.named import NamedArray
from jaxfs.arrays.views import View
from jaxfs.calls.call import RESULT, Call
from jaxfs.errors import NotPermitted
from jaxfs.posix.credentials import InodeAttr, allowed_to_readers
from jaxfs.programs.links import Link
from jaxfs.programs.program import DerivedProgram, Program, StagedFile, root_of
from jaxfs.vfs.files.calls import CALLS
from jaxfs.vfs.files.programs import SOURCE
from jaxfs.vfs.node_specs import FileSpec, NodeSpec


def owner_of(subject: Any) -> Any:
    """What a subject lives and dies with: a view's call, the program that another one is made
    from, itself otherwise."""
    if isinstance(subject, Binding):
        return root_of(subject.program)
    if isinstance(subject, DerivedProgram):
        return root_of(subject)
    return subject.owner if isinstance(subject, View) else subject


def meta_of(subject: Any) -> InodeAttr:
    """The owner and times that count for a subject."""
    meta: InodeAttr = owner_of(subject).meta
    return meta


def mode_of(row: NodeSpec, subject: Any) -> int:
    """The permission bits of a node."""
    if isinstance(subject, Program):
        if row.pattern == SOURCE:
            return subject.meta.mode
        return subject.modes.get(row.name, allowed_to_readers(row.mode, subject.meta.mode))
    if isinstance(subject, StagedFile):
        return subject.meta.mode
    if isinstance(subject, Call) and row.pattern == f"{CALLS}/<id>":
        return subject.meta.mode
    owner = subject.owner if isinstance(subject, View) else subject
    if isinstance(owner, Call):
        return owner.modes.get(RESULT, owner.meta.mode) & row.mode
    if isinstance(owner, NamedArray):
        return owner.meta.mode & row.mode
    if isinstance(owner, Binding) and isinstance(row, FileSpec):
        return allowed_to_readers(row.mode, root_of(owner.program).meta.mode)
    return row.mode


def set_mode(row: NodeSpec, subject: Any, mode: int) -> None:
    """chmod.  Bits a file has no use for are not kept: modes never promise what cannot be done."""
    if isinstance(subject, Program) and row.pattern != SOURCE:
        subject.modes[row.name] = mode & row.mode
    elif isinstance(subject, Program | StagedFile) or row.pattern == f"{CALLS}/<id>":
        subject.meta.mode = mode & row.mode
    else:
        _set_mode_of_arrays(subject.owner if isinstance(subject, View) else subject, mode)


def _set_mode_of_arrays(owner: Any, mode: int) -> None:
    if isinstance(owner, Call):
        owner.modes[RESULT] = mode & 0o444
    elif isinstance(owner, NamedArray):
        owner.meta.mode = mode & 0o666
    else:
        raise NotPermitted("the mount's own files keep their modes")


def set_owner(subject: Any, uid: int | None, gid: int | None) -> None:
    """chown; the kernel has checked that the caller may."""
    if not isinstance(subject, Program | StagedFile | Call | View | NamedArray | Link):
        raise NotPermitted("the mount's own files keep their owner")
    meta = meta_of(subject)
    meta.uid = meta.uid if uid is None else uid
    meta.gid = meta.gid if gid is None else gid
