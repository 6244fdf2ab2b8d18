"""Access to files and networks: nothing but reading below a few directories, by landlock(7).

The zygote makes the ruleset once; a job only enforces it on itself.  A job that compiles for a GPU
makes its own: it also writes to a directory of its own, and executes a few files.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

from jaxfs.posix import syscalls

_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1  # LANDLOCK_RULE_PATH_BENEATH
# LANDLOCK_ACCESS_FS_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG, _TRUNCATE
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_REG, _TRUNCATE = 1 << 5, 1 << 8, 1 << 14
_READ_WRITE = _READ_FILE | _WRITE_FILE | _TRUNCATE
# Access rights that each ABI version can handle: files; TCP bind and connect; as scopes, abstract
# unix sockets and signals to processes outside.
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK = {4: 0b11}
_SCOPES = {6: 0b11}


def abi_version() -> int:
    """Returns the Landlock ABI of this kernel; 0 if it has none."""
    try:
        return syscalls.call("landlock", syscalls.LANDLOCK_CREATE_RULESET, 0, 0, _VERSION)
    except OSError:
        return 0


def make_ruleset(
    readable: Iterable[Path],
    listable: Iterable[Path] = (),
    writable: Iterable[Path] = (),
    executable: Iterable[Path] = (),
) -> int:
    """Returns the descriptor of a ruleset that permits reading below some paths, nothing else.

    Args:
        readable: Files, and directories of which everything may be read and listed.
        listable: Directories of which everything may be listed.
        writable: Files that may also be written, and directories in which also files may be made.
        executable: Files that may also be executed.

    Raises:
        OSError: The kernel refuses it.
    """
    abi = abi_version()
    rights = [
        max((rights for since, rights in table.items() if since <= abi), default=0)
        for table in (_FILES, _NETWORK, _SCOPES)
    ]
    size = 8 * (1 + (abi >= 4) + (abi >= 6))  # older kernels know a shorter struct
    attributes = struct.pack("=QQQ", *rights)[:size]
    ruleset = syscalls.call("landlock", syscalls.LANDLOCK_CREATE_RULESET, attributes, size, 0)
    for path in readable:
        _allow(ruleset, path, _READ_FILE | _READ_DIR if path.is_dir() else _READ_FILE)
    for path in listable:
        _allow(ruleset, path, _READ_DIR)
    for path in writable:
        in_directory = _READ_DIR | _MAKE_REG | _REMOVE_FILE if path.is_dir() else 0
        _allow(ruleset, path, (_READ_WRITE | in_directory) & rights[0])
    for path in executable:
        _allow(ruleset, path, _READ_FILE | _EXECUTE)
    return ruleset


def enter(ruleset: int) -> None:
    """Enforces a ruleset on this process, irrevocably (landlock_restrict_self(2))."""
    syscalls.call("landlock_restrict_self", syscalls.LANDLOCK_RESTRICT_SELF, ruleset, 0)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    """Adds a rule for a file, or for all below a directory (landlock_add_rule(2))."""
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, parent)
        syscalls.call("landlock", syscalls.LANDLOCK_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(parent)
