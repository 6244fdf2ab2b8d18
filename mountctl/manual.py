"""mountctl(1), made from the commands, the option tables and the exit codes.

``python -m mountctl.manual`` prints it; docs/man/ has a copy, ``mountctl install`` installs it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

import jaxfs
from jaxfs import roff
from mountctl import arguments, install, mount8_options
from mountctl.cli import main
from mountctl.errors import MountctlError

DESCRIPTION = """
mountctl mounts jaxfs(7), watches mounts and unmounts them. A command that fails prints what it
found and what to do next, and each kind of failure has its exit code.

Each mount keeps programs, compiled code and its log in a state directory, by default one for each
mount point below ~/.local/state/jaxfs.
"""
MOUNT_OPTIONS = """
Each is an option for -o and a flag: log_level=debug is --log-level debug. Of a repeated one the
last counts. A value with commas is written in double quotes.
"""
MOUNT8_OPTIONS = """
fstab(5) lines have options that mean the same for every filesystem. Those that change nothing here
are ignored; those that cannot be honoured are refused.
"""
HELPER = """
After mountctl install, mount -t jaxfs none DIRECTORY -o ... and fstab(5) lines of the type jaxfs do
what mountctl mount does, with the exit codes of mount(8) in parentheses below.
"""
EXAMPLE = (
    "mountctl mount /jax",
    "mountctl mount -o devices=4,allow_other /jax",
    "mountctl add saxpy.mlir",
    "mountctl top /jax",
    "mountctl umount /jax",
    "",
    "none  /jax  jaxfs  allow_other,state_dir=/var/lib/jaxfs,nofail  0 0",
)


def page() -> str:
    """Returns the page as man(7) source."""
    context = click.Context(main, info_name="mountctl")
    return "".join(
        [
            roff.header("mountctl", 1, f"jaxfs {jaxfs.__version__}", "JAX programs as files"),
            roff.heading("NAME"),
            roff.escape("mountctl - mount, watch and unmount jaxfs") + "\n",
            roff.heading("SYNOPSIS"),
            roff.verbatim(_usage(context, name) for name in main.commands),
            roff.heading("DESCRIPTION"),
            roff.paragraphs(DESCRIPTION),
            roff.heading("COMMANDS"),
            *(part for name in main.commands for part in _command(context, name)),
            roff.heading("MOUNT OPTIONS"),
            roff.paragraphs(MOUNT_OPTIONS),
            *(
                roff.entry(f"{name}={option.placeholder}" if option.read else name, option.help)
                for name, option in arguments.TABLE.items()
            ),
            roff.heading("OPTIONS OF MOUNT(8)"),
            roff.paragraphs(MOUNT8_OPTIONS),
            *(roff.entry(row.patterns, row.what) for row in mount8_options.TABLE),
            roff.heading("MOUNTING BY MOUNT(8)"),
            roff.paragraphs(HELPER),
            roff.heading("FILES"),
            *(roff.entry(install.place(file), file.help) for file in install.FILES),
            roff.heading("EXIT STATUS"),
            roff.entry("0", "success"),
            *(
                roff.entry(str(kind.exit_code), kind.meaning, str(kind.mount8_code))
                for kind in MountctlError.__subclasses__()
            ),
            roff.heading("EXAMPLES"),
            roff.verbatim(EXAMPLE),
            roff.heading("SEE ALSO"),
            roff.references(("fstab", 5), ("jaxfs", 7), ("mount", 8), ("systemd.mount", 5)),
        ]
    )


def _usage(context: click.Context, name: str) -> str:
    command = main.commands[name]
    pieces = command.collect_usage_pieces(click.Context(command, parent=context, info_name=name))
    return " ".join(["mountctl", name, *pieces])


def _command(context: click.Context, name: str) -> Iterator[str]:
    """Yields a command's usage, what it does and its flags; those of mounting have a section."""
    command = main.commands[name]
    yield roff.subheading(_usage(context, name))
    yield roff.paragraphs(command.help or "")
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name not in arguments.TABLE:
            yield roff.entry(*(parameter.get_help_record(context) or ("", "")))


if __name__ == "__main__":
    sys.stdout.write(page())
