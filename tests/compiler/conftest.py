"""A real zygote behind a blocking face, shared by a module's tests."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import cloudpickle
import jax
import numpy as np
import pytest
import trio

from jaxfs.compiler.client.client import CompilerClient, open_compiler
from jaxfs.compiler.job_protocol import Compile, Compiled, Trace, Traced, UntypedProgram
from jaxfs.jaxcompat import executables
from jaxfs.types.compile_target import CompileTarget
from jaxfs.types.signature import Signature

Result = TypeVar("Result")

SAXPY = """module @saxpy {
  func.func public @main(%x: tensor<16xf32>, %y: tensor<16xf32>) -> tensor<16xf32> {
    %c = stablehlo.constant dense<2.0> : tensor<16xf32>
    %0 = stablehlo.multiply %x, %c : tensor<16xf32>
    %1 = stablehlo.add %0, %y : tensor<16xf32>
    return %1 : tensor<16xf32>
  }
}
"""


@contextlib.contextmanager
def memory_file(data: bytes) -> Iterator[int]:
    """An open file with ``data`` in it."""
    fd = os.memfd_create("source")
    try:
        os.write(fd, data)
        yield fd
    finally:
        os.close(fd)


async def ask(
    client: CompilerClient,
    source: str | bytes,
    platform: str,
    deadline_s: float,
    how: dict[str, Any],
) -> tuple[Traced, bytes, bytes] | UntypedProgram:
    """Trace bytes instead of an open file."""
    with memory_file(source.encode() if isinstance(source, str) else source) as fd:
        return await client.trace(fd, Trace(platform, **how), deadline_s)


async def trace(
    client: CompilerClient, source: str | bytes, platform: str = "cpu", deadline_s: float = 60
) -> tuple[Traced, bytes, bytes]:
    """Trace a program that has types."""
    made = await ask(client, source, platform, deadline_s, {})
    assert not isinstance(made, UntypedProgram), made
    return made


async def compile_cpu(
    client: CompilerClient,
    artifact: bytes,
    signature: Signature,
    devices: tuple[tuple[int, ...], int] = ((0,), 1),
    deadline_s: float = 60,
) -> tuple[Compiled, bytes, bytes]:
    """Compile for the CPU devices of those numbers, of so many."""
    with memory_file(artifact) as fd:
        return await client.compile(
            fd, Compile(CompileTarget("cpu"), *devices, signature), deadline_s
        )


def dumped(value: Any) -> bytes:
    """A pickle that holds what tests define, as one of a user's script does."""
    tests = [module for name, module in sys.modules.items() if name.startswith("tests.compiler.")]
    for module in tests:
        cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(value))
    finally:
        for module in tests:
            cloudpickle.unregister_pickle_by_value(module)


class Made(NamedTuple):
    """An artifact; calling it compiles and runs it in this process."""

    traced: Traced
    artifact: bytes
    text: bytes

    @property
    def signature(self) -> str:
        return self.traced.signature.text()

    def __call__(self, *inputs: Any) -> list[np.ndarray]:
        signature = self.traced.signature
        executables.initialize_custom_calls()
        built = executables.compile_artifact(self.artifact, signature, jax.devices("cpu")[:1])
        given = zip(inputs, signature.input_avals, strict=True)
        arrays = [np.asarray(one, aval.row.numpy) for one, aval in given]
        with jax.enable_x64(True):
            outputs = executables.make_callable(built, signature)(*arrays)
        return [np.asarray(output) for output in outputs]


class BlockingTracer:
    """The client, in a thread that runs trio."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,))
        self._thread.start()
        self._is_up.wait()

    async def _serve(self) -> None:
        async with open_compiler(**self._options) as self.client:
            self._token, self._closing = trio.lowlevel.current_trio_token(), trio.Event()
            self._is_up.set()
            await self._closing.wait()

    def run(self, function: Callable[..., Awaitable[Result]], *args: object) -> Result:
        return trio.from_thread.run(function, self.client, *args, trio_token=self._token)

    def trace(self, source: str | bytes, platform: str = "cpu") -> tuple[Traced, bytes, bytes]:
        return self.run(trace, source, platform)

    def ask(
        self, source: str | bytes, platform: str = "cpu", deadline_s: float = 60, **how: Any
    ) -> tuple[Traced, bytes, bytes] | UntypedProgram:
        """Trace with ``steps``, ``types``, ``options``; pickles are taken."""
        return self.run(ask, source, platform, deadline_s, {"takes_pickles": True, **how})

    def made(self, source: str | bytes, **how: Any) -> Made:
        """The artifact that ``ask`` gives."""
        answer = self.ask(source, **how)
        assert not isinstance(answer, UntypedProgram), answer
        return Made(*answer)

    def untyped(self, source: str | bytes, **how: Any) -> UntypedProgram:
        """The other answer that ``ask`` gives."""
        answer = self.ask(source, **how)
        assert isinstance(answer, UntypedProgram), answer
        return answer

    def build(self, source: str | bytes) -> tuple[Traced, Compiled, bytes, str]:
        """Trace and compile: both descriptions, the executable, the HLO text."""
        traced, artifact, _ = self.trace(source)
        compiled, executable, hlo = self.run(compile_cpu, artifact, traced.signature)
        return traced, compiled, executable, hlo.decode()

    def close(self) -> None:
        self._token.run_sync_soon(self._closing.set)
        self._thread.join()


@pytest.fixture(scope="package")
def tracer() -> Iterator[BlockingTracer]:
    tracer = BlockingTracer()
    yield tracer
    tracer.close()
