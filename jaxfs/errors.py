"""Every error of jaxfs: one exception class for each kind, with its errno.

A handler raises one of these; the FUSE layer turns it into the errno, and the object's ``error``
file and ``error_log`` have the reason.  ``TABLE`` is made from the classes, so the list that users
read in the mount's README cannot differ from what the code raises.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar, Self

_NAMES = {errno.EOPNOTSUPP: "EOPNOTSUPP"}  # Linux has two names for it; this one is documented
MAX_REASON_CHARS = 4 << 10  # one line
MAX_KEPT_BYTES = 4 << 10  # of the error of a result or an array, of which there are many
MAX_DIAGNOSTICS_CHARS = 16 << 10  # a compiler may write any number, with constants of the program


class JaxfsError(Exception):
    """An operation was refused or failed, for a reason a person can read.

    Attributes:
        errno: The number of the kind, see errno(3).
        meaning: What the errno means in jaxfs, a few words.
        reason: One line with the object, what was expected, what was found and the next step.
        diagnostics: Details, perhaps many lines (a parser's output, a traceback); may be empty.
        is_logged: Whether error_log has it from when it happened.
        is_verdict: Whether it is about the request itself, so that the same request fails again.
            Where it is not, as after a full disk or a killed process, a program is built again at
            its next use.

    >>> print(NotFound("there is no program 'f'").text(), end="")
    ENOENT: there is no program 'f'
    """

    errno: ClassVar[int] = errno.EIO
    meaning: ClassVar[str] = "the run failed"
    is_verdict: ClassVar[bool] = True

    def __init__(self, reason: str, diagnostics: str = "") -> None:
        self.reason = " ".join(shortened(reason, MAX_REASON_CHARS).split())
        super().__init__(self.reason)
        self.diagnostics = shortened(diagnostics, MAX_DIAGNOSTICS_CHARS)
        self.is_logged = False

    @property
    def errno_name(self) -> str:
        """The errno's name, as in errno(3)."""
        return _NAMES.get(self.errno) or errno.errorcode[self.errno]

    def recorded(self) -> Self:
        """Returns a copy to keep: the same words, without the frames that the error passed.

        The traceback of an error that was raised leads to the variables of all those frames, and so
        to the bytes of a user.  An object that keeps the error would keep them too, uncharged.  For
        the same reason an error that is kept is not raised: each reader gets a copy.
        """
        copy = type(self)(self.reason, self.diagnostics)
        copy.is_logged = self.is_logged
        return copy

    def brief(self) -> Self:
        """Returns a copy to keep where there are many: of ``MAX_KEPT_BYTES`` at most."""
        is_ascii = self.reason.isascii() and self.diagnostics.isascii()
        chars = MAX_KEPT_BYTES // (1 if is_ascii else 4)  # of UCS-4
        copy = type(self)(
            shortened(self.reason, chars // 4), shortened(self.diagnostics, chars * 5 // 8)
        )
        copy.is_logged = self.is_logged
        return copy

    def text(self) -> str:
        """Returns the content of the ``error`` file: the reason, then the diagnostics."""
        body = self.diagnostics.rstrip("\n")
        return f"{self.errno_name}: {self.reason}\n" + (f"\n{body}\n" if body else "")


def shortened(text: str, limit_chars: int) -> str:
    """Returns a text, without its middle if it is longer than a limit.

    >>> shortened("abcdefgh" * 100, 20)
    'abcdefghab ... 780 more characters ... ghabcdefgh'
    """
    if len(text) <= limit_chars:
        return text
    half = limit_chars // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]} ... {left_out} more characters ... {text[-half:]}"


def recorded(error: JaxfsError | None) -> JaxfsError | None:
    """Returns a copy of an error to keep, see ``JaxfsError.recorded``; None for None.

    It is the converter of attributes that keep an error, so that none can keep a traceback.
    """
    return None if error is None else error.recorded()


def recorded_briefly(error: JaxfsError | None) -> JaxfsError | None:
    """Returns a short copy of an error to keep, see ``JaxfsError.brief``; None for None."""
    return None if error is None else error.brief()


class Invalid(JaxfsError):
    """A program, input or option is not valid."""

    errno = errno.EINVAL
    meaning = "bad program, bad input, bad option"


class BrokenProgram(JaxfsError):
    """A program that failed to compile was used."""

    errno = errno.ENOEXEC
    meaning = "a program that failed to compile was used"
    is_verdict = False


class RunFailed(JaxfsError):
    """A run, or a process or file it needs, failed."""

    errno = errno.EIO
    meaning = "the run failed"
    is_verdict = False


class Cancelled(JaxfsError):
    """A run was cancelled."""

    errno = errno.ECANCELED
    meaning = "it was cancelled"
    is_verdict = False


class TimedOut(JaxfsError):
    """A run or a compile ran past its limit."""

    errno = errno.ETIMEDOUT
    meaning = "it ran past its limit"
    is_verdict = False


class NotReady(JaxfsError):
    """It is not ready, and the file was opened non-blocking."""

    errno = errno.EAGAIN
    meaning = "not ready, and the file was opened non-blocking"
    is_verdict = False


class Interrupted(JaxfsError):
    """A signal ended the wait."""

    errno = errno.EINTR
    meaning = "a signal ended the wait"
    is_verdict = False


class Unmounted(JaxfsError):
    """The filesystem was unmounted during the wait."""

    errno = errno.ENOTCONN
    meaning = "the filesystem was unmounted meanwhile"
    is_verdict = False


class TooBig(JaxfsError):
    """A file would be over the size limit."""

    errno = errno.EFBIG
    meaning = "over the size limit of a file"


class NoSpace(JaxfsError):
    """There is no memory on the device, for results or in the state directory."""

    errno = errno.ENOSPC
    meaning = "device, result or state-directory memory is full"
    is_verdict = False


class OverQuota(JaxfsError):
    """It would be over the user's quota."""

    errno = errno.EDQUOT
    meaning = "over the user's share"
    is_verdict = False


class AccessDenied(JaxfsError):
    """The user may not use the object."""

    errno = errno.EACCES
    meaning = "permission"


class NotPermitted(JaxfsError):
    """No user may do this to such a file."""

    errno = errno.EPERM
    meaning = "this cannot be done to such a file by anyone"


class NameTaken(JaxfsError):
    """The name is taken."""

    errno = errno.EEXIST
    meaning = "the name is taken"


class NotFound(JaxfsError):
    """There is no such file, program, call or result."""

    errno = errno.ENOENT
    meaning = "no such file, program, call or result"


class NoDevice(JaxfsError):
    """There is no such device."""

    errno = errno.ENODEV
    meaning = "no such device"


class Busy(JaxfsError):
    """The object is in use."""

    errno = errno.EBUSY
    meaning = "in use"
    is_verdict = False


class NotSupported(JaxfsError):
    """The program cannot be transformed so, or the file does not support this."""

    errno = errno.EOPNOTSUPP
    meaning = "this program cannot be transformed so, or this file does not do that"


class NameTooLong(JaxfsError):
    """A name is longer than 128 bytes."""

    errno = errno.ENAMETOOLONG
    meaning = "a name is longer than 128 bytes"


def _subclasses(cls: type[JaxfsError]) -> list[type[JaxfsError]]:
    found = cls.__subclasses__()
    return found + [sub for child in found for sub in _subclasses(child)]


def from_exception(error: Exception, doing: str) -> JaxfsError:
    """Returns the error that an object keeps of a failure of any kind.

    Args:
        error: An error of jaxfs is itself; one of a system call has its errno; others are bugs.
        doing: What was done, as the beginning of the reason.
    """
    if isinstance(error, JaxfsError):
        return error
    if isinstance(error, OSError):
        return from_os_error(error, doing)
    return RunFailed(f"internal error: {error!r}")


def from_errno(number: int, reason: str, diagnostics: str = "") -> JaxfsError:
    """Returns the error of a kind that another process reported; RunFailed for unknown numbers.

    >>> from_errno(28, "no memory")
    NoSpace('no memory')
    """
    return BY_ERRNO.get(number, RunFailed)(reason, diagnostics)


def from_os_error(error: OSError, doing: str) -> JaxfsError:
    """Returns the error for a failed system call of our own, for example on a full disk.

    Args:
        error: Of the system call.
        doing: What it was made for, as the beginning of the reason.
    """
    number = error.errno or errno.EIO
    kind = NoSpace if number in _FULL else RunFailed
    limit = _LIMITS.get(number)
    return kind(f"{doing}: {os.strerror(number)}" + (f" ({limit})" if limit else ""))


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_LIMITS = {
    errno.EMFILE: "the daemon has as many open files as RLIMIT_NOFILE lets it have; mount again "
    "after raising `ulimit -Hn`, or remove large results",
    errno.ENFILE: "the machine has as many open files as the sysctl fs.file-max lets it have; "
    "raise that, or close some",
    errno.ENOMEM: "the machine has no memory left, or the daemon more mappings than the sysctl "
    "vm.max_map_count lets it have; remove results",
}
BY_ERRNO: dict[int, type[JaxfsError]] = {cls.errno: cls for cls in _subclasses(JaxfsError)}
TABLE: tuple[tuple[str, str], ...] = tuple(
    (_NAMES.get(number) or errno.errorcode[number], cls.meaning) for number, cls in BY_ERRNO.items()
)
