"""Names that are gone and that the kernel would remember, because nobody looks them up again."""

from __future__ import annotations

from collections.abc import Iterable

import pyfuse3
import trio
from pyfuse3 import FileNameT, InodeT

PAUSE_S = 0.25  # a loop that uses the same names again does not have them invalidated each time
MAX_NAMES = 1024


class DentryInvalidator:
    """Has the kernel forget names, some at a time: each takes another thread's turn."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._names: dict[tuple[int, str], None] = {}

    def add(self, names: Iterable[tuple[int, str]]) -> None:
        """(Inode of the directory, name) of each; forgotten a little later."""
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
        for place, name in names:
            pyfuse3.invalidate_entry_async(
                InodeT(place), FileNameT(name.encode()), ignore_enoent=True
            )
