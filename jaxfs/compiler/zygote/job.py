"""One job, in a process of its own: reads the source, does the work, sends the reply, exits."""

from __future__ import annotations

import errno
import os
import socket
import traceback
from collections.abc import Callable, Sequence

import msgspec
from jaxlib.mlir import ir

from jaxfs.compiler.job_protocol import (
    Compile,
    Draw,
    Drawn,
    Interpret,
    Interpreted,
    Refused,
    Reply,
    Trace,
    UntypedProgram,
    Work,
)
from jaxfs.compiler.jobs.compile import compile_artifact
from jaxfs.compiler.jobs.draw import draw_artifact
from jaxfs.compiler.jobs.interpret import interpret
from jaxfs.compiler.jobs.trace import trace
from jaxfs.errors import JaxfsError
from jaxfs.ipc.channel import MAX_MESSAGE_BYTES, send_fds

MAX_REPLY_BYTES = MAX_MESSAGE_BYTES - 4096  # the signature must fit into later messages too
MAX_DIAGNOSTICS = 32 << 10  # characters; the first ones matter most
NICENESS = 10  # compilers take every core for seconds; calls and reads of files have priority
LONG_NICENESS = 19  # of a job that takes long: shorter ones have priority
Done = tuple[Reply, tuple[bytes, ...]]  # with the content of its files


def run_job(
    context: ir.Context, work: Work, reply: int, source: int, outputs: Sequence[int]
) -> None:
    """Does the work and sends the reply.  A failure is a reply too, or ends the process.

    Args:
        context: An MLIR context.
        work: What to do.
        reply: The socket for the reply.
        source: A file with the input.
        outputs: Empty files in memory for the reply: in the sandbox none can be made.
    """
    niceness = os.getpriority(os.PRIO_PROCESS, 0)  # of a daemon that runs under nice(1)
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, niceness))
    message, files = _done(context, work, source)
    data = msgspec.msgpack.encode(message)
    if len(data) > MAX_REPLY_BYTES:
        reason = (
            f"the program's signature is {len(data)} bytes long, over the limit of "
            f"{MAX_REPLY_BYTES}; give it fewer, larger arrays"
        )
        data, files = msgspec.msgpack.encode(Refused(errno.EINVAL, reason)), ()
    used = list(zip(outputs, files, strict=False))
    for fd, content in used:
        _write_whole(fd, content)
    with socket.socket(fileno=reply) as sock:
        send_fds(sock, data, [fd for fd, _ in used])


def _done(context: ir.Context, work: Work, source: int) -> Done:
    """Returns the reply, also for a failure."""
    try:
        return _WORK[type(work)](context, _read_whole(source), work)
    except JaxfsError as error:
        return Refused(error.errno, error.reason, error.diagnostics[:MAX_DIAGNOSTICS]), ()
    except MemoryError:
        return Refused(errno.ENOSPC, "there is not enough memory to compile this program"), ()
    except Exception as error:  # a bug of ours, or damage that no check has found
        diagnostics = traceback.format_exc()[-MAX_DIAGNOSTICS:]
        reason = f"internal error while compiling: {error!r}"[:1000]
        return Refused(errno.EIO, reason, diagnostics), ()


def _trace(context: ir.Context, source: bytes, work: Trace) -> Done:
    made = trace(context, source, work)
    return (made, ()) if isinstance(made, UntypedProgram) else (made.traced, (made.data, made.text))


def _compile(context: ir.Context, artifact: bytes, work: Compile) -> Done:
    made = compile_artifact(context, artifact, work)
    return made.compiled, (made.data, made.hlo)


def _interpret(context: ir.Context, packed: bytes, work: Interpret) -> Done:
    return Interpreted(), (interpret(context, packed, work), b"")


def _draw(context: ir.Context, artifact: bytes, work: Draw) -> Done:
    return Drawn(), (draw_artifact(context, artifact, work), b"")


_WORK: dict[type, Callable[..., Done]] = {
    Trace: _trace,
    Compile: _compile,
    Interpret: _interpret,
    Draw: _draw,
}


def _read_whole(fd: int) -> bytes:
    """Returns the whole file, whatever its offset: the front may be reading it too."""
    size = os.fstat(fd).st_size
    chunks, done = list[bytes](), 0
    while done < size and (chunk := os.pread(fd, size - done, done)):
        chunks.append(chunk)
        done += len(chunk)
    return b"".join(chunks)


def _write_whole(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
