"""The compiler as programs use it: a small interface, so that tests can replace the processes.

`CompilerClient` implements it with throw-away processes.  As with engines, a descriptor is an open
file that the caller keeps and closes, and errors have the types of ``jaxfs.errors``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from jaxfs.compiler.job_protocol import Compile, Compiled, Trace, Traced, UntypedProgram
from jaxfs.types.signature import Signature

CompilerState = Literal["idle", "starting", "ready", "restarting"]
UserIds = tuple[int, int]  # uid and gid


class TraceResult(NamedTuple):
    """An artifact and its description.

    Attributes:
        traced: source format, signature, platforms, number of partitions.
        artifact: a StableHLO portable artifact.
        stablehlo: the same module as text, UTF-8.
    """

    traced: Traced
    artifact: bytes
    stablehlo: bytes


class CompileResult(NamedTuple):
    """An executable and its figures.

    Attributes:
        compiled: compile time, cost and memory by the compiler's analysis.
        executable: the serialized executable.
        hlo: the optimized HLO as text, UTF-8.
    """

    compiled: Compiled
    executable: bytes
    hlo: bytes


class Compiler(Protocol):
    """Turns sources into artifacts, and artifacts into executables, results or pictures.

    All coroutines may be cancelled; the job then ends.  In their arguments, ``user`` is the uid and
    gid of the user for whom the job runs (None: the mounting user), and ``began`` is called once,
    when the job leaves the queue and starts.
    """

    @property
    def state(self) -> CompilerState:
        """Whether jobs can start at once; ``idle``: the first job starts the process."""

    @property
    def restarts(self) -> int:
        """How often the process of the compiler died and was started again."""

    @property
    def sandbox(self) -> tuple[str, ...]:
        """The layers of the sandbox that work on this machine; empty before the first start."""

    @property
    def holds_pickles(self) -> bool:
        """Whether the sandbox is good enough for a user's Python; False before the first start."""

    @property
    def why_no_pickles(self) -> str:
        """The reason in one line if ``holds_pickles`` is False; else empty."""

    async def start(self) -> None:
        """Starts the process unless it runs.

        Raises:
            RunFailed: It does not start, with the reason.
        """

    async def trace(
        self,
        source: int,
        work: Trace,
        *,
        user: UserIds | None = None,
        began: Callable[[], None] | None = None,
    ) -> TraceResult | UntypedProgram:
        """Makes an artifact from the source in an open file.

        Returns:
            The artifact, or an UntypedProgram if input types are needed and ``work`` has none.

        Raises:
            Invalid: the program is bad, or ended the process that read it.
            NotSupported: a transformation does not apply.
            TimedOut, NoSpace, RunFailed: as they say.
        """

    async def compile(
        self,
        artifact: int,
        work: Compile,
        *,
        user: UserIds | None = None,
        began: Callable[[], None] | None = None,
    ) -> CompileResult:
        """Compiles the artifact in an open file.  Raises as `trace` does."""

    async def interpret(
        self,
        artifact: bytes,
        inputs: bytes,
        signature: Signature,
        *,
        user: UserIds | None = None,
    ) -> bytes:
        """Runs an artifact in StableHLO's reference interpreter.

        Args:
            artifact: the portable artifact.
            inputs: the bytes of all inputs, one behind the other, each as in `Signature.inputs`.
            signature: the artifact's.
            user: see the class.

        Returns:
            The bytes of all outputs, one behind the other.

        Raises:
            NotSupported: the interpreter lacks an operation.
        """

    async def draw(
        self,
        artifact: int,
        signature: Signature,
        *,
        user: UserIds | None = None,
        began: Callable[[], None] | None = None,
    ) -> bytes:
        """Draws the artifact in an open file.

        Returns:
            The picture as SVG, in UTF-8.

        Raises:
            NotSupported: The graph has no layout.
        """
