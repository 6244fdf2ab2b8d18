"""The messages between the front and the compiler's processes.

The zygote reads `Request` messages on its control socket.  With each `Job` come descriptors: first
the job's own reply socket, then its input files.  The zygote forks a child; the child does the job,
sends one `Reply` on the job's socket with the descriptors of its output files, and exits.  A reply
socket that closes without a message means that the child died; `Ended` on the control socket has
its exit status.
"""

from __future__ import annotations

import msgspec

from jaxfs.ipc.channel import VERSION
from jaxfs.types.avals import Aval
from jaxfs.types.compile_target import CompileTarget
from jaxfs.types.partial_avals import KnownAval
from jaxfs.types.signature import Signature

FILES = 2  # sent with the reply of a job that worked; see each reply for their order


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The zygote is ready for jobs.

    Attributes:
        pid: its process.
        toolchain: the versions of jax and jaxlib.
        layers: those of the sandbox that work on this machine.
        version: of this protocol.
    """

    pid: int
    toolchain: str
    layers: tuple[str, ...] = ()
    version: int = VERSION


class Trace(msgspec.Struct, frozen=True, tag=True):
    """Turn a source (one descriptor: the bytes as the user wrote them) into an artifact.

    Attributes:
        platform: where it is to run, as lowerings name it (``cpu``, ``cuda``); a jax.export
            artifact for other platforms is refused.
        steps: transformations in the order of a path, the outermost first.
        types: of all inputs, flat; None if they are not known yet.
        options: arguments of ``jax.jit`` for a pickled function.
        takes_pickles: whether the author's Python may run.
    """

    platform: str
    steps: tuple[str, ...] = ()
    types: tuple[Aval, ...] | None = None
    options: dict[str, str] = {}
    takes_pickles: bool = False


class Compile(msgspec.Struct, frozen=True, tag=True):
    """Compile an artifact (one descriptor) for devices of a platform.

    Attributes:
        target: what to compile for.
        device_ids: one device for each partition.
        device_count: how many the engine has, so that device numbers mean the same there.
        signature: the artifact's; the job refuses a module that differs from it.
    """

    target: CompileTarget
    device_ids: tuple[int, ...]
    device_count: int
    signature: Signature


class Interpret(msgspec.Struct, frozen=True, tag=True):
    """Run an artifact in StableHLO's reference interpreter.

    One descriptor: the artifact's length in 8 bytes, little endian, the artifact, the inputs' bytes
    in order.

    Attributes:
        signature: the artifact's.
    """

    signature: Signature


class Draw(msgspec.Struct, frozen=True, tag=True):
    """Draw an artifact (one descriptor).

    Attributes:
        signature: the artifact's, for the names of inputs and outputs.
    """

    signature: Signature


Work = Trace | Compile | Interpret | Draw


class Job(msgspec.Struct, frozen=True, tag=True):
    """Start one job.

    Attributes:
        job: the front's number for it.
        work: the job.
        uid: the user whose rights it gets, if the zygote runs as root; None: the zygote's own, or
            those of the user ``nobody`` where the zygote's are root's.
        gid: likewise.
    """

    job: int
    work: Work
    uid: int | None = None
    gid: int | None = None


class Kill(msgspec.Struct, frozen=True, tag=True):
    """End a job now, because of its deadline or because it was cancelled.

    Attributes:
        job: its number; a job that has ended already is ignored.
    """

    job: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A child has exited.

    Attributes:
        job: its number.
        status: its exit code, or minus the signal that ended it.
        stderr_tail: the end of what it wrote to stderr.
    """

    job: int
    status: int
    stderr_tail: str = ""


class Traced(msgspec.Struct, frozen=True, tag=True):
    """A source became an artifact.  Descriptors: the portable artifact, its StableHLO text.

    Attributes:
        source_format: stablehlo_text, mlir_bytecode, portable_artifact, jax_export or pickle.
        signature: inputs and outputs.
        platforms: those it can run on; empty: any.
        partitions: how many devices it runs on at once.
    """

    source_format: str
    signature: Signature
    platforms: tuple[str, ...]
    partitions: int = 1


class UntypedProgram(msgspec.Struct, frozen=True, tag="Untyped"):  # state directories have the tag
    """A source is valid, but has no types of its own: `Trace.types` are needed.  No descriptors.

    Attributes:
        source_format: as in `Traced`.
        parameters: the names of the inputs, flat, or of the function's arguments if even the
            structure of the inputs comes with the call.
        reason: why types are needed, in one line for the user.
        inputs: what is known of each parameter.  It has no default, so that a record of an older
            version in the state directory is not read and the source is traced again.
    """

    source_format: str
    parameters: tuple[str, ...]
    reason: str
    inputs: tuple[KnownAval, ...]


class Compiled(msgspec.Struct, frozen=True, tag=True):
    """An artifact was compiled.  Descriptors: the serialized executable, the optimized HLO text.

    Attributes:
        compile_usec: how long XLA took.
        cost: XLA's cost analysis: flops, bytes_accessed ...
        memory: XLA's memory analysis for each device: argument_bytes, output_bytes, temp_bytes,
            alias_bytes, peak_bytes, code_bytes.
    """

    compile_usec: int
    cost: dict[str, float]
    memory: dict[str, int]


class Interpreted(msgspec.Struct, frozen=True, tag=True):
    """An artifact was run.  Descriptors: the outputs' bytes in order, an empty file."""


class Drawn(msgspec.Struct, frozen=True, tag=True):
    """An artifact was drawn.  Descriptors: the picture as SVG, an empty file."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """A job failed because of the user's program.  No descriptors.

    Attributes:
        errno: of the error class.
        reason: one line for the user.
        diagnostics: more lines: the compiler's messages, a traceback.
    """

    errno: int
    reason: str
    diagnostics: str = ""


Request = Job | Kill
Control = Hello | Ended
Reply = Traced | UntypedProgram | Compiled | Interpreted | Drawn | Refused
