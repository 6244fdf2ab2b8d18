"""The system calls that a job may make: seccomp(2).

Tracing and compiling need memory, threads, clocks, reading (of the paths that Landlock permits) and
writing to open files; these are allowed.  Any other call fails with EPERM, which Python raises as
an OSError with a traceback; calls that only an attack makes end the job with SIGSYS.  No other
process can be reached: none is forked, executed, signalled or traced, and no socket, pipe or file
is made.  Nor can it be seen: a call that takes a process id, or a process's clock, takes only the
job's own, and its answer does not depend on whether another number is in use.

A job that compiles for a GPU may also start programs, as posix_spawn(3) does; Landlock has the list
of them.  They inherit the filter.
"""

from __future__ import annotations

import ctypes
import errno
import platform
from collections.abc import Iterator

import msgspec

from jaxfs.compiler.sandbox.bpf import ALLOW, KILL, Check, SyscallRule, assemble, refuse
from jaxfs.compiler.sandbox.syscall_table import AUDIT_ARCH, numbers
from jaxfs.posix import syscalls

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_OWN_PID = -1  # replaced by the job's process id
_EPERM = refuse(errno.EPERM)
_CLONE_THREAD = 0x10000
_CLONE_NEW = 0x7E020080  # every namespace's flag
_MAP_SHARED_ANONYMOUS = 0x21  # RLIMIT_DATA does not count these pages
_MAP_HUGETLB = 0x40000
_TCGETS = 0x5401  # isatty(3)
_F_COMMANDS = (0, 1, 2, 3, 4, 1030, 1034)  # DUPFD, [GS]ETFD, [GS]ETFL, DUPFD_CLOEXEC, GET_SEALS
_PR_NAME = (15, 16)  # threads set their names

_ALLOWED = """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close
    close_range fsync fdatasync ftruncate fallocate fadvise64 open openat stat fstat lstat
    newfstatat statx access faccessat readlink readlinkat getdents getdents64 getcwd dup dup2
    dup3
    brk munmap mprotect mremap madvise msync mincore pkey_alloc pkey_free pkey_mprotect
    futex futex_waitv set_robust_list rseq membarrier arch_prctl set_tid_address gettid
    sched_yield getcpu sched_get_priority_max sched_get_priority_min
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend
    sigaltstack pause restart_syscall
    nanosleep gettimeofday time times getitimer setitimer alarm
    getpid getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp
    getrusage getrlimit uname sysinfo umask
    getrandom poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait
    epoll_pwait eventfd eventfd2 sendmsg getsockname getpeername getsockopt shutdown
    get_mempolicy exit exit_group
"""
# The C library has a fallback for these where they do not exist; their flags are in memory, which a
# filter cannot read.
_UNKNOWN = """
    clone3 openat2 faccessat2 epoll_pwait2 map_shadow_stack
"""
_FATAL = """
    ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_open pidfd_getfd
    pidfd_send_signal keyctl add_key request_key userfaultfd unshare setns mount umount2
    pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr bpf
    perf_event_open io_uring_setup io_uring_enter io_uring_register kexec_load kexec_file_load
    init_module finit_module delete_module reboot swapon swapoff open_by_handle_at
    name_to_handle_at fanotify_init quotactl acct iopl ioperm modify_ldt settimeofday
    clock_settime adjtimex clock_adjtime sethostname setdomainname syslog vhangup lookup_dcookie
    nfsservctl memfd_secret
"""

# What starting a program takes: a pipe for its output, its end, and the files it exchanges.  The
# program asks for its own number too, which is none that the filter knows.
_FOR_TOOLS = """
    execve pipe2 wait4 waitid unlink unlinkat
"""
_OWN = ((Check(0, 0),), (Check(0, _OWN_PID),))  # the first argument is this process
_CLOCKS = ((Check(0, 0, mask=1 << 31),), (Check(0, 4, mask=4),))  # no process's, but own threads'

