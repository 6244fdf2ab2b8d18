"""The last errors, each shown to the user who got it."""

from __future__ import annotations

import time
from collections import Counter, deque

import attrs

from jaxfs.errors import JaxfsError

KEEP = 1000  # errors, over all users


@attrs.frozen
class LoggedError:
    """An error as the log keeps it.

    Attributes:
        time_s: When it happened, in seconds since the epoch.
        uid: The user who got it.
        path: The file in the mount that it is about.
        errno_name: As in ENOENT.
        reason: The message.
    """

    time_s: float
    uid: int
    path: str
    errno_name: str
    reason: str

    def line(self) -> str:
        r"""Returns its line of the log; the time is UTC.

        >>> LoggedError(0.0, 1000, "programs/f.mlir", "EINVAL", "expected a module").line()
        '1970-01-01T00:00:00Z programs/f.mlir EINVAL expected a module\n'
        """
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.time_s))
        return f"{stamp} {self.path} {self.errno_name} {self.reason}\n"


class ErrorLog:
    """The last `KEEP` errors, the newest last.

    Attributes:
        counts: How many errors there were, by errno name; also of those that are not kept.

    >>> from jaxfs.errors import Invalid
    >>> log = ErrorLog()
    >>> log.add(1000, "programs/loss.mlir", Invalid("expected a module"))
    >>> log.counts["EINVAL"], log.text(1001)
    (1, b'')
    """

    def __init__(self) -> None:
        self._entries: deque[LoggedError] = deque(maxlen=KEEP)
        self.counts: Counter[str] = Counter()

    def add(self, uid: int, path: str, error: JaxfsError) -> None:
        """Keeps an error of a user, about a path in the mount.

        Only the last `KEEP` stay, as a program in a loop may raise any number; all are counted.
        """
        self.counts[error.errno_name] += 1
        self._entries.append(LoggedError(time.time(), uid, path, error.errno_name, error.reason))

    def text(self, uid: int) -> bytes:
        """Returns the errors of one user: time, path, errno name, reason."""
        return "".join(entry.line() for entry in self._entries if entry.uid == uid).encode()
