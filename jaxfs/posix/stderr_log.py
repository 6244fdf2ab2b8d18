"""What a user's worker writes to its stderr, as lines of the daemon's log.

The worker does not get the log itself: with a descriptor of it, it could truncate the file, or type
into the terminal.
"""

from __future__ import annotations

import logging
import os

import trio

MAX_BYTES = 1 << 20  # of one process; the pipe is closed after that
READ_BYTES = 4 << 10

log = logging.getLogger(__name__)


class StderrLog:
    """A pipe from a worker of user ``uid`` to the log.

    Attributes:
        child_end: The descriptor the process writes to; the owner of the process closes it here.
    """

    def __init__(self, uid: int) -> None:
        self._uid = uid
        self._begun = b""  # a line without its end
        self._left_bytes = MAX_BYTES
        self._fd, self.child_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)

    async def listen(self) -> None:
        """Logs lines as they come, until the pipe is closed at one of its ends."""
        while self._fd >= 0:
            self._read_some()
            if not self._left_bytes:
                self.close()
            else:
                await trio.lowlevel.wait_readable(self._fd)

    def close(self) -> None:
        """Logs what is in the pipe and closes it: further writes fail with EPIPE."""
        if self._fd < 0:
            return
        while self._left_bytes and self._read_some():
            pass
        self._log_line(self._begun)
        os.close(self._fd)
        self._fd = -1

    def _read_some(self) -> bool:
        """Logs one read's lines; returns whether there was something to read."""
        try:
            found = os.read(self._fd, min(self._left_bytes, READ_BYTES))
        except BlockingIOError:
            return False
        self._left_bytes = self._left_bytes - len(found) if found else 0
        *lines, self._begun = (self._begun + found).split(b"\n")
        for line in lines:
            self._log_line(line)
        return bool(found)

    def _log_line(self, line: bytes) -> None:
        """Logs one line of the child at level info, with the user that its code belongs to."""
        if line:  # escaped: control characters could forge lines or drive a terminal
            text = line.decode(errors="replace").encode("unicode_escape").decode()
            log.info("the engine of uid %d says: %s", self._uid, text)
