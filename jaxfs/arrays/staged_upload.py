"""Staging files of ``arrays/`` and ``calls/``: stored as they are until they are renamed.

safetensors, rsync, ``sed -i`` and editors write a file under a temporary name and rename it onto
the real one.  The names are in `jaxfs.programs.names`; the files do not outlive the daemon.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import attrs

from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import SERIALS, InodeAttr
from jaxfs.posix.node_object import NodeMode, OwnedNodeObject
from jaxfs.programs import names
from jaxfs.quotas import MEMORY, Charge, Quotas


@attrs.define(eq=False)
class StagedUpload(OwnedNodeObject):
    """A file with the name of a temporary one.

    Attributes:
        name: The file name.
        attr: Owner, mode and times.
        charge: What it costs its user beside shared memory.
        directory: The files of its directory.
        spool: Its bytes; None while there are none.
        recommit: Commits bytes that are written after its rename; None while it has its name, or
            where it was removed.
        is_removed: Whether its name is gone.
        serial: Numbers its inode.
    """

    name: str
    attr: InodeAttr
    charge: Charge
    directory: StagedUploads
    spool: Spool | None = None
    recommit: Callable[[Spool], Awaitable[None]] | None = None
    is_removed: bool = False
    serial: int = attrs.field(factory=lambda: next(SERIALS))

    @property
    def nbytes(self) -> int:
        """Its size."""
        return self.spool.size if self.spool is not None else 0

    async def keep(self, spool: Spool) -> None:
        """Keeps the bytes of a spool, instead of those from before.

        After a rename they are what was renamed: its writer still had it open.

        Raises:
            JaxfsError: As the commit that the rename began.
        """
        if self.is_removed:
            if self.recommit is not None:
                await self.recommit(spool)
            return
        old, self.spool = self.spool, spool.share()
        if old is not None:
            old.close()
        self.attr.touch()

    def remove(self) -> None:
        """Removes it from its directory."""
        self.directory.remove(self)

    def drop(self) -> None:
        """Frees the bytes: its name is gone."""
        self.is_removed = True
        if self.spool is not None:
            self.spool.close()
            self.spool = None
        self.charge.refund()

    def mode_of(self, spec: NodeMode) -> int:
        """Returns its own mode: it is one file."""
        del spec
        return self.attr.mode

    def set_mode(self, spec: NodeMode, mode: int) -> None:
        """Changes its own mode."""
        self.attr.mode = mode & spec.mode


class StagedUploads:
    """The staging files of one directory, by name.

    Args:
        quotas: Each file is charged to its user, with the bytes that are not in shared memory.
    """

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._files: dict[str, StagedUpload] = {}

    def __iter__(self) -> Iterator[StagedUpload]:
        return iter(tuple(self._files.values()))

    def get(self, name: str) -> StagedUpload | None:
        """Returns the file of this name, or None."""
        return self._files.get(name)

    def create(self, name: str, attr: InodeAttr) -> StagedUpload:
        """Returns a new, empty file.

        Raises:
            Invalid: It is no name.
            NameTooLong: The name is too long.
            OverQuota: The user would exceed the share of one user.
        """
        names.check(name)
        charge = self._quotas.charge(attr.uid, MEMORY, INLINE_BYTES)
        self.rename(StagedUpload(name, attr, charge, self), name)
        return self._files[name]

    def rename(self, file: StagedUpload, name: str) -> None:
        """Gives a file another staging name, and replaces a file that has it.

        Raises:
            Invalid: It is no name.
            NameTooLong: The name is too long.
        """
        names.check(name)
        replaced = self._files.get(name)
        if self._files.get(file.name) is file:
            del self._files[file.name]
        file.name = name
        self._files[name] = file
        if replaced is not None and replaced is not file:
            replaced.drop()

    def remove(self, file: StagedUpload) -> None:
        """Removes a file, unless another one has its name by now."""
        if self._files.get(file.name) is file:
            del self._files[file.name]
            file.drop()
