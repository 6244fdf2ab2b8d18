"""What the front and the tracer say to each other.

The zygote reads ``Job`` messages on its control socket.  With each job come descriptors: first the
job's own reply socket, then its input files.  It forks a child; the child does the job, sends one
``Traced``, ``Untyped``, ``Compiled`` or ``Refused`` (with descriptors of its output files, in the
order the message's fields say) and exits.  A reply socket that closes without a message means the
child died; ``Ended`` on the control socket says how.
"""

from __future__ import annotations

import msgspec

from jaxfs.ipc.channel import VERSION
from jaxfs.types.avals import Aval
from jaxfs.types.partial_avals import KnownAval
from jaxfs.types.signature import Signature

FILES = 2  # that a job which worked hands back


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The zygote is up.  ``toolchain`` (jax and jaxlib versions) is part of every cache key.

    ``layers`` are those of the sandbox that work on this machine.
    """

    pid: int
    toolchain: str
    layers: tuple[str, ...] = ()
    version: int = VERSION


class Trace(msgspec.Struct, frozen=True, tag=True):
    """Turn a source (one descriptor: the bytes as the user wrote them) into an artifact.

    ``platform`` is where it is to run (``cpu``, ``cuda``); a jax.export artifact for other
    platforms is refused.  ``steps`` are transformations as a path has them, outermost first.
    ``types`` are those of all inputs, flat, where the call tells them.  ``options`` are a pickled
    function's; ``takes_pickles`` is whether its author's code may run here.
    """

    platform: str
    steps: tuple[str, ...] = ()
    types: tuple[Aval, ...] | None = None
    options: dict[str, str] = {}
    takes_pickles: bool = False


class Compile(msgspec.Struct, frozen=True, tag=True):
    """Compile an artifact (one descriptor) for some devices of a platform, one a partition."""

    platform: str
    device_ids: tuple[int, ...]
    device_count: int  # of the engine; the executable's device numbers must mean the same there
    signature: Signature


class Interpret(msgspec.Struct, frozen=True, tag=True):
    """Run an artifact in StableHLO's reference interpreter.

    One descriptor: the artifact's length in 8 bytes, the artifact, the inputs' bytes in order.
    """

    signature: Signature


class Draw(msgspec.Struct, frozen=True, tag=True):
    """Draw an artifact (one descriptor); ``signature`` names its inputs and outputs."""

    signature: Signature


Work = Trace | Compile | Interpret | Draw


class Job(msgspec.Struct, frozen=True, tag=True):
    """Start one job; ``job`` is the front's number for it.

    ``uid`` and ``gid`` are whose rights it gets where the zygote may choose (it runs as root);
    None: its own, or nobody's where these are root's.
    """

    job: int
    work: Work
    uid: int | None = None
    gid: int | None = None


class Kill(msgspec.Struct, frozen=True, tag=True):
    """End a job now (deadline, cancel)."""

    job: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A child is gone: its exit code or minus the signal that ended it, and its stderr's end."""

    job: int
    status: int
    stderr_tail: str = ""


class Traced(msgspec.Struct, frozen=True, tag=True):
    """Descriptors: the artifact (StableHLO portable artifact), its StableHLO text."""

    source_format: str  # stablehlo_text | mlir_bytecode | portable_artifact | jax_export | pickle
    signature: Signature
    platforms: tuple[str, ...]  # empty: any
    partitions: int = 1  # how many devices it runs on


class UntypedProgram(msgspec.Struct, frozen=True, tag="Untyped"):  # state directories have the tag
    """The program is well, and what it takes is known only with ``types``.  No descriptors.

    ``parameters`` are the names of its inputs, flat, or of its arguments where even their structure
    comes with the call; ``reason`` is one line for the user.  ``inputs`` is what is known of each.
    """

    source_format: str
    parameters: tuple[str, ...]
    reason: str
    inputs: tuple[
        KnownAval, ...
    ]  # no default: what older ones left in the state directory is not read


class Compiled(msgspec.Struct, frozen=True, tag=True):
    """Descriptors: the serialized executable, the HLO text the compiler made."""

    compile_usec: int
    cost: dict[str, float]  # flops, bytes_accessed ...
    memory: dict[str, int]  # argument_bytes, output_bytes, temp_bytes, peak_bytes, code_bytes


class Interpreted(msgspec.Struct, frozen=True, tag=True):
    """Descriptors: the outputs' bytes in order, and an empty file."""


class Drawn(msgspec.Struct, frozen=True, tag=True):
    """Descriptors: the picture as SVG, and an empty file."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The job failed for a reason that is the user's to know."""

    errno: int
    reason: str
    diagnostics: str = ""


Request = Job | Kill
Control = Hello | Ended
Reply = Traced | UntypedProgram | Compiled | Interpreted | Drawn | Refused
