"""All that can be said to ``mount``, in one grammar: ``-o state_dir=/s`` is ``--state-dir /s``.

Two tables of the same kind: jaxfs' options, which go to the daemon, and ``Command``'s, which say
how to start it.  Flags are made from the tables and are read as the words they stand for.
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

F = TypeVar("F", bound=Callable[..., Any])
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
    """What ``mount`` itself wants to know; paths as they were given."""

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


COMMAND = options.rows(LaunchOptions)
TABLE: dict[str, Option] = {**options.TABLE, **COMMAND}


@attrs.frozen
class MountArguments:
    """What was said."""

    command: LaunchOptions
    options: Options


def parse(parts: Iterable[str], *, sloppy: bool = False) -> MountArguments:
    """Of a repeated option the last counts; ``sloppy`` drops unknown ones, as mount(8)'s -s asks.

    Raises BadOption.
    """
    found: dict[str, Any] = {}
    try:
        for part in parts:
            _take(part, found, sloppy=sloppy)
    except Invalid as error:
        raise BadOption(error.reason) from None
    ours = {name: found.pop(name) for name in COMMAND if name in found}
    return MountArguments(LaunchOptions(**ours), Options(**found))


def _take(part: str, found: dict[str, Any], *, sloppy: bool) -> None:
    if part == "exec":
        found.pop("noexec", None)
    if mount8_options.is_ignored(part) or (sloppy and part.partition("=")[0] not in TABLE):
        return
    name, value = options.read(part, TABLE)
    found[name] = value


def flags(command: F) -> F:
    """``-o`` and a flag for each row; what they say comes into the list ``ctx.obj``, in order."""
    for name, option in reversed(TABLE.items()):
        short = ("-f",) if name == "foreground" else ()
        command = click.option(
            *short,
            "--" + name.replace("_", "-"),
            is_flag=option.read is None,
            metavar=option.placeholder or None,
            expose_value=False,
            callback=_note_flag,
            help=option.help[0].upper() + option.help[1:] + ".",
        )(command)
    return click.option(
        "-o",
        "words",
        multiple=True,
        metavar="OPT[,OPT...]",
        expose_value=False,
        callback=_note_words,
        help="The same as mount(8) takes them, with _ for - and without the --.",
    )(command)


def _note_flag(context: click.Context, flag: click.Parameter, value: str | bool | None) -> None:
    parts = context.ensure_object(list)
    if value is True:
        parts.append(flag.name)
    elif isinstance(value, str):
        parts.append(f"{flag.name}={value}")


def _note_words(context: click.Context, flag: click.Parameter, words: tuple[str, ...]) -> None:
    context.ensure_object(list).extend(options.split(words))
