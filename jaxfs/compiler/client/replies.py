"""Checks of what comes back from a process that has read a user's bytes.

msgspec has checked that messages have their types; here is what types do not express.  The errors
name "the tracer", as ``health`` does.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal

from jaxfs.compiler.job_protocol import (
    FILES,
    Compiled,
    Drawn,
    Interpreted,
    Refused,
    Traced,
    UntypedProgram,
)
from jaxfs.errors import (
    Invalid,
    JaxfsError,
    NoSpace,
    NotSupported,
    RunFailed,
    TimedOut,
    from_errno,
)
from jaxfs.types.avals import BY_SHORT
from jaxfs.types.partial_avals import KnownAval
from jaxfs.types.signature import Param

Answer = Traced | UntypedProgram | Compiled | Interpreted | Drawn
MAX_FILE_BYTES = 4 << 30  # an artifact with its weights
MAX_REASON = 2000  # characters
_MAX_RANK = 64  # that XLA compiles
_MAX_SIZE = 200  # characters of a symbolic size
_BLOCK_BYTES = 512  # the unit of st_blocks, see inode(7)
_NO_MEMORY = re.compile(r"std::bad_alloc|[Oo]ut of memory|MemoryError")  # C++, LLVM, Python
# Of the interpreter's last words; the first group is the operation.
_UNINTERPRETED = (
    re.compile(r"LLVM ERROR: Operation (?:stablehlo\.)?(\S+) is unsupported"),
    re.compile(r"LLVM ERROR: Unsupported op: .*?stablehlo\.(custom_call @\S+?|\w+)[ (]"),
    re.compile(r"LLVM ERROR: (?:stablehlo\.)?(\w+) is only supported when run via"),
    re.compile(r"Can't cast unknown element type (Dense)"),
)
_NAME = re.compile(r"[A-Za-z0-9_.]{0,128}\Z")
_FROM_OUTSIDE = frozenset({"SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"})  # no crash ends so


def checked(reply: Answer | Refused, fds: list[int]) -> Answer:
    """Returns the reply of a job that worked.

    Raises:
        JaxfsError: the job refused the program; the error is the job's.
        RunFailed: no honest job sends such a reply.
    """
    if isinstance(reply, Refused):
        raise from_errno(reply.errno, reply.reason, reply.diagnostics)
    expected = 0 if isinstance(reply, UntypedProgram) else FILES
    if len(fds) != expected:
        raise RunFailed(f"the tracer handed back {len(fds)} files instead of {expected}")
    if isinstance(reply, Traced):
        for param in (*reply.signature.inputs, *reply.signature.outputs):
            if not _is_sane(param):
                raise RunFailed(f"the tracer handed back an impossible parameter: {param!r}"[:500])
    if isinstance(reply, UntypedProgram):
        _check_untyped(reply)
    return reply


def _is_sane(param: Param) -> bool:
    is_known = param.aval.dtype in BY_SHORT and all(size >= 0 for size in param.aval.shape)
    return is_known and _NAME.match(param.name) is not None


def _check_untyped(reply: UntypedProgram) -> None:
    """Checks an answer about a program without types; the process that sent it ran user code.

    Raises:
        RunFailed: It has names, types or sizes that no program has.
    """
    is_sane = all(map(_NAME.match, reply.parameters)) and all(map(_is_possible, reply.inputs))
    is_short = len(reply.reason) <= MAX_REASON and len(reply.inputs) == len(reply.parameters)
    if not is_sane or not is_short:
        raise RunFailed(f"the tracer handed back an impossible answer: {reply!r}"[:500])


def _is_possible(known: KnownAval) -> bool:
    if known is None:
        return True
    is_known = known.dtype in BY_SHORT and len(known.sizes) <= _MAX_RANK
    return is_known and all(map(_is_size, known.sizes))


def _is_size(size: int | str) -> bool:
    """Returns whether a size is possible: a number, or a printable expression such as ``2*b``."""
    if isinstance(size, int):
        return size >= 0
    return 0 < len(size) <= _MAX_SIZE and size.isprintable() and " " not in size


def read_file(fd: int) -> bytes:
    """Returns a copy of a file that a job made.

    The job may still hold a descriptor and change the file: never map it.  Its size is read once.

    Raises:
        NoSpace: the file is larger than ``MAX_FILE_BYTES``.
        RunFailed: it is not a whole file in memory.
    """
    size = _size_in_memory(fd)
    if size > MAX_FILE_BYTES:
        raise NoSpace(f"the compiled form is {size} bytes, over the limit of {MAX_FILE_BYTES}")
    chunks, done = list[bytes](), 0
    while done < size and (chunk := os.pread(fd, size - done, done)):
        chunks.append(chunk)
        done += len(chunk)
    return b"".join(chunks)


def _size_in_memory(fd: int) -> int:
    """Returns the size of a memfd, without holes.

    Reading a pipe, a socket or a file on a disk may block; only memfds have seals, see
    memfd_create(2).  A file of holes costs its writer nothing and us its size.

    Raises:
        RunFailed: It is any other descriptor.
    """
    status = os.fstat(fd)
    try:
        fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        raise RunFailed("the tracer handed back something that is not a file in memory") from None
    if status.st_blocks * _BLOCK_BYTES < status.st_size:
        raise RunFailed("the tracer handed back a file with holes in it")
    return status.st_size


class CompilerCrashed(Invalid):
    """The process of a job ended by a fault; the diagnostics are the end of its stderr."""


def crash(status: int, stderr_tail: str) -> JaxfsError:
    """Returns the error for a job's process that ended without a reply; arguments as in `Ended`."""
    name = signal.Signals(-status).name if status < 0 else f"exit code {status}"
    if name == "SIGKILL":  # not sent by the front: the kernel's, most likely
        return RunFailed(f"the compiler was ended ({name}); the machine may be out of memory")
    if name in _FROM_OUTSIDE:
        return RunFailed(f"the compiler was ended from outside ({name})", stderr_tail)
    if name == "SIGSYS":
        reason = "the program made a forbidden system call and was ended (seccomp, SIGSYS)"
        return Invalid(reason, stderr_tail)
    if name == "SIGXCPU":
        return TimedOut("the program took more CPU time than its deadline allows (SIGXCPU)")
    if _NO_MEMORY.search(stderr_tail):
        return NoSpace("the compiler ran out of memory on this program", stderr_tail)
    return CompilerCrashed(f"the compiler crashed on this program ({name})", stderr_tail)


def cannot_interpret(error: CompilerCrashed) -> NotSupported:
    """Returns the error of a program on which the reference interpreter ended its process."""
    matches = (pattern.search(error.diagnostics) for pattern in _UNINTERPRETED)
    found = next((match[1] for match in matches if match), "this program")
    operation = "complex inputs or outputs" if found == "Dense" else found
    return NotSupported(f"the reference interpreter cannot run {operation}", error.diagnostics)
