"""Mount options: what may follow ``-o``, in one table for mountctl, the daemon and the help.

``Options`` is the table.  Each field is one option, with its name, type and default; the ``Option``
beside the type has the help, and how a value is read.  Adding an option is adding a field.

>>> parse(["devices=4,allow_other", "max_write_bytes=1G"]).devices
4
"""

from __future__ import annotations

import difflib
import os
import re
import typing
from collections.abc import Callable, Iterable
from typing import Annotated

import attrs
import msgspec

from jaxfs.errors import Invalid

_SUFFIXES = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}  # binary, as in mount(8)'s size=
_SIZE = re.compile(r"(\d{1,18})([kmgt]?)(?:i?b)?\Z", re.ASCII | re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9_.:-]+\Z", re.ASCII)
_DEVICE = re.compile(r"\d{1,4}|(?:GPU|MIG)-[A-Za-z0-9/-]+", re.ASCII)
_PART = re.compile(r'(?:[^,"]|"[^"]*"|")+')  # quotes keep commas in, as in mount(8)
LOG_LEVELS = ("debug", "info", "warning", "error")
PICKLE_RULES = ("owner", "all", "off", "unsafe")
LOG_FORMATS = ("text", "json", "journal")
Value = bool | int | float | str


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,3}", text, re.ASCII):
        raise ValueError("a number from 1 to 9999")
    return int(text)


def _calls(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII):
        raise ValueError("a number from 1")
    return int(text)


def duration(text: str) -> float:
    """Returns the seconds of a time like ``90``, ``90s``, ``5m`` or ``1h``.

    Raises:
        ValueError: It is none; the message is what is expected.
    """
    found = re.fullmatch(r"(\d{1,12}(?:\.\d+)?)(s|m|h)?", text, re.ASCII)
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


def _source(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:/@-]+", text, re.ASCII):
        raise ValueError("a word of letters, digits and ._:/@-")
    return text


def _fraction(text: str) -> float:
    if not re.fullmatch(r"\d*\.?\d+", text, re.ASCII) or not 0 < float(text) <= 1:
        raise ValueError("a fraction of a GPU's memory, above 0 and at most 1, as .75")
    return float(text)


def _devices(text: str) -> str:
    names = re.split("[,:]", text.strip('"'))
    if not all(_DEVICE.fullmatch(name) for name in names):
        raise ValueError(
            "numbers or names of devices with commas between, as 0,2 or GPU-1bf7... or MIG-5c21..."
        )
    return ",".join(str(int(name)) if name.isdigit() else name for name in names)


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {' '.join(choices)}")
        return text

    return read


def _label(text: str) -> str:
    if not text or ("," in text and not re.fullmatch(r'"[^"]+"', text)):
        raise ValueError('an SELinux context, in "..." where it has commas')
    return text.strip('"')


@attrs.frozen
class Option:
    """How one option is written and read.

    Attributes:
        help: What it is for, a phrase.
        placeholder: For the value, in the help.
        read: Returns the value of a text, or raises ValueError with a phrase for what it expects.
            None for a flag, which takes no value.
    """

    help: str
    placeholder: str = ""
    read: Callable[[str], Value] | None = None


