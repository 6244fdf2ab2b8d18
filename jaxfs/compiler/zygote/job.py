"""One job in a process of its own: read the input, do the work, answer, exit."""

from __future__ import annotations

import errno
import os
import socket
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from jaxfs.compiler.job_protocol import (
    Compile,
    Compiled,
    Draw,
    Drawn,
    Interpret,
    Interpreted,
    Refused,
    Trace,
    Traced,
    UntypedProgram,
    Work,
)
from jaxfs.compiler.jobs.compile import compile_artifact
from jaxfs.compiler.jobs.draw import draw_artifact
from jaxfs.compiler.jobs.interpret import interpret
from jaxfs.compiler.jobs.trace import trace
from jaxfs.errors import JaxfsError
from jaxfs.ipc.channel import MAX_MESSAGE_BYTES, send_fds

MAX_ANSWER_BYTES = MAX_MESSAGE_BYTES - 4096  # the signature must fit into later messages too
MAX_DIAGNOSTICS = 32 << 10  # characters; the beginning says most
NICENESS = 10  # compilers take every core for seconds; who calls and looks comes first
Answer = Traced | UntypedProgram | Compiled | Interpreted | Drawn | Refused
Done = tuple[Answer, tuple[bytes, ...]]  # with the content of its files


def run_job(context: Any, work: Work, reply: int, source: int, outputs: Sequence[int]) -> None:
    """Do the work and send its answer.  Never raises: what fails is told, or ends the process.

    ``outputs`` are empty files in memory to answer in: here in the sandbox none can be made.
    """
    os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    answer, files = _work_on(context, work, source)
    data = msgspec.msgpack.encode(answer)
    if len(data) > MAX_ANSWER_BYTES:
        answer, files = _too_long(len(data)), ()
        data = msgspec.msgpack.encode(answer)
    with socket.socket(fileno=reply) as sock:
        send_fds(
            sock, data, [_filled(fd, content) for fd, content in zip(outputs, files, strict=False)]
        )


def _work_on(context: Any, work: Work, source: int) -> Done:
    try:
        return _WORK[type(work)](context, _read_whole(source), work)
    except JaxfsError as error:
        return Refused(error.errno, error.reason, error.diagnostics[:MAX_DIAGNOSTICS]), ()
    except MemoryError:
        return Refused(errno.ENOSPC, "there is not enough memory to compile this program"), ()
    except Exception as error:  # our bug, or garbage the checks let through: told, not lost
        words = traceback.format_exc()[-MAX_DIAGNOSTICS:]
        return Refused(errno.EIO, f"internal error while compiling: {error!r}"[:1000], words), ()


def _trace(context: Any, source: bytes, work: Trace) -> Done:
    made = trace(context, source, work)
    return (made, ()) if isinstance(made, UntypedProgram) else (made.traced, (made.data, made.text))


def _compile(context: Any, artifact: bytes, work: Compile) -> Done:
    built = compile_artifact(context, artifact, work)
    return built.compiled, (built.data, built.hlo)


def _interpret(context: Any, packed: bytes, work: Interpret) -> Done:
    return Interpreted(), (interpret(context, packed, work), b"")


def _draw(context: Any, artifact: bytes, work: Draw) -> Done:
    return Drawn(), (draw_artifact(context, artifact, work), b"")


_WORK: dict[type, Callable[..., Done]] = {
    Trace: _trace,
    Compile: _compile,
    Interpret: _interpret,
    Draw: _draw,
}


def _too_long(nbytes: int) -> Refused:
    limit = f"over the limit of {MAX_ANSWER_BYTES}"
    return Refused(
        errno.EINVAL,
        f"the program's signature is {nbytes} bytes long, {limit}; give it fewer, larger arrays",
    )


def _read_whole(fd: int) -> bytes:
    """The whole file, whatever its offset: the front may be reading it too."""
    size = os.fstat(fd).st_size
    parts, done = list[bytes](), 0
    while done < size and (part := os.pread(fd, size - done, done)):
        parts.append(part)
        done += len(part)
    return b"".join(parts)


def _filled(fd: int, content: bytes) -> int:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    return fd
