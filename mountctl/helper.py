"""What mount(8) and umount(8) run: ``mount.jaxfs``, ``mount.fuse.jaxfs``, ``umount.fuse.jaxfs``.

``mount -t jaxfs none /jax -o X`` runs ``/sbin/mount.jaxfs none /jax -o rw,X``; mount.fuse3 runs
``jaxfs none /jax -o ...`` for a source ``jaxfs#none``.  Exit codes are mount(8)'s, not mountctl's.
"""

from __future__ import annotations

import ctypes
import os
import sys

import click

from jaxfs import options
from mountctl import arguments, mounts
from mountctl.errors import BadOption, MountctlError
from mountctl.mount import MountRequest, check, mount
from mountctl.umount import umount

INCORRECT, INTERRUPTED = 1, 8  # mount(8), "EXIT STATUS"; errors have the other codes
_CLONE_NEWNS = 0x20000  # sched.h


# options that mount(8) passes on and that change nothing here
NO_MTAB = click.option(
    "-n", is_flag=True, expose_value=False, help="Ignored: there is no mtab to write."
)
FSTYPE = click.option(
    "-t", metavar="TYPE", expose_value=False, help="Ignored: the type is always jaxfs."
)
READ_ONLY = click.option(
    "-r", is_flag=True, expose_value=False, help="Ignored: jaxfs cannot be read-only."
)
NAMESPACE = click.option("-N", "namespace", metavar="NS", help="A mount namespace, by pid or path.")


def enter(namespace: str | None) -> None:
    """Enters another mount namespace, as mount(8)'s -N asks; raises BadOption if it cannot."""
    if namespace is None:
        return
    path = f"/proc/{namespace}/ns/mnt" if namespace.isdigit() else namespace
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise BadOption(f"namespace {namespace}: {error.strerror}") from None
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is not in Python 3.11
    if libc.setns(fd, _CLONE_NEWNS):
        raise BadOption(f"namespace {namespace}: {os.strerror(ctypes.get_errno())}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-o", "words", multiple=True, metavar="OPT[,OPT...]", help="Options.")
@click.option("-f", "fake", is_flag=True, help="Check only, do not mount.")
@click.option("-s", "sloppy", is_flag=True, help="Ignore unknown options.")
@NO_MTAB
@click.option("-v", "verbose", is_flag=True, help="Print what was mounted.")
@NAMESPACE
@FSTYPE
@click.argument("places", nargs=-1, required=True, metavar="[SOURCE] DIRECTORY")
def mount_command(
    words: tuple[str, ...],
    fake: bool,
    sloppy: bool,
    verbose: bool,
    namespace: str | None,
    places: tuple[str, ...],
) -> None:
    """Mount jaxfs on DIRECTORY; SOURCE is the name that mount(8) and df show for it."""
    if len(places) > 2:
        raise BadOption(f"one source and one directory, not {' '.join(places)}")
    enter(namespace)
    source = [f"fsname={name}" for name in places[:-1] if name]
    parsed = arguments.parse([*source, *options.split(words)], sloppy=sloppy)
    request = MountRequest.from_arguments(places[-1], parsed)
    if fake:
        check(request)
        return
    mount(request, click.echo if verbose else lambda _line: None)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-f", "force", is_flag=True, help="Also if it is in use: waits end.")
@click.option("-l", "lazy", is_flag=True, help="Unmount now, end it when it is no longer used.")
@NO_MTAB
@READ_ONLY
@click.option("-v", "verbose", is_flag=True, help="Print what was unmounted.")
@NAMESPACE
@FSTYPE
@click.argument("directory")
def umount_command(
    force: bool,
    lazy: bool,
    verbose: bool,
    namespace: str | None,
    directory: str,
) -> None:
    """Unmount the jaxfs on DIRECTORY and wait until its daemon has ended."""
    enter(namespace)
    mountpoint = mounts.locate(directory)
    if lazy:
        mounts.unmount(mountpoint, lazy=True)
    else:
        umount(mountpoint, force=force)
    if verbose:
        click.echo(f"umount: {mountpoint} unmounted")


def _run(command: click.Command) -> int:
    """Runs a command; returns the exit code that mount(8) documents."""
    try:
        command.main(standalone_mode=False)
    except MountctlError as error:
        error.show()
        return error.mount8_code
    except click.ClickException as error:
        error.show()
        return INCORRECT
    except click.Abort:
        return INTERRUPTED
    return 0


def mount_main() -> None:
    """Runs as mount.jaxfs."""
    sys.exit(_run(mount_command))


def umount_main() -> None:
    """Runs as umount.fuse.jaxfs."""
    sys.exit(_run(umount_command))


if __name__ == "__main__":  # python -m mountctl.helper [mount|umount] ...
    {"mount": mount_main, "umount": umount_main}[sys.argv.pop(1)]()
