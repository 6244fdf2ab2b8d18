"""An open directory."""

from __future__ import annotations

import attrs
import trio
from pyfuse3 import InodeT

from jaxfs.posix.credentials import Credentials
from jaxfs.quotas import Charge
from jaxfs.vfs.nodes import Attributes
from jaxfs.vfs.vfs import Vfs

ENTRIES_PER_TURN = 128  # a user may have thousands of results


@attrs.frozen
class Listing:
    """An open directory, with the entries it had when it was opened.

    Attributes:
        inode: The directory.
        caller: The process that opened it.
        entries: Names and attributes, in the order they are listed.
        held: What they cost the user.
    """

    inode: InodeT
    caller: Credentials
    entries: list[tuple[str, Attributes]]
    held: Charge

    @classmethod
    async def of(cls, vfs: Vfs, inode: InodeT, caller: Credentials) -> Listing:
        """Returns the entries of a directory, made in steps between which others run.

        Raises:
            OverQuota: The user has too many open files and directories.
        """
        entries = list[tuple[str, Attributes]]()
        for entry in vfs.listing(inode, caller):
            entries.append(entry)
            if len(entries) % ENTRIES_PER_TURN == 0:
                await trio.lowlevel.checkpoint()
        return cls(inode, caller, entries, vfs.charge_listing(caller, len(entries)))
