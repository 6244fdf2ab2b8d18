"""What comes back from a process that has read a user's bytes, looked at before it is believed.

msgspec has checked that messages have their types; here is what types do not say.
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
from jaxfs.errors import Invalid, JaxfsError, NoSpace, RunFailed, TimedOut, from_errno
from jaxfs.types.avals import BY_SHORT
from jaxfs.types.partial_avals import KnownAval
from jaxfs.types.signature import Param, Signature

Answer = Traced | UntypedProgram | Compiled | Interpreted | Drawn
MAX_FILE_BYTES = 4 << 30  # an artifact with its weights
MAX_REASON = 2000  # characters
_MAX_RANK = 64  # as of what is compiled
_MAX_SIZE = 200  # characters of a size that comes with the call
_BLOCK_BYTES = 512  # of st_blocks
_NO_MEMORY = re.compile(r"std::bad_alloc|[Oo]ut of memory|MemoryError")  # C++, LLVM, Python
_NAME = re.compile(r"[A-Za-z0-9_.]{0,128}\Z")


def checked(reply: Answer | Refused, fds: list[int]) -> Answer:
    """The reply of a job that worked.  Raises what the child refused, or RunFailed for nonsense."""
    if isinstance(reply, Refused):
        raise from_errno(reply.errno, reply.reason, reply.diagnostics)
    wanted = 0 if isinstance(reply, UntypedProgram) else FILES
    if len(fds) != wanted:
        raise RunFailed(f"the tracer handed back {len(fds)} files instead of {wanted}")
    if isinstance(reply, Traced):
        _check_signature(reply.signature)
    if isinstance(reply, UntypedProgram):
        _check_untyped(reply)
    return reply


def _check_signature(signature: Signature) -> None:
    for param in (*signature.inputs, *signature.outputs):
        if not _is_sane(param):
            raise RunFailed(f"the tracer handed back an impossible parameter: {param!r}"[:500])


def _check_untyped(reply: UntypedProgram) -> None:
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
    if isinstance(size, int):
        return size >= 0
    return 0 < len(size) <= _MAX_SIZE and size.isprintable() and " " not in size


def _is_sane(param: Param) -> bool:
    is_known = param.aval.dtype in BY_SHORT and all(size >= 0 for size in param.aval.shape)
    return is_known and _NAME.match(param.name) is not None


def read_file(fd: int) -> bytes:
    """A copy of a file the child made; it may still hold a descriptor, so never map it."""
    size = _size_in_memory(fd)
    if size > MAX_FILE_BYTES:
        raise NoSpace(f"the compiled form is {size} bytes, over the limit of {MAX_FILE_BYTES}")
    parts, done = list[bytes](), 0
    while done < size and (part := os.pread(fd, size - done, done)):
        parts.append(part)
        done += len(part)
    return b"".join(parts)


def _size_in_memory(fd: int) -> int:
    """Only files in memory have seals: reading a pipe, a socket or a disk's file may wait."""
    status = os.fstat(fd)
    try:
        fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        raise RunFailed("the tracer handed back what is no file in memory") from None
    if status.st_blocks * _BLOCK_BYTES < status.st_size:
        raise RunFailed("the tracer handed back a file with holes in it")  # it costs them nothing
    return status.st_size


def crash(status: int, last_words: str) -> JaxfsError:
    """The error for a child that ended without an answer."""
    name = signal.Signals(-status).name if status < 0 else f"exit code {status}"
    if name == "SIGKILL":  # not by us: the kernel, most likely
        return RunFailed(f"the compiler was ended ({name}); the machine may be out of memory")
    if name == "SIGSYS":
        words = "the program made a forbidden system call and was ended (seccomp, SIGSYS)"
        return Invalid(words, last_words)
    if name == "SIGXCPU":
        return TimedOut("the program took more CPU time than its deadline allows (SIGXCPU)")
    if _NO_MEMORY.search(last_words):
        return NoSpace("the compiler ran out of memory on this program", last_words)
    return Invalid(f"the compiler crashed on this program ({name})", last_words)
