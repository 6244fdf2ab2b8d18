"""The last errors, each shown to the user who got it."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict

import attrs

from jaxfs.errors import JaxfsError, shortened

KEEP = 1000  # different errors of one user
KEEP_USERS = 256  # with errors; beyond them, that of the user without errors for longest is dropped
MAX_CHARS = 1000  # of a path or a reason; the file ``error`` has all of it


@attrs.define
class LoggedError:
    """An error as the log keeps it.

    Attributes:
        time_s: When it happened last, in seconds since the epoch.
        path: The file in the mount that it is about.
        errno_name: As in ENOENT.
        reason: The message.
        count: How often it happened.
    """

    time_s: float
    path: str
    errno_name: str
    reason: str
    count: int = 1

    def line(self) -> str:
        r"""Returns its line of the log; the time is UTC.

        >>> LoggedError(0.0, "programs/f.mlir", "EINVAL", "expected a module").line()
        '1970-01-01T00:00:00Z programs/f.mlir EINVAL expected a module\n'
        >>> LoggedError(0.0, "arrays/w", "EDQUOT", "too large", 57).line()
        '1970-01-01T00:00:00Z arrays/w EDQUOT too large (repeated 57 times)\n'
        """
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.time_s))
        repeated = f" (repeated {self.count} times)" if self.count > 1 else ""
        return f"{stamp} {self.path} {self.errno_name} {self.reason}{repeated}\n"


Entries = OrderedDict[tuple[str, str, str], LoggedError]  # by path, errno name and reason


class ErrorLog:
    """The last ``KEEP`` different errors of each user, the newest last.

    A user with many errors drops only its own; one that comes again has one line, with its number.

    Attributes:
        counts: How many errors there were, by errno name; also of those that are not kept.

    >>> from jaxfs.errors import Invalid
    >>> log = ErrorLog()
    >>> log.add(1000, "programs/loss.mlir", Invalid("expected a module"))
    >>> log.counts["EINVAL"], log.text(1001)
    (1, b'')
    """

    def __init__(self) -> None:
        self._users: OrderedDict[int, Entries] = OrderedDict()
        self.counts: Counter[str] = Counter()

    def add(self, uid: int, path: str, error: JaxfsError) -> None:
        """Keeps an error of a user, about a path in the mount."""
        self.counts[error.errno_name] += 1
        path, reason = shortened(path, MAX_CHARS), shortened(error.reason, MAX_CHARS)
        key = path, error.errno_name, reason
        entries = self._entries(uid)
        known = entries.get(key)
        if known is None:
            entries[key] = LoggedError(time.time(), *key)
            if len(entries) > KEEP:
                entries.popitem(last=False)
        else:
            known.time_s, known.count = time.time(), known.count + 1
            entries.move_to_end(key)

    def _entries(self, uid: int) -> Entries:
        """Returns the errors of a user, which now is the one with the newest."""
        entries = self._users.setdefault(uid, OrderedDict())
        self._users.move_to_end(uid)
        if len(self._users) > KEEP_USERS:
            self._users.popitem(last=False)
        return entries

    def text(self, uid: int) -> bytes:
        """Returns the errors of one user: time, path, errno name, reason."""
        return "".join(entry.line() for entry in self._users.get(uid, Entries()).values()).encode()
