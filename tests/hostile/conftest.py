"""A tracer with little memory and a short deadline, and an engine that may be killed."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from jaxfs.compiler.client.client import CompilerClient
from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.errors import Invalid, JaxfsError
from jaxfs.types.signature import Signature
from tests.compiler.conftest import BlockingTracer, ask, compile_cpu
from tests.engine.conftest import SharedEngine
from tests.engine.programs import DEVICES
from tests.hostile.case import VECTOR, Case, Stop, one

MEMORY_BYTES = 1 << 30
HANGING_S = 5.0  # the deadline of what hangs
OTHERS_S = 60.0  # of what does not, on a busy machine
GOOD = one(f"stablehlo.negate %x : {VECTOR}")


class Attempt(msgspec.Struct):
    """How far a program came; ``stage`` is the last one it entered."""

    stage: str
    error: JaxfsError | None = None
    executable: bytes = b""
    signature: Signature = Signature((), ())


async def attempt(client: CompilerClient, case: Case) -> Attempt:
    """Trace and compile for the engine's first device."""
    deadline_s = HANGING_S if case.stop is Stop.DEADLINE else OTHERS_S
    stage = "trace"
    try:
        made = await ask(client, case.data, "cpu", deadline_s, {})
        if isinstance(made, UntypedProgram):
            return Attempt(stage, Invalid(made.reason))
        traced, artifact, _ = made
        stage = "compile"
        _, executable, _ = await compile_cpu(
            client, artifact, traced.signature, ((0,), DEVICES), deadline_s
        )
    except JaxfsError as error:
        return Attempt(stage, error)
    return Attempt("done", None, executable, traced.signature)


@pytest.fixture(scope="package")
def hostile() -> Iterator[BlockingTracer]:
    tracer = BlockingTracer(memory_bytes=MEMORY_BYTES)
    yield tracer
    tracer.close()


@pytest.fixture(scope="package")
def victim() -> Iterator[SharedEngine]:
    engine = SharedEngine()
    yield engine
    engine.stop()
