"""The arguments of ``mount``, in one grammar: ``-o state_dir=/s`` is ``--state-dir /s``.

There are two tables of the same kind: jaxfs's options, which the daemon gets, and the fields of
``LaunchOptions``, which say how to start the daemon.  The flags are made from both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

import attrs
import click
import msgspec

from jaxfs import options
from jaxfs.errors import Invalid
from jaxfs.options import Option, Options, duration
from mountctl import mount8_options
from mountctl.errors import BadOption

F = TypeVar("F", bound=Callable[..., None])
START_S = 60.0
GUARDS = ("mode", "immutable", "none")


def _path(text: str) -> str:
    if not text:
        raise ValueError("a path")
    return text[1:-1] if re.fullmatch(r'".+"', text) else text


def _guard(text: str) -> str:
    if text not in GUARDS:
        raise ValueError(f"one of {' '.join(GUARDS)}")
    return text


class LaunchOptions(msgspec.Struct, frozen=True):
    """How to start the daemon; paths are as they were typed.

    Attributes:
        state_dir: The state directory; None for the mount point's default.
        log_file: The log; None for one in the state directory, or stderr in the foreground.
        timeout: Seconds to wait for the ready message.
        guard: How the directory under the mount is kept empty.
        foreground: Whether the command stays until the mount ends.
    """

    state_dir: Annotated[
        str | None, Option("programs and caches; default: one a mount point", "PATH", _path)
    ] = None
    log_file: Annotated[
        str | None, Option("default: log in the state directory; stderr with -f", "PATH", _path)
    ] = None
    timeout: Annotated[
        float, Option(f"how long to wait until it is ready; default {START_S:g}s", "TIME", duration)
    ] = START_S
    guard: Annotated[
        str,
        Option(
            f"how the directory is kept empty while nothing is mounted: one of {' '.join(GUARDS)};"
            " default mode",
            "HOW",
            _guard,
        ),
    ] = "mode"
    foreground: Annotated[bool, Option("stay in this terminal; Ctrl-C unmounts")] = False


LAUNCH_TABLE = options.rows(LaunchOptions)
TABLE: dict[str, Option] = {**options.TABLE, **LAUNCH_TABLE}


@attrs.frozen
class MountArguments:
    """All options of a command line, except those of mount(8) that are ignored.

    Attributes:
        launch: How to start the daemon.
        options: What the daemon gets.
    """

    launch: LaunchOptions
    options: Options


def usage() -> str:
    """Returns all options as text: those of jaxfs, then those of mount(8)."""
    mount8 = "\n".join(f"{row.patterns}\n    {row.what}" for row in mount8_options.TABLE)
    return f"{options.usage(TABLE)}\n\nOptions of mount(8) that fstab lines may have:\n\n{mount8}"


def parse(words: Iterable[str], *, sloppy: bool = False) -> MountArguments:
    """Parses options, each a word; of a repeated one the last counts.

    >>> arguments = parse(["devices=4", "noatime", "state_dir=/s"])
    >>> arguments.options.devices, arguments.launch.state_dir
    (4, '/s')

    Args:
        words: Such as ``devices=4``.
        sloppy: Ignore unknown options, as mount(8)'s -s asks.

    Raises:
        BadOption: if a word is unknown, has a bad value or cannot be honoured.
    """
    found: dict[str, Any] = {}  # values of the types that the tables' fields have
    try:
        for word in words:
            is_unknown = word.partition("=")[0] not in TABLE
            if word == "exec":
                found.pop("noexec", None)
            elif not (mount8_options.is_ignored(word) or (sloppy and is_unknown)):
                name, value = options.read(word, TABLE)
                found[name] = value
    except Invalid as error:
        raise BadOption(error.reason) from None
    launch = {name: found.pop(name) for name in LAUNCH_TABLE if name in found}
    return MountArguments(LaunchOptions(**launch), Options(**found))


def flags(command: F) -> F:
    """Decorates a Click command with ``-o`` and a flag for each option.

    What the user typed is in the list ``context.obj``, as words for ``parse``, in order.
    """
    for name, option in reversed(TABLE.items()):
        short = ("-f",) if name == "foreground" else ()
        command = click.option(
            *short,
            "--" + name.replace("_", "-"),
            is_flag=option.read is None,
            metavar=option.placeholder or None,
            expose_value=False,
            callback=_append_flag,
            help=option.help[0].upper() + option.help[1:] + ".",
        )(command)
    return click.option(
        "-o",
        "words",
        multiple=True,
        metavar="OPT[,OPT...]",
        expose_value=False,
        callback=_append_words,
        help="The same as mount(8) takes them, with _ for - and without the --.",
    )(command)


def _append_flag(context: click.Context, flag: click.Parameter, value: str | bool | None) -> None:
    words: list[str] = context.ensure_object(list)
    if value is True:
        words.append(str(flag.name))
    elif isinstance(value, str):
        words.append(f"{flag.name}={value}")


def _append_words(context: click.Context, _flag: click.Parameter, words: tuple[str, ...]) -> None:
    context.ensure_object(list).extend(options.split(words))
