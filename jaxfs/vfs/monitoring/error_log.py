"""The last errors, each told to the user who met it."""

from __future__ import annotations

import time
from collections import Counter, deque

import attrs

from jaxfs.errors import JaxfsError

KEEP = 1000


@attrs.frozen
class _Entry:
    time_s: float
    uid: int
    path: str
    errno_name: str
    reason: str

    def text(self) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.time_s))
        return f"{stamp} {self.path} {self.errno_name} {self.reason}\n"


class ErrorLog:
    """Keeps ``KEEP`` errors over all users, newest last; ``counts`` all of them by errno."""

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque(maxlen=KEEP)
        self.counts: Counter[str] = Counter()

    def add(self, uid: int, path: str, error: JaxfsError) -> None:
        self.counts[error.errno_name] += 1
        self._entries.append(_Entry(time.time(), uid, path, error.errno_name, error.reason))

    def text(self, uid: int) -> bytes:
        """The errors of one user: time, path, errno name, reason."""
        return "".join(entry.text() for entry in self._entries if entry.uid == uid).encode()
