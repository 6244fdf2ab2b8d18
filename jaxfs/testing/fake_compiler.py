"""A compiler without processes and jax: reads ``FakeProgram`` text, and fails if a test wants."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Literal

import attrs
import trio

from jaxfs.compiler.client.job_slots import JobSlots
from jaxfs.compiler.compiler_interface import (
    CompileResult,
    CompilerState,
    TraceResult,
    UserIds,
)
from jaxfs.compiler.job_protocol import Compile, Compiled, Trace, Traced, UntypedProgram
from jaxfs.errors import Invalid, JaxfsError, NotSupported
from jaxfs.testing.fake_program import FUNCTIONS, FakeProgram, Function
from jaxfs.types.avals import Aval
from jaxfs.types.compile_target import CompileTarget
from jaxfs.types.memory_layout import output_offsets
from jaxfs.types.signature import Signature

JobKind = Literal["trace", "compile", "interpret", "draw"]
MEMORY_NOTES = ("temp_bytes", "alias_bytes")  # what a run needs, from the notes of a program
_READ_BYTES = 1 << 20


@attrs.frozen
class FakeJob:
    """A job that was begun.

    Attributes:
        kind: What was done.
        program: The function's name.
        user: uid and gid of the author.
        steps: Transformations of a trace, outermost first.
        types: Types of all inputs, where the call had them.
        options: Of a pickled function's jit.
        platform: What a trace is for.
        target: What a compile is for.
    """

    kind: JobKind
    program: str
    user: UserIds | None = None
    steps: tuple[str, ...] = ()
    types: tuple[Aval, ...] | None = None
    options: Mapping[str, str] = {}
    platform: str = ""
    target: CompileTarget | None = None


class FakeCompiler:
    """Implements ``compiler_interface.Compiler``: does jobs in this process.

    The artifact, StableHLO text, executable and HLO text of a program are its ``FakeProgram`` line.
    A transformed program keeps its signature; it runs the function ``grad__loss``, or else
    ``loss``.

    Attributes:
        jobs: What was done, in the order of the beginnings.
        functions: As of the engine; they find the types of outputs.
        holds_pickles: Whether there is a sandbox for a user's code.
        why_no_pickles: What ``holds_pickles`` lacks.
        slots: As of ``CompilerClient``, ``limit`` of them.

    >>> async def main():
    ...     compiler = FakeCompiler()
    ...     with open("/tmp/double.fake", "wb+") as file:
    ...         file.write(b"double(x: f32[2]) -> f32[2]")
    ...         file.flush()
    ...         made = await compiler.trace(file.fileno(), Trace("cpu"))
    ...     return made.traced.signature.text()
    >>> print(trio.run(main), end="")
    in 0 x f32[2]
    out 0 f32[2]
    """

    def __init__(self, limit: int = 64) -> None:
        self.jobs: list[FakeJob] = []
        self.functions: dict[str, Function] = dict(FUNCTIONS)
        self.state: CompilerState = "idle"
        self.restarts = 0
        self.pid = 0
        self.toolchain = ""
        self.sandbox: tuple[str, ...] = ()
        self.holds_pickles = True
        self.why_no_pickles = ""
        self.slots = JobSlots(limit)
        self._held: dict[JobKind, trio.Event] = {}
        self._errors: dict[JobKind, list[JaxfsError]] = defaultdict(list)

    # What a test does with it

    def hold(self, kind: JobKind) -> trio.Event:
        """Lets jobs of this kind that begin from now on end with ``release``, or this event."""
        self._held[kind] = trio.Event()
        return self._held[kind]

    def release(self, kind: JobKind) -> None:
        """Lets jobs of this kind end."""
        self._held.pop(kind).set()

    def fail(self, kind: JobKind, error: JaxfsError, times: int = 1) -> None:
        """Lets the next ``times`` jobs of this kind fail."""
        self._errors[kind] += [error] * times

    def count(self, kind: JobKind) -> int:
        """Returns how many jobs of this kind began."""
        return sum(job.kind == kind for job in self.jobs)

    # What a compiler does

    async def start(self) -> None:
        """Is ready at once."""
        self.state, self.pid, self.toolchain = "ready", 1, "jax 0.0.0 jaxlib 0.0.0"
        self.sandbox = ("fake",)

    async def trace(
        self,
        source: int,
        work: Trace,
        *,
        user: UserIds | None = None,
        began: Callable[[], None] | None = None,
    ) -> TraceResult | UntypedProgram:
        """Makes an artifact of the ``FakeProgram`` in an open file.

        Untyped where the program needs types and ``work`` has none.
        """
        program = FakeProgram.parse(_content(source))
        wanted = (work.steps, work.types, work.options, work.platform)
        job = FakeJob("trace", program.name, user, *wanted)
        await self._do(job, began)
        if program.is_pickle and not work.takes_pickles:
            raise Invalid("a pickled function, which was not expected")
        format_name = "pickle" if program.is_pickle else "stablehlo_text"
        if work.types is not None:
            program = program.specialized(work.types, self.functions)
        elif not program.is_typed:
            names, known = zip(*program.inputs, strict=True)
            reason = f"{program.name} has the types of each call"
            return UntypedProgram(format_name, names, reason, known)
        name = "__".join([*(step.partition(":")[0] for step in work.steps), program.name])
        artifact = attrs.evolve(program, name=name, is_pickle=False).text().encode()
        partitions = program.notes.get("devices", 1)
        traced = Traced(format_name, program.signature, (), partitions)
        return TraceResult(traced, artifact, artifact)

    async def compile(
        self,
        artifact: int,
        work: Compile,
        *,
        user: UserIds | None = None,
        began: Callable[[], None] | None = None,
    ) -> CompileResult:
        """Returns figures from the program's notes, and the artifact as executable and HLO."""
        program = FakeProgram.parse(_content(artifact))
        await self._do(FakeJob("compile", program.name, user, target=work.target), began)
        text = program.text().encode()
        memory = {key: program.notes[key] for key in MEMORY_NOTES if key in program.notes}
        cost = {"flops": float(program.notes.get("flops", 0))}
        return CompileResult(Compiled(1000, cost, memory), text, text)

    async def interpret(
        self,
        artifact: bytes,
        inputs: bytes,
        signature: Signature,
        *,
        user: UserIds | None = None,
    ) -> bytes:
        """Returns the bytes of the outputs of the compiler's own ``functions``."""
        program = FakeProgram.parse(artifact)
        await self._do(FakeJob("interpret", program.name, user), None)
        pieces, start = list[bytes](), 0
        for aval in signature.input_avals:
            pieces.append(inputs[start : start + aval.nbytes])
            start += aval.nbytes
        whole = program.run(pieces, self.functions)
        places = zip(output_offsets(signature)[0], signature.output_avals, strict=True)
        return b"".join(whole[offset : offset + aval.nbytes] for offset, aval in places)

    async def draw(
        self,
        artifact: int,
        signature: Signature,
        *,
        user: UserIds | None = None,
        began: Callable[[], None] | None = None,
    ) -> bytes:
        """Returns an SVG file with the program's name.  Raises NotSupported for no inputs."""
        program = FakeProgram.parse(_content(artifact))
        await self._do(FakeJob("draw", program.name, user), began)
        if not signature.inputs:
            raise NotSupported(f"{program.name} has no inputs to draw")
        return f"<svg><text>{program.name}</text></svg>\n".encode()

    async def close(self) -> None:
        """Has nothing to end."""

    async def _do(self, job: FakeJob, began: Callable[[], None] | None) -> None:
        await self.start()
        async with self.slots.turn(job.user[0] if job.user else 0):
            if began is not None:
                began()
            self.jobs.append(job)
            if job.kind in self._held:
                await self._held[job.kind].wait()
            await trio.lowlevel.checkpoint()
        if self._errors[job.kind]:
            raise self._errors[job.kind].pop(0).recorded()  # a test may keep the error


def _content(fd: int) -> bytes:
    return os.pread(fd, _READ_BYTES, 0)