_SPAWN = (Check(0, 0x4100, mask=0x4100 | _CLONE_THREAD | _CLONE_NEW),)  # CLONE_VFORK CLONE_VM

# Calls that are allowed with some arguments: alternatives, each a set of checks that must hold.
_WITH_ARGUMENTS: dict[str, tuple[tuple[Check, ...], ...]] = {
    "mmap": (
        (
            Check(3, 0, mask=_MAP_HUGETLB),
            Check(3, 0x01, mask=_MAP_SHARED_ANONYMOUS),
        ),
        (Check(3, 0, mask=_MAP_HUGETLB | 0x01),),
    ),
    "clone": ((Check(0, _CLONE_THREAD, mask=_CLONE_THREAD | _CLONE_NEW),),),
    "fcntl": tuple((Check(1, command),) for command in _F_COMMANDS),
    "ioctl": ((Check(1, _TCGETS),),),
    "prctl": tuple((Check(0, option),) for option in _PR_NAME),
    "prlimit64": _OWN,
    "getpgid": _OWN,
    "getsid": _OWN,
    "sched_getscheduler": _OWN,
    "sched_getparam": _OWN,
    "sched_getaffinity": _OWN,
    "getpriority": ((Check(0, 0), Check(1, 0)),),
    "clock_gettime": _CLOCKS,
    "clock_getres": _CLOCKS,
    "clock_nanosleep": _CLOCKS,
    "kill": ((Check(0, _OWN_PID),),),
    "tgkill": ((Check(0, _OWN_PID),),),
    "sendto": ((Check(4, 0), Check(4, 0, is_high=True)),),  # without an address: connected ones
    "setpriority": ((Check(0, 0), Check(1, 0)),),
}
# The C library asks for these of its threads, which have numbers of their own: the answer is that
# of a thread with default settings, and pthread_getattr_np(3) does without ENOSYS's.
_OTHERWISE = {
    "sched_getscheduler": refuse(0),
    "sched_getparam": refuse(0),
    "sched_getaffinity": refuse(errno.ENOSYS),
}


def filter_for(pid: int, *, runs_tools: bool = False) -> bytes:
    """Returns the filter for the process ``pid``, as an array of ``struct sock_filter``."""
    rules = _rules(numbers(), pid, runs_tools=runs_tools)
    return assemble(AUDIT_ARCH[platform.machine()], rules, _EPERM)


def enter(pid: int, *, runs_tools: bool = False) -> None:
    """Installs the filter for this process, whose id is ``pid``, and its future threads.

    Args:
        pid: The process.
        runs_tools: Whether it may start programs.
    """
    code = filter_for(pid, runs_tools=runs_tools)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = _SockFprog(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    mode, at = ctypes.c_ulong(_MODE_FILTER), ctypes.byref(header)
    syscalls.call_libc("prctl", _PR_SET_SECCOMP, mode, at, ctypes.c_ulong(0), ctypes.c_ulong(0))


class _SockFprog(ctypes.Structure):
    """``struct sock_fprog`` of <linux/filter.h>."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _rules(known: dict[str, int], pid: int, *, runs_tools: bool) -> Iterator[SyscallRule]:
    more = {"clone": (*_WITH_ARGUMENTS["clone"], _SPAWN)} if runs_tools else {}
    allowed = f"{_ALLOWED} {_FOR_TOOLS}" if runs_tools else _ALLOWED
    for name, checks in {**_WITH_ARGUMENTS, **more}.items():
        own = tuple(tuple(_filled_in(check, pid) for check in every) for every in checks)
        yield SyscallRule(known[name], ALLOW, own, otherwise=_OTHERWISE.get(name, _EPERM))
    for names, action in ((allowed, ALLOW), (_UNKNOWN, refuse(errno.ENOSYS)), (_FATAL, KILL)):
        for name in names.split():
            if name in known:  # not every architecture has the old ones
                yield SyscallRule(known[name], action)


def _filled_in(check: Check, pid: int) -> Check:
    return msgspec.structs.replace(check, value=pid) if check.value == _OWN_PID else check
