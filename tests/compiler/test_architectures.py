"""The system calls of the sandbox, by architecture: against the kernel's headers and libseccomp."""

from __future__ import annotations

import ctypes
import errno
import platform
import re
import struct
from functools import cache
from pathlib import Path

import pytest

from jaxfs.compiler.sandbox import seccomp, syscall_table
from jaxfs.compiler.sandbox.bpf import ALLOW, KILL, refuse
from jaxfs.posix import syscalls

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),  # arm64 has the generic table
}
# libseccomp's names of the architectures are their AUDIT_ARCH
LIBSECCOMP = "libseccomp.so.2"
UNKNOWN_NAME = -1  # __NR_SCMP_ERROR; other negative numbers: not on this architecture
LEAST = 140  # of our names: headers of any age have so many
X86, ARM = "x86_64", "aarch64"
# Names that the generic header has with 64-bit arguments under a number of its own.
_GENERIC = re.compile(r"#define __NR(3264)?_(\w+) (\d+)")
_ALIASES = {"fstatat": "newfstatat"}


@cache
def header_numbers(machine: str) -> dict[str, int]:
    """The numbers in the kernel's header, by name."""
    if not HEADERS[machine].exists():
        pytest.skip(f"{HEADERS[machine]} is not installed: linux-libc-dev")
    found = _GENERIC.findall(HEADERS[machine].read_text())
    return {_ALIASES.get(name, name): int(number) for _, name, number in found}


@pytest.fixture(params=[X86, ARM])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An architecture that the process believes to run on."""
    monkeypatch.setattr(platform, "machine", lambda: request.param)
    return str(request.param)


def test_numbers_are_those_of_the_kernels_header(machine: str) -> None:
    known, ours = header_numbers(machine), syscall_table.numbers()
    common = known.keys() & ours.keys()
    assert {name: ours[name] for name in common} == {name: known[name] for name in common}
    assert len(common) > LEAST


def test_calls_that_an_architecture_lacks_are_not_in_its_header(machine: str) -> None:
    known, ours = header_numbers(machine), syscall_table.numbers()
    absent = {name for name in syscall_table._NUMBERS if name not in ours}
    assert not absent & known.keys()


def test_numbers_are_those_of_libseccomp(machine: str) -> None:
    try:
        library = ctypes.CDLL(LIBSECCOMP)
    except OSError:
        pytest.skip("libseccomp is not installed")
    resolve = library.seccomp_syscall_resolve_name_arch
    resolve.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
    arch, ours = syscall_table.AUDIT_ARCH[machine], syscall_table.numbers()
    theirs = {name: resolve(arch, name.encode()) for name in syscall_table._NUMBERS}
    known = {name: number for name, number in theirs.items() if number != UNKNOWN_NAME}
    assert {n: i for n, i in known.items() if i >= 0} == {n: ours[n] for n in known if n in ours}
    assert len(known) > LEAST


def test_numbers_given_for_all_architectures_are_the_same_on_them(machine: str) -> None:
    known = header_numbers(machine)
    for name in ("LANDLOCK_CREATE_RULESET", "LANDLOCK_ADD_RULE", "LANDLOCK_RESTRICT_SELF"):
        assert known[name.lower()] == getattr(syscalls, name)
    assert known["mount_setattr"] == syscalls.MOUNT_SETATTR


# What the filter does, in a machine of classic BPF


def verdict(code: bytes, arch: int, number: int, *arguments: int) -> int:
    """The action that a filter returns for one system call."""
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("<iIQ6Q", number, arch, 0, *padded)
    accumulator = at = 0
    while True:
        operation, if_true, if_false, value = struct.unpack_from("=HBBI", code, 8 * at)
        at += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x15:
            at += if_true if accumulator == value else if_false
        elif operation == 0x35:
            at += if_true if accumulator >= value else if_false
        else:
            assert operation == 0x06
            return int(value)


PID = 4321
FORK = 0x1200011  # clone's flags in glibc's fork
THREAD = 0x3D0F00  # those of pthread_create


@pytest.mark.parametrize(
    ("name", "arguments", "action"),
    [
        ("openat", (), ALLOW),
        ("read", (), ALLOW),
        ("mmap", (0, 4096, 3, 0x22), ALLOW),
        ("mmap", (0, 4096, 3, 0x21), refuse(errno.EPERM)),
        ("clone", (THREAD,), ALLOW),
        ("clone", (FORK,), refuse(errno.EPERM)),
        ("clone3", (), refuse(errno.ENOSYS)),
        ("kill", (PID, 6), ALLOW),
        ("kill", (1, 9), refuse(errno.EPERM)),
        ("ptrace", (), KILL),
        ("mount", (), KILL),
        ("socket", (), refuse(errno.EPERM)),
        ("execve", (), refuse(errno.EPERM)),
        ("openat2", (), refuse(errno.ENOSYS)),
        ("memfd_create", (), refuse(errno.EPERM)),
    ],
)
def test_the_filter_means_the_same_on_each_architecture(
    name: str, arguments: tuple[int, ...], action: int, machine: str
) -> None:
    code, arch = seccomp.filter_for(PID), syscall_table.AUDIT_ARCH[machine]
    assert verdict(code, arch, header_numbers(machine)[name], *arguments) == action


def test_calls_of_another_architecture_end_the_job(machine: str) -> None:
    code = seccomp.filter_for(PID)
    (other,) = {X86, ARM} - {machine}
    number = header_numbers(machine)["read"]
    assert verdict(code, syscall_table.AUDIT_ARCH[other], number) == KILL


def test_an_unknown_architecture_has_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    # the layer then counts as missing, and pickled functions are refused
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(KeyError):
        seccomp.filter_for(PID)
