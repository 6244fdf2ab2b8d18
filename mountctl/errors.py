"""Every way mountctl says no: one exception class a kind, each carrying its exit code.

Codes are part of the interface: scripts tell failures apart by them.  ``mountctl --help`` shows
``TABLE``, which is made from the classes.
"""

from __future__ import annotations

from typing import IO, Any, ClassVar

import click


class MountctlError(click.ClickException):
    """A command failed; the message names the object, what was found and the next step."""

    meaning: ClassVar[str] = ""
    mount8_code: ClassVar[int] = 32  # what mount(8) calls it: the mount failed

    def show(self, file: IO[Any] | None = None) -> None:
        """On stderr, as Unix commands do."""
        click.echo(f"mountctl: {self.format_message()}", file=file, err=file is None)


class DaemonFailed(MountctlError):
    exit_code = 1
    meaning = "the daemon did not start"


class BadOption(MountctlError):
    exit_code = 2
    meaning = "bad command line or mount option"
    mount8_code = 1  # incorrect invocation or permissions


class NoMountPoint(MountctlError):
    exit_code = 10
    meaning = "the mount point does not exist"


class NotADirectory(MountctlError):
    exit_code = 11
    meaning = "the mount point is not a directory"


class NotEmpty(MountctlError):
    exit_code = 12
    meaning = "the mount point is not empty"


class NotPermitted(MountctlError):
    exit_code = 13
    meaning = "the mount point is not yours to mount on"
    mount8_code = 1  # incorrect invocation or permissions


class AlreadyMounted(MountctlError):
    exit_code = 14
    meaning = "jaxfs is already mounted there"


class NoFuse(MountctlError):
    exit_code = 15
    meaning = "/dev/fuse is missing or not accessible"


class NoFusermount(MountctlError):
    exit_code = 16
    meaning = "fusermount3 is missing, or does not allow this"
    mount8_code = 1  # incorrect invocation or permissions


class StateDirUnusable(MountctlError):
    exit_code = 17
    meaning = "the state directory or the log file cannot be used"
    mount8_code = 2  # system error


class StartTimedOut(MountctlError):
    exit_code = 18
    meaning = "the daemon was not ready in time"


class NotAnswering(MountctlError):
    exit_code = 19
    meaning = "the new mount does not answer"


class NotMounted(MountctlError):
    exit_code = 20
    meaning = "no jaxfs is mounted there"


class Busy(MountctlError):
    exit_code = 21
    meaning = "the mount is in use"


class UnmountFailed(MountctlError):
    exit_code = 22
    meaning = "it could not be unmounted, or the daemon did not end"


class NotInstalled(MountctlError):
    exit_code = 23
    meaning = "a file could not be installed or removed"


class NotSound(MountctlError):
    exit_code = 24
    meaning = "mountctl doctor found what a mount cannot do without"


class NotAdded(MountctlError):
    exit_code = 25
    meaning = "mountctl add: a program was refused"


class Interrupted(MountctlError):
    exit_code = 130
    meaning = "a signal ended the command"
    mount8_code = 8  # user interrupt


def from_exit_code(code: int, message: str) -> MountctlError:
    """The error of kind ``code``, as the daemon told it."""
    return BY_EXIT_CODE.get(code, DaemonFailed)(message)


BY_EXIT_CODE: dict[int, type[MountctlError]] = {
    kind.exit_code: kind for kind in MountctlError.__subclasses__()
}
TABLE: tuple[tuple[int, str], ...] = tuple(
    (code, kind.meaning) for code, kind in BY_EXIT_CODE.items()
)
