"""What a user's engine writes to its stderr, as lines of the daemon's log.

The log itself is not for it: who holds a descriptor may cut a file short, or type into a terminal.
"""

from __future__ import annotations

import logging
import os

import trio

MOST_BYTES = 1 << 20  # of one process; then it is not listened to any more
READ_BYTES = 4 << 10

log = logging.getLogger(__name__)


class StderrLog:
    """A pipe from a process that runs as ``uid``, which is to be given ``theirs``."""

    def __init__(self, uid: int) -> None:
        self._uid = uid
        self._begun = b""  # a line without its end
        self._left = MOST_BYTES
        self._ours, self.theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._ours, False)

    async def listen(self) -> None:
        """Take words as they come, until there will be no more."""
        while self._take():
            await trio.lowlevel.wait_readable(self._ours)

    def close(self) -> None:
        """Take what is there, and hear no more: further writes are EPIPE."""
        if self._ours < 0:
            return
        while self._left and self._take_some():
            pass
        self._tell(self._begun)
        os.close(self._ours)
        self._ours = -1

    def _take(self) -> bool:
        """Whether there may be more."""
        self._take_some()
        if not self._left:
            self.close()
        return self._ours >= 0

    def _take_some(self) -> bool:
        """Whether there was something."""
        try:
            found = os.read(self._ours, min(self._left, READ_BYTES))
        except BlockingIOError:
            return False
        self._left = self._left - len(found) if found else 0
        *lines, self._begun = (self._begun + found).split(b"\n")
        for line in lines:
            self._tell(line)
        return bool(found)

    def _tell(self, line: bytes) -> None:
        if line:
            text = line.decode(errors="replace").encode("unicode_escape").decode()
            log.info("the engine of uid %d says: %s", self._uid, text)
