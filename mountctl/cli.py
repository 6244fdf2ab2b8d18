"""The commands as they are typed."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import jaxfs
from jaxfs import options
from jaxfs.errors import Invalid
from mountctl import mounts, statedir
from mountctl.errors import TABLE, BadOption
from mountctl.mount import Wanted
from mountctl.mount import mount as mount_jaxfs
from mountctl.umount import umount as umount_jaxfs

START_S = 60.0


def _block(title: str, rows: str) -> str:
    """A paragraph of the help that click does not rewrap."""
    return "\b\n" + title + "\n" + "\n".join(f"  {row}" for row in rows.splitlines())


EXIT_CODES = _block("Exit codes:", "\n".join(f"{code:3}  {means}" for code, means in TABLE))
OPTIONS = _block("Mount options (-o):", options.usage())
PATH = click.STRING  # click.Path would stat it, and a stat of a hung mount never returns


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(jaxfs.__version__, message="jaxfs %(version)s")
def main() -> None:
    """Mount JAX as a filesystem: programs, calls and devices as files."""


@main.command(epilog=f"{OPTIONS}\n\n{EXIT_CODES}")
@click.option("-f", "--foreground", is_flag=True, help="Stay in this terminal; Ctrl-C unmounts.")
@click.option("-o", "words", multiple=True, metavar="OPT[,OPT...]", help="Mount options, below.")
@click.option(
    "--state-dir",
    type=PATH,
    metavar="PATH",
    help="Programs and caches; default: one a mount point.",
)
@click.option(
    "--log-file",
    type=PATH,
    metavar="PATH",
    help="Default: log in the state directory; stderr with -f.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=START_S,
    show_default=True,
    help="Seconds to wait for the mount to be ready.",
)
@click.argument("directory", type=PATH)
def mount(
    foreground: bool,
    words: tuple[str, ...],
    state_dir: str | None,
    log_file: str | None,
    timeout: float,
    directory: str,
) -> None:
    """Mount jaxfs on DIRECTORY.

    Returns when the mount answers and the engine is up.  Where that fails it says why, and leaves
    nothing behind.
    """
    mountpoint = mounts.locate(directory)
    wanted = Wanted(
        mountpoint=mountpoint,
        options=_parse(words),
        state_dir=Path(state_dir).resolve() if state_dir else statedir.default(mountpoint),
        log_file=Path(log_file).resolve() if log_file else None,
        foreground=foreground,
        timeout_s=timeout,
    )
    sys.exit(mount_jaxfs(wanted))


def _parse(words: tuple[str, ...]) -> options.Options:
    try:
        return options.parse(words)
    except Invalid as error:
        raise BadOption(error.reason) from None


@main.command(epilog=EXIT_CODES)
@click.option("--force", is_flag=True, help="Also where it is in use: waits and open files fail.")
@click.argument("directory", type=PATH)
def umount(force: bool, directory: str) -> None:
    """Unmount the jaxfs on DIRECTORY and wait until its daemon has ended."""
    umount_jaxfs(mounts.locate(directory), force=force)


@main.command(epilog=EXIT_CODES)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("directory", type=PATH, required=False)
def status(as_json: bool, directory: str | None) -> None:
    """Show all mounts of jaxfs, or that on DIRECTORY."""
    from mountctl import status as command  # rich takes longer to import than mounting may

    found = command.status(mounts.locate(directory) if directory else None)
    if as_json:
        click.echo(command.as_json(found))
    else:
        command.show(found)


if __name__ == "__main__":  # python -m mountctl.cli, where the script is not on the path
    main()
