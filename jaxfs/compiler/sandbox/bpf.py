"""Assembles a seccomp filter from a table of rules: classic BPF, seccomp(2), <linux/filter.h>.

libseccomp would do it too, but its bindings on PyPI have had no release since 2021, start a C
compiler to find the library, and take longer to build a filter than a job takes; a list of system
calls needs no more than these few lines.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import msgspec

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data
_X32_BIT = 0x40000000  # the x32 ABI: other numbers under the architecture of x86_64

ALLOW = 0x7FFF0000  # SECCOMP_RET_ALLOW
KILL = 0x80000000  # SECCOMP_RET_KILL_PROCESS


def refuse(errno: int) -> int:
    """Returns the action that fails a system call with ``errno`` (SECCOMP_RET_ERRNO)."""
    return 0x00050000 | errno


class Check(msgspec.Struct, frozen=True):
    """The condition ``argument & mask == value``, on one 32-bit half of an argument.

    Attributes:
        argument: The position of the argument, from 0.
        value: What it has to be.
        mask: The bits that are compared.
        is_high: Whether the upper half is meant.
    """

    argument: int
    value: int
    mask: int = 0xFFFFFFFF
    is_high: bool = False


class SyscallRule(msgspec.Struct, frozen=True):
    """The rule for one system call.

    Attributes:
        number: The system call.
        action: The action if there are no ``checks``, or all of any one of them hold.
        checks: Alternatives, each a set of conditions.
        otherwise: The action if none of ``checks`` holds.
    """

    number: int
    action: int
    checks: tuple[tuple[Check, ...], ...] = ()
    otherwise: int = KILL


def assemble(arch: int, rules: Iterable[SyscallRule], default: int) -> bytes:
    """Returns the filter's instructions, each a ``struct sock_filter``.

    Args:
        arch: The AUDIT_ARCH of the machine; system calls of another one end the process.
        rules: At most one for each system call.
        default: The action for all other system calls.
    """
    code = [
        _op(_LOAD, _ARCH_AT),
        _op(_EQUAL, arch, 1, 0),
        _op(_RETURN, KILL),
        _op(_LOAD, _NUMBER_AT),
        _op(_AT_LEAST, _X32_BIT, 0, 1),
        _op(_RETURN, KILL),
    ]
    for rule in rules:
        body = list(_body(rule))
        code += [_op(_EQUAL, rule.number, 0, len(body)), *body]
    return b"".join([*code, _op(_RETURN, default)])


def _body(rule: SyscallRule) -> Iterator[bytes]:
    """Yields the instructions for one system call; they end in a return."""
    for checks in rule.checks:
        yield from _all_of(checks, rule.action)
    yield _op(_RETURN, rule.otherwise if rule.checks else rule.action)


def _all_of(checks: tuple[Check, ...], action: int) -> Iterator[bytes]:
    """Yields the instructions that return ``action`` if all checks hold, and continue if one fails.

    A failed check jumps over the rest: three instructions for each further check, and the return.
    """
    for i, check in enumerate(checks):
        yield _op(_LOAD, _ARGUMENTS_AT + 8 * check.argument + 4 * check.is_high)
        yield _op(_AND, check.mask)
        yield _op(_EQUAL, check.value, 0, 3 * (len(checks) - i - 1) + 1)
    yield _op(_RETURN, action)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
