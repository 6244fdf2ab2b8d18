"""Mount options: what may stand after ``-o``, once, for mountctl, the daemon and the help.

``Options`` is the table.  Each field is one option: its name, type and default are the field's, how
its value is read and what it is for are in the ``Option`` beside the type.  Adding an option is
adding a field.
"""

from __future__ import annotations

import difflib
import os
import re
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import attrs
import msgspec

from jaxfs.errors import Invalid

_SUFFIXES = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}  # binary, as in mount(8)'s size=
_SIZE = re.compile(r"(\d+)([kmgt]?)(?:i?b)?\Z", re.ASCII | re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9_.:-]+\Z", re.ASCII)
LOG_LEVELS = ("debug", "info", "warning", "error")


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,3}", text, re.ASCII):
        raise ValueError("a number from 1 to 9999")
    return int(text)


def _calls(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII):
        raise ValueError("a number from 1")
    return int(text)


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text, re.ASCII)
    if not found or not float(found[1]):
        raise ValueError("a time, also with the suffix s, m or h")
    return float(found[1]) * {None: 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _size(text: str) -> int:
    found = _SIZE.match(text)
    if not found or not int(found[1]):
        raise ValueError("a number of bytes, also with the suffix K, M, G or T")
    return int(found[1]) << _SUFFIXES[found[2].lower()]


def _word(text: str) -> str:
    if not _WORD.match(text):
        raise ValueError("a word of letters, digits and ._:-")
    return text


def _log_level(text: str) -> str:
    if text not in LOG_LEVELS:
        raise ValueError(f"one of {' '.join(LOG_LEVELS)}")
    return text


@attrs.frozen
class Option:
    """How one option is written and read; ``read`` is None for a flag, which takes no value.

    ``read`` raises ValueError with a phrase that says what it expects.
    """

    help: str
    placeholder: str = ""
    read: Callable[[str], Any] | None = None


def half_of_ram() -> int:
    """Bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of one mount; sizes in bytes."""

    devices: Annotated[
        int | None, Option("virtual CPU devices, for trying things out", "N", _count)
    ] = None
    platform: Annotated[
        str | None, Option("the JAX platform: cpu, cuda, ...; otherwise JAX chooses", "NAME", _word)
    ] = None
    allow_other: Annotated[bool, Option("let other users in, as file modes permit")] = False
    allow_root: Annotated[bool, Option("let root in, besides the mounting user")] = False
    nonempty: Annotated[bool, Option("mount over a directory that has files in it")] = False
    max_write_bytes: Annotated[
        int, Option("most that one file may be given; more is EFBIG; default 4G", "SIZE", _size)
    ] = 4 << 30
    max_result_bytes: Annotated[
        int, Option("memory for results; default half of the RAM", "SIZE", _size)
    ] = msgspec.field(default_factory=half_of_ram)
    max_bytes_per_user: Annotated[
        int | None,
        Option(
            "memory of one user's results and uploads; more is EDQUOT; default max_result_bytes, "
            "half of it with allow_other",
            "SIZE",
            _size,
        ),
    ] = None
    max_calls_per_user: Annotated[
        int, Option("unfinished calls of one user; more is EDQUOT; default 65536", "N", _calls)
    ] = 1 << 16
    call_timeout: Annotated[
        float,
        Option("how long a call may run, as 90, 90s, 5m, 1h; default no limit", "TIME", _duration),
    ] = 0.0
    compile_timeout: Annotated[
        float, Option("how long a compile may take; default 10m", "TIME", _duration)
    ] = 600.0
    log_level: Annotated[
        str, Option(f"one of {' '.join(LOG_LEVELS)}; default info", "LEVEL", _log_level)
    ] = "info"
    fsname: Annotated[
        str, Option("the source shown by mount(8) and df; default jaxfs", "NAME", _word)
    ] = "jaxfs"

    @property
    def share_bytes(self) -> int:
        """What one user's results and uploads may take."""
        if self.max_bytes_per_user is not None:
            return self.max_bytes_per_user
        return self.max_result_bytes // (2 if self.allow_other else 1)


def _rows() -> dict[str, Option]:
    hints = typing.get_type_hints(Options, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


TABLE: dict[str, Option] = _rows()


def parse(words: Iterable[str]) -> Options:
    """The options in words like ``devices=4,allow_other``; of a repeated one the last counts.

    Raises Invalid for an unknown option, naming close ones, and for a value that does not fit.
    """
    parts = [part for word in words for part in word.split(",") if part]
    return Options(**dict(_read(part) for part in parts))


def _read(part: str) -> tuple[str, Any]:
    name, has_value, text = part.partition("=")
    option = TABLE.get(name)
    if option is None:
        raise Invalid(f"there is no option {name!r}; {_suggestion(name)}")
    if option.read is None:
        if has_value:
            raise Invalid(f"option {name} takes no value, and was given {text!r}")
        return name, True
    try:
        return name, option.read(text)
    except ValueError as error:
        raise Invalid(f"option {name} takes {error}, and was given {text!r}") from None


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, TABLE)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {' '.join(TABLE)}"


def usage() -> str:
    """All options, one a line, as the help shows them."""
    written = {n: f"{n}={o.placeholder}" if o.read else n for n, o in TABLE.items()}
    width = max(map(len, written.values()))
    return "\n".join(f"{written[n]:{width}}  {TABLE[n].help}" for n in TABLE)
