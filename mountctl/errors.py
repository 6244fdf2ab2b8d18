"""The ways in which commands fail: an exception class for each, with its exit code.

Codes are part of the interface: scripts distinguish failures by them.  ``mountctl --help`` shows
``TABLE``, which is made from the classes.
"""

from __future__ import annotations

from typing import IO, ClassVar

import click


class MountctlError(click.ClickException):
    """A command failed; the message names the object, what was found and the next step.

    Attributes:
        exit_code: mountctl's exit code.
        meaning: One line for the table of exit codes.
        mount8_code: The exit code of the mount(8) helpers; 32 is "mount failed".
    """

    meaning: ClassVar[str] = ""
    mount8_code: ClassVar[int] = 32

    def show(self, file: IO[str] | None = None) -> None:
        """Prints the message on stderr, after the name of the program as Unix commands do."""
        click.echo(f"mountctl: {self.format_message()}", file=file, err=file is None)


class DaemonFailed(MountctlError):
    """The daemon ended or reported an error before it was ready."""

    exit_code = 1
    meaning = "the daemon did not start"


class BadOption(MountctlError):
    """An option is unknown, has a bad value or cannot be honoured."""

    exit_code = 2
    meaning = "bad command line or mount option"
    mount8_code = 1  # incorrect invocation or permissions


class NoMountPoint(MountctlError):
    """The directory to mount on does not exist."""

    exit_code = 10
    meaning = "the mount point does not exist"


class NotADirectory(MountctlError):
    """The path to mount on is a file."""

    exit_code = 11
    meaning = "the mount point is not a directory"


class NotEmpty(MountctlError):
    """The mount would hide files of the directory."""

    exit_code = 12
    meaning = "the mount point is not empty"


class NotPermitted(MountctlError):
    """The user may not mount on the directory."""

    exit_code = 13
    meaning = "the mount point is not yours to mount on"
    mount8_code = 1  # incorrect invocation or permissions


class AlreadyMounted(MountctlError):
    """A jaxfs whose daemon runs is mounted on the directory."""

    exit_code = 14
    meaning = "jaxfs is already mounted there"


class NoFuse(MountctlError):
    """The kernel's FUSE device cannot be opened."""

    exit_code = 15
    meaning = "/dev/fuse is missing or not accessible"


class NoFusermount(MountctlError):
    """A plain user cannot mount, or not with these options."""

    exit_code = 16
    meaning = "fusermount3 is missing, or does not allow this"
    mount8_code = 1  # incorrect invocation or permissions


class StateDirUnusable(MountctlError):
    """The state directory or the log cannot be created, written or locked."""

    exit_code = 17
    meaning = "the state directory or the log file cannot be used"
    mount8_code = 2  # system error


class StartTimedOut(MountctlError):
    """The daemon sent no ready message within ``--timeout``."""

    exit_code = 18
    meaning = "the daemon was not ready in time"


class NotAnswering(MountctlError):
    """A mount is there, and reading its files fails or takes too long."""

    exit_code = 19
    meaning = "the new mount does not answer"


class NotMounted(MountctlError):
    """No jaxfs is mounted where the command needs one."""

    exit_code = 20
    meaning = "no jaxfs is mounted there"


class Busy(MountctlError):
    """Processes use files of the mount."""

    exit_code = 21
    meaning = "the mount is in use"


class UnmountFailed(MountctlError):
    """The kernel refused to unmount, or the daemon still runs afterwards."""

    exit_code = 22
    meaning = "it could not be unmounted, or the daemon did not end"


class NotInstalled(MountctlError):
    """``mountctl install`` or ``uninstall`` could not change a file."""

    exit_code = 23
    meaning = "a file could not be installed or removed"


class NotSound(MountctlError):
    """``mountctl doctor`` has a finding of the level ``fail``."""

    exit_code = 24
    meaning = "mountctl doctor found what a mount cannot do without"


class NotAdded(MountctlError):
    """At least one file of ``mountctl add`` is not a program."""

    exit_code = 25
    meaning = "mountctl add: a program was refused"


class Interrupted(MountctlError):
    """SIGINT, SIGTERM or SIGHUP ended the command."""

    exit_code = 130
    meaning = "a signal ended the command"
    mount8_code = 8  # user interrupt


BY_EXIT_CODE: dict[int, type[MountctlError]] = {
    kind.exit_code: kind for kind in MountctlError.__subclasses__()
}
TABLE: tuple[tuple[int, str], ...] = tuple(
    (code, kind.meaning) for code, kind in BY_EXIT_CODE.items()
)


def exit_codes() -> str:
    r"""Returns mountctl's exit codes as text, with those of mount.jaxfs beside them.

    >>> print("\n".join(exit_codes().splitlines()[:3]))
    mountctl  mount.jaxfs  meaning
           0            0  success
           1           32  the daemon did not start
    """
    kinds = sorted(BY_EXIT_CODE.values(), key=lambda kind: kind.exit_code)
    rows = [f"{kind.exit_code:8}  {kind.mount8_code:11}  {kind.meaning}" for kind in kinds]
    return "\n".join(("mountctl  mount.jaxfs  meaning", f"{0:8}  {0:11}  success", *rows))
