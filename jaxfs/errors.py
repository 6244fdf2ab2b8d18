"""Every way jaxfs says no: one exception class a kind, each carrying its errno.

A handler raises one of these; the FUSE layer turns it into the errno, and the object's ``error``
file and ``error_log`` keep the words.  ``TABLE`` is made from the classes, so the list that users
read in the mount's README cannot differ from what the code raises.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar

_NAMES = {errno.EOPNOTSUPP: "EOPNOTSUPP"}  # Linux has two names for it; this one is documented


class JaxfsError(Exception):
    """An operation was refused or failed, for a reason a person can read.

    ``reason`` is one line: it names the object, what was expected, what was found and the next
    step.  ``diagnostics`` is the full story (a parser's output, a traceback) and may be empty.
    """

    errno: ClassVar[int] = errno.EIO
    meaning: ClassVar[str] = "the run failed"

    def __init__(self, reason: str, diagnostics: str = "") -> None:
        super().__init__(reason)
        self.reason = " ".join(reason.split())
        self.diagnostics = diagnostics
        self.is_logged = False  # whether error_log has it from when it happened

    @property
    def errno_name(self) -> str:
        """The symbolic errno, as in errno(3)."""
        return _NAMES.get(self.errno) or errno.errorcode[self.errno]

    def text(self) -> str:
        """The ``error`` file: the reason, then the diagnostics."""
        body = self.diagnostics.rstrip("\n")
        return f"{self.errno_name}: {self.reason}\n" + (f"\n{body}\n" if body else "")


class Invalid(JaxfsError):
    errno = errno.EINVAL
    meaning = "bad program, bad input, bad option"


class BrokenProgram(JaxfsError):
    errno = errno.ENOEXEC
    meaning = "a program that failed to compile was used"


class RunFailed(JaxfsError):
    errno = errno.EIO
    meaning = "the run failed"


class Cancelled(JaxfsError):
    errno = errno.ECANCELED
    meaning = "it was cancelled"


class TimedOut(JaxfsError):
    errno = errno.ETIMEDOUT
    meaning = "it ran past its limit"


class NotReady(JaxfsError):
    errno = errno.EAGAIN
    meaning = "not ready, and the file was opened non-blocking"


class Interrupted(JaxfsError):
    errno = errno.EINTR
    meaning = "a signal ended the wait"


class Unmounted(JaxfsError):
    errno = errno.ENOTCONN
    meaning = "the filesystem was unmounted meanwhile"


class TooBig(JaxfsError):
    errno = errno.EFBIG
    meaning = "over the size limit of a file"


class NoSpace(JaxfsError):
    errno = errno.ENOSPC
    meaning = "device, result or state-directory memory is full"


class OverQuota(JaxfsError):
    errno = errno.EDQUOT
    meaning = "over the user's share"


class AccessDenied(JaxfsError):
    errno = errno.EACCES
    meaning = "permission"


class NotPermitted(JaxfsError):
    errno = errno.EPERM
    meaning = "this cannot be done to such a file by anyone"


class NameTaken(JaxfsError):
    errno = errno.EEXIST
    meaning = "the name is taken"


class NotFound(JaxfsError):
    errno = errno.ENOENT
    meaning = "no such file, program, call or result"


class NoDevice(JaxfsError):
    errno = errno.ENODEV
    meaning = "no such device"


class Busy(JaxfsError):
    errno = errno.EBUSY
    meaning = "in use"


class NotSupported(JaxfsError):
    errno = errno.EOPNOTSUPP
    meaning = "this program cannot be transformed so, or this file does not do that"


class NameTooLong(JaxfsError):
    errno = errno.ENAMETOOLONG
    meaning = "a name is longer than 128 bytes"


def _subclasses(cls: type[JaxfsError]) -> list[type[JaxfsError]]:
    found = cls.__subclasses__()
    return found + [sub for child in found for sub in _subclasses(child)]


def from_errno(number: int, reason: str, diagnostics: str = "") -> JaxfsError:
    """The error of kind ``number``, as it was told by another process."""
    return BY_ERRNO.get(number, RunFailed)(reason, diagnostics)


def from_os_error(error: OSError, doing: str) -> JaxfsError:
    """A failed system call of our own (a full disk, say), in the user's terms."""
    kind = NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else RunFailed
    return kind(f"{doing}: {os.strerror(error.errno or errno.EIO)}")


BY_ERRNO: dict[int, type[JaxfsError]] = {cls.errno: cls for cls in _subclasses(JaxfsError)}
TABLE: tuple[tuple[str, str], ...] = tuple(
    (_NAMES.get(number) or errno.errorcode[number], cls.meaning) for number, cls in BY_ERRNO.items()
)
