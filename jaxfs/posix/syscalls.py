"""System calls that Python's standard library does not offer."""

from __future__ import annotations

import ctypes
import os

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2
_CAPABILITIES_V3 = 0x20080522
# from Linux 5.1 on, system calls have the same number on every architecture
LANDLOCK_CREATE_RULESET = 444
LANDLOCK_ADD_RULE = 445
LANDLOCK_RESTRICT_SELF = 446
MOUNT_SETATTR = 442
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def call(name: str, number: int, *arguments: object) -> int:
    """Makes a system call by its number; ints are passed as 64 bits.

    Raises:
        OSError: It failed; the message has ``name``.
    """
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(name, _libc.syscall(ctypes.c_long(number), *words))


def call_libc(name: str, *arguments: object) -> int:
    """Calls a function of the C library that returns -1 and sets errno when it fails.

    Raises:
        OSError: It failed; the message has ``name``.
    """
    return _checked(name, getattr(_libc, name)(*arguments))


def prctl(option: int, value: int) -> None:
    """Sets an attribute of this process or thread, by its number in linux/prctl.h.

    Raises:
        OSError: The kernel does not know it, or refuses it.
    """
    zero = ctypes.c_ulong(0)
    call_libc("prctl", option, ctypes.c_ulong(value), zero, zero, zero)


def punch_hole(fd: int, offset: int, nbytes: int) -> None:
    """Frees a range of a file, which then reads as zeros; see fallocate(2).

    Raises:
        OSError: The filesystem cannot.
    """
    mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
    call_libc("fallocate", fd, mode, ctypes.c_longlong(offset), ctypes.c_longlong(nbytes))


def drop_capabilities() -> None:
    """Drops all capabilities, in this user namespace and any other; see capset(2)."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    call_libc("capset", header, (ctypes.c_uint32 * 6)())


def _checked(name: str, result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result