def half_of_ram() -> int:
    """Returns half of the machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of one mount; sizes in bytes, times in seconds.

    The ``Option`` beside each field describes it.
    """

    devices: Annotated[
        int | None,
        Option("how many devices: virtual ones on a CPU, elsewhere the first", "N", _count),
    ] = None
    platform: Annotated[
        str | None,
        Option("the JAX platform: cpu, gpu, cuda, rocm, tpu; otherwise JAX chooses", "NAME", _word),
    ] = None
    visible_devices: Annotated[
        str | None,
        Option(
            "the GPUs or TPU chips to use, by number or name, as 0,2 or GPU-1bf7...; others are "
            "not touched",
            "LIST",
            _devices,
        ),
    ] = None
    memory_fraction: Annotated[
        float | None,
        Option(
            "how much of a GPU's memory an engine may take; default .75, with engine=per-user .25",
            "FRACTION",
            _fraction,
        ),
    ] = None
    preallocate: Annotated[
        bool, Option("take that memory at the start, in one piece, and not as it is needed")
    ] = False
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
            "half of what others leave of it with allow_other",
            "SIZE",
            _size,
        ),
    ] = None
    max_calls_per_user: Annotated[
        int, Option("unfinished calls of one user; more is EDQUOT; default 65536", "N", _calls)
    ] = 1 << 16
    max_results_per_user: Annotated[
        int, Option("calls and results of one user; more is EDQUOT; default 16384", "N", _calls)
    ] = 1 << 14
    max_unread_per_user: Annotated[
        int, Option("unread replies of one user; more is EDQUOT; default 32768", "N", _calls)
    ] = 1 << 15
    max_arrays_per_user: Annotated[
        int, Option("names in arrays/ of one user; more is EDQUOT; default 16384", "N", _calls)
    ] = 1 << 14
    max_programs_per_user: Annotated[
        int,
        Option("programs and links of one user; more is EDQUOT; default 4096", "N", _calls),
    ] = 1 << 12
    max_open_files_per_user: Annotated[
        int, Option("open files of one user; more is EDQUOT; default 16384", "N", _calls)
    ] = 1 << 14
    max_front_bytes_per_user: Annotated[
        int,
        Option(
            "memory of the daemon for one user's calls, arrays, programs and open files; "
            "more is EDQUOT; default 48M",
            "SIZE",
            _size,
        ),
    ] = 48 << 20
    max_disk_per_user: Annotated[
        int,
        Option(
            "what one user's sources and executables take in the state directory; more is EDQUOT; "
            "default 16G",
            "SIZE",
            _size,
        ),
    ] = 16 << 30
    max_compiles_per_user: Annotated[
        int, Option("unfinished compiles of one user; more is EDQUOT; default 1024", "N", _calls)
    ] = 1 << 10
    keep_arrays: Annotated[
        bool, Option("arrays of arrays/ are there again after a remount, from the state directory")
    ] = False
    call_timeout: Annotated[
        float,
        Option("how long a call may run, as 90, 90s, 5m, 1h; default no limit", "TIME", duration),
    ] = 0.0
    share_after: Annotated[
        float,
        Option(
            "after how long a call that keeps another user waiting gets an engine of its own, or "
            "is ETIMEDOUT where a device takes one engine only; default 5s",
            "TIME",
            duration,
        ),
    ] = 5.0
    compile_timeout: Annotated[
        float, Option("how long a compile may take; default 10m", "TIME", duration)
    ] = 600.0
    compile: Annotated[
        str,
        Option(
            "where programs for GPUs are compiled: apart, in a process without the GPU, or engine, "
            "which tries several kernels on the GPU and delays the runs of all users; default "
            "apart",
            "WHERE",
            _one_of(("apart", "engine")),
        ),
    ] = "apart"
    engine: Annotated[
        str,
        Option(
            "shared, or per-user: each user's programs in a process of that user; needs root",
            "WHOSE",
            _one_of(("shared", "per-user")),
        ),
    ] = "shared"
    engine_idle: Annotated[
        float,
        Option("a user's engine ends when idle for so long; default 5m", "TIME", duration),
    ] = 300.0
    pickle: Annotated[
        str,
        Option(
            f"whose pickled functions are taken, one of {' '.join(PICKLE_RULES)}; default owner, "
            "the mounting user; unsafe is owner without a sandbox",
            "WHOSE",
            _one_of(PICKLE_RULES),
        ),
    ] = "owner"
    zygote: Annotated[
        str,
        Option(
            "when to start the tracer: lazy, at the first need, or eager",
            "WHEN",
            _one_of(("lazy", "eager")),
        ),
    ] = "lazy"
    log_level: Annotated[
        str, Option(f"one of {' '.join(LOG_LEVELS)}; default info", "LEVEL", _one_of(LOG_LEVELS))
    ] = "info"
    log_format: Annotated[
        str,
        Option(
            f"one of {' '.join(LOG_FORMATS)}; journal is systemd's; default text",
            "FORMAT",
            _one_of(LOG_FORMATS),
        ),
    ] = "text"
    noexec: Annotated[bool, Option("nothing in the mount can be executed")] = False
    context: Annotated[
        str | None, Option("the files' SELinux label; ignored without SELinux", "LABEL", _label)
    ] = None
    fsname: Annotated[
        str, Option("the source shown by mount(8) and df; default jaxfs", "NAME", _source)
    ] = "jaxfs"

    @property
    def share_bytes(self) -> int:
        """How much memory one user's results and uploads may take."""
        if self.max_bytes_per_user is not None:
            return self.max_bytes_per_user
        return self.max_result_bytes // (2 if self.allow_other else 1)


def rows(options: type[msgspec.Struct]) -> dict[str, Option]:
    """Returns the table in a class like ``Options``, by name."""
    hints = typing.get_type_hints(options, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


TABLE: dict[str, Option] = rows(Options)


def split(words: Iterable[str]) -> list[str]:
    """Returns the options in words like ``devices=4,allow_other``, one by one.

    Quotes keep commas together, as in mount(8).  A list of devices needs none.

    >>> split(["visible_devices=0,2,allow_other"])
    ['visible_devices=0,2', 'allow_other']
    """
    found: list[str] = []
    for part in (part for word in words for part in _PART.findall(word)):
        if found and found[-1].startswith("visible_devices=") and _DEVICE.fullmatch(part):
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def parse(words: Iterable[str]) -> Options:
    """Returns the options in words; of a repeated one the last counts.

    Raises:
        Invalid: An option is unknown, and the reason names close ones; or its value does not fit.
    """
    return msgspec.convert(dict(read(part, TABLE) for part in split(words)), Options)


def read(part: str, table: dict[str, Option]) -> tuple[str, Value]:
    """Returns name and value of one option, True for an option without a value.

    Raises:
        Invalid: The option is unknown, or its value does not fit.
    """
    name, has_value, text = part.partition("=")
    option = table.get(name)
    if option is None:
        raise Invalid(f"there is no option {name!r}; {_suggestion(name, table)}")
    if option.read is None:
        if has_value:
            raise Invalid(f"option {name} takes no value, and was given {text!r}")
        return name, True
    try:
        return name, option.read(text)
    except ValueError as error:
        raise Invalid(f"option {name} takes {error}, and was given {text!r}") from None


def _suggestion(name: str, table: dict[str, Option]) -> str:
    close = difflib.get_close_matches(name, table)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {' '.join(table)}"


def usage(table: dict[str, Option] = TABLE) -> str:
    """Returns all options, one a line, as the help shows them."""
    written = {n: f"{n}={o.placeholder}" if o.read else n for n, o in table.items()}
    width = max(map(len, written.values()))
    return "\n".join(f"{written[n]:{width}}  {table[n].help}" for n in table)
