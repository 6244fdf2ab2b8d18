"""The commands.

A command imports the module that does its work when it runs: shell completion has to be quick, and
rich takes longer to import than a mount may take.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click
import msgspec

import jaxfs
from jaxfs.options import LOG_LEVELS
from mountctl import arguments, errors, mounts
from mountctl.mount import MountRequest
from mountctl.mount import mount as mount_jaxfs
from mountctl.umount import umount as umount_jaxfs

EXIT_CODES = "\b\nExit codes:\n" + "\n".join(f"  {code:3}  {means}" for code, means in errors.TABLE)
F = TypeVar("F", bound=Callable[..., None])
PATH = click.STRING  # click.Path would stat it, and a stat of a hung mount never returns
TOPICS: dict[str, Callable[[], str]] = {
    "options": arguments.usage,
    "exit-codes": errors.exit_codes,
}
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def _print_json(value: msgspec.Struct | Sequence[msgspec.Struct]) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(jaxfs.__version__, message="jaxfs %(version)s")
def main() -> None:
    """Mount JAX as a filesystem: programs, calls and devices as files."""


@main.command(epilog=EXIT_CODES)
@arguments.flags
@click.argument("directory", type=PATH)
@click.pass_context
def mount(context: click.Context, directory: str) -> None:
    """Mount jaxfs on DIRECTORY.

    Returns when the mount answers and the engine is up.  If that fails it prints why, and leaves
    nothing behind.  Options of mount(8) are understood too: mountctl help options.
    """
    words: list[str] = context.ensure_object(list)
    sys.exit(mount_jaxfs(MountRequest.from_arguments(directory, arguments.parse(words))))


@main.command(epilog=EXIT_CODES, short_help="Unmount, and wait until the daemon has ended.")
@click.option("--force", is_flag=True, help="Also if it is in use: waits and open files fail.")
@click.option("--unguard", is_flag=True, help="Give the directory its write permissions back.")
@click.argument("directory", type=PATH)
def umount(force: bool, unguard: bool, directory: str) -> None:
    """Unmount the jaxfs on DIRECTORY and wait until its daemon has ended."""
    umount_jaxfs(mounts.locate(directory), force=force, unguard=unguard)


@main.command(epilog=EXIT_CODES)
@JSON
@click.argument("directory", type=PATH, required=False)
def status(as_json: bool, directory: str | None) -> None:
    """Show all mounts of jaxfs, or that on DIRECTORY."""
    from mountctl import status as command

    found = command.statuses(mounts.locate(directory) if directory else None)
    if as_json:
        _print_json(found)
    else:
        command.show(found)


def _with_places(command: F) -> F:
    command = click.option(
        "--prefix",
        default="/usr/local",
        show_default=True,
        help="Where files go that may be anywhere.",
    )(command)
    return click.option(
        "--root", default="/", show_default=True, help="As DESTDIR, for packages and tests."
    )(command)


@main.command(epilog=EXIT_CODES, short_help="Install mount helpers, unit, manual, completions.")
@_with_places
def install(root: str, prefix: str) -> None:
    """Install mount helpers, a systemd unit, manual pages and shell completions, as root."""
    from mountctl import install as command

    command.install(Path(root), prefix)


@main.command(epilog=EXIT_CODES)
@_with_places
def uninstall(root: str, prefix: str) -> None:
    """Remove the files that mountctl install wrote."""
    from mountctl import install as command

    command.uninstall(Path(root), prefix)


@main.command(epilog=EXIT_CODES, short_help="Make the daemon read its log level again.")
@click.argument("directory", type=PATH)
def reload(directory: str) -> None:
    """Make the daemon of DIRECTORY read its log level again."""
    from mountctl import logs as command

    command.reload(mounts.locate(directory))


@main.command(epilog=EXIT_CODES, short_help="Show the log, or set its level.")
@click.option("-f", "--follow", is_flag=True, help="Print new lines as they are written.")
@click.option("-n", "--lines", default=20, show_default=True, help="How many last lines.")
@click.option("--level", type=click.Choice(LOG_LEVELS), help="Set the level; prints nothing.")
@click.argument("directory", type=PATH)
def logs(follow: bool, lines: int, level: str | None, directory: str) -> None:
    """Show the log of DIRECTORY's daemon, or set its level until the daemon ends."""
    from mountctl import logs as command

    mountpoint = mounts.locate(directory)
    if level:
        command.reload(mountpoint, level)
    else:
        sys.exit(command.show(mountpoint, lines, follow))


@main.command(epilog=EXIT_CODES, short_help="Watch a mount at work.")
@click.option("--once", is_flag=True, help="Print one picture, for scripts.")
@JSON
@click.option("-d", "--delay", default=1.0, show_default=True, help="Seconds between pictures.")
@click.argument("directory", type=PATH, required=False)
def top(once: bool, as_json: bool, delay: float, directory: str | None) -> None:
    """Watch the mount on DIRECTORY, or the only one: calls, queue, devices, memory, users."""
    from mountctl import mount_stats
    from mountctl import top as command

    mountpoint = mount_stats.only_mount(directory)
    if as_json:
        _print_json(mount_stats.read(mountpoint))
    elif once or not sys.stdout.isatty():
        command.show(mountpoint, delay)
    else:
        command.live(mountpoint, delay)


@main.command(epilog=EXIT_CODES, short_help="Check what a mount needs of this machine.")
@JSON
def doctor(as_json: bool) -> None:
    """Check what a mount needs of this machine; print what is missing and what to do."""
    from mountctl.doctor import report

    findings = report.examine()
    if as_json:
        _print_json(findings)
    else:
        report.show(findings)
    if any(finding.level == "fail" for finding in findings):
        raise errors.NotSound("a mount needs what is marked fail above")


@main.command(epilog=EXIT_CODES, short_help="Add programs and wait for their compile.")
@click.option("--to", "directory", type=PATH, metavar="DIRECTORY", help="Default: the only mount.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
def add(directory: str | None, files: tuple[str, ...]) -> None:
    """Copy FILES into a mount's programs and wait until they are compiled."""
    from mountctl import add as command
    from mountctl import mount_stats

    command.add(mount_stats.only_mount(directory), [Path(file) for file in files])


@main.command(epilog=EXIT_CODES, short_help="Measure what a call costs.")
@click.option("--seconds", default=1.0, show_default=True, help="How long each measurement takes.")
@JSON
@click.argument("directory", type=PATH, required=False)
def bench(seconds: float, as_json: bool, directory: str | None) -> None:
    """Measure the mount on DIRECTORY, or the only one: latency, calls per second, throughput."""
    from mountctl import bench as command
    from mountctl import mount_stats

    found = command.measure(mount_stats.only_mount(directory), seconds)
    if as_json:
        _print_json(found)
    else:
        command.show(found)


@main.command("help", short_help="Explain options or exit-codes.")
@click.argument("topic", type=click.Choice(sorted(TOPICS)), required=False)
@click.pass_context
def help_command(context: click.Context, topic: str | None) -> None:
    """Explain TOPIC: options or exit-codes; without one, the commands."""
    click.echo(TOPICS[topic]() if topic else main.get_help(context.find_root()))


if __name__ == "__main__":  # python -m mountctl.cli, where the script is not on the path
    main()
