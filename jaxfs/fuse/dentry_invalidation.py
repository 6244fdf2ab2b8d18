"""Makes the kernel forget names that are gone.

It looks a name up again when it is used, and so drops it; but names that are not used again would
keep their inodes, here and in the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyfuse3
import trio
from pyfuse3 import FileNameT, InodeT

PAUSE_S = 0.25  # a loop that uses the same names again does not pay for each removal
MAX_NAMES = 1024


class DentryInvalidator:
    """Collects names and invalidates some at a time: each is work for another thread.

    Args:
        nursery: Runs the delay.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._names: dict[tuple[int, str], None] = {}

    def add(self, names: Iterable[tuple[int, str]]) -> None:
        """Makes the kernel forget names a little later.

        Args:
            names: (inode of the directory, name) of each.
        """
        was_empty = not self._names
        self._names.update(dict.fromkeys(names))
        if len(self._names) >= MAX_NAMES:
            self._forget()
        elif self._names and was_empty:
            self._nursery.start_soon(self._forget_soon)

    async def _forget_soon(self) -> None:
        await trio.sleep(PAUSE_S)
        self._forget()

    def _forget(self) -> None:
        names, self._names = self._names, {}
        for directory, name in names:
            pyfuse3.invalidate_entry_async(
                InodeT(directory), FileNameT(name.encode()), ignore_enoent=True
            )
