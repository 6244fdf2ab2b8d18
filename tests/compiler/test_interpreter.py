"""The reference interpreter runs a program, or the reason names what it cannot run."""

from __future__ import annotations

import numpy as np
import pytest

from jaxfs.compiler.client.client import CompilerClient
from jaxfs.errors import NotSupported
from tests.compiler.conftest import BlockingTracer
from tests.compiler.test_other_exporters import one


def interpreted(tracer: BlockingTracer, source: str) -> bytes:
    """The outputs for inputs of ones."""
    traced, artifact, _ = tracer.trace(source)
    inputs = [np.ones(aval.shape, aval.row.numpy) for aval in traced.signature.input_avals]
    data = b"".join(array.tobytes() for array in inputs)

    async def interpret(client: CompilerClient) -> bytes:
        return await client.interpret(artifact, data, traced.signature)

    return tracer.run(interpret)


BITS = """func.func @main(%s: tensor<2xui64>) -> (tensor<2xui64>, tensor<4xui32>) {
  %n, %b = stablehlo.rng_bit_generator %s, algorithm = THREE_FRY
    : (tensor<2xui64>) -> (tensor<2xui64>, tensor<4xui32>)
  return %n, %b : tensor<2xui64>, tensor<4xui32>
}"""
REFUSED: dict[str, tuple[str, str]] = {
    "random bits": (BITS, "rng_bit_generator"),
    "cholesky": (
        one("stablehlo.cholesky %x : tensor<2x2xf32>", "tensor<2x2xf32>"),
        "cholesky",
    ),
    "complex": (
        one("stablehlo.add %x, %x : tensor<complex<f32>>", "tensor<complex<f32>>"),
        "complex inputs or outputs",
    ),
    "number of a device": (
        one("stablehlo.partition_id : tensor<ui32>", "tensor<ui32>"),
        "partition_id",
    ),
    "LAPACK": (
        one(
            "stablehlo.custom_call @lapack_spotrf_ffi(%x) {mhlo.backend_config = {uplo = 76 : ui8}}"
            " : (tensor<2x2xf32>) -> (tensor<2x2xf32>, tensor<i32>)",
            "tensor<2x2xf32>",
        ).replace("%0 =", "%0, %1 ="),
        "custom_call @lapack_spotrf_ffi",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_interpreter_cannot_run_is_named(tracer: BlockingTracer, name: str) -> None:
    source, what = REFUSED[name]
    with pytest.raises(NotSupported, match=f"^the reference interpreter cannot run {what}$"):
        interpreted(tracer, source)


def test_the_interpreter_takes_many_booleans(tracer: BlockingTracer) -> None:
    source = one("stablehlo.not %x : tensor<20xi1>", "tensor<20xi1>")
    assert interpreted(tracer, source) == bytes(20)
