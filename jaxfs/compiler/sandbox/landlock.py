"""Files and networks: nothing but reading below a few directories.

landlock(7).  The set of rules is made once; a job's process only enters it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

from jaxfs.posix import syscalls

_VERSION = 1  # flag of landlock_create_ruleset(2)
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# Rights that a version of Landlock can refuse: files; TCP bind and connect; abstract unix sockets
# and signals to processes outside.
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK = {4: 0b11}
_SCOPES = {6: 0b11}


def abi_version() -> int:
    """What this kernel offers, 0 for nothing."""
    try:
        return syscalls.call("landlock", syscalls.LANDLOCK_CREATE_RULESET, 0, 0, _VERSION)
    except OSError:
        return 0


def make_ruleset(readable: Iterable[Path]) -> int:
    """A descriptor of rules that let nothing but these be read.  Raises OSError."""
    offered = abi_version()
    rights = [_newest(table, offered) for table in (_FILES, _NETWORK, _SCOPES)]
    size = 8 * (1 + (offered >= 4) + (offered >= 6))  # older kernels know a shorter struct
    attributes = struct.pack("=QQQ", *rights)[:size]
    rules = syscalls.call("landlock", syscalls.LANDLOCK_CREATE_RULESET, attributes, size, 0)
    for path in readable:
        _allow_reading(rules, path)
    return rules


def enter(rules: int) -> None:
    """Put this process under the rules, for ever."""
    syscalls.call("landlock_restrict_self", syscalls.LANDLOCK_RESTRICT_SELF, rules, 0)


def _allow_reading(rules: int, path: Path) -> None:
    where = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = _READ_FILE | _READ_DIR if path.is_dir() else _READ_FILE
        rule = struct.pack("=Qi", rights, where)
        syscalls.call("landlock", syscalls.LANDLOCK_ADD_RULE, rules, _PATH_BENEATH, rule, 0)
    finally:
        os.close(where)


def _newest(table: dict[int, int], offered: int) -> int:
    return max((rights for since, rights in table.items() if since <= offered), default=0)
