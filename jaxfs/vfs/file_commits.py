"""What flushes and reads have to do with the commits of files: the one place where they begin."""

from __future__ import annotations

import os

from jaxfs.errors import JaxfsError, from_exception
from jaxfs.programs.commits import Work
from jaxfs.vfs.inodes import Inodes
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import FileSpec
from jaxfs.vfs.nodes import Node
from jaxfs.vfs.open_files.base import OpenFile


def target_of(node: Node) -> object:
    """Returns what commits of a file change: an object that other files show, or the file."""
    spec = node.spec
    if isinstance(spec, FileSpec) and spec.target is not None:
        return spec.target(node.node_object)
    return node.node_object, spec.pattern


class FileCommits:
    """Begins the commits of a mount's files, and waits for them.

    A commit goes on if the wait is interrupted.  Its failure has a line in error_log, and the
    object's own error, also where no process waits.
    """

    def __init__(self, mount: Mount, inodes: Inodes) -> None:
        self._mount = mount
        self._inodes = inodes

    async def settle(self, node: Node, flags: int) -> None:
        """Waits for the commits that a file opened for reading has to show."""
        if not isinstance(node.spec, FileSpec) or not node.spec.settles:
            return
        if flags & os.O_ACCMODE == os.O_RDONLY and not flags & os.O_NONBLOCK:
            await self._mount.calls.commits.settle(target_of(node))

    async def flush(self, file: OpenFile) -> None:
        """Begins to commit what is new, and waits for the last commit of an open file.

        Raises:
            JaxfsError: What that commit raised.
        """
        work = file.take_commit()
        if work is not None:
            file.commit = self._mount.calls.commits.begin(
                file.target,
                lambda: self._commit(file, work),
                lambda error: self._note_failure(file, error),
            )
        if file.commit is not None:
            await file.commit.wait()

    def commit_empty(self, file: OpenFile) -> None:
        """Begins what a file commits that is closed by its last writer without a write."""
        work = file.take_empty_commit()
        if work is not None:
            self._mount.calls.commits.begin(
                file.target, work, lambda error: self._note_failure(file, error)
            )

    async def _commit(self, file: OpenFile, work: Work) -> None:
        await work()
        if file.mtime_ns is not None:
            node_object = self._inodes.node(file.ino).node_object
            node_object.attr.mtime_ns, file.mtime_ns = file.mtime_ns, None
            self._mount.remember(node_object)

    def _note_failure(self, file: OpenFile, error: Exception) -> None:
        if not isinstance(error, JaxfsError):
            self._mount.internal_errors += 1
        reason = from_exception(error, "committing")
        if not reason.is_logged:
            self._mount.note(file.caller, file.path, reason)

    def discard(self, file: OpenFile, node: Node) -> None:
        """Removes the object of a file whose writer was killed, if nothing was ever committed."""
        discard = node.spec.discard if isinstance(node.spec, FileSpec) else None
        if discard is not None and not self._mount.calls.commits.under_way(file.target):
            discard(self._mount, node.node_object)
